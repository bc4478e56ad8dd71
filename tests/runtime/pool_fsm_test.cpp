// SPDX-License-Identifier: BSL-1.0
// What becomes of tasks. pool_fsm_cancel_test.cpp has those that are cancelled or late,
// pool_fsm_workers_test.cpp what becomes of workers.
#include "pool_fsm.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "pool_stage.hpp"

using procyard::pool_balance;
using procyard::pool_outcome;
using procyard_test::pool_stage;
using procyard_test::ready_pool;
using namespace std::chrono_literals;

namespace {

const pool_stage::terms idempotent{.idempotent = true};

}  // namespace

TEST_SUITE_BEGIN("pool_fsm");

TEST_CASE("a task goes to a worker that is ready, and is over when that says so")
{
    pool_stage pool(pool_stage::plain(1, 1));
    pool.tells_admitted = true;
    CHECK(pool.submit() == "admitted t1");
    CHECK(pool.start() == "start w1/0");
    CHECK(pool.submit() == "admitted t2");
    CHECK(pool.ready(1) == "deliver t1 w1");
    pool.now += 3ms;
    CHECK(pool.done(1, 1) == "t1 done, deliver t2 w1");
    CHECK(pool.done(1, 2, pool_outcome::task_failed) == "t2 task failed");
    CHECK(pool.fsm.unfinished() == 0);
    CHECK(pool.submit() == "admitted t3, deliver t3 w1");
}

TEST_CASE("what a task has waited and run is told with its end")
{
    ready_pool pool;
    pool.submit();
    pool.submit();
    pool.now += 3ms;
    pool.done(1, 1);
    CHECK(pool.fsm.outputs().front().waited == 0ms);
    CHECK(pool.fsm.outputs().front().ran == 3ms);
    pool.now += 5ms;
    pool.done(1, 2);
    CHECK(pool.fsm.outputs().front().waited == 3ms);
    CHECK(pool.fsm.outputs().front().ran == 5ms);
    CHECK(pool.fsm.outputs().front().attempt == 1);
    CHECK(pool.fsm.outputs().front().worker == 1);
}

TEST_CASE("tasks go in the order of priority, then of submission")
{
    ready_pool pool;
    pool.submit();
    pool.submit({.priority = 1});
    pool.submit({.priority = 5});
    pool.submit({.priority = -7});
    pool.submit({.priority = 5});
    CHECK(pool.done(1, 1) == "t1 done, deliver t3 w1");
    CHECK(pool.done(1, 3) == "t3 done, deliver t5 w1");
    CHECK(pool.done(1, 5) == "t5 done, deliver t2 w1");
    CHECK(pool.done(1, 2) == "t2 done, deliver t4 w1");
}

TEST_CASE("a submission waits at the high-water mark, and is admitted when there is room")
{
    auto how = pool_stage::plain(1, 1);
    how.high_water = 2;
    pool_stage pool(how);
    pool.tells_admitted = true;
    pool.begin();
    CHECK(pool.submit() == "admitted t1, deliver t1 w1");
    CHECK(pool.submit() == "admitted t2");
    CHECK(pool.submit() == "admitted t3");
    CHECK(pool.submit() == "");
    CHECK(pool.submit({.priority = 1}) == "");
    CHECK(pool.fsm.waiting() == 2);
    CHECK(pool.done(1, 1) == "t1 done, deliver t2 w1, admitted t5");
    CHECK(pool.done(1, 2) == "t2 done, deliver t5 w1, admitted t4");
    CHECK(pool.cancel(4) == "t4 cancelled");
    CHECK(pool.fsm.queued() == 1);
}

TEST_CASE("one that waits for room is cancelled without having been admitted")
{
    auto how = pool_stage::plain(1, 1);
    how.high_water = 1;
    pool_stage pool(how);
    pool.tells_admitted = true;
    pool.begin();
    pool.submit();
    pool.submit();
    CHECK(pool.submit({.queue_until = pool.now + 1s}) == "");
    CHECK(pool.submit() == "");
    CHECK(pool.cancel(4) == "t4 cancelled");
    CHECK(pool.pass(1s) == "t3 queue deadline");
    CHECK(pool.fsm.waiting() == 0);
}

TEST_CASE("tasks go to the worker that has the fewest, and are sent ahead when all have work")
{
    auto how = pool_stage::plain(2, 2, 1);
    how.tasks_per_worker = 2;
    ready_pool pool(how);
    CHECK(pool.submit() == "deliver t1 w1");
    CHECK(pool.submit() == "deliver t2 w2");
    CHECK(pool.submit() == "deliver t3 w1");
    CHECK(pool.submit() == "deliver t4 w2");
    CHECK(pool.fsm.running() == 4);
    CHECK(pool.submit() == "deliver t5 w1");
    CHECK(pool.submit() == "deliver t6 w2");
    CHECK(pool.submit() == "");
    CHECK(pool.fsm.running() == 4);
    CHECK(pool.done(2, 4) == "t4 done, deliver t7 w2");
    CHECK(pool.fsm.running() == 4);
}

