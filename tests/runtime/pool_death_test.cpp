// SPDX-License-Identifier: BSL-1.0
// Workers that die. Case numbers are those of the project's list of what other pools get wrong.
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <malloc.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "pool_fixture.hpp"
#include "temporary_directory.hpp"

using namespace procyard_test;
using procyard::pool_errc;
using procyard::pool_outcome;

namespace {

procyard::submit_options idempotent(unsigned strikes = 0)
{
    procyard::submit_options how;
    how.idempotent = true;
    how.strikes = strikes;
    return how;
}

struct room {
    std::size_t descriptors = 0;
    std::size_t mappings = 0;    // of memory that is shared
    std::size_t heap_bytes = 0;  // in use; 0 with a sanitizer, which has its own heap
};

room room_of_this()
{
    room now;
    now.descriptors = open_descriptors();
    const auto maps = lines_of("/proc/self/maps");
    now.mappings = static_cast<std::size_t>(
        std::count_if(maps.begin(), maps.end(), [](const std::string& line) {
            return line.find("memfd:") != std::string::npos;
        }));
    now.heap_bytes = ::mallinfo2().uordblks;
    return now;
}

// How often each number is in the notes.
std::map<std::string, int> counts(const std::vector<std::string>& lines)
{
    std::map<std::string, int> all;
    for (const auto& line : lines)
        ++all[line];
    return all;
}

}  // namespace

