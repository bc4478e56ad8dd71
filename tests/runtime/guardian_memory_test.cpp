// SPDX-License-Identifier: BSL-1.0
//
// This program lets allocations fail: what becomes of a guardian, and of those that it guards, when
// there is no memory for them.
#include <procyard/runtime/guardian.hpp>

#include <doctest/doctest.h>

#include <signal.h>
#include <sys/wait.h>

#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <exception>
#include <optional>

#include <procyard/runtime/spawn.hpp>

#include "allocations.hpp"
#include "each_allocation.hpp"
#include "guardian_core.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::guardian;
using procyard::detail::guardian_access;
using procyard::detail::guardian_book;

namespace {

// A guarded start, of which an allocation fails; whether one has. Before it `prepare` is called.
template <class Prepare>
std::size_t fail_guarded_starts(Prepare prepare)
{
    asio::io_context ctx;
    warm_up(ctx);
    const guardian by(ctx.get_executor());
    const auto before = children();
    const int memory = guardian_access::core(by)->book().descriptor();
    return fail_each([&](std::size_t nth) {
        CAPTURE(nth);
        prepare(by);
        const auto what = helper({"--mode=pause"}).guarded_by(by);
        std::optional<procyard::child> made;
        bool has_failed = false;
        try {
            const failing_allocation none(nth);
            made = spawn(what, ctx.get_executor());
            has_failed = none.has_failed();
        } catch (const std::exception&) {
            has_failed = true;
        }
        if (made) {
            const auto all = guardian_book::read(memory);
            REQUIRE(all.size() == 1);
            CHECK(all[0].pid == made->id());
            CHECK(all[0].start_ticks != 0);
            made->kill();
            (void)wait(ctx, *made);
            made.reset();
        }
        run(ctx);
        CHECK(guardian_book::read(memory).empty());
        // The guardian, or none, where that was killed and is not made anew.
        CHECK(children() <= before);
        return has_failed;
    });
}

}  // namespace

TEST_SUITE("guardian: allocations")
{
    TEST_CASE("whatever allocation of its constructor fails: no process is left of it")
    {
        asio::io_context ctx;
        warm_up(ctx);
        const auto before = children();
        const auto failures = fail_each([&](std::size_t nth) {
            CAPTURE(nth);
            const descriptor_check descriptors;
            std::optional<guardian> by;
            bool has_failed = false;
            try {
                const failing_allocation none(nth);
                by.emplace(ctx.get_executor());
                has_failed = none.has_failed();
            } catch (const std::exception&) {
                has_failed = true;
            }
            by.reset();
            run(ctx);
            CHECK(children() == before);
            return has_failed;
        });
        CHECK(failures > 0);
    }

    TEST_CASE("whatever allocation of a guarded start fails: the book has all of it, or nothing")
    {
        CHECK(fail_guarded_starts([](const guardian&) { }) > 0);
    }

    TEST_CASE("the same of one that has to make the guardian anew")
    {
        const auto failures = fail_guarded_starts([](const guardian& by) {
            siginfo_t info{};
            (void)::kill(by.id(), SIGKILL);
            (void)::waitid(P_PID, static_cast<id_t>(by.id()), &info, WEXITED | WNOWAIT);
        });
        CHECK(failures > 0);
    }
}
