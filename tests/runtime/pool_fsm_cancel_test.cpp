// SPDX-License-Identifier: BSL-1.0
// What becomes of tasks that are cancelled, wait or run for too long, or lose their heartbeat.
#include "pool_fsm.hpp"

#include <doctest/doctest.h>

#include <chrono>

#include "pool_stage.hpp"

using procyard::pool_outcome;
using procyard_test::pool_stage;
using procyard_test::ready_pool;
using namespace std::chrono_literals;

namespace {

const pool_stage::terms idempotent{.idempotent = true};

}  // namespace

TEST_SUITE_BEGIN("pool_fsm, cancellation");

TEST_CASE("a task that nobody has is cancelled at once")
{
    ready_pool pool;
    pool.submit();
    pool.submit();
    CHECK(pool.cancel(2) == "t2 cancelled");
    CHECK(pool.cancel(2) == "");
    CHECK(pool.cancel(77) == "");
    CHECK(pool.done(1, 1) == "t1 done");
}

TEST_CASE(
    "a running task that is cancelled: ask, SIGTERM, SIGKILL, and over when its worker is gone")
{
    ready_pool pool;
    pool.submit();
    CHECK(pool.cancel(1) == "ask t1 w1");
    CHECK(pool.cancel(1) == "");
    CHECK(pool.pass(999ms) == "");
    CHECK(pool.pass(1ms) == "terminate w1");
    CHECK(pool.pass(999ms) == "");
    CHECK(pool.pass(1ms) == "kill w1");
    CHECK(pool.pass(1h) == "");
    CHECK(pool.ended(1, 1) == "t1 cancelled, start w2/0");
}

TEST_CASE("a worker that agrees to cancel a task is left in peace")
{
    ready_pool pool;
    pool.submit();
    pool.cancel(1);
    CHECK(pool.done(1, 1, pool_outcome::cancelled) == "t1 cancelled");
    CHECK(pool.pass(1h) == "");
    pool.submit();
    pool.cancel(2);
    CHECK(pool.done(1, 2, pool_outcome::task_failed) == "t2 cancelled");
    pool.submit();
    pool.cancel(3);
    // It was done before it heard of it.
    CHECK(pool.done(1, 3) == "t3 done");
}

TEST_CASE("a worker that calls a task cancelled which nobody has cancelled has failed it")
{
    ready_pool pool;
    pool.submit();
    CHECK(pool.done(1, 1, pool_outcome::cancelled) == "t1 task failed");
}

TEST_CASE(
    "a task that waits in its worker is asked for, and nobody is killed for what does not run")
{
    ready_pool pool(1, 2);
    pool.submit_many(3);
    CHECK(pool.cancel(2) == "ask t2 w1");
    CHECK(pool.cancel(3) == "ask t3 w1");
    CHECK(pool.pass(1h) == "");
    CHECK(pool.done(1, 2, pool_outcome::cancelled) == "t2 cancelled");
    CHECK(pool.done(1, 1) == "t1 done");
    // Now it runs, if its worker has not heard.
    CHECK(pool.pass(1s) == "terminate w1");
    CHECK(pool.ended(1, 3) == "t3 cancelled, start w2/0");
}

TEST_CASE(
    "a task that its worker is known not to begin any more is over at once, and keeps its place "
    "there until that has said so")
{
    ready_pool pool(1, 2);
    pool.submit_many(4);
    CHECK(pool.begun(1, 1) == "");  // nobody has asked
    CHECK(pool.cancel(3) == "ask t3 w1");
    CHECK(pool.begun(1, 3) == "");  // begun meanwhile
    CHECK(pool.begun(1, 1) == "t3 cancelled");
    CHECK(pool.fsm.outputs().front().attempt == 0);
    CHECK_FALSE(pool.fsm.outputs().front().has_run);
    CHECK(pool.fsm.is_withdrawn(1, 3, 1));
    CHECK_FALSE(pool.fsm.is_withdrawn(1, 3, 2));
    CHECK_FALSE(pool.fsm.is_withdrawn(1, 2, 1));
    CHECK(pool.begun(1, 1) == "");
    CHECK(pool.cancel(3) == "");
    CHECK(pool.done(1, 1) == "t1 done, deliver t4 w1");
    CHECK(pool.done(1, 3, pool_outcome::cancelled) == "");
    CHECK_FALSE(pool.fsm.is_withdrawn(1, 3, 1));
    CHECK(pool.done(1, 2) == "t2 done");
    CHECK(pool.done(1, 4) == "t4 done");
    CHECK(pool.fsm.unfinished() == 0);
    CHECK(pool.pass(1h) == "");
}

