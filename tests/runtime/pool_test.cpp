// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <sched.h>

#include <boost/system/errc.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "forked.hpp"
#include "pool_fixture.hpp"
#include "temporary_directory.hpp"

using namespace procyard_test;
using namespace std::chrono_literals;
using procyard::pool_errc;
using procyard::pool_outcome;

namespace {

// Its codec throws what it is told to.
struct moody {
    bool has_no_memory = false;
    std::string why{};
};

}  // namespace

template <>
struct procyard::codec<moody> {
    static std::size_t size(const moody&) noexcept { return 1; }
    static void encode(const moody& value, procyard::encoder&)
    {
        if (value.has_no_memory)
            throw std::bad_alloc();
        throw std::runtime_error(value.why);
    }
    static constexpr std::string_view layout = "{moody}";
};

namespace {

// Empty: there can be such a pool.
std::string refusal_of(const procyard::pool_options& options, const procyard::command& program)
{
    boost::asio::io_context ctx;
    try {
        const work_pool pool(ctx.get_executor(), program, "work", options);
    } catch (const std::invalid_argument& refused) {
        return refused.what();
    }
    return {};
}

}  // namespace

TEST_SUITE("process_pool")
{
    TEST_CASE("a request goes to a worker, and its response comes back")
    {
        pooled pool(of_workers(2));
        pool.must_start();
        CHECK(pool.it->workers().size() == 2);
        auto task = pool.submit(make_work("square", 12));
        const auto got = pool.result(task);
        CHECK(got.number == 144);
        CHECK(got.pid != ::getpid());
        const auto& report = task.report();
        CHECK(report.outcome == pool_outcome::done);
        CHECK(report.attempts == 1);
        CHECK(report.deaths.empty());
        pool.stop();
    }

    TEST_CASE("many tasks are each answered once, by several workers")
    {
        pooled pool(of_workers(2));
        pool.must_start();
        std::vector<int> answers(500);
        std::set<std::int64_t> pids;
        std::size_t done = 0;
        for (std::uint64_t n = 0; n < answers.size(); ++n) {
            pool.it->async_call(make_work("square", n), {},
                                [&, n](procyard::error_code ec, const answer& got) {
                                    CHECK(!ec);
                                    CHECK(got.number == n * n);
                                    ++answers[n];
                                    pids.insert(got.pid);
                                    ++done;
                                });
        }
        run_until(pool.ctx, [&] { return done == answers.size(); });
        CHECK(std::count(answers.begin(), answers.end(), 1) == 500);
        CHECK(pids.size() == 2);
        pool.stop();
    }

    TEST_CASE("what the first handlers of a turn submit is begun while others of them run")
    {
        const temporary_directory directory;
        const auto notes = (directory.path() / "notes").string();
        constexpr std::size_t tasks = 40;
        constexpr std::size_t one_of_the_last = 32;
        auto options = of_workers(1);
        options.prefetch = 2 * tasks;
        pooled pool(options);
        pool.must_start();
        std::size_t told = 0;
        std::size_t next_told = 0;
        const auto next = [&](procyard::error_code ec, const answer&) {
            CHECK_FALSE(ec);
            ++next_told;
        };
        const auto first = [&](procyard::error_code ec, const answer&) {
            CHECK_FALSE(ec);
            pool.it->async_call(make_work("note", 1, notes), {}, next);
            if (++told == one_of_the_last)
                pooled::stand_still_until_lines(notes, tasks + 1);
        };
        for (std::size_t i = 0; i < tasks; ++i)
            pool.it->async_call(make_work("note", 0, notes), {}, first);
        // All but one of them have been answered then, and are heard in one turn.
        pooled::stand_still_until_lines(notes, tasks);
        pool.until([&] { return next_told == tasks; });
        CHECK(lines_of(notes).size() == 2 * tasks);
        pool.stop();
    }

    TEST_CASE("a handler that throws fails its task with its text, and nothing else")
    {
        pooled pool;
        pool.must_start();
        const auto before = pool.it->workers();
        auto task = pool.submit(make_work("throw", 0, "no such\nindex"));
        CHECK(pool.error(task) == pool_errc::task_failed);
        CHECK(task.report().text == "no such index");
        CHECK(task.report().outcome == pool_outcome::task_failed);
        CHECK(pool.fail(make_work("throw a number")) == pool_errc::task_failed);
        CHECK(pool.call(make_work("square", 3)).number == 9);
        CHECK(pool.it->workers() == before);
        pool.stop();
    }

    TEST_CASE("requests and responses that are longer than the ring go through")
    {
        auto options = of_workers(1);
        options.channels.capacity_bytes = 4096;
        pooled pool(options);
        pool.must_start();
        CHECK(pool.call(make_work("length", 0, std::string(1'000'000, 'r'))).number == 1'000'000);
        const auto got = pool.call(make_work("long", 1'000'000));
        CHECK(got.text == std::string(1'000'000, 'x'));
        // Mixed with short ones, in any order.
        std::size_t done = 0;
        for (std::uint64_t n = 0; n < 50; ++n) {
            const auto size = n % 3 == 0 ? std::uint64_t{50'000} : n;
            pool.it->async_call(make_work("long", size, std::string(size, 'r')), {},
                                [&, size](procyard::error_code ec, const answer& a) {
                                    CHECK(!ec);
                                    CHECK(a.text.size() == size);
                                    ++done;
                                });
        }
        run_until(pool.ctx, [&] { return done == 50; });
        pool.stop();
    }

    TEST_CASE("what is longer than a record can be is refused before it is sent, or said by the "
              "worker")
    {
        // Whether there is room in the ring for it or not.
        for (const auto capacity : {std::size_t{4096}, std::size_t{1} << 20}) {
            CAPTURE(capacity);
            auto options = of_workers(1);
            options.channels.max_message_bytes = 10'000;
            options.channels.capacity_bytes = capacity;
            pooled pool(options);
            pool.must_start();
            outcome<procyard::error_code, procyard::pool_task<answer>> got;
            pool.it->async_submit(make_work("length", 0, std::string(20'000, 'r')), {},
                                  got.handler());
            run_until(pool.ctx, [&] { return got.done(); });
            CHECK(got.error() == pool_errc::bad_message);
            CHECK_MESSAGE(got.result().report().text.find("max_message_bytes") != std::string::npos,
                          got.result().report().text);
            auto task = pool.submit(make_work("long", 20'000));
            CHECK(pool.error(task) == pool_errc::task_failed);
            CHECK_MESSAGE(task.report().text.find("cannot be sent") != std::string::npos,
                          task.report().text);
            CHECK(pool.call(make_work("square", 4)).number == 16);
            pool.stop();
        }
    }

    TEST_CASE("a request whose codec throws is refused, with what it has thrown")
    {
        boost::asio::io_context ctx;
        procyard::process_pool<moody, answer> pool(ctx.get_executor(), pool_worker(), "work",
                                                   of_workers(1));
        outcome<procyard::error_code, procyard::pool_task<answer>> got;
        pool.async_submit({.why = "not today"}, {}, got.handler());
        run_until(ctx, [&] { return got.done(); });
        CHECK(got.error() == pool_errc::bad_message);
        CHECK(got.result().report().text == "not today");
        outcome<procyard::error_code, answer> called;
        pool.async_call({.has_no_memory = true}, {}, called.handler());
        run_until(ctx, [&] { return called.done(); });
        CHECK(called.error() == boost::system::errc::not_enough_memory);
        procyard::error_code ec;
        CHECK_FALSE(pool.try_submit({.why = "never"}, {}, ec));
        CHECK(ec == pool_errc::bad_message);
    }

    TEST_CASE("a type mismatch is told by both sides' names")
    {
        boost::asio::io_context ctx;
        procyard::process_pool<std::string, answer> pool(ctx.get_executor(), pool_worker(), "work",
                                                         of_workers(1));
        outcome<procyard::error_code> got;
        pool.async_start(got.handler());
        run_until(ctx, [&] { return got.done(); });
        CHECK(got.error() == pool_errc::not_ready);
        const auto& why = pool.explanation();
        CHECK_MESSAGE(why.find("of the request: here") != std::string::npos, why);
        CHECK_MESSAGE(why.find("here str; there work") != std::string::npos, why);
        CHECK_MESSAGE(why.find("work") != std::string::npos, why);
    }

    TEST_CASE("a process that was started as a worker, and is none yet, starts no worker itself")
    {
        struct as_worker {
            as_worker() { (void)::setenv("PROCYARD_POOL_ENTRY", "work", 1); }
            as_worker(const as_worker&) = delete;
            as_worker& operator=(const as_worker&) = delete;
            ~as_worker() { (void)::unsetenv("PROCYARD_POOL_ENTRY"); }
        };
        pooled pool;
        {
            const as_worker here;
            CHECK(pool.start() == pool_errc::not_ready);
            const auto& why = pool.it->explanation();
            CHECK_MESSAGE(why.find("run_if_worker() has to be called") != std::string::npos, why);
            CHECK(pool.it->workers().empty());
        }
        pool.stop();
    }

    TEST_CASE("an entry that the program does not have is told, with those that it has")
    {
        pooled pool(of_workers(1), "wrok");
        CHECK(pool.start() == pool_errc::not_ready);
        const auto& why = pool.it->explanation();
        CHECK_MESSAGE(why.find("no entry \"wrok\"") != std::string::npos, why);
        CHECK_MESSAGE(why.find("\"work\"") != std::string::npos, why);
        pool.stop();
    }

    TEST_CASE("a program that is no worker, or is not there, is told with its cause")
    {
        {
            pooled pool(of_workers(1), "work",
                        procyard::command::shell("echo no pool here >&2; exit 3"));
            CHECK(pool.start() == pool_errc::not_ready);
            const auto& why = pool.it->explanation();
            CHECK_MESSAGE(why.find("exit 3") != std::string::npos, why);
            CHECK_MESSAGE(why.find("no pool here") != std::string::npos, why);
            pool.stop();
        }
        pooled pool(of_workers(1), "work", procyard::command("/no/such/program"));
        CHECK(pool.start() == pool_errc::not_ready);
        const auto& why = pool.it->explanation();
        CHECK_MESSAGE(why.find("/no/such/program") != std::string::npos, why);
        pool.stop();
    }

    TEST_CASE("options that no pool can have are named before anything happened")
    {
        boost::asio::io_context ctx;
        auto options = of_workers(1);
        options.max_workers = 0;
        CHECK_THROWS_WITH_AS(work_pool(ctx.get_executor(), "work", options),
                             doctest::Contains("max_workers"), std::invalid_argument);
        options = of_workers(1);
        options.affinity = {{100'000}};
        CHECK_THROWS_WITH_AS(work_pool(ctx.get_executor(), "work", options),
                             doctest::Contains("100000"), std::invalid_argument);
        options = of_workers(1);
        options.channels.max_message_bytes = 1024;
        CHECK_THROWS_WITH_AS(work_pool(ctx.get_executor(), "work", options),
                             doctest::Contains("max_message_bytes is 1024"), std::invalid_argument);
        CHECK_THROWS_WITH_AS(work_pool(ctx.get_executor(), "", of_workers(1)),
                             doctest::Contains("entry"), std::invalid_argument);
        CHECK(children() == 0);
    }

    TEST_CASE("a processor outside of the process' own set is refused by its number (case 38)")
    {
        // Of a copy: the set stays.
        CHECK(in_fork([] {
                  cpu_set_t ours;
                  CPU_ZERO(&ours);
                  if (::sched_getaffinity(0, sizeof ours, &ours) != 0)
                      return 1;
                  unsigned least = 0;
                  while (!CPU_ISSET(least, &ours))
                      ++least;
                  unsigned outside = least + 1;  // there or not: it is none of the set
                  CPU_ZERO(&ours);
                  CPU_SET(least, &ours);
                  if (::sched_setaffinity(0, sizeof ours, &ours) != 0)
                      return 2;
                  auto options = of_workers(2);
                  options.affinity = {{least}};
                  if (!refusal_of(options, pool_worker()).empty())
                      return 3;
                  options.affinity = {{least}, {least, outside}};
                  return refusal_of(options, pool_worker())
                          == "process_pool: affinity of worker 1: processor "
                              + std::to_string(outside) + " is not one that this process may use"
                      ? 0
                      : 4;
              })
              == 0);
    }

    // As the kernel says it of a cgroup with fewer processors, or of the nearest above it.
    TEST_CASE("a processor outside of the set of the workers' cgroup is refused (case 38)")
    {
        const temporary_directory place;
        const auto inner = place.path() / "inner";
        std::filesystem::create_directory(inner);
        cpu_set_t ours;
        CPU_ZERO(&ours);
        REQUIRE(::sched_getaffinity(0, sizeof ours, &ours) == 0);
        unsigned cpu = 0;
        while (!CPU_ISSET(cpu, &ours))
            ++cpu;
        auto options = of_workers(1);
        options.affinity = {{cpu}};
        const auto said = place.path() / "cpuset.cpus.effective";
        const auto with = [&](const std::string& list) {
            std::ofstream(said) << list << '\n';
            return refusal_of(options, pool_worker().cgroup_parent(inner));
        };
        CHECK(with("0-" + std::to_string(cpu)) == "");
        CHECK(with("900," + std::to_string(cpu)) == "");
        const auto refused = "process_pool: affinity of worker 0: processor " + std::to_string(cpu)
            + " is not one that its cgroup may use (" + said.string() + ": 900-901,903)";
        CHECK(with("900-901,903") == refused);
        CHECK(refusal_of(options, pool_worker().cgroup(inner)) == refused);
        // What is no such list says nothing.
        for (const char* const nonsense : {"", "x", "5-", "5-3", "1,,2", "99999"})
            CHECK_MESSAGE(with(nonsense) == "", nonsense);
    }

    TEST_CASE("two pools in one context do not disturb each other")
    {
        pooled one(of_workers(1));
        work_pool other(one.ctx.get_executor(), pool_worker(), "later", of_workers(1));
        one.must_start();
        outcome<procyard::error_code, answer> got;
        other.async_call(make_work("square", 5), {}, got.handler());
        outcome<procyard::error_code> started;
        other.async_start(started.handler());
        CHECK(one.call(make_work("square", 6)).number == 36);
        run_until(one.ctx, [&] { return got.done(); });
        CHECK(got.result().number == 25);
        outcome<procyard::error_code> stopped;
        other.async_stop(std::chrono::nanoseconds::max(), stopped.handler());
        run_until(one.ctx, [&] { return stopped.done(); });
        one.stop();
    }

    TEST_CASE("a coroutine's worker runs several tasks at once")
    {
        auto options = of_workers(1);
        options.tasks_per_worker = 4;
        pooled pool(options, "later");
        pool.must_start();
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        std::vector<procyard::pool_task<answer>> tasks;
        for (int n = 0; n < 4; ++n)
            tasks.push_back(pool.submit(make_work("wait", 0, notes)));
        pool.until_lines(notes, 4);
        for (auto& task : tasks)
            task.cancel();
        for (auto& task : tasks)
            CHECK(pool.error(task) == boost::asio::error::operation_aborted);
        CHECK(pool.it->workers().size() == 1);
        pool.stop();
    }
}