TEST_CASE("what a worker that is about to come can run is not sent behind another task")
{
    ready_pool pool(pool_stage::plain(1, 2, 4));
    CHECK(pool.submit() == "deliver t1 w1");
    CHECK(pool.submit() == "start w2/1");
    CHECK(pool.submit() == "deliver t2 w1");
    CHECK(pool.ready(2) == "deliver t3 w2");
    CHECK(pool.submit() == "deliver t4 w2");
}

TEST_CASE("round robin takes each worker in turn")
{
    auto how = pool_stage::plain(3, 3, 1);
    how.balance = pool_balance::round_robin;
    ready_pool pool(how);
    CHECK(pool.submit() == "deliver t1 w2");
    CHECK(pool.done(2, 1) == "t1 done");
    CHECK(pool.submit() == "deliver t2 w3");
    CHECK(pool.done(3, 2) == "t2 done");
    CHECK(pool.submit() == "deliver t3 w1");
    CHECK(pool.submit() == "deliver t4 w2");
    CHECK(pool.submit() == "deliver t5 w3");
    CHECK(pool.submit() == "deliver t6 w1");
}

TEST_CASE("a key stays with its worker, and only the keys of one that goes are moved")
{
    auto how = pool_stage::plain(4, 4);
    how.balance = pool_balance::sticky_key;
    ready_pool pool(how);
    const auto worker_of = [&](std::uint64_t key) {
        pool.submit({.key = key});
        std::uint64_t worker = 0;
        for (const auto& one : pool.fsm.outputs())
            worker = one.what == procyard::detail::pool_output::kind::deliver ? one.worker : worker;
        pool.done(worker, pool.last);
        return worker;
    };
    std::uint64_t before[100];
    unsigned of_each[5] = {};
    for (std::uint64_t key = 0; key < 100; ++key) {
        before[key] = worker_of(key);
        ++of_each[before[key]];
        REQUIRE(worker_of(key) == before[key]);
    }
    for (unsigned worker = 1; worker <= 4; ++worker)
        CHECK(of_each[worker] >= 10);
    CHECK(pool.ended(3) == "start w5/2");
    for (std::uint64_t key = 0; key < 100; ++key) {
        const auto now = worker_of(key);
        REQUIRE(now != 3);
        if (before[key] != 3)
            REQUIRE(now == before[key]);
    }
    // With the same slot come the same keys.
    pool.ready(5);
    for (std::uint64_t key = 0; key < 100; ++key)
        REQUIRE(worker_of(key) == (before[key] == 3 ? 5 : before[key]));
}

TEST_CASE("with sticky keys a task waits for its worker, in order, and moves when that is gone")
{
    auto how = pool_stage::plain(2, 2);
    how.balance = pool_balance::sticky_key;
    ready_pool pool(how);
    CHECK(pool.submit({.key = 1}).starts_with("deliver t1 w"));
    const auto home = pool.fsm.outputs().back().worker;
    CHECK(pool.submit({.key = 1}) == "");
    CHECK(pool.submit({.priority = 1, .key = 1}) == "");
    const auto other = std::to_string(3 - home);
    const auto slot = std::to_string(home - 1);
    CHECK(pool.ended(home, 1) == "t1 worker died, deliver t3 w" + other + ", start w3/" + slot);
}

TEST_CASE(
    "a key whose worker is gone moves as a whole, in order: what was sent there, and what waits")
{
    auto how = pool_stage::plain(2, 2, 2);
    how.balance = pool_balance::sticky_key;
    ready_pool pool(how);
    const auto key = pool.key_of(1, 0);
    const auto other = pool.key_of(2, key + 1);
    const auto first = pool.last + 1;
    const auto is = [&](std::uint64_t n) { return "t" + std::to_string(first + n); };
    pool.submit_many(5, {.key = key});
    CHECK(pool.submit({.key = other}) == "deliver " + is(5) + " w2");
    CHECK(pool.fsm.queued() == 2);
    // Older than what the other one has in its queue, and younger than what it runs.
    CHECK(pool.ended(1, pool.delivered_to(1) - 2)
          == is(0) + " worker died, deliver " + is(1) + " w2, deliver " + is(2)
              + " w2, start w3/0");
    // Its old worker's slot has a new one: what the other one has it keeps, the rest goes back.
    CHECK(pool.ready(3) == "deliver " + is(3) + " w3, deliver " + is(4) + " w3");
    CHECK(pool.submit({.key = key}) == "deliver " + is(6) + " w3");
}