TEST_CASE("a worker that does not let go of what it shall not begin is ended")
{
    ready_pool pool(1, 1);
    pool.submit();
    pool.submit({.queue_until = pool.now + 1s, .idempotent = true});
    CHECK(pool.pass(1s) == "ask t2 w1");
    CHECK(pool.begun(1, 1) == "t2 queue deadline");
    CHECK(pool.pass(1h) == "");
    CHECK(pool.done(1, 1) == "t1 done");
    CHECK(pool.pass(1s) == "terminate w1");
    // Even one that says that it has begun it blames nobody.
    CHECK(pool.ended(1, 2) == "start w2/0");
    CHECK(pool.fsm.unfinished() == 0);
}

TEST_CASE("no worker is ended for a task that is cancelled, and waits behind one that it runs")
{
    auto how = pool_stage::plain(1, 1);
    how.tasks_per_worker = 2;
    ready_pool pool(how);
    pool.submit_many(2);
    CHECK(pool.cancel(2) == "ask t2 w1");
    CHECK(pool.begun(1, 1) == "t2 cancelled");
    CHECK(pool.pass(1h) == "");
    CHECK(pool.done(1, 1) == "t1 done");
    CHECK(pool.done(1, 2, pool_outcome::cancelled) == "");
    CHECK(pool.pass(1h) == "");
}

TEST_CASE(
    "what waits behind a task for too long is over when that is certain, or when it is known to "
    "have begun in time")
{
    ready_pool pool(1, 2);
    pool.submit();
    pool.submit({.queue_until = pool.now + 1s});
    pool.submit({.queue_until = pool.now + 1s});
    CHECK(pool.pass(1s) == "ask t2 w1, ask t3 w1");
    CHECK(pool.begun(1, 2) == "t3 queue deadline");
    // It goes on, and whoever wants to be rid of it has to say so.
    CHECK(pool.done(1, 1) == "t1 done");
    CHECK(pool.pass(1h) == "");
    CHECK(pool.cancel(2) == "ask t2 w1");
    CHECK(pool.done(1, 2) == "t2 done");
    CHECK(pool.done(1, 3, pool_outcome::cancelled) == "");
}

TEST_CASE("nobody is taken from a worker that was not asked, since it is being killed")
{
    ready_pool pool(1, 1);
    pool.submit();
    pool.submit();
    CHECK(pool.cancel(1) == "ask t1 w1");
    CHECK(pool.pass(1s) == "terminate w1");
    CHECK(pool.pass(1s) == "kill w1");
    CHECK(pool.cancel(2) == "");
    CHECK(pool.begun(1, 1) == "");
    CHECK(pool.ended(1, 1) == "t1 cancelled, t2 cancelled, start w2/0");
}

TEST_CASE("what waits in a worker that was sent SIGTERM is asked to be left as anywhere else")
{
    auto how = pool_stage::plain(1, 1, 2);
    how.term_grace = 10s;
    ready_pool pool(how);
    CHECK(pool.submit({.run_limit = 1s}) == "deliver t1 w1");
    CHECK(pool.submit() == "deliver t2 w1");
    CHECK(pool.submit({.queue_until = pool.now + 5s}) == "deliver t3 w1");
    CHECK(pool.pass(1s) == "ask t1 w1");
    CHECK(pool.pass(how.ask_grace) == "terminate w1");
    CHECK(pool.cancel(2) == "ask t2 w1");
    CHECK(pool.begun(1, 1) == "t2 cancelled");
    CHECK(pool.pass(4s) == "ask t3 w1");
    CHECK(pool.begun(1, 1) == "t3 queue deadline");
    CHECK(pool.ended(1, 1) == "t1 run deadline, start w2/0");
}

TEST_CASE("a task that waits in a worker that dies is cancelled if that was asked for")
{
    ready_pool pool(1, 2);
    pool.submit_many(3);
    pool.cancel(2);
    CHECK(pool.ended(1, 1) == "t1 worker died, t2 cancelled, start w2/0");
    CHECK(pool.ready(2) == "deliver t3 w2");
}

TEST_CASE("a task that its worker has not begun has not run, whatever was to be expected")
{
    ready_pool pool;
    pool.submit();
    pool.cancel(1);
    CHECK(pool.ended(1, 0) == "t1 cancelled");
    CHECK(pool.fsm.outputs().front().attempt == 0);
    CHECK_FALSE(pool.fsm.outputs().front().has_run);
}

