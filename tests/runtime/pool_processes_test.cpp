// SPDX-License-Identifier: BSL-1.0
// A pool's workers: how they start, where they run, when they are replaced.
#include <procyard/runtime/forward_signals.hpp>
#include <procyard/runtime/process_pool.hpp>

#include <boost/asio/error.hpp>

#include <doctest/doctest.h>

#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "limit_guard.hpp"
#include "pool_fixture.hpp"
#include "skip.hpp"
#include "temporary_directory.hpp"

using namespace procyard_test;
using namespace std::chrono_literals;
using procyard::pool_errc;

namespace {

std::vector<unsigned> cpus_of_this()
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    REQUIRE(::sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    std::vector<unsigned> all;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &cpus))
            all.push_back(cpu);
    }
    return all;
}

// Of this process, for a while.
class variable_guard {
public:
    variable_guard(const char* name, const char* value) : name_(name)
    {
        if (const char* const old = std::getenv(name))
            before_ = old;
        REQUIRE(::setenv(name, value, 1) == 0);
    }
    variable_guard(const variable_guard&) = delete;
    variable_guard& operator=(const variable_guard&) = delete;
    ~variable_guard()
    {
        if (before_)
            (void)::setenv(name_, before_->c_str(), 1);
        else
            (void)::unsetenv(name_);
    }

private:
    const char* name_;
    std::optional<std::string> before_{};
};

// What is in its environment.
std::string trace_of_worker(pooled& pool)
{
    std::string all;
    for (const auto* const name : {"TRACEPARENT", "TRACESTATE", "BAGGAGE"})
        all += (all.empty() ? "" : "|") + pool.call(make_work("environment", 0, name)).text;
    return all;
}

// Keeps so many tasks under way until it is told to end, and counts what is not as it should be.
struct load {
    load(pooled& from, std::size_t at_once) : pool(from)
    {
        for (std::size_t n = 0; n < at_once; ++n)
            submit();
    }
    void submit()
    {
        if (over)
            return;
        ++open;
        pool.it->async_call(make_work("square", 3), {},
                            [this](procyard::error_code ec, const answer& got) {
                                --open;
                                ++(ec || got.number != 9 ? failed : done);
                                pids.insert(got.pid);
                                submit();
                            });
    }
    void end()
    {
        over = true;
        run_until(pool.ctx, [&] { return open == 0; });
    }

    pooled& pool;
    std::size_t open = 0;
    std::size_t done = 0;
    std::size_t failed = 0;
    std::set<std::int64_t> pids{};
    bool over = false;
};

}  // namespace

