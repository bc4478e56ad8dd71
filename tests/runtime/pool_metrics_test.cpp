// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pool_metrics.hpp>

#include "pool_recorder.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <limits>

#include "pool_stage.hpp"

using procyard::pool_histogram;
using procyard::pool_metrics;
using procyard::pool_outcome;
using procyard::detail::pool_recorder;
using procyard_test::pool_stage;
using namespace std::chrono_literals;

TEST_SUITE_BEGIN("pool_metrics");

TEST_CASE("a time is counted under the power of two that it is below")
{
    pool_histogram times;
    for (const auto time : {0ns, 1ns, 2ns, 3ns, 4ns, 1023ns, 1024ns})
        times.add(time);
    CHECK(times.counts[0] == 1);
    CHECK(times.counts[1] == 1);
    CHECK(times.counts[2] == 2);
    CHECK(times.counts[3] == 1);
    CHECK(times.counts[10] == 1);
    CHECK(times.counts[11] == 1);
    CHECK(times.count() == 7);
    CHECK(times.sum == 2057ns);
    CHECK(times.mean() == 293ns);
    CHECK(times.longest == 1024ns);
    for (std::size_t i = 0; i < pool_histogram::buckets; ++i) {
        pool_histogram one;
        one.add(pool_histogram::upper_bound(i) - 1ns);
        CHECK(one.counts[i] == 1);
    }
}

TEST_CASE("the longest times and those below nothing are counted, too")
{
    pool_histogram times;
    times.add(std::chrono::nanoseconds::max());
    times.add(std::chrono::nanoseconds::max());
    times.add(std::chrono::nanoseconds::min());
    CHECK(times.counts[63] == 2);
    CHECK(times.counts[0] == 1);
    CHECK(times.sum == std::chrono::nanoseconds::max());
    CHECK(times.quantile(1) == std::chrono::nanoseconds::max());
    CHECK(times.quantile(0) == 0ns);
}

TEST_CASE("a quantile is as exact as a bucket, and never beyond the longest")
{
    pool_histogram times;
    CHECK(times.quantile(0.5) == 0ns);
    CHECK(times.mean() == 0ns);
    for (int i = 1; i <= 1000; ++i)
        times.add(std::chrono::microseconds(i));
    for (const double part : {0.01, 0.1, 0.5, 0.9, 0.99}) {
        CAPTURE(part);
        const auto exact = part * 1e6;
        const auto told = static_cast<double>(times.quantile(part).count());
        CHECK(told > exact / 2);
        CHECK(told < exact * 2);
    }
    // Evenly spread as these are, it is much nearer.
    CHECK(times.quantile(0.5) > 490us);
    CHECK(times.quantile(0.5) < 510us);
    CHECK(times.quantile(1) == 1000us);
    CHECK(times.quantile(0.25) < times.quantile(0.26));
}

TEST_CASE("a recorder counts what becomes of tasks, and how long they wait and run")
{
    auto how = pool_stage::plain(1, 1);
    how.prefetch = 1;
    how.high_water = 1;
    pool_stage pool(how);
    pool_recorder recorder(how.tasks_per_worker, pool.now);
    const auto record = [&](const std::string&) { recorder.record(pool.fsm, pool.now); };
    record(pool.start());
    record(pool.ready(1));
    for (int i = 0; i < 4; ++i)
        record(pool.submit());
    auto seen = recorder.snapshot(pool.fsm, pool.now);
    CHECK(seen.submitted == 4);
    CHECK(seen.running == 1);
    CHECK(seen.prefetched == 1);
    CHECK(seen.queued == 1);
    CHECK(seen.waiting == 1);
    CHECK(seen.busy == 1);
    CHECK(seen.idle == 0);

    pool.now += 1ms;
    record(pool.done(1, 1));
    pool.now += 3ms;
    record(pool.done(1, 2, pool_outcome::task_failed));
    record(pool.cancel(4));
    pool.now += 1ms;
    record(pool.ended(1, 3));
    seen = recorder.snapshot(pool.fsm, pool.now);
    CHECK(seen.ended(pool_outcome::done) == 1);
    CHECK(seen.ended(pool_outcome::task_failed) == 1);
    CHECK(seen.ended(pool_outcome::worker_died) == 1);
    CHECK(seen.run.count() == 3);
    CHECK(seen.run.sum == 5ms);
    CHECK(seen.run.longest == 3ms);
    CHECK(seen.wait.sum >= 5ms);
    CHECK(seen.workers_lost == 1);
    CHECK(seen.workers_started == 2);
    CHECK(seen.restarts == 1);
    CHECK(seen.starting == 1);
}

TEST_CASE("a task that never ran is none of those that have run")
{
    pool_stage pool(pool_stage::plain(1, 1));
    pool_recorder recorder(1, pool.now);
    pool.submit();
    recorder.record(pool.fsm, pool.now);
    pool.now += 5ms;
    pool.cancel(1);
    recorder.record(pool.fsm, pool.now);
    const auto seen = recorder.snapshot(pool.fsm, pool.now);
    CHECK(seen.ended(pool_outcome::cancelled) == 1);
    CHECK(seen.run.count() == 0);
    CHECK(seen.wait.sum == 5ms);
}

TEST_CASE("utilisation is the part of the workers' time that was used")
{
    auto how = pool_stage::plain(2, 2);
    pool_stage pool(how);
    pool_recorder recorder(how.tasks_per_worker, pool.now);
    pool.begin();
    recorder.record(pool.fsm, pool.now);
    CHECK(recorder.snapshot(pool.fsm, pool.now).utilisation() == 0);
    pool.submit();
    recorder.record(pool.fsm, pool.now);
    pool.now += 10s;
    const auto half = recorder.snapshot(pool.fsm, pool.now);
    CHECK(half.busy_time == 10s);
    CHECK(half.ready_time == 20s);
    CHECK(half.utilisation() == doctest::Approx(0.5));
    pool.submit();
    recorder.record(pool.fsm, pool.now);
    pool.now += 10s;
    const auto later = recorder.snapshot(pool.fsm, pool.now);
    CHECK(later.utilisation() == doctest::Approx(0.75));
    CHECK(later.utilisation(half) == doctest::Approx(1.0));
    CHECK(later.utilisation(later) == 0);
}

TEST_CASE("strikes, and workers that had to be stopped, are counted")
{
    pool_stage pool(pool_stage::plain(1, 1));
    pool_recorder recorder(1, pool.now);
    const auto record = [&](const std::string&) { recorder.record(pool.fsm, pool.now); };
    record(pool.start());
    record(pool.ready(1));
    record(pool.submit({.run_limit = 1s, .idempotent = true}));
    record(pool.ended(1, 1));
    record(pool.ready(2));
    record(pool.pass(1s));
    record(pool.pass(1s));
    record(pool.pass(1s));
    record(pool.ended(2, 1));
    const auto seen = recorder.snapshot(pool.fsm, pool.now);
    CHECK(seen.strikes == 1);
    CHECK(seen.workers_terminated == 1);
    CHECK(seen.workers_killed == 1);
    CHECK(seen.workers_lost == 1);
    CHECK(seen.ended(pool_outcome::run_deadline) == 1);
}

TEST_SUITE_END();
