// SPDX-License-Identifier: BSL-1.0
// Workers that lie, in each place where the pool believes something.
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pool_fixture.hpp"

using namespace procyard_test;
using namespace std::chrono_literals;
using procyard::pool_errc;

namespace {

procyard::command liar(const std::string& lie)
{
    return procyard::command(PROCYARD_POOL_LIAR).env("POOL_TEST_LIE", lie);
}

procyard::pool_options quick()
{
    auto options = of_workers(1);
    options.term_grace = options.ask_grace = 50ms;
    return options;
}

bool contains(std::string_view text, std::string_view part)
{
    return text.find(part) != std::string_view::npos;
}

}  // namespace

TEST_SUITE("process_pool: hostile workers")
{
    TEST_CASE("a hello that is not as it should be is told, and the worker does not become ready")
    {
        const std::vector<std::pair<const char*, const char*>> lies{
            {"no record", "has not sent its record"},
            {"record too large", "has not sent its record"},
            {"record too small", "has not sent its record"},
            {"record is no memory", "has not sent its record"},
            {"other version", "version 99"},
            {"description is none", "description of a request is none"},
            {"hello is none", "broke the protocol: sent a hello that is none"},
            {"answers first", "broke the protocol: answered before it said hello"},
        };
        for (const auto& [lie, told] : lies) {
            CAPTURE(lie);
            pooled pool(quick(), "work", liar(lie));
            CHECK(pool.start() == pool_errc::not_ready);
            CHECK_MESSAGE(contains(pool.it->explanation(), told), pool.it->explanation());
            pool.stop(0ns);
        }
    }

    TEST_CASE("a long reason is told in part, in one line")
    {
        pooled pool(quick(), "work", liar("not ready, at length"));
        CHECK(pool.start() == pool_errc::not_ready);
        CHECK(pool.it->explanation().size() < 3000);
        CHECK_FALSE(contains(pool.it->explanation(), "\n"));
        pool.stop(0ns);
    }

    TEST_CASE("one that says nothing is ended after the time it has")
    {
        const auto clock = std::make_shared<procyard::manual_clock>();
        auto options = quick();
        options.start_timeout = 50ms;
        options.clock = clock;
        pooled pool(options, "work", liar("silent"));
        outcome<procyard::error_code> started;
        pool.it->async_start(started.handler());
        pool.until([&] { return !pool.it->workers().empty(); });
        clock->advance(50ms - 1ns);
        pool.ctx.restart();
        pool.ctx.poll();
        CHECK_FALSE(started.done());
        clock->advance(1ns);
        run_until(pool.ctx, [&] { return started.done(); });
        CHECK(started.error() == pool_errc::not_ready);
        CHECK_MESSAGE(contains(pool.it->explanation(), "not ready in time"),
                      pool.it->explanation());
        pool.stop(0ns);
    }

    TEST_CASE("one that is gone without a word is told of at once")
    {
        auto options = quick();
        options.clock = std::make_shared<procyard::manual_clock>();  // no time passes
        pooled pool(options, "work", liar("gone"));
        CHECK(pool.start() == pool_errc::not_ready);
        CHECK_MESSAGE(contains(pool.it->explanation(), "it ended before it was ready"),
                      pool.it->explanation());
        pool.stop(0ns);
    }

    TEST_CASE("an answer that no honest worker gives ends the worker, and is in explanation()")
    {
        for (const auto* const lie :
             {"wrong number", "wrong attempt", "cancelled unasked", "an item", "end of a stream",
              "unknown kind", "the pool's kind", "short record"}) {
            CAPTURE(lie);
            pooled pool(quick(), "work", liar(lie));
            pool.must_start();
            const auto before = pool.it->workers();
            // It has begun nothing, as far as its record says: so it is tried again, twice.
            auto task = pool.submit(make_work("square", 1));
            pool.until([&] { return contains(pool.it->explanation(), "it broke the protocol"); });
            CHECK(pool.it->workers() != before);
            CHECK(pool.error(task) == pool_errc::poisoned);
            CHECK(task.report().deaths.size() == 3);
            pool.stop(0ns);
        }
    }

    TEST_CASE("a task that workers die of when they receive it is poisoned, idempotent or not "
              "(complaint 15)")
    {
        for (const bool idempotent : {false, true}) {
            CAPTURE(idempotent);
            pooled pool(quick(), "work", liar("dies of it"));
            pool.must_start();
            procyard::submit_options how;
            how.idempotent = idempotent;
            auto task = pool.submit(make_work("square", 1), how);
            CHECK(pool.error(task) == pool_errc::poisoned);
            REQUIRE(task.report().deaths.size() == 3);
            for (const auto& death : task.report().deaths)
                CHECK(death->status->signal() == SIGKILL);
            const auto said = task.report().to_string();
            CHECK_MESSAGE(contains(said, "poisoned before it was begun, after 3 deaths"), said);
            pool.stop(0ns);
        }
    }

    TEST_CASE("a stream that workers die of when they receive it is poisoned, not cut off")
    {
        pooled pool(quick(), "work", liar("dies of it"));
        pool.must_start();
        outcome<procyard::error_code, procyard::pool_stream<answer>> submitted;
        pool.it->async_submit_stream(make_work("square", 1), {}, submitted.handler());
        run_until(pool.ctx, [&] { return submitted.done(); });
        auto stream = std::move(submitted.result());
        outcome<procyard::error_code, answer> item;
        stream.async_next(item.handler());
        run_until(pool.ctx, [&] { return item.done(); });
        CHECK(item.error() == pool_errc::poisoned);
        CHECK(stream.report().attempts == 0);
        pool.stop(0ns);
    }

    TEST_CASE("an answer that comes twice ends the worker, and counts once")
    {
        pooled pool(quick(), "work", liar("answers twice"));
        pool.must_start();
        const auto before = pool.it->workers();
        (void)pool.call(make_work("square", 1));
        pool.until([&] { return pool.it->workers() != before; });
        (void)pool.call(make_work("square", 1));
        pool.stop(0ns);
    }

    TEST_CASE("a response that cannot be decoded fails its task")
    {
        pooled pool(quick(), "work", liar("undecodable"));
        pool.must_start();
        auto task = pool.submit(make_work("square", 1));
        CHECK(pool.error(task) == pool_errc::bad_message);
        CHECK_MESSAGE(contains(task.report().text, "no response"), task.report().text);
        pool.stop(0ns);
    }

    // A channel of 4096 bytes has room for a hundred records.
    TEST_CASE("one that gives items behind a bad one, and takes nothing, takes no memory for their "
              "credits")
    {
        auto options = of_workers(1);
        options.term_grace = options.ask_grace = 1h;
        options.channels.capacity_bytes = 4096;
        pooled pool(options, "work", liar("floods"));
        pool.must_start();
        outcome<procyard::error_code, procyard::pool_stream<answer>> submitted;
        pool.it->async_submit_stream(make_work("items", 1), {}, submitted.handler());
        run_until(pool.ctx, [&] { return submitted.done(); });
        auto stream = std::move(submitted.result());
        outcome<procyard::error_code, answer> item;
        stream.async_next(item.handler());
        run_until(pool.ctx, [&] { return item.done(); });
        CHECK(item.error() == pool_errc::bad_message);
        const auto& records = stream.report().text;
        REQUIRE_FALSE(records.empty());
        REQUIRE_MESSAGE(records.find_first_not_of("0123456789") == std::string::npos, records);
        CHECK_MESSAGE(std::stoul(records) < 500, records);
        pool.stop();
    }

    TEST_CASE("what its record says of the tasks that it has begun is clamped to what it had")
    {
        pooled pool(quick(), "work", liar("begun much"));
        pool.must_start();
        auto first = pool.submit(make_work("square", 1));
        CHECK(pool.error(first) == pool_errc::worker_died);
        pool.stop(0ns);
    }

    TEST_CASE("a task that is on its way to one that says it has begun it is not blamed")
    {
        auto options = quick();
        options.channels.capacity_bytes = 4096;
        pooled pool(options, "work", liar("begun much"));
        pool.must_start();
        auto first = pool.submit(make_work("square", 1));
        const auto second = pool.submit(make_work("length", 0, std::string(200'000, 'r')));
        CHECK(pool.error(first) == pool_errc::worker_died);
        CHECK_FALSE(second.is_done());
        pool.stop(0ns);
    }

    TEST_CASE("one that closes its channel and lives on is killed")
    {
        pooled pool(quick(), "work", liar("closes and lives"));
        pool.must_start();
        const auto before = pool.it->workers();
        REQUIRE(before.size() == 1);
        pool.until([&] { return !is_alive(before.front()); });
        pool.stop(0ns);
    }

    TEST_CASE("one that closes its channel before its hello and lives on is told")
    {
        pooled pool(quick(), "work", liar("closes at once"));
        CHECK(pool.start() == pool_errc::not_ready);
        CHECK_MESSAGE(contains(pool.it->explanation(), "has closed its channel"),
                      pool.it->explanation());
        pool.stop(0ns);
    }

    // The second one answers what is still being sent to it, after the first one has done so.
    TEST_CASE("an answer to a task that is still on its way ends each worker that gives it")
    {
        auto options = quick();
        options.min_workers = options.max_workers = 2;
        options.channels.capacity_bytes = 4096;
        pooled pool(options, "work", liar("answers early"));
        pool.must_start();
        const auto task = pool.submit(make_work("length", 0, std::string(200'000, 'r')));
        // One after the other: of three at least two have it.
        auto all = pool.it->workers();
        for (std::size_t n = 0; n < 3 && !task.is_done(); ++n) {
            const auto lost = pool.it->metrics().workers_lost;
            (void)::kill(all[n], SIGUSR1);
            pool.until([&] { return task.is_done() || pool.it->metrics().workers_lost > lost; });
            pool.until([&] { return pool.it->metrics().idle + pool.it->metrics().busy == 2; });
            for (const auto pid : pool.it->workers()) {
                if (std::find(all.begin(), all.end(), pid) == all.end())
                    all.push_back(pid);
            }
        }
        CHECK_MESSAGE(!task.is_done(), task.report().to_string());
        pool.stop(0ns);
    }

    TEST_CASE("workers that are too many before they are ready are no failed start")
    {
        auto options = quick();
        options.min_workers = options.max_workers = 3;
        pooled pool(options, "work", liar("silent"));
        outcome<procyard::error_code> started;
        pool.it->async_start(started.handler());
        pool.until([&] { return pool.it->workers().size() == 3; });
        pool.it->resize(1, 1);
        pool.until([&] { return pool.it->workers().size() == 1; });
        pool.ctx.restart();
        pool.ctx.poll();
        CHECK_FALSE(started.done());
        CHECK_MESSAGE(pool.it->explanation().empty(), pool.it->explanation());
        pool.stop(0ns);
    }

    TEST_CASE("one that says hello twice is ended")
    {
        pooled pool(quick(), "work", liar("hello twice"));
        pool.must_start();
        const auto before = pool.it->workers();
        pool.until([&] { return pool.it->workers() != before; });
        pool.stop(0ns);
    }
}
