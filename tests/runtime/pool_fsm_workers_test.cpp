// SPDX-License-Identifier: BSL-1.0
// What becomes of workers. pool_fsm_test.cpp has what becomes of tasks.
#include "pool_fsm.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <set>
#include <string>

#include "pool_stage.hpp"

using procyard::pool_balance;
using procyard::pool_outcome;
using procyard_test::pool_stage;
using procyard_test::ready_pool;
using namespace std::chrono_literals;

TEST_SUITE_BEGIN("pool_fsm, workers");

TEST_CASE("as many workers are started as there shall be at least, more when there is work")
{
    pool_stage pool(pool_stage::plain(2, 4));
    CHECK(pool.start() == "start w1/0, start w2/1");
    pool.ready(1);
    pool.ready(2);
    pool.submit();
    pool.submit();
    CHECK(pool.submit() == "start w3/2");
    CHECK(pool.submit() == "start w4/3");
    CHECK(pool.submit() == "");
    CHECK(pool.ready(3) == "deliver t3 w3");
}

TEST_CASE("a pool may have no worker while it has no work")
{
    auto how = pool_stage::plain(0, 2);
    how.idle_timeout = 10s;
    pool_stage pool(how);
    CHECK(pool.start() == "");
    CHECK(pool.submit() == "start w1/0");
    CHECK(pool.ready(1) == "deliver t1 w1");
    CHECK(pool.done(1, 1) == "t1 done");
    CHECK(pool.pass(10s) == "retire w1");
    CHECK(pool.ended(1, 1) == "");
    CHECK_FALSE(pool.fsm.next());
}

TEST_CASE("a death is replaced at once, every time (complaint 12: one ends the whole pool)")
{
    ready_pool pool;
    for (std::uint64_t worker = 1; worker < 100; ++worker) {
        pool.submit();
        const auto task = 't' + std::to_string(worker);
        CHECK(pool.ended(worker, 1)
              == task + " worker died, start w" + std::to_string(worker + 1) + "/0");
        CHECK(pool.ready(worker + 1) == "");
    }
}

TEST_CASE("idle workers go when there are more than there shall be")
{
    auto how = pool_stage::plain(1, 3);
    how.idle_timeout = 10s;
    ready_pool pool(how);
    pool.submit_many(3);
    pool.ready(2);
    pool.ready(3);
    pool.done(2, 2);
    pool.pass(4s);
    pool.done(1, 1);
    CHECK(pool.pass(6s) == "retire w2");
    CHECK(pool.pass(1s) == "terminate w2");
    CHECK(pool.ended(2, 2) == "");
    pool.done(3, 3);
    CHECK(pool.pass(3s) == "retire w1");
    CHECK(pool.ended(1, 1) == "");
    // The last one stays, and nothing wakes anybody.
    CHECK(pool.pass(1h) == "");
    CHECK_FALSE(pool.fsm.next());
}

TEST_CASE("one that is idle stays while there is work for as many")
{
    auto how = pool_stage::plain(1, 2);
    how.balance = pool_balance::sticky_key;
    how.idle_timeout = 10s;
    ready_pool pool(how);
    pool.submit();
    pool.submit();
    pool.ready(2);
    while (pool.fsm.running() < 2)
        pool.submit({.key = pool.last});
    for (std::uint64_t task = 1; pool.fsm.unfinished() > 0; ++task) {
        pool.done(1, task);
        pool.done(2, task);
    }
    pool.submit_many(3, {.key = 1});
    CHECK(pool.fsm.workers(pool.now).idle == 1);
    CHECK(pool.fsm.workers(pool.now).busy == 1);
    CHECK(pool.pass(1h) == "");
}