TEST_CASE("those beside a task whose worker is killed are queued again, struck or over")
{
    auto how = pool_stage::plain(1, 1, 1);
    how.tasks_per_worker = 3;
    ready_pool pool(how);
    pool.submit();
    pool.submit(idempotent);
    pool.submit();
    pool.submit();
    pool.cancel(1);
    CHECK(pool.pass(1s) == "terminate w1");
    // It has not begun the third.
    CHECK(pool.ended(1, 2) == "t1 cancelled, struck t2, start w2/0");
    CHECK(pool.ready(2) == "deliver t2 w2 #2");
    CHECK(pool.done(2, 2) == "t2 done, deliver t3 w2, deliver t4 w2");
}

TEST_CASE("what a worker has ended before it died counts")
{
    ready_pool pool;
    pool.submit();
    pool.cancel(1);
    pool.pass(1s);
    CHECK(pool.done(1, 1) == "t1 done");
    CHECK(pool.pass(1s) == "kill w1");
    CHECK(pool.ended(1, 1) == "start w2/0");
}

TEST_CASE("a task that is not begun in time is over; what it has run does not count")
{
    auto how = pool_stage::plain(1, 1);
    ready_pool pool(how);
    pool.submit({.queue_until = pool.now + 10ms});
    pool.runs(1, 1);
    pool.submit({.queue_until = pool.now + 10ms});
    CHECK(pool.pass(9ms) == "");
    CHECK(pool.pass(1ms) == "t2 queue deadline");
    CHECK(pool.pass(1h) == "");
    CHECK(pool.done(1, 1) == "t1 done");
    CHECK(pool.submit({.queue_until = pool.now - 1ms}) == "t3 queue deadline");
}

TEST_CASE("a task that was begun in time may wait to be begun again")
{
    ready_pool pool;
    pool.submit({.queue_until = pool.now + 10ms, .idempotent = true});
    CHECK(pool.ended(1, 1) == "struck t1, start w2/0");
    CHECK(pool.pass(1s) == "");
    CHECK(pool.ready(2) == "deliver t1 w2 #2");
}

TEST_CASE("a task that waits in its worker for too long is asked for, and runs if it was too late")
{
    ready_pool pool(1, 1);
    pool.submit();
    pool.submit({.queue_until = pool.now + 10ms});
    CHECK(pool.pass(10ms) == "ask t2 w1");
    CHECK(pool.pass(1h) == "");
    CHECK(pool.done(1, 2, pool_outcome::cancelled) == "t2 queue deadline");
    pool.submit({.queue_until = pool.now + 10ms});
    CHECK(pool.pass(10ms) == "ask t3 w1");
    CHECK(pool.done(1, 1) == "t1 done");
    CHECK(pool.pass(1h) == "");
    CHECK(pool.done(1, 3) == "t3 done");
}

TEST_CASE("what counts as running waits no longer than it may behind one that holds its worker")
{
    auto how = pool_stage::plain(1, 1);
    how.tasks_per_worker = 3;
    ready_pool pool(how);
    pool.submit({.queue_until = pool.now + 10ms});
    CHECK(pool.runs(1, 1) == "");
    CHECK(pool.submit({.queue_until = pool.now + 10ms}) == "deliver t2 w1");
    CHECK(pool.submit({.queue_until = pool.now + 11ms}) == "deliver t3 w1");
    CHECK(pool.pass(9ms) == "");
    CHECK(pool.pass(1ms) == "ask t2 w1");
    CHECK(pool.pass(1ms) == "ask t3 w1");
    CHECK(pool.begun(1, 2) == "t3 queue deadline");
    // Nobody is ended for what is over, while another one may hold its loop.
    CHECK(pool.pass(1h) == "");
    CHECK(pool.done(1, 1) == "t1 done");
    CHECK(pool.pass(1h) == "");
    CHECK(pool.done(1, 2) == "t2 done");
    // Now there is nothing else that it could be busy with.
    CHECK(pool.pass(999ms) == "");
    CHECK(pool.pass(1ms) == "terminate w1");
    CHECK(pool.ended(1, 3) == "start w2/0");
    CHECK(pool.fsm.unfinished() == 0);
}