TEST_SUITE("process_pool: workers")
{
    TEST_CASE(
        "a warm-up that throws in one of four is told with its cause, and tried again (case 39)")
    {
        temporary_directory place;
        const auto flag = (place.path() / "failed").string();
        pooled pool(of_workers(4), "fails once", pool_worker().env("POOL_TEST_FAIL_ONCE", flag));
        CHECK(pool.start() == pool_errc::not_ready);
        const auto& why = pool.it->explanation();
        CHECK_MESSAGE(why.find("the table is not there") != std::string::npos, why);
        pool.must_start();  // once more: the fourth has been started again
        CHECK(pool.it->workers().size() == 4);
        CHECK(pool.call(make_work("square", 5)).number == 25);
        pool.stop();
    }

    TEST_CASE("a program that is no worker is told of when it ends, and what may be missing in it")
    {
        auto options = of_workers(1);
        options.start_timeout = 1h;
        pooled pool(options, "work", procyard::command("/bin/true"));
        CHECK(pool.start() == pool_errc::not_ready);
        const auto& why = pool.it->explanation();
        CHECK_MESSAGE(why.find("run_if_worker()") != std::string::npos, why);
        CHECK_MESSAGE(why.find("exit 0") != std::string::npos, why);
        pool.stop();
    }

    TEST_CASE("a program that is no worker and lives is told of by the start timeout")
    {
        const auto clock = std::make_shared<procyard::manual_clock>();
        auto options = of_workers(1);
        options.clock = clock;
        options.start_timeout = 30s;
        pooled pool(options, "work", procyard::command("sleep").arg("1000"));
        outcome<procyard::error_code> started;
        pool.it->async_start(started.handler());
        pool.until([&] { return !pool.it->workers().empty(); });
        clock->advance(30s);
        pool.until([&] { return started.done(); });
        CHECK(started.error() == pool_errc::not_ready);
        const auto& why = pool.it->explanation();
        CHECK_MESSAGE(why.find("run_if_worker()") != std::string::npos, why);
        CHECK_MESSAGE(why.find("not ready in time") != std::string::npos, why);
        pool.stop();
    }

    TEST_CASE("tasks wait for a pool that was never started, until it is, or goes")
    {
        using ending = void (*)(pooled&);
        const ending starts = [](pooled& pool) { pool.must_start(); };
        const ending stops = [](pooled& pool) { pool.stop(); };
        const ending goes = [](pooled& pool) { pool.it.reset(); };
        const std::vector<std::pair<ending, procyard::error_code>> all{
            {starts, {}},
            {stops, pool_errc::stopped},
            {goes, boost::asio::error::operation_aborted}};
        for (const auto& [end, told] : all) {
            pooled pool;
            auto submitted = pool.submit(make_work("square", 3));
            outcome<procyard::error_code, answer> called;
            pool.it->async_call(make_work("square", 4), {}, called.handler());
            pool.ctx.restart();
            pool.ctx.poll();
            CHECK_FALSE(called.done());
            CHECK(pool.it->workers().empty());
            end(pool);
            CHECK(pool.error(submitted) == told);
            run_until(pool.ctx, [&] { return called.done(); });
            CHECK(called.error() == told);
        }
    }

    TEST_CASE(
        "workers that never become ready are tried with growing delays, and do not spin (case 39)")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        const auto clock = std::make_shared<procyard::manual_clock>();
        auto options = of_workers(2);
        options.backoff = {.first = 1s, .cap = 60s, .jitter = 0};
        options.clock = clock;
        pooled pool(options, "fails always", pool_worker().env("POOL_TEST_NOTES", notes));
        CHECK(pool.start() == pool_errc::not_ready);
        pool.until([&] { return pool.it->workers().empty(); });
        const auto before = lines_of(notes).size();
        CHECK(before >= 1);
        CHECK(before <= 2);
        CHECK(pool.fail(make_work("square", 1), [] {
            procyard::submit_options how;
            how.queue_deadline = 0ns;
            return how;
        }()) == pool_errc::queue_deadline);
        CHECK(lines_of(notes).size() == before);  // the clock stands still: nobody is started
        clock->advance(1s);
        pool.until_lines(notes, before + 1);
        pool.stop();
    }

    TEST_CASE("each worker runs on the processors of its slot (case 38)")
    {
        const auto cpus = cpus_of_this();
        if (cpus.size() < 2)
            return skip("there is one processor");
        auto options = of_workers(2);
        options.affinity = {{cpus[0]}, {cpus[1]}};
        options.balance = procyard::pool_balance::round_robin;
        pooled pool(options);
        pool.must_start();
        std::set<std::uint64_t> slots;
        for (int n = 0; n < 4; ++n) {
            const auto got = pool.call(make_work("cpus"));
            REQUIRE(got.slot < 2);
            CHECK(got.text == std::to_string(cpus[got.slot]));
            slots.insert(got.slot);
        }
        CHECK(slots.size() == 2);
        pool.stop();
    }

    // cpython#115634: recycling after N tasks deadlocks the pool.
    TEST_CASE("workers are replaced after so many tasks, under load, without a failed task "
              "(complaint 13)")
    {
        auto options = of_workers(2);
        options.recycle_after_jobs = 50;
        pooled pool(options);
        pool.must_start();
        load tasks(pool, 8);
        run_until(pool.ctx, [&] { return tasks.pids.size() >= 10; });
        tasks.end();
        CHECK(tasks.failed == 0);
        CHECK(tasks.done >= 8 * 50);
        pool.stop();
    }

    TEST_CASE("a rolling replacement of four workers under load is never short of one (case 35)")
    {
        pooled pool(of_workers(4));
        pool.must_start();
        const auto before = pool.it->workers();
        load tasks(pool, 8);
        pool.it->recycle();
        bool all_new = false;
        while (!all_new) {
            REQUIRE(pool.ctx.run_one_for(deadlock_guard) > 0);
            const auto counts = pool.it->metrics();
            CHECK(counts.idle + counts.busy
                  >= 4);  // who only starts, or only ends, is none of them
            const auto now = pool.it->workers();
            CHECK(now.size() <= 5);
            all_new = std::none_of(now.begin(), now.end(), [&](pid_t pid) {
                return std::find(before.begin(), before.end(), pid) != before.end();
            });
            pool.ctx.restart();
        }
        tasks.end();
        CHECK(tasks.failed == 0);
        pool.stop();
    }

    // gunicorn#3581: recycling for memory refused.
    TEST_CASE("a worker that has grown too large is replaced between tasks (complaint 18)")
    {
        const auto clock = std::make_shared<procyard::manual_clock>();
        auto options = of_workers(1);
        options.recycle_above_bytes = std::size_t{256} << 20U;
        options.clock = clock;
        pooled pool(options);
        pool.must_start();
        const auto first = pool.call(make_work("square", 1)).pid;
        clock->advance(1s);
        CHECK(pool.call(make_work("square", 1)).pid == first);
        clock->advance(1s);
        (void)pool.call(make_work("take memory", std::uint64_t{300} << 20U));
        pool.until([&] {
            const auto now = pool.it->workers();
            return now.size() == 1 && now.front() != first;
        });
        CHECK(pool.call(make_work("square", 3)).number == 9);
        pool.stop();
    }

    TEST_CASE("a pool grows when there is work for it, and shrinks when it has been idle")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        const auto clock = std::make_shared<procyard::manual_clock>();
        auto options = of_workers(3);
        options.min_workers = 0;
        options.prefetch = 0;
        options.clock = clock;
        pooled pool(options);
        pool.must_start();
        CHECK(pool.it->workers().empty());
        std::vector<procyard::pool_task<answer>> tasks;
        for (int n = 0; n < 3; ++n)
            tasks.push_back(pool.submit(make_work("until cancelled", 0, notes)));
        pool.until_lines(notes, 3);
        CHECK(pool.it->workers().size() == 3);
        for (auto& task : tasks) {
            task.cancel();
            CHECK(pool.error(task) == boost::asio::error::operation_aborted);
        }
        clock->advance(60s);
        pool.until([&] { return pool.it->workers().empty(); });
        pool.it->resize(1, 2);
        pool.until([&] { return pool.it->workers().size() == 1; });
        pool.stop();
    }

    TEST_CASE("sticky keys go to the same worker, also when it is busy")
    {
        auto options = of_workers(4);
        options.balance = procyard::pool_balance::sticky_key;
        pooled pool(options);
        pool.must_start();
        std::set<std::int64_t> all;
        for (std::uint64_t key = 0; key < 16; ++key) {
            procyard::submit_options how;
            how.key = key;
            const auto first = pool.call(make_work("square", 1), how).pid;
            for (int n = 0; n < 3; ++n)
                CHECK(pool.call(make_work("square", 1), how).pid == first);
            all.insert(first);
        }
        CHECK(all.size() > 1);
        pool.stop();
    }

    TEST_CASE("tasks of one key are begun in the order of their submission, one after the other")
    {
        temporary_directory place;
        auto options = of_workers(3);
        options.balance = procyard::pool_balance::sticky_key;
        options.prefetch = 2;
        pooled pool(options);
        pool.must_start();
        constexpr std::uint64_t keys = 6;
        constexpr std::uint64_t each = 40;
        const auto notes = [&](std::uint64_t key) {
            return (place.path() / ("notes of " + std::to_string(key))).string();
        };
        std::vector<procyard::pool_task<answer>> tasks;
        std::vector<std::string> expected;
        for (std::uint64_t n = 0; n < each; ++n) {
            expected.push_back(std::to_string(n) + " 1");
            for (std::uint64_t key = 0; key < keys; ++key) {
                procyard::submit_options how;
                how.key = key;
                tasks.push_back(pool.submit(make_work("note", n, notes(key)), how));
            }
        }
        std::vector<std::int64_t> homes(keys);
        for (std::size_t i = 0; i < tasks.size(); ++i) {
            auto& home = homes[i % keys];
            const auto pid = pool.result(tasks[i]).pid;
            CHECK(std::exchange(home, pid) == (i < keys ? 0 : pid));
        }
        for (std::uint64_t key = 0; key < keys; ++key)
            CHECK(lines_of(notes(key)) == expected);
        pool.stop();
    }

    TEST_CASE("trace context goes into the environment of workers and along with requests")
    {
        auto options = of_workers(1);
        std::vector<std::string> begun;
        std::vector<std::string> ended;
        options.spans.begin = [&](const procyard::pool_span& span) {
            begun.push_back(span.task != 0 ? "task" : "worker");
            if (span.task == 0)
                return procyard::trace_context{"a worker's", "vendor=w", "worker=1"};
            auto made = span.trace;
            made.traceparent = "span of " + made.traceparent;
            return made;
        };
        options.spans.end = [&](const procyard::pool_span& span) {
            ended.push_back((span.task != 0 ? "task " : "worker ") + span.trace.traceparent);
        };
        pooled pool(options);
        pool.must_start();
        CHECK(trace_of_worker(pool) == "a worker's|vendor=w|worker=1");
        CHECK(pool.call(make_work("environment", 0, "PROCYARD_POOL_ENTRY")).text == "(none)");
        procyard::submit_options how;
        how.trace = {"00-ab-cd-01", "vendor=r", "user=1"};
        CHECK(pool.call(make_work("trace"), how).text == "span of 00-ab-cd-01|vendor=r|user=1");
        pool.stop();
        CHECK(begun == std::vector<std::string>{"worker", "task", "task", "task", "task", "task"});
        CHECK(ended.size() == 6);
        CHECK(std::count(ended.begin(), ended.end(), "worker a worker's") == 1);
        CHECK(std::count(ended.begin(), ended.end(), "task span of 00-ab-cd-01") == 1);
    }

    TEST_CASE("the trace that the pool's own process is told of reaches no worker")
    {
        const variable_guard parent("TRACEPARENT", "another's");
        const variable_guard state("TRACESTATE", "another=s");
        const variable_guard baggage("BAGGAGE", "another=b");
        const auto told = [](const procyard::trace_context& by_hook, procyard::command program) {
            auto options = of_workers(1);
            options.spans.begin = [&](const procyard::pool_span& span) {
                return span.task == 0 ? by_hook : span.trace;
            };
            pooled pool(options, "work", std::move(program));
            pool.must_start();
            auto text = trace_of_worker(pool);
            pool.stop();
            return text;
        };
        CHECK(told({}, pool_worker()) == "(none)|(none)|(none)");
        CHECK(told({.traceparent = "new"}, pool_worker()) == "new|(none)|(none)");
        CHECK(told({.baggage = "b=1"}, pool_worker()) == "(none)|(none)|b=1");
        // Nor with what the command says, unless the pool is told nothing.
        const auto speaks = [] { return pool_worker().env("TRACESTATE", "command=s"); };
        CHECK(told({}, speaks()) == "(none)|command=s|(none)");
        CHECK(told({.traceparent = "new"}, speaks()) == "new|(none)|(none)");
        pooled without_hooks;
        without_hooks.must_start();
        CHECK(trace_of_worker(without_hooks) == "(none)|(none)|(none)");
        without_hooks.stop();
    }

    TEST_CASE("a task that is refused has a span of its own, with a number that no other one gets")
    {
        auto options = of_workers(1);
        std::vector<std::string> told;
        const auto note = [&](const std::string& what, const procyard::pool_span& span) {
            if (span.task != 0)
                told.push_back(what + ' ' + std::to_string(span.task));
        };
        options.spans.begin = [&](const procyard::pool_span& span) {
            note("begins", span);
            return span.trace;
        };
        options.spans.end = [&](const procyard::pool_span& span) { note("ends", span); };
        pooled pool(options);
        pool.must_start();
        (void)pool.call(make_work("square", 1));
        const std::string too_long(options.channels.max_message_bytes, 'x');
        outcome<procyard::error_code, answer> got;
        pool.it->async_call(make_work("square", 2, too_long), {}, got.handler());
        run_until(pool.ctx, [&] { return got.done(); });
        CHECK(got.error() == pool_errc::bad_message);
        (void)pool.call(make_work("square", 3));
        CHECK(told
              == std::vector<std::string>{"begins 1", "ends 1", "begins 2", "ends 2", "begins 3",
                                          "ends 3"});
        CHECK(pool.it->metrics().submitted == 2);
        pool.stop();
    }

    TEST_CASE("without descriptors for a worker the pool says so, and goes on when there are some")
    {
        pooled pool(of_workers(1));
        {
            const auto used = open_descriptors();
            const limit_guard few(RLIMIT_NOFILE, used + 4);
            CHECK(pool.start() == pool_errc::not_ready);
            const auto& why = pool.it->explanation();
            CHECK_MESSAGE(why.find("Too many open files") != std::string::npos, why);
        }
        pool.must_start();
        CHECK(pool.call(make_work("square", 3)).number == 9);
        pool.stop();
    }

    TEST_CASE("a signal to a pool reaches its workers")
    {
        pooled pool(of_workers(2));
        pool.must_start();
        const auto before = pool.it->workers();
        static_assert(procyard::signal_target<procyard::to_pool>);
        procyard::signal_info info;
        info.number = SIGTERM;
        procyard::error_code ec;
        procyard::to_pool target(*pool.it);
        target(info, ec);
        CHECK(!ec);
        pool.until([&] {
            const auto now = pool.it->workers();
            return now.size() == 2 && now[0] != before[0] && now[1] != before[1]
                && now[0] != before[1] && now[1] != before[0];
        });
        CHECK(pool.call(make_work("square", 3)).number == 9);
        pool.stop();
        pool.it.reset();
        target(info, ec);
        CHECK(!ec);
    }

    TEST_CASE("the metrics say what the pool does, and has done")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pooled pool(of_workers(2));
        pool.must_start();
        CHECK(pool.it->metrics().idle == 2);
        for (std::uint64_t n = 0; n < 10; ++n)
            (void)pool.call(make_work("square", n));
        (void)pool.fail(make_work("throw"));
        (void)pool.fail(make_work("die", SIGKILL));
        auto running = pool.submit(make_work("until cancelled", 0, notes));
        pool.until_lines(notes, 1);
        pool.until([&] { return pool.it->metrics().idle == 1; });
        const auto now = pool.it->metrics();
        CHECK(now.busy == 1);
        CHECK(now.running == 1);
        CHECK(now.submitted == 13);
        CHECK(now.ended(procyard::pool_outcome::done) == 10);
        CHECK(now.ended(procyard::pool_outcome::task_failed) == 1);
        CHECK(now.ended(procyard::pool_outcome::worker_died) == 1);
        CHECK(now.workers_started == 3);
        CHECK(now.restarts == 1);
        CHECK(now.workers_lost == 1);
        CHECK(now.run.count() == 12);
        CHECK(now.wait.count() == 12);
        running.cancel();
        CHECK(pool.error(running) == boost::asio::error::operation_aborted);
        pool.stop();
    }

    TEST_CASE("a producer waits at the high-water mark, and all its tasks are done")
    {
        auto options = of_workers(1);
        options.high_water = 8;
        pooled pool(options);
        pool.must_start();
        constexpr std::size_t count = 2000;
        std::size_t admitted = 0;
        std::size_t done = 0;
        std::size_t most = 0;
        const std::function<void(std::size_t)> produce = [&](std::size_t n) {
            if (n == count)
                return;
            pool.it->async_submit(
                make_work("square", n), {},
                [&, n](procyard::error_code ec, procyard::pool_task<answer> task) {
                    CHECK(!ec);
                    ++admitted;
                    most = std::max(most, admitted - done);
                    auto kept = std::make_shared<procyard::pool_task<answer>>(std::move(task));
                    kept->async_result(
                        [&, n, kept](procyard::error_code failed, const answer& got) {
                            CHECK(!failed);
                            CHECK(got.number == n * n);
                            ++done;
                        });
                    produce(n + 1);
                });
        };
        produce(0);
        run_until(pool.ctx, [&] { return done == count; });
        // Those in the queue, those in the worker, and those that are over and not told yet.
        CHECK_MESSAGE(most <= 8 + 2 + 8, most);
        procyard::error_code ec;
        std::vector<procyard::pool_task<answer>> tasks;
        while (!ec)
            tasks.push_back(pool.it->try_submit(make_work("square", 1), {}, ec));
        CHECK(ec == boost::asio::error::would_block);
        CHECK(tasks.size() >= 9);
        tasks.clear();
        pool.stop();
    }
}
