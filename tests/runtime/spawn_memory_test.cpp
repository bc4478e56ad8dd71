// SPDX-License-Identifier: BSL-1.0
//
// This program lets allocations fail: what becomes of a child when there is no memory for it.
#include <procyard/runtime/spawn.hpp>

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <exception>
#include <optional>

#include "allocations.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

TEST_SUITE("spawn: allocations")
{
    TEST_CASE(
        "whatever allocation of a spawn fails: no child is left, and the next one's end is told")
    {
        boost::asio::io_context ctx;
        warm_up(ctx);
        const auto before = children();
        std::size_t refused = 0;
        bool is_over = false;
        for (std::size_t nth = 1; !is_over; ++nth) {
            CAPTURE(nth);
            std::optional<child> made;
            try {
                const failing_allocation none(nth);
                made = spawn(helper({"--mode=exit", "3"}), ctx.get_executor());
                is_over = !none.has_failed();
            } catch (const std::exception&) {
                ++refused;
            }
            CHECK(children() == before + (made ? 1 : 0));
            if (made)
                CHECK(wait(ctx, *made).code() == 3);
            auto next = spawn(helper({"--mode=exit", "4"}), ctx.get_executor());
            CHECK(wait(ctx, next).code() == 4);
            CHECK(children() == before);
        }
        CHECK(refused > 0);
    }
}