TEST_CASE(
    "the task that ran when its worker died is over, what waited behind it is delivered again")
{
    ready_pool pool(1, 2);
    pool.submit();
    pool.submit(idempotent);
    pool.submit();
    pool.submit();
    CHECK(pool.ended(1, 1) == "t1 worker died, start w2/0");
    CHECK(pool.ready(2) == "deliver t2 w2, deliver t3 w2, deliver t4 w2");
}

TEST_CASE("what was delivered behind another that ran is nobody's fault, however often")
{
    auto how = pool_stage::plain(1, 1);
    how.prefetch = 1;
    ready_pool pool(how);
    CHECK(pool.submit() == "deliver t1 w1");
    CHECK(pool.submit({.priority = -1}) == "deliver t2 w1");
    for (std::uint64_t worker = 1; worker < 10; ++worker) {
        // The one that ran is gone with its worker, and another comes before what was behind it.
        const auto next = "t" + std::to_string(worker + 2);
        const auto in_front = worker == 1 ? "t1" : "t" + std::to_string(worker + 1);
        const auto after = "w" + std::to_string(worker + 1);
        CHECK(pool.ended(worker, 1) == in_front + " worker died, start " + after + "/0");
        CHECK(pool.submit() == "");
        CHECK(pool.ready(worker + 1) == "deliver " + next + " " + after + ", deliver t2 " + after);
    }
    CHECK(pool.done(10, 11) == "t11 done");
    CHECK(pool.done(10, 2) == "t2 done");
}

TEST_CASE("a task that its workers die of when they receive it is alone soon, and poisoned")
{
    auto how = pool_stage::plain(2, 2);
    how.prefetch = 2;
    ready_pool pool(how);
    CHECK(pool.submit() == "deliver t1 w1");
    CHECK(pool.submit() == "deliver t2 w2");
    CHECK(pool.submit() == "deliver t3 w1");
    CHECK(pool.ended(1, 0) == "struck t1");
    pool.pass(30s);
    CHECK(pool.ready(3) == "deliver t1 w3, deliver t3 w2");
    CHECK(pool.ended(3, 0) == "struck t1");
    pool.pass(30s);
    CHECK(pool.ready(4) == "deliver t1 w4");
    CHECK(pool.ended(4, 0) == "t1 poisoned");
    CHECK(pool.done(2, 2) == "t2 done");
    CHECK(pool.done(2, 3) == "t3 done");
}

TEST_CASE("an idempotent task may be suspected as often as it may have strikes, and three times")
{
    const auto deaths_of = [](const pool_stage::terms& how) {
        ready_pool pool(pool_stage::plain(1, 1));
        pool.submit(how);
        for (std::uint64_t worker = 1;; ++worker) {
            if (pool.ended(worker, 0) != "struck t1")
                return worker;
            pool.pass(30s);
            CHECK(pool.ready(worker + 1) == "deliver t1 w" + std::to_string(worker + 1));
        }
    };
    CHECK(deaths_of({.idempotent = true, .strikes = 7}) == 7);
    CHECK(deaths_of({.idempotent = true, .strikes = 1}) == 3);
    CHECK(deaths_of({.strikes = 7}) == 3);
}

TEST_CASE("nobody is suspected of whom nothing was in the worker's channel, however often")
{
    ready_pool pool;
    CHECK(pool.submit() == "deliver t1 w1");
    std::uint64_t worker = 1;
    for (; worker < 10; ++worker) {
        CHECK(pool.ended(worker, 0, 0) == "");
        pool.pass(30s);
        CHECK(pool.ready(worker + 1) == "deliver t1 w" + std::to_string(worker + 1));
    }
    // A part of it was.
    CHECK(pool.ended(worker, 0, 0, 1) == "struck t1");
}

TEST_CASE("what is withdrawn is passed over when one is suspected")
{
    ready_pool pool(1, 1);
    CHECK(pool.submit_many(2) == "deliver t2 w1");
    CHECK(pool.cancel(1) == "ask t1 w1");
    CHECK(pool.begun(1, 0) == "t1 cancelled");
    CHECK(pool.ended(1, 0) == "struck t2");
}

TEST_CASE("nobody is suspected when a worker ends that was to end")
{
    auto how = pool_stage::plain(1, 1);
    how.prefetch = 1;
    ready_pool pool(how);
    CHECK(pool.submit({.run_limit = 1s}) == "deliver t1 w1");
    CHECK(pool.submit() == "deliver t2 w1");
    pool.pass(1s);
    pool.pass(how.ask_grace);
    CHECK(pool.ended(1, 1) == "t1 run deadline, start w2/0");
    CHECK(pool.ready(2) == "deliver t2 w2");
}

