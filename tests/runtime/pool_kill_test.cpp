// SPDX-License-Identifier: BSL-1.0
//
// The process of a pool is killed at any moment: while its workers start, work, are replaced, and
// do not listen.
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <random>
#include <string>

#include "killed_host.hpp"
#include "pool_fixture.hpp"
#include "procyard_test.hpp"
#include "temporary_directory.hpp"
#include "test_process.hpp"

namespace asio = boost::asio;
using namespace procyard_test;

namespace {

int kills_wanted()
{
    const char* const text = std::getenv("PROCYARD_POOL_KILLS");
    return text != nullptr ? std::atoi(text) : 25;
}

}  // namespace

TEST_SUITE("pool_kill")
{
    TEST_CASE("host: a pool at work" * doctest::skip())
    {
        auto options = of_workers(3);
        options.prefetch = 2;
        options.recycle_after_jobs = 30;
        options.channels.capacity_bytes = 16 * 1024;
        pooled pool(options);
        pool.it->async_start([](procyard::error_code) { std::cout << "started" << std::endl; });
        // It would not hear of a SIGTERM.
        pool.submit(make_work("spin deaf", 0, (place() / "notes").string())).detach();
        std::uint64_t answers = 0;
        const std::function<void()> again = [&] {
            const auto size = answers % 5 == 0 ? 100'000U : 10U;
            pool.it->async_call(make_work("length", 0, std::string(size, 'r')), {},
                                [&](procyard::error_code, const answer&) {
                                    if (++answers % 20 == 0)
                                        std::cout << answers << std::endl;
                                    again();
                                });
        };
        for (int n = 0; n < 8; ++n)
            again();
        pool.ctx.run();
    }

    // loky#360: a parent that is killed leaves its workers for ever.
    TEST_CASE(
        "kill -9 of a pool's process at any moment leaves no process, and no name (complaint 17)")
    {
        const subreaper_guard guard;
        std::mt19937 random(20261123);
        asio::io_context ctx;
        const int kills = kills_wanted();
        for (int i = 0; i < kills; ++i) {
            CAPTURE(i);
            const temporary_directory where;
            auto host = start_host(ctx, "host: a pool at work", where.path());
            kill_some_time(ctx, host, random, 12);
            const auto end = std::chrono::steady_clock::now() + deadlock_guard;
            while (children() > 0) {
                REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, children(), " live on");
                bury_orphans();
            }
            // The handler's own, and nothing else.
            std::filesystem::remove(where.path() / "notes");
            for (const auto& entry : std::filesystem::directory_iterator(where.path())) {
                if (!is_of_sanitizer(entry.path()))
                    FAIL_CHECK("left: " << entry.path().string());
            }
            CHECK(text_of("/proc/net/unix").find(where.path().string()) == std::string::npos);
        }
        MESSAGE(kills << " kills");
    }
}
