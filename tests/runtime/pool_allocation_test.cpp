// SPDX-License-Identifier: BSL-1.0
// This program counts its allocations: how many a task makes in the pool's process.
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>

#include "allocations.hpp"
#include "pool_fixture.hpp"

namespace asio = boost::asio;
using namespace procyard_test;

namespace {

// The figures of docs/pool.md ("What a task costs"), which a change has to change as well.
constexpr std::size_t per_call = 1;
constexpr std::size_t per_submission = 1;

constexpr std::size_t warm_up = 2000;
constexpr std::size_t counted = 10'000;

using counted_pool = procyard::process_pool<std::uint64_t, std::uint64_t>;

procyard::pool_options prefetching()
{
    auto options = of_workers(1);
    options.prefetch = 16;
    return options;
}

}  // namespace

TEST_SUITE("process_pool: allocations")
{
    // run() and not the bounded run_for(), which makes a new cache of recycled memory for each
    // handler. The guard against a hang is ctest's.
    TEST_CASE("a call whose handler runs where the pool does costs one allocation")
    {
        asio::io_context ctx(1);
        counted_pool pool(ctx.get_executor(), pool_worker(), "square", prefetching());
        std::size_t done = 0;
        std::size_t before = 0;
        std::size_t after = 0;
        const std::function<void()> call = [&] {
            pool.async_call(3, {}, [&](procyard::error_code ec, std::uint64_t got) {
                ++done;
                const bool good = !ec && got == 9;
                CHECK(good);
                if (done == warm_up)
                    before = allocations();
                if (done == warm_up + counted)
                    after = allocations();
                if (done < warm_up + counted)
                    call();
                else if (done == warm_up + counted)
                    pool.async_stop(std::chrono::seconds(5), [](procyard::error_code) { });
            });
        };
        pool.async_start([&](procyard::error_code ec) {
            REQUIRE(!ec);
            for (int n = 0; n < 32; ++n)
                call();
        });
        ctx.run();
        // What a turn allocates, many tasks share.
        const auto each = double(after - before) / double(counted);
        CHECK_MESSAGE(each < double(per_call) + 0.9, each);
        CHECK_MESSAGE(each >= double(per_call), each);
    }

    TEST_CASE("a submission that nobody waits for costs one allocation")
    {
        asio::io_context ctx(1);
        counted_pool pool(ctx.get_executor(), pool_worker(), "square", prefetching());
        std::size_t submitted = 0;
        std::size_t sum = 0;
        const std::function<void()> submit = [&] {
            procyard::error_code ec;
            for (int n = 0; n < 16 && submitted < warm_up + counted; ++n) {
                const auto before = allocations();
                pool.try_submit(3, {}, ec).detach();
                if (ec)
                    break;
                ++submitted;
                if (submitted > warm_up)
                    sum += allocations() - before;
            }
            if (submitted < warm_up + counted) {
                asio::post(ctx, submit);
                return;
            }
            pool.async_stop(std::chrono::seconds(5), [](procyard::error_code) { });
        };
        pool.async_start([&](procyard::error_code ec) {
            REQUIRE(!ec);
            submit();
        });
        ctx.run();
        CHECK(pool.metrics().ended(procyard::pool_outcome::done) == warm_up + counted);
        const auto each = double(sum) / double(counted);
        CHECK_MESSAGE(each >= double(per_submission), each);
        CHECK_MESSAGE(each < double(per_submission) + 0.9, each);
    }
}