TEST_CASE("an idempotent task runs again alone in a fresh worker, and is poisoned in the end")
{
    auto how = pool_stage::plain(2, 2);
    how.tasks_per_worker = 2;
    ready_pool pool(how);
    CHECK(pool.submit(idempotent) == "deliver t1 w1");
    CHECK(pool.submit() == "deliver t2 w2");
    CHECK(pool.ended(1, 1) == "struck t1, start w3/0");
    // The other one has had a task.
    CHECK(pool.submit() == "deliver t3 w2");
    CHECK(pool.submit() == "");
    CHECK(pool.ready(3) == "deliver t1 w3 #2");
    CHECK(pool.ended(3, 1) == "struck t1, start w4/0");
    CHECK(pool.ready(4) == "deliver t1 w4 #3");
    CHECK(pool.ended(4, 1) == "t1 poisoned, start w5/0");
    CHECK(pool.fsm.outputs().front().attempt == 3);
    CHECK(pool.ready(5) == "deliver t4 w5");
}

TEST_CASE("a task may have fewer strikes than the pool's")
{
    ready_pool pool;
    pool.submit({.idempotent = true, .strikes = 1});
    CHECK(pool.ended(1, 1) == "t1 poisoned, start w2/0");
}

TEST_CASE("when all workers have run something, one is replaced for a task that has to be alone")
{
    auto how = pool_stage::plain(1, 1);
    how.tasks_per_worker = 2;
    ready_pool pool(how);
    pool.submit(idempotent);
    pool.submit(idempotent);
    CHECK(pool.ended(1, 2) == "struck t1, struck t2, start w2/0");
    CHECK(pool.ready(2) == "deliver t1 w2 #2");
    CHECK(pool.done(2, 1) == "t1 done, start w3/0");
    CHECK(pool.ready(3) == "retire w2, deliver t2 w3 #2");
    CHECK(pool.ended(2) == "");
    CHECK(pool.done(3, 2) == "t2 done");
}

TEST_CASE("a worker cannot claim to have begun more than it was sent, nor less than it has ended")
{
    auto how = pool_stage::plain(1, 1, 2);
    ready_pool pool(how);
    pool.submit_many(3);
    CHECK(pool.submit() == "");
    // Not even what does not run, as far as is known, is begun twice: an answer may be lost.
    CHECK(pool.ended(1, UINT64_MAX)
          == "t1 worker died, t2 worker died, t3 worker died, start w2/0");
    CHECK(pool.ready(2) == "deliver t4 w2");

    how.tasks_per_worker = 2;
    ready_pool wide(how);
    wide.submit_many(3);
    CHECK(wide.done(1, 2) == "t2 done");
    CHECK(wide.ended(1, 0) == "t1 worker died, start w2/0");
    CHECK(wide.ready(2) == "deliver t3 w2");
}

TEST_CASE("what was not in its worker's channel yet is nobody's fault, whatever that has said")
{
    auto how = pool_stage::plain(1, 1, 2);
    how.tasks_per_worker = 2;
    ready_pool pool(how);
    pool.submit(idempotent);
    pool.submit_many(2);
    pool.submit(idempotent);
    CHECK(pool.ended(1, UINT64_MAX, 1) == "struck t1, start w2/0");
    CHECK(pool.ready(2) == "deliver t1 w2 #2");
    CHECK(pool.done(2, 1) == "t1 done, deliver t2 w2, deliver t3 w2, deliver t4 w2");
    // It has had one before, and the third one is on its way.
    CHECK(pool.ended(2, UINT64_MAX, 2) == "t2 worker died, start w3/0");
    CHECK(pool.ready(3) == "deliver t3 w3, deliver t4 w3");
}

TEST_CASE("news that are late, said twice, or of nobody change nothing")
{
    ready_pool pool;
    pool.submit();
    CHECK(pool.ready(1) == "");
    CHECK(pool.ready(9) == "");
    CHECK(pool.ended(9, 3) == "");
    CHECK(pool.beat(9) == "");
    CHECK(pool.recycle(9) == "");
    CHECK(pool.done(9, 1) == "");
    CHECK(pool.done(1, 9) == "");
    CHECK(pool.done(1, 0) == "");
    CHECK(pool.done(1, 1) == "t1 done");
    CHECK(pool.done(1, 1) == "");
    pool.submit();
    CHECK(pool.ended(1, 2) == "t2 worker died, start w2/0");
    CHECK(pool.ended(1, 2) == "");
    CHECK(pool.done(1, 2) == "");
}

TEST_SUITE_END();
