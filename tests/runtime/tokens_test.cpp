// SPDX-License-Identifier: BSL-1.0
// async_wait and async_spawn with every kind of completion token.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;
using namespace asio::experimental::awaitable_operators;

namespace {

command exits(int code)
{
    return helper({"--mode=exit", std::to_string(code)});
}

// GCC 12 cannot compile a braced list within a coroutine.
command sleeps()
{
    return command("sleep", {"1000"});
}

// A coroutine's result, from a test that is none.
template <class T>
T result_of(asio::io_context& ctx, asio::awaitable<T> coroutine)
{
    auto result = asio::co_spawn(ctx, std::move(coroutine), asio::use_future);
    run(ctx);
    return result.get();
}

asio::awaitable<exit_status> by_default_token(asio::any_io_executor ex)
{
    auto c = co_await async_spawn(exits(1), ex);
    co_return co_await c.async_wait();
}

asio::awaitable<exit_status> by_use_awaitable(asio::any_io_executor ex)
{
    auto c = co_await async_spawn(exits(2), ex, asio::use_awaitable);
    co_return co_await c.async_wait(asio::use_awaitable);
}

asio::awaitable<exit_status> by_as_tuple(asio::any_io_executor ex)
{
    auto [failed, none] =
        co_await async_spawn(command("/nope"), ex, asio::as_tuple(asio::use_awaitable));
    CHECK(step_of(failed) == spawn_step::exec);
    CHECK_FALSE(none);
    auto [ec, c] = co_await async_spawn(exits(3), ex, asio::as_tuple(asio::use_awaitable));
    CHECK_FALSE(ec);
    auto [ended, status] = co_await c.async_wait(asio::as_tuple(asio::deferred));
    CHECK_FALSE(ended);
    co_return status;
}

asio::awaitable<exit_status> by_redirect_error(asio::any_io_executor ex)
{
    error_code ec;
    spawn_failure failure;
    (void)co_await async_spawn(command("true").working_directory("/nope"), ex, failure,
                               asio::redirect_error(asio::use_awaitable, ec));
    CHECK(ec == failure.code);
    auto c = co_await async_spawn(exits(4), ex, asio::redirect_error(asio::use_awaitable, ec));
    co_return co_await c.async_wait(asio::redirect_error(asio::use_awaitable, ec));
}

asio::awaitable<std::tuple<exit_status, exit_status>> both(asio::any_io_executor ex)
{
    auto [a, b] = co_await (async_spawn(exits(5), ex, asio::use_awaitable)
                            && async_spawn(exits(6), ex, asio::use_awaitable));
    co_return co_await (a.async_wait(asio::use_awaitable) && b.async_wait(asio::use_awaitable));
}

// The time limit is the timer's, not the wait's.
asio::awaitable<exit_status> first_of_two(asio::any_io_executor ex)
{
    auto c = co_await async_spawn(sleeps(), ex, asio::use_awaitable);
    asio::steady_timer limit(ex, std::chrono::milliseconds(1));
    auto winner =
        co_await (c.async_wait(asio::use_awaitable) || limit.async_wait(asio::use_awaitable));
    CHECK(winner.index() == 1);
    c.kill();
    asio::steady_timer never(ex, std::chrono::hours(1));
    auto second =
        co_await (c.async_wait(asio::use_awaitable) || never.async_wait(asio::use_awaitable));
    CHECK(second.index() == 0);
    co_return std::get<0>(second);
}

asio::awaitable<int> throwing(asio::any_io_executor ex)
{
    try {
        (void)co_await async_spawn(command("/nope"), ex, asio::use_awaitable);
    } catch (const boost::system::system_error& error) {
        CHECK(error.code() == boost::system::errc::no_such_file_or_directory);
        co_return 1;
    }
    co_return 0;
}

}  // namespace

TEST_SUITE("completion tokens")
{
    TEST_CASE("a callback, on a strand")
    {
        asio::io_context ctx;
        const auto strand = asio::make_strand(ctx);
        exit_status status;
        async_spawn(exits(9), strand, [&](error_code ec, child spawned) {
            CHECK_FALSE(ec);
            CHECK(strand.running_in_this_thread());
            auto c = std::make_shared<child>(std::move(spawned));
            c->async_wait([&, c](error_code, exit_status got) {
                CHECK(strand.running_in_this_thread());
                status = got;
            });
        });
        run(ctx);
        CHECK(status == exit_status::exited(9));
    }

    TEST_CASE("use_future, from another thread")
    {
        asio::io_context ctx;
        auto work = asio::make_work_guard(ctx);
        std::thread loop([&] { ctx.run(); });
        auto c = async_spawn(exits(8), ctx.get_executor(), asio::use_future).get();
        CHECK(c.async_wait(asio::use_future).get() == exit_status::exited(8));
        auto failed = async_spawn(command("/nope"), ctx.get_executor(), asio::use_future);
        // The exception is looked at when the other thread is gone: both let go of it, and the
        // count that decides who deletes it is in libstdc++, where ThreadSanitizer does not see it.
        work.reset();
        loop.join();
        CHECK_THROWS_AS(failed.get(), boost::system::system_error);
    }

    TEST_CASE("deferred starts nothing until it is asked to")
    {
        asio::io_context ctx;
        auto later = async_spawn(exits(7), ctx.get_executor(), asio::deferred);
        run(ctx);
        outcome<error_code, child> spawned;
        std::move(later)(spawned.handler());
        run_until(ctx, [&] { return spawned.done(); });
        auto wait_later = spawned.result().async_wait(asio::deferred);
        outcome<error_code, exit_status> got;
        std::move(wait_later)(got.handler());
        run(ctx);
        CHECK(got.result() == exit_status::exited(7));
    }

    TEST_CASE("detached and dropped: nothing is left")
    {
        asio::io_context ctx;
        async_spawn(sleeps(), ctx.get_executor(), asio::detached);
        run(ctx);
        CHECK(children() == 0);
    }

    TEST_CASE("in coroutines: the default, use_awaitable, as_tuple, redirect_error, exceptions")
    {
        asio::io_context ctx;
        const auto ex = ctx.get_executor();
        CHECK(result_of(ctx, by_default_token(ex)) == exit_status::exited(1));
        CHECK(result_of(ctx, by_use_awaitable(ex)) == exit_status::exited(2));
        CHECK(result_of(ctx, by_as_tuple(ex)) == exit_status::exited(3));
        CHECK(result_of(ctx, by_redirect_error(ex)) == exit_status::exited(4));
        CHECK(result_of(ctx, throwing(ex)) == 1);
    }

    TEST_CASE("with awaitable operators: both, and the first of two")
    {
        asio::io_context ctx;
        const auto [a, b] = result_of(ctx, both(ctx.get_executor()));
        CHECK(a == exit_status::exited(5));
        CHECK(b == exit_status::exited(6));
        CHECK(result_of(ctx, first_of_two(ctx.get_executor())) == exit_status::signaled(SIGKILL));
    }
}
