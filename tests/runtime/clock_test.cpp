// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/clock.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "operation_contract.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;
using procyard::error_code;
using procyard::manual_clock;
using procyard::steady_timer_clock;

namespace {

/// For the contract of operation_contract.hpp. There is no way to make a wait for time fail at
/// once.
struct wait_for_time {
    explicit wait_for_time(asio::io_context& ctx) : ex(ctx.get_executor()) { }
    template <class Token>
    void start(Token&& token)
    {
        clock->async_wait_until(ex, due, std::forward<Token>(token));
    }
    void satisfy() { clock->advance(1h); }
    void destroy() { clock.reset(); }

    asio::any_io_executor ex;
    std::shared_ptr<manual_clock> clock = std::make_shared<manual_clock>();
    manual_clock::time_point due = clock->after(1h);
};

}  // namespace

TEST_SUITE("async_wait_until")
{
    TEST_CASE("succeeds in a later turn, and waits until it can")
    {
        procyard_test::check_success<wait_for_time>();
        procyard_test::check_success_after_a_wait<wait_for_time>();
    }

    TEST_CASE("cancelled, it has done nothing")
    {
        using type = asio::cancellation_type;
        for (const auto each : {type::terminal, type::partial, type::total}) {
            procyard_test::check_cancellation<wait_for_time>(each, false);
            procyard_test::check_cancellation<wait_for_time>(each, true);
        }
    }

    TEST_CASE("completes with operation_aborted when its clock is destroyed")
    {
        procyard_test::check_destruction<wait_for_time>(false);
        procyard_test::check_destruction<wait_for_time>(true);
    }

    TEST_CASE("runs its handler on the handler's executor")
    {
        procyard_test::check_other_executor<wait_for_time>();
    }

    TEST_CASE("goes down with its io_context without a call")
    {
        procyard_test::check_context_destruction<wait_for_time>(false);
        procyard_test::check_context_destruction<wait_for_time>(true);
    }
}