TEST_CASE("a worker that is told to end and does not is stopped and killed")
{
    auto how = pool_stage::plain(0, 1);
    how.idle_timeout = 1s;
    pool_stage pool(how);
    pool.start();
    pool.submit();
    pool.ready(1);
    pool.done(1, 1);
    CHECK(pool.pass(1s) == "retire w1");
    CHECK(pool.pass(1s) == "terminate w1");
    CHECK(pool.pass(1s) == "kill w1");
    CHECK_FALSE(pool.fsm.next());
    CHECK(pool.submit() == "");
    CHECK(pool.ended(1, 1) == "start w2/0");
}

TEST_CASE("a start that fails is tried again after longer and longer delays (case 39)")
{
    auto how = pool_stage::plain(2, 4);
    pool_stage pool(how);
    pool.start();
    CHECK(pool.ready(1) == "");
    CHECK(pool.ended(2) == "");
    CHECK(pool.fsm.ready() == 1);
    CHECK(pool.fsm.workers(pool.now).cooling == 1);
    std::uint64_t worker = 3;
    for (const auto delay : {100ms, 200ms, 400ms, 800ms, 1600ms}) {
        CHECK(pool.pass(delay - 1ms) == "");
        CHECK(pool.pass(1ms) == "start w" + std::to_string(worker) + "/1");
        CHECK(pool.ended(worker++) == "");
    }
    // What works goes on, and begins with the first delay when it has once been of use.
    CHECK(pool.pass(3200ms) == "start w8/1");
    pool.ready(8);
    pool.submit();
    pool.submit();
    CHECK(pool.done(8, 2) == "t2 done");
    CHECK(pool.ended(8, 1) == "start w9/1");
    CHECK(pool.ended(9) == "");
    CHECK(pool.pass(100ms) == "start w10/1");
}

TEST_CASE("a worker that dies for nothing as soon as it is ready is not started at once")
{
    ready_pool pool;
    CHECK(pool.ended(1) == "");
    CHECK(pool.pass(100ms) == "start w2/0");
    pool.ready(2);
    CHECK(pool.ended(2) == "");
    CHECK(pool.pass(200ms) == "start w3/0");
    pool.ready(3);
    pool.now += 60s;
    CHECK(pool.ended(3) == "start w4/0");
}

TEST_CASE("a worker that is not ready in time is stopped, and has failed")
{
    pool_stage pool(pool_stage::plain(1, 1));
    pool.start();
    CHECK(pool.pass(30s) == "terminate w1");
    CHECK(pool.ready(1) == "");
    CHECK(pool.pass(1s) == "kill w1");
    CHECK(pool.ended(1) == "");
    CHECK(pool.pass(100ms) == "start w2/0");
}

TEST_CASE("a worker is replaced after its jobs, and serves until its successor is ready")
{
    auto how = pool_stage::plain(1, 1);
    how.recycle_after_jobs = 2;
    ready_pool pool(how);
    pool.submit();
    CHECK(pool.done(1, 1) == "t1 done");
    pool.submit();
    CHECK(pool.done(1, 2) == "t2 done, start w2/0");
    CHECK(pool.submit() == "deliver t3 w1");
    CHECK(pool.submit() == "");
    CHECK(pool.ready(2) == "deliver t4 w2");
    CHECK(pool.done(1, 3) == "t3 done, retire w1");
    CHECK(pool.ended(1, 3) == "");
    // A pool that kept counts of idle workers has stood still here (cpython#115634).
    CHECK(pool.done(2, 4) == "t4 done");
    for (std::uint64_t task = 5; task < 20; ++task) {
        pool.submit();
        const auto worker = pool.fsm.outputs().back().worker;
        pool.done(worker, task);
        for (const auto& one : std::vector(pool.fsm.outputs().begin(), pool.fsm.outputs().end())) {
            if (one.what != procyard::detail::pool_output::kind::start_worker)
                continue;
            pool.ready(one.worker);
            pool.ended(worker, 2);
        }
    }
    CHECK(pool.fsm.unfinished() == 0);
    CHECK(pool.fsm.alive() == 1);
}