TEST_SUITE("process_pool: deaths")
{
    // apscheduler#362, chancy#94: one death disables the whole pool for good.
    TEST_CASE("a worker that is killed takes the task that it ran with it, and no other (case 27, "
              "complaint 12)")
    {
        pooled pool(of_workers(2));
        pool.must_start();
        auto victim = pool.submit(make_work("die", SIGKILL));
        std::vector<procyard::pool_task<answer>> others;
        for (std::uint64_t n = 0; n < 100; ++n)
            others.push_back(pool.submit(make_work("square", n)));
        CHECK(pool.error(victim) == pool_errc::worker_died);
        for (std::uint64_t n = 0; n < 100; ++n)
            CHECK(pool.result(others[n]).number == n * n);
        pool.until([&] { return pool.it->workers().size() == 2; });
        CHECK(pool.call(make_work("square", 3)).number == 9);
        pool.stop();
    }

    // distributed#2297: "KilledWorker" without a cause.
    TEST_CASE("the report says how the worker has died, and what it said last (complaint 16)")
    {
        pooled pool;
        pool.must_start();
        auto task = pool.submit(make_work("say and die", SIGSEGV, "cannot read block 7"));
        CHECK(pool.error(task) == pool_errc::worker_died);
        const auto& report = task.report();
        REQUIRE(report.deaths.size() == 1);
        const auto& death = *report.deaths.front();
        REQUIRE(death.status);
        CHECK(death.status->signal() == SIGSEGV);
        CHECK(death.error_tail == "cannot read block 7, attempt 1\n");
        CHECK(death.status->usage().max_rss_bytes > 0);
        CHECK_FALSE(death.asked);
        const auto text = report.to_string();
        CHECK_MESSAGE(text.find("SIGSEGV") != std::string::npos, text);
        CHECK_MESSAGE(text.find("cannot read block 7") != std::string::npos, text);
        auto left = pool.submit(make_work("exit", 3));
        CHECK(pool.error(left) == pool_errc::worker_died);
        REQUIRE(left.report().deaths.size() == 1);
        CHECK(left.report().deaths.front()->status->code() == 3);
        pool.stop();
    }

    // celery#1628, OasisPlatform#975: a task that kills is either lost or loops for ever.
    TEST_CASE("an idempotent task that always kills is tried alone, three times, and is poisoned "
              "(case 28, complaint 15)")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pooled pool(of_workers(2));
        pool.must_start();
        auto killer = pool.submit(make_work("note who and die", 0, notes), idempotent());
        // There is always more to do for whoever may have more than the killer.
        std::set<std::string> others;
        std::size_t open = 0;
        const std::function<void()> again = [&] {
            if (killer.is_done())
                return;
            ++open;
            pool.it->async_call(make_work("square", 3), {},
                                [&](procyard::error_code ec, const answer& got) {
                                    --open;
                                    CHECK_MESSAGE(!ec, ec.message());
                                    CHECK(got.number == 9);
                                    others.insert(std::to_string(got.pid));
                                    again();
                                });
        };
        for (int n = 0; n < 8; ++n)
            again();
        CHECK(pool.error(killer) == pool_errc::poisoned);
        run_until(pool.ctx, [&] { return open == 0; });
        CHECK(killer.report().deaths.size() == 3);
        CHECK(killer.report().attempts == 3);
        const auto lines = lines_of(notes);
        REQUIRE(lines.size() == 3);
        std::set<std::string> tried;
        for (std::size_t n = 0; n < 3; ++n) {
            const auto pid = lines[n].substr(0, lines[n].find(' '));
            CHECK(lines[n] == pid + ' ' + std::to_string(n + 1));
            CHECK_MESSAGE((n == 0 || others.count(pid) == 0), pid, " has had others, too");
            tried.insert(pid);
        }
        CHECK(tried.size() == 3);
        CHECK_FALSE(others.empty());
        pool.stop();
    }

    TEST_CASE("the evidence of a poisoned task is the standard error of each of its workers")
    {
        pooled pool;
        pool.must_start();
        auto killer = pool.submit(make_work("say and die", SIGABRT, "bad block"), idempotent(2));
        CHECK(pool.error(killer) == pool_errc::poisoned);
        REQUIRE(killer.report().deaths.size() == 2);
        CHECK(killer.report().deaths[0]->error_tail == "bad block, attempt 1\n");
        CHECK(killer.report().deaths[1]->error_tail == "bad block, attempt 2\n");
        pool.stop();
    }

    TEST_CASE("an idempotent task whose worker dies once is done by another one")
    {
        pooled pool;
        pool.must_start();
        auto task = pool.submit(make_work("die first", SIGKILL), idempotent());
        (void)pool.result(task);
        CHECK(task.report().outcome == pool_outcome::done);
        CHECK(task.report().attempts == 2);
        CHECK(task.report().deaths.size() == 1);
        pool.stop();
    }

    // cpython#96062: the pool hangs when a worker is killed that holds the queue.
    TEST_CASE("what was delivered to a worker and not begun is done by another, without blame "
              "(complaint 11)")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        auto options = of_workers(1);
        options.prefetch = 8;
        pooled pool(options);
        pool.must_start();
        auto victim = pool.submit(make_work("note and die", 0, notes));
        std::vector<procyard::pool_task<answer>> behind;
        for (std::uint64_t n = 1; n <= 20; ++n)
            behind.push_back(pool.submit(make_work("note", n, notes)));  // not idempotent
        CHECK(pool.error(victim) == pool_errc::worker_died);
        for (auto& task : behind) {
            (void)pool.result(task);
            CHECK(task.report().deaths.empty());
        }
        const auto all = counts(lines_of(notes));
        CHECK(all.size() == 21);
        for (const auto& [line, times] : all)
            CHECK_MESSAGE(times == 1, line);
        pool.stop();
    }

    // The first answer does not fit the channel, so it is on its way for a while.
    TEST_CASE("a task behind an answer that is on its way is begun once, and the answer counts")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        auto options = of_workers(1);
        options.channels.capacity_bytes = 64 * 1024;
        pooled pool(options);
        pool.must_start();
        auto before = pool.submit(make_work("long", 2'000'000));
        auto killer = pool.submit(make_work("note and die", 7, notes));
        CHECK(pool.result(before).text.size() == 2'000'000);
        CHECK(pool.error(killer) == pool_errc::worker_died);
        CHECK(killer.report().deaths.size() == 1);
        CHECK(before.report().deaths.empty());
        CHECK(lines_of(notes) == std::vector<std::string>{"7 1"});
        pool.stop();
    }

    // Nobody reads meanwhile, so the worker is in the middle of its answer when it dies.
    TEST_CASE("an answer that is longer than the channel, and is cut off by a death, is none")
    {
        for (const bool is_idempotent : {false, true}) {
            CAPTURE(is_idempotent);
            temporary_directory place;
            const auto notes = (place.path() / "notes").string();
            auto options = of_workers(1);
            options.tasks_per_worker = 2;
            options.channels.capacity_bytes = 64 * 1024;
            pooled pool(options, "later");
            pool.must_start();
            auto killer = pool.submit(make_work("die behind a line", SIGKILL, notes));
            auto task = pool.submit(make_work("note at length", 2'000'000, notes),
                                    is_idempotent ? idempotent() : procyard::submit_options{});
            const auto end = std::chrono::steady_clock::now() + deadlock_guard;
            while (zombie_children() == 0)
                REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "hung");
            CHECK(pool.error(killer) == pool_errc::worker_died);
            if (is_idempotent)
                CHECK(pool.result(task).text == std::string(2'000'000, 'x'));
            else
                CHECK(pool.error(task) == pool_errc::worker_died);
            CHECK(task.report().deaths.size() == 1);
            CHECK(lines_of(notes).size() == (is_idempotent ? 2 : 1));
            CHECK(pool.call(make_work("square", 3)).number == 9);
            pool.stop();
        }
    }

    // The worker has the second task when the first one ends, and the third one comes meanwhile.
    TEST_CASE("a task that was not begun is not told the death of receiving the one behind it")
    {
        temporary_directory place;
        pool_gate before((place.path() / "before").string());
        pool_gate gate((place.path() / "gate").string());
        auto options = of_workers(1);
        options.prefetch = 2;
        options.channels.capacity_bytes = 1024 * 1024;
        pooled pool(options);
        pool.must_start();
        auto opener = pool.submit(make_work("gate", 0, before.path()));
        auto first = pool.submit(make_work("gate, and no more memory", 0, gate.path()));
        auto second = pool.submit(make_work("square", 3));
        pool.until([&] { return before.is_reached(); });
        before.open();
        (void)pool.result(opener);
        pool.until([&] { return gate.is_reached(); });
        auto third = pool.submit(make_work("length", 0, std::string(600'000, 'r')));
        pool.ctx.restart();
        pool.ctx.poll();
        gate.open();
        (void)pool.result(first);
        CHECK(pool.result(second).number == 9);
        CHECK(pool.result(third).number == 600'000);
        CHECK(pool.it->metrics().workers_lost == 1);
        pool.stop();
    }

    TEST_CASE("results that a worker has committed before its death count")
    {
        pooled pool(of_workers(1));
        pool.must_start();
        const auto worker = static_cast<id_t>(pool.it->workers().front());
        auto first = pool.submit(make_work("square", 5));
        auto last = pool.submit(make_work("die", SIGKILL));
        // The loop stands still until it is dead: what it has answered is heard with its death.
        siginfo_t info{};
        REQUIRE(::waitid(P_PID, worker, &info, WEXITED | WNOWAIT) == 0);
        CHECK(info.si_status == SIGKILL);
        CHECK(pool.result(first).number == 25);
        CHECK(pool.error(last) == pool_errc::worker_died);
        pool.stop();
    }

    TEST_CASE("random workers are killed while thousands of tasks run: none is lost, none is told "
              "twice")
    {
        pooled pool(of_workers(3));
        pool.must_start();
        constexpr std::size_t count = 4000;
        std::vector<int> answers(count);
        std::size_t done = 0;
        std::size_t next = 0;
        std::size_t kills = 0;
        std::uint64_t random = 12345;
        auto how = idempotent(1000);
        const std::function<void()> submit_one = [&] {
            if (next == count)
                return;
            const auto n = next++;
            pool.it->async_call(make_work("square", n), how,
                                [&, n](procyard::error_code ec, const answer& got) {
                                    CHECK_MESSAGE(!ec, ec.message());
                                    CHECK(got.number == n * n);
                                    ++answers[n];
                                    ++done;
                                    submit_one();
                                    if (done % 200 != 0)
                                        return;
                                    const auto pids = pool.it->workers();
                                    random = random * 6364136223846793005U + 1442695040888963407U;
                                    if (pids.empty())
                                        return;
                                    (void)::kill(pids[(random >> 33U) % pids.size()], SIGKILL);
                                    ++kills;
                                });
        };
        for (int n = 0; n < 64; ++n)
            submit_one();
        run_until(pool.ctx, [&] { return done == count; });
        CHECK(kills >= 10);
        CHECK(std::count(answers.begin(), answers.end(), 1) == long(count));
        pool.until([&] { return pool.it->workers().size() == 3; });
        pool.stop();
    }

    // client_python#275: the files of dead workers grow without end.
    TEST_CASE("counters of two hundred workers that have died are two, and exact, and take no more "
              "room (complaint 23)")
    {
        auto options = of_workers(2);
        options.counters = {"blocks", "others"};
        pooled pool(options);
        pool.must_start();
        std::uint64_t sum = 0;
        const auto lose = [&](std::uint64_t workers) {
            for (; workers > 0; --workers) {
                CHECK(pool.fail(make_work("count and die", workers)) == pool_errc::worker_died);
                sum += workers;
            }
            // Both have taken the places of others by then, and nobody else is on his way.
            pool.until([&] { return pool.it->metrics().idle == 2; });
            return room_of_this();
        };
        const auto before = lose(50);
        const auto after = lose(150);
        const auto metrics = pool.it->metrics();
        CHECK(metrics.workers_lost == 200);
        REQUIRE(metrics.counters.size() == 2);
        CHECK(metrics.counters.front() == procyard::pool_counter{"blocks", sum});
        CHECK(metrics.counters.back() == procyard::pool_counter{"others", 0});
        CHECK(after.descriptors == before.descriptors);
        // Nothing of those 150: an end may be mapped, or not yet, and an allocator keeps some.
        CHECK(after.mappings < before.mappings + 10);
        CHECK_MESSAGE(after.heap_bytes < before.heap_bytes + 64 * 1024, before.heap_bytes, " -> ",
                      after.heap_bytes);
        pool.stop();
    }

    TEST_CASE("counters survive the workers that have counted (complaint 23)")
    {
        auto options = of_workers(1);
        options.counters = {"blocks"};
        pooled pool(options);
        pool.must_start();
        (void)pool.call(make_work("count", 5));
        CHECK(pool.fail(make_work("count and die", 7)) == pool_errc::worker_died);
        (void)pool.call(make_work("count", 11));
        CHECK(pool.it->metrics().counters.front().name == "blocks");
        CHECK(pool.it->metrics().counters.front().value == 23);
        pool.stop();
        CHECK(pool.it->metrics().counters.front().value == 23);
    }
}