TEST_SUITE("manual_clock")
{
    TEST_CASE("a wait completes when the clock is moved past it, and not before")
    {
        asio::io_context ctx;
        manual_clock clock;
        int fired = 0;
        clock.async_wait_for(ctx.get_executor(), 5s, [&](error_code ec) {
            CHECK_FALSE(ec);
            ++fired;
        });
        CHECK(clock.pending() == 1);
        CHECK(clock.advance(4999ms) == 0);
        ctx.poll();
        CHECK(fired == 0);
        CHECK(clock.advance(1ms) == 1);
        CHECK(fired == 0);  // posted, never inline
        REQUIRE(ctx.run_for(5s) > 0);
        CHECK(fired == 1);
        CHECK(clock.pending() == 0);
    }

    TEST_CASE("a time that has passed completes at once, but not inside the call")
    {
        asio::io_context ctx;
        manual_clock clock(manual_clock::time_point(1h));
        bool fired = false;
        clock.async_wait_until(ctx.get_executor(), clock.now() - 1s, [&](error_code ec) {
            CHECK_FALSE(ec);
            fired = true;
        });
        CHECK_FALSE(fired);
        REQUIRE(ctx.run_for(5s) > 0);
        CHECK(fired);
    }

    TEST_CASE("due waits fire in the order of their times, equal ones in the order of their start")
    {
        asio::io_context ctx;
        manual_clock clock;
        std::vector<int> order;
        const auto wait = [&](auto delay, int name) {
            clock.async_wait_for(ctx.get_executor(), delay,
                                 [&order, name](error_code) { order.push_back(name); });
        };
        wait(3s, 3);
        wait(1s, 1);
        wait(2s, 20);
        wait(2s, 21);
        wait(9s, 9);
        CHECK(clock.advance(3s) == 4);
        ctx.poll();
        CHECK(order == std::vector{1, 20, 21, 3});
        CHECK(clock.pending() == 1);
        CHECK(clock.advance_to_next() == 1);
        CHECK(clock.now() == manual_clock::time_point(9s));
        CHECK(clock.advance_to_next() == 0);
    }

    TEST_CASE("a wait for ever is never due and does not overflow")
    {
        asio::io_context ctx;
        manual_clock clock(manual_clock::time_point(1h));
        asio::cancellation_signal signal;
        clock.async_wait_for(ctx.get_executor(), manual_clock::duration::max(),
                             asio::bind_cancellation_slot(signal.slot(), [](error_code) { }));
        CHECK(clock.advance(24h * 365 * 100) == 0);
        CHECK(clock.next() == manual_clock::time_point::max());
        signal.emit(asio::cancellation_type::total);
        ctx.poll();
        CHECK(clock.pending() == 0);
    }

    TEST_CASE("cancelling one wait ends it with operation_aborted and leaves the others")
    {
        asio::io_context ctx;
        manual_clock clock;
        asio::cancellation_signal signal;
        error_code cancelled;
        error_code other = asio::error::would_block;
        clock.async_wait_for(
            ctx.get_executor(), 1s,
            asio::bind_cancellation_slot(signal.slot(), [&](error_code ec) { cancelled = ec; }));
        clock.async_wait_for(ctx.get_executor(), 1s, [&](error_code ec) { other = ec; });
        signal.emit(asio::cancellation_type::terminal);
        CHECK(clock.pending() == 1);
        CHECK_FALSE(cancelled);
        ctx.poll();
        CHECK(cancelled == asio::error::operation_aborted);
        SUBCASE("a second cancellation finds nothing")
        {
            signal.emit(asio::cancellation_type::terminal);
        }
        clock.advance(1s);
        ctx.poll();
        CHECK_FALSE(other);
    }

    TEST_CASE("a cancellation after the wait has fired is too late")
    {
        asio::io_context ctx;
        manual_clock clock;
        asio::cancellation_signal signal;
        error_code result = asio::error::would_block;
        clock.async_wait_for(
            ctx.get_executor(), 1s,
            asio::bind_cancellation_slot(signal.slot(), [&](error_code ec) { result = ec; }));
        clock.advance(1s);
        signal.emit(asio::cancellation_type::total);
        ctx.poll();
        CHECK_FALSE(result);
    }

    TEST_CASE("a pending wait keeps run() from returning")
    {
        asio::io_context ctx;
        manual_clock clock;
        bool fired = false;
        clock.async_wait_for(ctx.get_executor(), 1s, [&](error_code) { fired = true; });
        std::thread mover([&] { clock.advance(1s); });
        ctx.run();
        mover.join();
        CHECK(fired);
    }

    TEST_CASE("destroying the context drops its pending waits")
    {
        manual_clock clock;
        const auto token = std::make_shared<int>(0);
        {
            asio::io_context other;
            clock.async_wait_for(other.get_executor(), 2s, [](error_code) { });
            {
                asio::io_context ctx;
                clock.async_wait_for(ctx.get_executor(), 1s, [token](error_code) {
                    FAIL("the handler of a destroyed context ran");
                });
                CHECK(token.use_count() == 2);
            }
            CHECK(token.use_count() == 1);
            CHECK(clock.pending() == 1);
        }
        CHECK(clock.pending() == 0);
        clock.advance(1h);
    }

    TEST_CASE("destroying the clock completes its waits with operation_aborted")
    {
        asio::io_context ctx;
        error_code result;
        {
            manual_clock clock;
            clock.async_wait_for(ctx.get_executor(), 1s, [&](error_code ec) { result = ec; });
        }
        ctx.poll();
        CHECK(result == asio::error::operation_aborted);
    }

    TEST_CASE("the handler runs on its own executor")
    {
        asio::io_context io;
        asio::io_context other;
        manual_clock clock;
        bool fired = false;
        clock.async_wait_for(io.get_executor(), 1s, asio::bind_executor(other, [&](error_code) {
                                 fired = true;
                                 CHECK(other.get_executor().running_in_this_thread());
                             }));
        CHECK(other.poll() == 0);
        CHECK_FALSE(other.stopped());  // outstanding work over there, too
        clock.advance(1s);
        io.poll();
        CHECK_FALSE(fired);
        REQUIRE(other.run_for(5s) > 0);
        CHECK(fired);
    }

    TEST_CASE("works with coroutines and futures")
    {
        asio::io_context ctx;
        manual_clock clock;
        auto future = clock.async_wait_for(ctx.get_executor(), 1s, asio::use_future);
        auto task = asio::co_spawn(
            ctx,
            [](manual_clock& c) -> asio::awaitable<void> {
                const auto ex = co_await asio::this_coro::executor;
                co_await c.async_wait_for(ex, 1s);  // the default token
                co_await c.async_wait_for(ex, 1s, asio::use_awaitable);
            }(clock),
            asio::use_future);
        for (int step = 0; step < 2; ++step) {
            ctx.poll();
            clock.advance(1s);
        }
        ctx.poll();
        CHECK(future.wait_for(0s) == std::future_status::ready);
        CHECK(task.wait_for(0s) == std::future_status::ready);
    }

    TEST_CASE("may be used from many threads at once")
    {
        asio::thread_pool pool(2);
        manual_clock clock;
        std::atomic<int> fired = 0;
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&] {
                for (int i = 0; i < 500; ++i) {
                    clock.async_wait_for(pool.get_executor(), std::chrono::nanoseconds(i % 7),
                                         [&](error_code) { ++fired; });
                    clock.advance(1ns);
                }
            });
        }
        for (auto& thread : threads)
            thread.join();
        clock.advance(1s);
        pool.join();
        CHECK(fired == 2000);
    }
}