TEST_CASE("jobs and age are more or less by the jitter, within it")
{
    auto how = pool_stage::plain(1, 1);
    how.recycle_after_jobs = 100;
    how.recycle_jitter = 0.2;
    std::set<int> seen;
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        procyard::detail::pool_fsm fsm(how, seed);
        procyard::detail::pool_fsm::time_point now{};
        fsm.start(now);
        fsm.worker_ready(1, now);
        int jobs = 0;
        while (fsm.alive() == 1) {
            const auto task = fsm.submit({}, now);
            fsm.task_ended(1, task, pool_outcome::done, now);
            ++jobs;
        }
        CHECK(jobs >= 80);
        CHECK(jobs <= 120);
        seen.insert(jobs);
    }
    CHECK(seen.size() > 10);
}

TEST_CASE("a worker is replaced when it is old")
{
    auto how = pool_stage::plain(1, 1);
    how.recycle_after_age = 1h;
    ready_pool pool(how);
    CHECK(pool.pass(59min) == "");
    CHECK(pool.pass(1min) == "start w2/0");
    CHECK(pool.ready(2) == "retire w1");
    CHECK(pool.ended(1) == "");
    CHECK(pool.pass(1h) == "start w3/0");
}

TEST_CASE("all are replaced one after the other, and never fewer are ready (case 35)")
{
    ready_pool pool(4);
    pool.submit_many(4);
    CHECK(pool.recycle_all() == "start w5/0");
    CHECK(pool.recycle_all() == "");
    for (std::uint64_t worker = 1; worker <= 4; ++worker) {
        CHECK(pool.fsm.ready() == 4);
        CHECK(pool.ready(worker + 4) == "");
        CHECK(pool.fsm.ready() == 4);
        CHECK(pool.fsm.alive() == 5);
        CHECK(pool.done(worker, worker)
              == "t" + std::to_string(worker) + " done, retire w" + std::to_string(worker));
        const auto next = worker + 5;
        CHECK(pool.ended(worker, 1)
              == (worker == 4 ? std::string()
                              : "start w" + std::to_string(next) + '/' + std::to_string(worker)));
    }
    CHECK(pool.fsm.alive() == 4);
}

TEST_CASE("a successor that cannot be started leaves who serves in peace")
{
    ready_pool pool;
    CHECK(pool.recycle(1) == "start w2/0");
    CHECK(pool.ended(2) == "");
    CHECK(pool.fsm.ready() == 1);
    CHECK(pool.submit() == "deliver t1 w1");
    CHECK(pool.pass(100ms) == "start w3/0");
    CHECK(pool.ready(3) == "");
    CHECK(pool.done(1, 1) == "t1 done, retire w1");
}

TEST_CASE("when who is replaced dies, its successor takes its place")
{
    ready_pool pool;
    pool.submit();
    pool.recycle(1);
    CHECK(pool.ended(1, 1) == "t1 worker died");
    CHECK(pool.ready(2) == "");
    CHECK(pool.submit() == "deliver t2 w2");
    CHECK(pool.recycle(2) == "start w3/0");
}

TEST_CASE("a worker that is killed counts until it is gone")
{
    ready_pool pool;
    pool.submit({.run_limit = 1s});
    pool.submit();
    pool.pass(1s);
    CHECK(pool.pass(1s) == "terminate w1");
    CHECK(pool.pass(1s) == "kill w1");
    CHECK(pool.fsm.alive() == 1);
    CHECK(pool.ended(1, 1) == "t1 run deadline, start w2/0");
}

TEST_CASE("a pool that is made smaller lets its last workers go, when they have done")
{
    ready_pool pool(3);
    pool.submit_many(4);
    CHECK(pool.resize(1, 1) == "");
    CHECK(pool.done(3, 3) == "t3 done, retire w3");
    CHECK(pool.done(2, 2) == "t2 done, retire w2");
    CHECK(pool.ended(2, 1) == "");
    CHECK(pool.ended(3, 1) == "");
    CHECK(pool.done(1, 1) == "t1 done, deliver t4 w1");
    CHECK(pool.resize(2, 5) == "start w4/1");
}

