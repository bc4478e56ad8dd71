// SPDX-License-Identifier: BSL-1.0
// A pool whose process is killed at any moment: while its workers start, work, are replaced, and do
// not listen.
#ifndef PROCYARD_TESTS_RUNTIME_KILLED_POOL_HPP
#define PROCYARD_TESTS_RUNTIME_KILLED_POOL_HPP

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <random>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "killed_host.hpp"
#include "pool_fixture.hpp"
#include "procyard_test.hpp"
#include "temporary_directory.hpp"

namespace procyard_test {

/// The host that is killed; says so when it has done some more.
/// One of its workers starts another program, if so wished.
inline void work_until_killed(procyard::command worker, bool starts_another = false)
{
    auto options = of_workers(3);
    options.prefetch = 2;
    options.recycle_after_jobs = 30;
    options.channels.capacity_bytes = 16 * 1024;
    pooled pool(options, "work", std::move(worker));
    pool.it->async_start([](procyard::error_code) { std::cout << "started" << std::endl; });
    // It would not hear of a SIGTERM.
    pool.submit(make_work("spin deaf", 0, (place() / "notes").string())).detach();
    if (starts_another) {
        const auto notes = (place() / "notes").string();
        pool.submit(make_work("start another", 0, notes)).detach();
    }
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

/// Kills as many hosts as one wishes, and looks after each one for processes, files and sockets.
inline void kill_pool_after_pool(
    const std::string& test_case = "host: a pool at work",
    const std::function<void()>& check_more = [] { })
{
    std::mt19937 random(20261123);
    boost::asio::io_context ctx;
    const char* const wanted = std::getenv("PROCYARD_POOL_KILLS");
    const int kills = wanted != nullptr ? std::atoi(wanted) : 25;
    REQUIRE(kills > 0);
    for (int i = 0; i < kills; ++i) {
        CAPTURE(i);
        const temporary_directory where;
        auto host = start_host(ctx, test_case, where.path());
        kill_some_time(ctx, host, random, 12);
        bury_until(0);
        // The handler's own, and nothing else.
        std::filesystem::remove(where.path() / "notes");
        for (const auto& entry : std::filesystem::directory_iterator(where.path())) {
            if (!is_of_sanitizer(entry.path()))
                FAIL_CHECK("left: " << entry.path().string());
        }
        CHECK(text_of("/proc/net/unix").find(where.path().string()) == std::string::npos);
        check_more();
    }
    MESSAGE(kills << " kills");
}

}  // namespace procyard_test

#endif
