// SPDX-License-Identifier: BSL-1.0
// Tasks that are cancelled, or take too long: three clocks, and a ladder.
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "pool_fixture.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using namespace std::chrono_literals;
using procyard::pool_errc;
using procyard::pool_outcome;

namespace {

using shared_clock = std::shared_ptr<procyard::manual_clock>;

constexpr auto grace = 20ms;

procyard::pool_options impatient(const shared_clock& clock, unsigned workers = 1)
{
    auto options = of_workers(workers);
    options.ask_grace = grace;
    options.term_grace = grace;
    options.clock = clock;
    return options;
}

// The pool has done then what was due.
void pass(pooled& pool, const shared_clock& clock, std::chrono::nanoseconds time)
{
    clock->advance(time);
    pool.ctx.restart();
    pool.ctx.poll();
}

// Nobody is ended for not agreeing.
procyard::pool_options patient(unsigned prefetch)
{
    auto options = of_workers(1);
    options.prefetch = prefetch;
    options.ask_grace = std::chrono::hours(1);
    return options;
}

}  // namespace

TEST_SUITE("process_pool: cancellation")
{
    // loky#176, cpython#130849: a running task cannot be cancelled, only the pool be killed.
    TEST_CASE("a running task that ignores everything is over when its process is gone (case 32, "
              "complaint 14)")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        const auto clock = std::make_shared<procyard::manual_clock>();
        pooled pool(impatient(clock, 2));
        pool.must_start();
        auto other = pool.submit(make_work("until cancelled", 0, notes));
        pool.until_lines(notes, 1);
        auto task = pool.submit(make_work("spin deaf", 0, notes));
        pool.until_lines(notes, 2);
        const auto before = pool.it->workers();
        REQUIRE(before.size() == 2);
        outcome<procyard::error_code, answer> got;
        bool was_gone = false;
        task.async_result([&, record = got.handler()](procyard::error_code ec, answer a) {
            was_gone = !is_alive(before[0]) || !is_alive(before[1]);
            record(ec, std::move(a));
        });
        task.cancel();
        pass(pool, clock, grace);  // SIGTERM, which it ignores
        CHECK_FALSE(got.done());
        CHECK(pool.it->workers() == before);
        pass(pool, clock, grace);
        run_until(pool.ctx, [&] { return got.done(); });
        CHECK(got.error() == asio::error::operation_aborted);
        CHECK(was_gone);
        REQUIRE(task.report().deaths.size() == 1);
        CHECK(task.report().deaths.front()->status->signal() == SIGKILL);
        CHECK(task.report().deaths.front()->asked);
        CHECK_FALSE(other.is_done());
        other.cancel();
        CHECK(pool.error(other) == asio::error::operation_aborted);
        pool.stop();
    }

    TEST_CASE("a running task that looks agrees, and its worker stays")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pooled pool(patient(1));
        pool.must_start();
        const auto before = pool.it->workers();
        auto task = pool.submit(make_work("until cancelled", 0, notes));
        pool.until_lines(notes, 1);
        task.cancel();
        CHECK(pool.error(task) == asio::error::operation_aborted);
        CHECK(task.report().outcome == pool_outcome::cancelled);
        CHECK(task.report().deaths.empty());
        CHECK(pool.call(make_work("square", 4)).number == 16);
        CHECK(pool.it->workers() == before);
        pool.stop();
    }

    TEST_CASE("a handler that is a coroutine is cancelled, whatever it waits for")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pooled pool(patient(1), "later");
        pool.must_start();
        const auto before = pool.it->workers();
        auto task = pool.submit(make_work("wait", 0, notes));
        pool.until_lines(notes, 1);
        task.cancel();
        CHECK(pool.error(task) == asio::error::operation_aborted);
        CHECK(pool.it->workers() == before);
        pool.stop();
    }

    TEST_CASE("what waits in the pool, or in a worker's channel, is over without a kill")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pooled pool(patient(1), "later");
        pool.must_start();
        const auto before = pool.it->workers();
        auto running = pool.submit(make_work("wait", 0, notes));
        pool.until_lines(notes, 1);
        auto prefetched = pool.submit(make_work("note", 1, notes));
        auto queued = pool.submit(make_work("note", 2, notes));
        queued.cancel();
        CHECK(pool.error(queued) == asio::error::operation_aborted);
        prefetched.cancel();
        CHECK(pool.error(prefetched) == asio::error::operation_aborted);
        CHECK_FALSE(running.is_done());
        running.cancel();
        CHECK(pool.error(running) == asio::error::operation_aborted);
        CHECK(lines_of(notes).size() == 1);
        CHECK(pool.it->workers() == before);
        CHECK(pool.call(make_work("square", 4)).number == 16);
        pool.stop();
    }

    TEST_CASE("what was sent ahead to a worker that is deaf is over at once when it is cancelled, "
              "or has waited for too long")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pool_gate gate((place.path() / "gate").string());
        const auto clock = std::make_shared<procyard::manual_clock>();
        auto options = of_workers(1);
        options.prefetch = 2;
        options.clock = clock;
        pooled pool(options);
        pool.must_start();
        const auto before = pool.it->workers();
        auto running = pool.submit(make_work("gate", 0, gate.path()));
        pool.until([&] { return gate.is_reached(); });
        auto unwanted = pool.submit(make_work("note", 1, notes));
        procyard::submit_options how;
        how.queue_deadline = 10ms;
        auto late = pool.submit(make_work("note", 2, notes), how);
        CHECK(pool.it->metrics().prefetched == 2);
        unwanted.cancel();
        CHECK(pool.error(unwanted) == asio::error::operation_aborted);
        CHECK(unwanted.report().outcome == pool_outcome::cancelled);
        CHECK(unwanted.report().attempts == 0);
        clock->advance(10ms);
        CHECK(pool.error(late) == pool_errc::queue_deadline);
        CHECK(late.report().attempts == 0);
        CHECK_FALSE(running.is_done());
        gate.open();
        (void)pool.result(running);
        (void)pool.call(make_work("note", 3, notes));
        CHECK(lines_of(notes) == std::vector<std::string>{"3 1"});
        CHECK(pool.it->workers() == before);
        pool.stop();
    }

    TEST_CASE("what waits behind a request that is longer than the channel is cancelled when there "
              "is room")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pool_gate gate((place.path() / "gate").string());
        auto options = patient(2);
        options.channels.capacity_bytes = 4096;
        pooled pool(options);
        pool.must_start();
        auto running = pool.submit(make_work("gate", 0, gate.path()));
        pool.until([&] { return gate.is_reached(); });
        auto lengthy = pool.submit(make_work("length", 0, std::string(200'000, 'r')));
        auto unwanted = pool.submit(make_work("note", 1, notes));
        unwanted.cancel();
        CHECK_FALSE(unwanted.is_done());
        gate.open();
        CHECK(pool.error(unwanted) == asio::error::operation_aborted);
        (void)pool.result(running);
        CHECK(pool.result(lengthy).number == 200'000);
        CHECK(pool.call(make_work("square", 4)).number == 16);
        CHECK(lines_of(notes).empty());
        pool.stop();
    }

    TEST_CASE("a task that is cancelled, or late, in the moment in which it is begun is done, or "
              "was never begun")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pooled pool(patient(2));
        pool.must_start();
        std::vector<std::string> begun;
        for (std::uint64_t round = 0; round < 1000; ++round) {
            CAPTURE(round);
            procyard::submit_options how;
            if (round % 2 == 0)
                how.queue_deadline = std::chrono::microseconds(round % 100);
            auto first = pool.submit(make_work("square", 2));
            auto task = pool.submit(make_work("note", round, notes), how);
            for (std::uint64_t turns = round / 2; turns % 8 != 0; --turns)
                pool.ctx.poll_one();
            pool.ctx.restart();
            if (round % 2 != 0)
                task.cancel();
            outcome<procyard::error_code, answer> got;
            task.async_result(got.handler());
            run_until(pool.ctx, [&] { return got.done(); });
            if (!got.error())
                begun.push_back(std::to_string(round) + " 1");
            CHECK(pool.result(first).number == 4);
        }
        (void)pool.call(make_work("square", 3));
        CHECK(lines_of(notes) == begun);
        MESSAGE(begun.size() << " of 1,000 were begun");
        pool.stop();
    }

    TEST_CASE("a task may be cancelled at any moment between its submission and its handler")
    {
        pooled pool(patient(0), "later");
        pool.must_start();
        for (int round = 0; round < 300; ++round) {
            CAPTURE(round);
            auto task = pool.submit(make_work("wait"));
            auto behind = pool.submit(make_work("square", 3));
            for (int turns = 0; turns < round % 7; ++turns)
                pool.ctx.poll_one();
            pool.ctx.restart();
            task.cancel();
            CHECK(pool.error(task) == asio::error::operation_aborted);
            CHECK(pool.result(behind).number == 9);
        }
        pool.stop();
    }

    TEST_CASE("a run deadline kills what spins, and the slot is filled again (case 31)")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        const auto clock = std::make_shared<procyard::manual_clock>();
        pooled pool(impatient(clock));
        pool.must_start();
        procyard::submit_options how;
        how.run_deadline = 50ms;
        auto task = pool.submit(make_work("spin", 0, notes), how);
        pool.until_lines(notes, 1);
        pass(pool, clock, 50ms);
        CHECK_FALSE(task.is_done());
        pass(pool, clock, grace);
        CHECK(pool.error(task) == pool_errc::run_deadline);
        REQUIRE(task.report().deaths.size() == 1);
        CHECK(task.report().deaths.front()->status->signal() == SIGTERM);
        CHECK(pool.call(make_work("square", 4)).number == 16);
        pool.stop();
    }

    // gunicorn#1493: "timeout" is a heartbeat. Here there are three clocks with three names.
    TEST_CASE("the heartbeat is the worker's own loop: what stands still loses it, what turns or "
              "says so does not (complaint 18)")
    {
        const auto clock = std::make_shared<procyard::manual_clock>();
        temporary_directory place;
        procyard::submit_options how;
        how.heartbeat = 100ms;
        const auto stands_still = [&](pooled& pool, const std::string& name) {
            const auto notes = (place.path() / name).string();
            auto stuck = pool.submit(make_work("spin", 0, notes), how);
            pool.until_lines(notes, 1);
            pass(pool, clock, how.heartbeat / 4);  // when it is seen to have begun
            CHECK_FALSE(stuck.is_done());
            pass(pool, clock, how.heartbeat);
            CHECK(pool.error(stuck) == pool_errc::heartbeat_lost);
        };
        constexpr std::uint64_t beats = 5;
        {
            pooled pool(impatient(clock));
            pool.must_start();
            stands_still(pool, "spins");
            const auto gate = (place.path() / "gate").string();
            std::deque<pool_gate> gates;
            for (std::uint64_t n = 0; n < beats; ++n)
                gates.emplace_back(gate + std::to_string(n));
            auto says_so = pool.submit(make_work("beat", beats, gate), how);
            for (auto& one : gates) {
                pool.until([&] { return one.is_reached() || says_so.is_done(); });
                pass(pool, clock, 90ms);
                CHECK_FALSE(says_so.is_done());
                one.open();
            }
            (void)pool.result(says_so);
            pool.stop();
        }
        auto options = impatient(clock);
        options.tasks_per_worker = 2;
        pooled pool(options, "later");
        pool.must_start();
        const auto notes = (place.path() / "waits").string();
        auto turns = pool.submit(make_work("wait", 0, notes), how);
        pool.until_lines(notes, 1);
        for (std::uint64_t n = 0; n < beats; ++n) {
            pass(pool, clock, 90ms);
            // Behind some beats in the worker's loop, however long that takes.
            (void)pool.call(make_work("for a time", 20));
        }
        CHECK_FALSE(turns.is_done());
        turns.cancel();
        CHECK(pool.error(turns) == asio::error::operation_aborted);
        stands_still(pool, "spins, too");
        pool.stop();
    }

    TEST_CASE("a loop that stands still costs no worker its heartbeat, whatever comes first then")
    {
        for (const bool by_submission : {false, true}) {
            temporary_directory place;
            const auto notes = (place.path() / "notes").string();
            const auto clock = std::make_shared<procyard::manual_clock>();
            auto options = of_workers(3);
            options.clock = clock;
            pooled pool(options, "later");
            pool.must_start();
            const auto before = pool.it->workers();
            procyard::submit_options how;
            how.heartbeat = 100ms;
            std::vector<procyard::pool_task<answer>> tasks;
            for (int n = 0; n < 3; ++n)
                tasks.push_back(pool.submit(make_work("wait", 0, notes), how));
            // They have shown by then that they live.
            pool.stand_still_until_lines(notes, 3);
            clock->advance(300ms);
            if (by_submission)
                tasks.push_back(pool.submit(make_work("wait", 0, notes)));
            pool.ctx.restart();
            pool.ctx.poll();
            for (auto& task : tasks)
                task.cancel();
            for (auto& task : tasks)
                CHECK(pool.error(task) == asio::error::operation_aborted);
            CHECK(pool.it->workers() == before);
            pool.stop();
        }
    }

    TEST_CASE("what was done in time is done, however late the pool looks")
    {
        for (int first = 0; first < 4; ++first) {
            CAPTURE(first);
            temporary_directory place;
            const auto notes = (place.path() / "notes").string();
            const auto clock = std::make_shared<procyard::manual_clock>();
            auto options = of_workers(2);
            options.clock = clock;
            options.prefetch = 2;
            pooled pool(options);
            pool.must_start();
            procyard::submit_options how;
            how.run_deadline = 100ms;
            std::vector<procyard::pool_task<answer>> tasks;
            for (std::uint64_t n = 0; n < 4; ++n)
                tasks.push_back(pool.submit(make_work("square", n), how));
            // What runs behind them: they have been answered when it does.
            for (int n = 0; n < 2; ++n)
                tasks.push_back(pool.submit(make_work("note", 1, notes)));
            pool.stand_still_until_lines(notes, 2);
            clock->advance(300ms);
            procyard::pool_task<answer> more;
            if (first == 0)
                more = pool.submit(make_work("square", 7));
            if (first == 1)
                pool.it->resize(2, 3);
            if (first == 2)
                tasks.pop_back();
            for (auto& task : tasks)
                (void)pool.result(task);
            for (std::uint64_t n = 0; n < 4; ++n)
                CHECK(tasks[n].report().outcome == pool_outcome::done);
            pool.stop();
        }
    }

    TEST_CASE("a queue deadline is for what waits, a run deadline for what runs")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        const auto clock = std::make_shared<procyard::manual_clock>();
        auto options = impatient(clock);
        options.prefetch = 0;
        pooled pool(options);
        pool.must_start();
        auto running = pool.submit(make_work("until cancelled", 0, notes));
        pool.until_lines(notes, 1);
        procyard::submit_options how;
        how.queue_deadline = 20ms;
        auto late = pool.submit(make_work("note", 1, notes), how);
        pass(pool, clock, 20ms - 1ns);
        CHECK_FALSE(late.is_done());
        pass(pool, clock, 1ns);
        CHECK(pool.error(late) == pool_errc::queue_deadline);
        CHECK_FALSE(running.is_done());
        CHECK(lines_of(notes).size() == 1);
        running.cancel();
        CHECK(pool.error(running) == asio::error::operation_aborted);
        how.queue_deadline = std::chrono::nanoseconds::max();
        how.run_deadline = std::chrono::hours(1);
        CHECK(pool.call(make_work("deadline"), how).number == 1);
        CHECK(pool.call(make_work("deadline")).number == 0);
        pool.stop();
    }

    TEST_CASE("what counts as running, and waits behind one that holds its worker's loop, waits no "
              "longer than it may")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pool_gate gate((place.path() / "gate").string());
        const auto clock = std::make_shared<procyard::manual_clock>();
        auto options = of_workers(1);
        options.tasks_per_worker = 2;
        options.prefetch = 0;
        options.clock = clock;
        pooled pool(options);
        pool.must_start();
        const auto before = pool.it->workers();
        procyard::submit_options how;
        how.queue_deadline = 10ms;
        auto running = pool.submit(make_work("gate", 0, gate.path()), how);
        pool.until([&] { return gate.is_reached(); });
        auto late = pool.submit(make_work("note", 1, notes), how);
        CHECK(pool.it->metrics().running == 2);
        clock->advance(10ms);
        CHECK(pool.error(late) == pool_errc::queue_deadline);
        CHECK(late.report().attempts == 0);
        // Nobody is ended for that, however long it takes.
        clock->advance(1h);
        pool.ctx.poll();
        CHECK_FALSE(running.is_done());
        gate.open();
        (void)pool.result(running);
        (void)pool.call(make_work("note", 2, notes));
        CHECK(lines_of(notes) == std::vector<std::string>{"2 1"});
        CHECK(pool.it->workers() == before);
        pool.stop();
    }

    TEST_CASE("the object of a task that is dropped cancels it, a detached one does not")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pooled pool(patient(1));
        pool.must_start();
        {
            const auto dropped = pool.submit(make_work("until cancelled", 0, notes));
            pool.until_lines(notes, 1);
        }
        pool.until_lines(notes, 2);  // it agrees
        pool.submit(make_work("note", 3, notes)).detach();
        pool.until_lines(notes, 3);
        pool.stop();
    }

    TEST_CASE("a pool that is destroyed completes what is pending, and leaves no worker")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pooled pool(of_workers(2));
        pool.must_start();
        std::vector<procyard::pool_task<answer>> tasks;
        std::vector<outcome<procyard::error_code, answer>> results(6);
        for (auto& got : results) {
            tasks.push_back(pool.submit(make_work("until cancelled", 0, notes)));
            tasks.back().async_result(got.handler());
        }
        pool.until_lines(notes, 2);
        pool.it.reset();
        for (const auto& got : results)
            CHECK_MESSAGE(got.count == 0, "completed inside the destructor");
        run(pool.ctx);
        for (auto& got : results) {
            CHECK(got.count == 1);
            CHECK(got.error() == asio::error::operation_aborted);
        }
        CHECK(tasks.front().report().outcome == pool_outcome::stopped);
        CHECK(children() == 0);
    }

    TEST_CASE("a handler may destroy the pool that has called it")
    {
        pooled pool(of_workers(1));
        pool.must_start();
        bool called = false;
        pool.it->async_call(make_work("square", 2), {},
                            [&](procyard::error_code ec, const answer&) {
                                CHECK(!ec);
                                called = true;
                                pool.it.reset();
                            });
        outcome<procyard::error_code, answer> other;
        pool.it->async_call(make_work("square", 3), {}, other.handler());
        run(pool.ctx);
        CHECK(called);
        CHECK(other.count == 1);
        CHECK(children() == 0);
    }

    TEST_CASE("a stop lets tasks run that have time, however long the graces are")
    {
        auto options = of_workers(1);
        options.ask_grace = options.term_grace = std::chrono::nanoseconds::max();
        pooled pool(options, "later");
        pool.must_start();
        auto task = pool.submit(make_work("for a time", 20));
        pool.stop(std::chrono::hours(1));
        CHECK(task.report().outcome == pool_outcome::done);
    }

    TEST_CASE("a stop runs what there is, cancels what takes too long, and kills what is left")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        const auto clock = std::make_shared<procyard::manual_clock>();
        auto options = impatient(clock, 2);
        options.prefetch = 0;  // what waits behind the deaf one would be cancelled with it
        pooled pool(options);
        pool.must_start();
        auto quick = pool.submit(make_work("square", 3));
        auto deaf = pool.submit(make_work("spin deaf", 0, notes));
        pool.until_lines(notes, 1);
        std::vector<procyard::pool_task<answer>> queued;
        for (std::uint64_t n = 0; n < 20; ++n)
            queued.push_back(pool.submit(make_work("square", n)));
        outcome<procyard::error_code> stopped;
        pool.it->async_stop(300ms, stopped.handler());
        outcome<procyard::error_code, procyard::pool_task<answer>> late;
        pool.it->async_submit(make_work("square", 3), {}, late.handler());
        run_until(pool.ctx, [&] { return late.done(); });
        CHECK(late.error() == pool_errc::stopped);
        CHECK(pool.result(quick).number == 9);
        for (std::uint64_t n = 0; n < 20; ++n)
            CHECK(pool.result(queued[n]).number == n * n);
        pass(pool, clock, 300ms - 2 * grace);  // it is asked
        pass(pool, clock, grace);              // SIGTERM
        CHECK_FALSE(deaf.is_done());
        pass(pool, clock, grace);
        CHECK(pool.error(deaf) == pool_errc::stopped);
        run_until(pool.ctx, [&] { return stopped.done(); });
        CHECK(children() == 0);
    }

    TEST_CASE("what is submitted to a pool that stops is told so, whether there is room or not")
    {
        for (const bool is_full : {false, true}) {
            CAPTURE(is_full);
            temporary_directory place;
            pool_gate gate((place.path() / "gate").string());
            auto options = patient(0);
            options.high_water = 1;
            pooled pool(options);
            pool.must_start();
            auto running = pool.submit(make_work("gate", 0, gate.path()));
            pool.until([&] { return gate.is_reached(); });
            procyard::pool_task<answer> queued;
            procyard::error_code ec;
            if (is_full) {
                queued = pool.submit(make_work("square", 3));
                CHECK_FALSE(pool.it->try_submit(make_work("square", 4), {}, ec));
                CHECK(ec == asio::error::would_block);
            }
            outcome<procyard::error_code> stopped;
            pool.it->async_stop(std::chrono::nanoseconds::max(), stopped.handler());
            CHECK_FALSE(pool.it->try_submit(make_work("square", 5), {}, ec));
            CHECK_MESSAGE(ec == pool_errc::stopped, ec.message());
            outcome<procyard::error_code, procyard::pool_task<answer>> late;
            pool.it->async_submit(make_work("square", 6), {}, late.handler());
            run_until(pool.ctx, [&] { return late.done(); });
            CHECK_MESSAGE(late.error() == pool_errc::stopped, late.error().message());
            gate.open();
            run_until(pool.ctx, [&] { return stopped.done(); });
            CHECK(pool.error(running) == procyard::error_code());
            if (is_full)
                CHECK(pool.result(queued).number == 9);
            CHECK_FALSE(pool.it->try_submit(make_work("square", 7), {}, ec));
            CHECK_MESSAGE(ec == pool_errc::stopped, ec.message());
            CHECK(children() == 0);
        }
    }

    TEST_CASE(
        "a start of a pool that stops, or has stopped, is told so, however few workers it needs")
    {
        for (const bool has_stopped : {false, true}) {
            CAPTURE(has_stopped);
            auto options = of_workers(1);
            options.min_workers = 0;
            pooled pool(options);
            pool.must_start();
            auto task = pool.submit(make_work("square", 3));
            outcome<procyard::error_code> stopped;
            pool.it->async_stop(std::chrono::nanoseconds::max(), stopped.handler());
            if (has_stopped)
                run_until(pool.ctx, [&] { return stopped.done(); });
            CHECK(pool.start() == pool_errc::stopped);
            run_until(pool.ctx, [&] { return stopped.done(); });
            CHECK(pool.result(task).number == 9);
        }
    }

    TEST_CASE("who cancels an operation that is over changes nothing of its task")
    {
        temporary_directory place;
        pool_gate gate((place.path() / "gate").string());
        pooled pool(patient(1));
        pool.must_start();
        asio::cancellation_signal first;
        asio::cancellation_signal second;
        outcome<procyard::error_code, procyard::pool_task<answer>> got;
        pool.it->async_submit(make_work("gate", 3, gate.path()), {},
                              asio::bind_cancellation_slot(first.slot(), got.handler()));
        run_until(pool.ctx, [&] { return got.done(); });
        REQUIRE_FALSE(got.error());
        auto task = std::move(got.result());
        pool.until([&] { return gate.is_reached(); });
        first.emit(asio::cancellation_type::terminal);
        outcome<procyard::error_code, answer> left;
        task.async_result(asio::bind_cancellation_slot(second.slot(), left.handler()));
        second.emit(asio::cancellation_type::partial);
        run_until(pool.ctx, [&] { return left.done(); });
        CHECK(left.error() == asio::error::operation_aborted);
        outcome<procyard::error_code, answer> stays;
        task.async_result(stays.handler());
        second.emit(asio::cancellation_type::partial);
        second.emit(asio::cancellation_type::terminal);
        gate.open();
        run_until(pool.ctx, [&] { return stays.done(); });
        CHECK_MESSAGE(!stays.error(), stays.error().message());
        CHECK(task.report().outcome == pool_outcome::done);
        pool.stop();
    }
}