TEST_CASE("one that is made smaller has idle workers go in their time")
{
    auto how = pool_stage::plain(2, 2);
    how.idle_timeout = 10s;
    ready_pool pool(how);
    CHECK_FALSE(pool.fsm.next());
    CHECK(pool.resize(1, 2) == "");
    CHECK(pool.pass(10s) == "retire w1");
    CHECK(pool.ended(1) == "");
    CHECK(pool.pass(1h) == "");
}

TEST_CASE("a stop runs what is queued, refuses what is not admitted, and finishes once")
{
    auto how = pool_stage::plain(1, 1);
    how.high_water = 1;
    ready_pool pool(how);
    pool.submit_many(3);
    CHECK(pool.stop(10s, 20s) == "t3 stopped");
    CHECK(pool.submit() == "t4 stopped");
    CHECK(pool.done(1, 1) == "t1 done, deliver t2 w1");
    CHECK(pool.done(1, 2) == "t2 done, retire w1");
    CHECK(pool.ended(1, 2) == "finished");
    CHECK(pool.stop(0s, 0s) == "");
    CHECK(pool.submit() == "t5 stopped");
    CHECK(pool.pass(1h) == "");
    CHECK_FALSE(pool.fsm.next());
}

TEST_CASE("a stop goes on with fresh workers as long as there is work and time")
{
    ready_pool pool;
    pool.submit({.idempotent = true});
    pool.stop(10s, 20s);
    CHECK(pool.ended(1, 1) == "struck t1, start w2/0");
    CHECK(pool.ready(2) == "deliver t1 w2 #2");
    CHECK(pool.done(2, 1) == "t1 done, retire w2");
    CHECK(pool.ended(2, 1) == "finished");
}

TEST_CASE("a stop cancels what is not done in time, and kills who does not end")
{
    ready_pool pool(2);
    pool.submit_many(4);
    CHECK(pool.stop(10s, 11500ms) == "");
    CHECK(pool.pass(10s) == "t3 stopped, t4 stopped, ask t1 w1, ask t2 w2");
    CHECK(pool.done(2, 2, pool_outcome::cancelled) == "t2 stopped, retire w2");
    CHECK(pool.ended(2, 1) == "");
    CHECK(pool.pass(1s) == "terminate w1");
    CHECK(pool.pass(500ms) == "kill w1");
    CHECK(pool.ended(1, 1) == "t1 stopped, finished");
}

TEST_CASE("a second stop may bring the first one forward")
{
    ready_pool pool;
    pool.submit();
    pool.submit();
    pool.stop(1h, 2h);
    CHECK(pool.stop(0s, 5s) == "t2 stopped, ask t1 w1");
    CHECK(pool.stop(1h, 2h) == "");
    CHECK(pool.pass(1s) == "terminate w1");
    CHECK(pool.pass(1s) == "kill w1");
    CHECK(pool.ended(1, 1) == "t1 stopped, finished");
}

TEST_CASE("a pool that was never started stops at once")
{
    pool_stage pool(pool_stage::plain(1, 1));
    pool.submit();
    CHECK(pool.stop(1h, 1h) == "t1 stopped, finished");
}

TEST_CASE("a stop while all starts fail ends in its time")
{
    pool_stage pool(pool_stage::plain(1, 1));
    pool.start();
    pool.submit();
    pool.ended(1);
    CHECK(pool.stop(50ms, 1s) == "");
    CHECK(pool.pass(50ms) == "t1 stopped, finished");
}

TEST_CASE("graces of nothing are over at once")
{
    auto how = pool_stage::plain(1, 1);
    how.ask_grace = 0ns;
    how.term_grace = 0ns;
    ready_pool pool(how);
    pool.submit();
    CHECK(pool.cancel(1) == "ask t1 w1, terminate w1, kill w1");
    CHECK(pool.ended(1, 1) == "t1 cancelled, start w2/0");
}

TEST_SUITE_END();
