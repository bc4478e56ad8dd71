// SPDX-License-Identifier: BSL-1.0
// The process that has the pool: killed, forked, and short of memory.
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "forked.hpp"
#include "pool_fixture.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using namespace std::chrono_literals;

namespace {

std::size_t resident_bytes_of_this()
{
    std::ifstream file("/proc/self/statm");
    std::size_t size = 0;
    std::size_t pages = 0;
    file >> size >> pages;
    return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// A sanitizer keeps what was freed.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t usual = 20'000;
constexpr std::size_t tolerated = std::size_t{512} << 20U;
#else
constexpr std::size_t usual = 100'000;
constexpr std::size_t tolerated = std::size_t{4} << 20U;
#endif

std::size_t tasks_to_submit()
{
    const char* const asked = std::getenv("PROCYARD_POOL_TASKS");
    return asked == nullptr ? usual : static_cast<std::size_t>(std::strtoull(asked, nullptr, 10));
}

// A producer that has at most the high-water mark waiting, without a handle for each.
struct producer {
    explicit producer(pooled& to, std::size_t all) : pool(to), count(all) { submit(); }
    void submit()
    {
        if (next == count)
            return;
        pool.it->async_submit(
            make_work("square", next++), {},
            [this](procyard::error_code ec, procyard::pool_task<answer> task) {
                failed += ec ? 1 : 0;
                auto kept = std::make_shared<procyard::pool_task<answer>>(std::move(task));
                kept->async_result([this, kept](procyard::error_code why, const answer&) {
                    failed += why ? 1 : 0;
                    ++done;
                });
                submit();
            });
    }

    pooled& pool;
    std::size_t count;
    std::size_t next = 0;
    std::size_t done = 0;
    std::size_t failed = 0;
};

}  // namespace

TEST_SUITE("process_pool: its host")
{
    // Before all others: a copy is made while this process has one thread.
    // loky#360: a parent that is killed leaves its workers for ever.
    TEST_CASE(
        "a pool's process that is killed when its workers are ready leaves none (complaint 17)")
    {
        for (int round = 0; round < 10; ++round) {
            temporary_directory place;
            const auto notes = (place.path() / "notes").string();
            std::array<int, 2> pipe{};
            REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
            forked host([&] {
                pooled pool(of_workers(3));
                pool.must_start();
                const auto pids = pool.it->workers();
                if (::write(pipe[1], pids.data(), pids.size() * sizeof pids[0]) < 0)
                    return 1;
                std::function<void()> again = [&] {
                    pool.it->async_call(make_work("square", 1), {},
                                        [&](procyard::error_code, const answer&) { again(); });
                };
                again();
                auto spins = pool.submit(make_work("spin"));
                pool.ctx.run();
                return 0;
            });
            std::array<pid_t, 3> pids{};
            REQUIRE(::read(pipe[0], pids.data(), sizeof pids) == ssize_t(sizeof pids));
            host.kill_hard();
            const auto end = std::chrono::steady_clock::now() + deadlock_guard;
            // A zombie of init's counts as gone: nobody here can reap it.
            const auto lives = [](pid_t pid) {
                std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
                std::string all;
                std::getline(file, all);
                const auto at = all.rfind(')');
                return at != std::string::npos && at + 2 < all.size() && all[at + 2] != 'Z';
            };
            while (std::any_of(pids.begin(), pids.end(), lives))
                REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "a worker lives on");
            (void)::close(pipe[0]);
            (void)::close(pipe[1]);
        }
    }

    TEST_CASE("a pool that was made before its process became a daemon is the daemon's")
    {
        pooled pool(of_workers(2));
        pool.ctx.notify_fork(asio::execution_context::fork_prepare);
        forked daemon([&] {
            pool.ctx.notify_fork(asio::execution_context::fork_child);
            if (pool.start())
                return 1;
            outcome<procyard::error_code, answer> got;
            pool.it->async_call(make_work("spin"), {}, got.handler());
            const auto pids = pool.it->workers();
            pool.it.reset();
            pool.until([&] { return got.done(); });
            pool.until([&] { return std::none_of(pids.begin(), pids.end(), is_alive); });
            return got.error() == asio::error::operation_aborted ? 0 : 2;
        });
        pool.ctx.notify_fork(asio::execution_context::fork_parent);
        CHECK(daemon.result() == 0);
    }

    TEST_CASE(
        "as many tasks as one likes take as much memory as the high-water mark says (case 34)")
    {
        auto options = of_workers(2);
        options.high_water = 1000;
        pooled pool(options);
        pool.must_start();
        const auto count = tasks_to_submit();
        producer tasks(pool, count);
        run_until(pool.ctx, [&] { return tasks.done >= count / 4; }, 600s);
        const auto before = resident_bytes_of_this();
        run_until(pool.ctx, [&] { return tasks.done == count; }, 600s);
        const auto after = resident_bytes_of_this();
        CHECK(tasks.failed == 0);
        CHECK_MESSAGE(after < before + tolerated, before, " -> ", after);
        pool.stop();
    }

    TEST_CASE("a copy of the process by fork leaves the pool alone")
    {
        temporary_directory place;
        pooled pool(of_workers(2));
        pool.must_start();
        const auto before = pool.it->workers();
        auto task = pool.submit(make_work("until cancelled", 0, (place.path() / "notes").string()));
        pool.until_lines((place.path() / "notes").string(), 1);
        forked copy([&] {
            task.cancel();
            pool.it.reset();
            return 7;
        });
        CHECK(copy.result() == 7);
        CHECK_FALSE(task.is_done());
        CHECK(pool.call(make_work("square", 3)).number == 9);
        CHECK(pool.it->workers() == before);
        task.cancel();
        CHECK(pool.error(task) == asio::error::operation_aborted);
        pool.stop();
    }

    TEST_CASE("a program that goes away is told, and the pool goes on when it is back")
    {
        temporary_directory place;
        const auto program = (place.path() / "worker").string();
        pooled pool(of_workers(1), "work", procyard::command(program));
        CHECK(pool.start() == procyard::pool_errc::not_ready);
        CHECK_MESSAGE(pool.it->explanation().find(program) != std::string::npos,
                      pool.it->explanation());
        REQUIRE(::symlink(PROCYARD_POOL_WORKER, program.c_str()) == 0);
        pool.must_start();
        CHECK(pool.call(make_work("square", 3)).number == 9);
        pool.stop();
    }
}