TEST_SUITE("steady_timer_clock")
{
    TEST_CASE("waits by the machine's time")
    {
        asio::io_context ctx;
        const auto clock = steady_timer_clock();
        const auto begin = clock->now();
        bool fired = false;
        clock->async_wait_for(ctx.get_executor(), 1ms, [&](error_code ec) {
            CHECK_FALSE(ec);
            fired = true;
        });
        REQUIRE(ctx.run_for(5s) > 0);
        CHECK(fired);
        CHECK(clock->now() - begin >= 1ms);
    }

    TEST_CASE("a cancellation that comes after the end does nothing")
    {
        asio::io_context ctx;
        asio::cancellation_signal signal;
        int calls = 0;
        steady_timer_clock()->async_wait_for(
            ctx.get_executor(), 1ms,
            asio::bind_cancellation_slot(signal.slot(), [&](error_code) { ++calls; }));
        REQUIRE(ctx.run_for(5s) > 0);
        signal.emit(asio::cancellation_type::terminal);
        CHECK(calls == 1);
    }

    TEST_CASE("a wait for ever can be cancelled")
    {
        asio::io_context ctx;
        asio::cancellation_signal signal;
        error_code result;
        const auto clock = steady_timer_clock();
        clock->async_wait_for(
            ctx.get_executor(), procyard::timer_clock::duration::max(),
            asio::bind_cancellation_slot(signal.slot(), [&](error_code ec) { result = ec; }));
        ctx.poll();
        signal.emit(asio::cancellation_type::partial);
        REQUIRE(ctx.run_for(5s) > 0);
        CHECK(result == asio::error::operation_aborted);
    }

    TEST_CASE("destroying the context drops the wait")
    {
        const auto token = std::make_shared<int>(0);
        {
            asio::io_context ctx;
            steady_timer_clock()->async_wait_for(ctx.get_executor(), 1h, [token](error_code) { });
            CHECK(token.use_count() == 2);
        }
        CHECK(token.use_count() == 1);
    }
}