TEST_CASE("a task of a worker that stands still before it has begun it waits no longer than it may")
{
    ready_pool pool;
    pool.submit({.queue_until = pool.now + 10ms, .run_limit = 1h});
    CHECK(pool.pass(10ms) == "ask t1 w1");
    CHECK(pool.begun(1, 0) == "t1 queue deadline");
    CHECK(pool.pass(1s) == "terminate w1");
}

TEST_CASE("what is known to have begun in time is not asked for, and its other clocks run")
{
    ready_pool pool;
    pool.submit({.queue_until = pool.now + 10ms, .run_limit = 100ms});
    CHECK(pool.pass(10ms) == "ask t1 w1");
    CHECK(pool.begun(1, 1) == "");
    CHECK(pool.pass(89ms) == "");
    CHECK(pool.pass(1ms) == "ask t1 w1");
    CHECK(pool.done(1, 1) == "t1 run deadline");
    pool.submit({.queue_until = pool.now + 10ms, .run_limit = 100ms});
    CHECK(pool.runs(1, 2) == "");
    CHECK(pool.pass(99ms) == "");
    CHECK(pool.pass(1ms) == "ask t2 w1");
}

TEST_CASE("a task that runs for too long is cancelled, and what comes then is too late (case 31)")
{
    ready_pool pool;
    pool.submit({.run_limit = 100ms});
    CHECK(pool.pass(99ms) == "");
    CHECK(pool.pass(1ms) == "ask t1 w1");
    CHECK(pool.done(1, 1) == "t1 run deadline");
    pool.submit({.run_limit = 100ms});
    CHECK(pool.pass(100ms) == "ask t2 w1");
    CHECK(pool.pass(1s) == "terminate w1");
    CHECK(pool.pass(1s) == "kill w1");
    CHECK(pool.ended(1, 2) == "t2 run deadline, start w2/0");
}

TEST_CASE("the run deadline counts from when a task runs, not from when it was delivered")
{
    ready_pool pool(1, 1);
    pool.submit();
    pool.submit({.run_limit = 100ms});
    CHECK(pool.pass(1h) == "");
    CHECK(pool.done(1, 1) == "t1 done");
    CHECK(pool.pass(99ms) == "");
    CHECK(pool.pass(1ms) == "ask t2 w1");
}

TEST_CASE("a worker whose loop stands still is stopped without being asked")
{
    ready_pool pool;
    pool.submit({.heartbeat_limit = 1s});
    pool.pass(900ms);
    CHECK(pool.beat(1) == "");
    CHECK(pool.pass(999ms) == "");
    CHECK(pool.pass(1ms) == "terminate w1");
    CHECK(pool.pass(1s) == "kill w1");
    CHECK(pool.ended(1, 1) == "t1 heartbeat lost, start w2/0");
}

TEST_CASE("a heartbeat is missed by who has asked for it alone; a beat does not prolong a run")
{
    auto how = pool_stage::plain(1, 1);
    how.tasks_per_worker = 2;
    ready_pool pool(how);
    pool.submit(idempotent);
    pool.submit({.run_limit = 1500ms, .heartbeat_limit = 1s});
    pool.pass(900ms);
    pool.beat(1);
    CHECK(pool.pass(599ms) == "");
    CHECK(pool.pass(1ms) == "ask t2 w1");
    CHECK(pool.done(1, 2, pool_outcome::cancelled) == "t2 run deadline");
    pool.submit({.heartbeat_limit = 1s});
    CHECK(pool.pass(1s) == "terminate w1");
    CHECK(pool.ended(1, 3) == "struck t1, t3 heartbeat lost, start w2/0");
}

TEST_CASE("what has come by the time that the machine is told of is judged by nobody before it is "
          "known")
{
    ready_pool pool(4);
    pool.submit({.heartbeat_limit = 100ms});
    pool.submit({.heartbeat_limit = 100ms});
    pool.submit({.run_limit = 100ms});
    pool.submit({.run_limit = 100ms});
    pool.now += 300ms;
    pool.hold();
    CHECK(pool.beat(1) == "");
    CHECK(pool.done(3, 3) == "t3 done");
    CHECK(pool.done(4, 4) == "t4 done");
    CHECK(pool.fsm.is_held());
    CHECK(pool.pass(0ms) == "terminate w2");
    CHECK_FALSE(pool.fsm.is_held());
    CHECK(pool.ended(2, 1) == "t2 heartbeat lost, start w5/1");
    CHECK(pool.done(1, 1) == "t1 done");
}

TEST_SUITE_END();
