// SPDX-License-Identifier: BSL-1.0
// The channel's operations under each kind of completion token.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <future>
#include <string>
#include <type_traits>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::run_coroutine;

static_assert(std::is_nothrow_move_constructible_v<procyard::sender<int>>);
static_assert(std::is_nothrow_move_assignable_v<procyard::receiver<int>>);
static_assert(!std::is_copy_constructible_v<procyard::sender<int>>);

TEST_SUITE("channel tokens")
{
    TEST_CASE("callback")
    {
        asio::io_context ctx;
        auto [sender, receiver] = procyard::channel<int>(ctx.get_executor());
        outcome<error_code> writable;
        outcome<error_code> sent;
        outcome<error_code> readable;
        outcome<error_code, int> received;
        sender.async_wait_writable(writable.handler());
        sender.async_send(5, sent.handler());
        receiver.async_wait_readable(readable.handler());
        receiver.async_receive(received.handler());
        run(ctx);
        CHECK_FALSE(writable.error());
        CHECK_FALSE(sent.error());
        CHECK_FALSE(readable.error());
        CHECK_FALSE(received.error());
        CHECK(received.result() == 5);
    }

    TEST_CASE("use_future")
    {
        asio::io_context ctx;
        auto [sender, receiver] = procyard::channel<std::string>(ctx.get_executor());
        auto writable = sender.async_wait_writable(asio::use_future);
        auto sent = sender.async_send("text", asio::use_future);
        auto readable = receiver.async_wait_readable(asio::use_future);
        auto received = receiver.async_receive(asio::use_future);
        auto end = receiver.async_receive(asio::use_future);
        procyard_test::run_until(ctx, [&] {
            return received.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
        });
        CHECK(received.get() == "text");
        sender.close();
        run(ctx);
        writable.get();
        sent.get();
        readable.get();
        CHECK_THROWS_AS(end.get(), boost::system::system_error);
    }

    TEST_CASE("the default, as_tuple, redirect_error and use_awaitable in a coroutine")
    {
        asio::io_context ctx;
        procyard::channel<int> channel(ctx.get_executor());
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            auto& [sender, receiver] = channel;
            co_await sender.async_wait_writable();
            co_await sender.async_send(1);
            co_await receiver.async_wait_readable();
            CHECK(co_await receiver.async_receive() == 1);

            co_await sender.async_send(2, asio::use_awaitable);
            const auto [ec, n] = co_await receiver.async_receive(asio::as_tuple(asio::deferred));
            CHECK_FALSE(ec);
            CHECK(n == 2);

            sender.close();
            error_code end;
            co_await receiver.async_receive(asio::redirect_error(asio::use_awaitable, end));
            CHECK(end == channel_errc::closed);
            CHECK_THROWS_AS(co_await receiver.async_receive(), boost::system::system_error);
        });
    }

    TEST_CASE("a deferred operation starts when it is called, and outlives a move of its end")
    {
        asio::io_context ctx;
        auto [sender, receiver] = procyard::channel<int>(ctx.get_executor());
        auto later = receiver.async_receive(asio::deferred);
        auto send_later = sender.async_send(3, asio::deferred);
        auto moved_receiver = std::move(receiver);
        auto moved_sender = std::move(sender);
        run(ctx);
        CHECK_FALSE(moved_receiver.try_receive());
        outcome<error_code, int> received;
        outcome<error_code> sent;
        std::move(later)(received.handler());
        std::move(send_later)(sent.handler());
        run(ctx);
        CHECK(received.result() == 3);
        CHECK_FALSE(sent.error());
    }

    TEST_CASE("awaitable operators")
    {
        using namespace asio::experimental::awaitable_operators;
        asio::io_context ctx;
        procyard::channel<int> channel(ctx.get_executor());
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            auto& [sender, receiver] = channel;
            const auto n = co_await (receiver.async_receive(asio::use_awaitable)
                                     && sender.async_send(4, asio::use_awaitable));
            CHECK(n == 4);
            const auto first = co_await (receiver.async_receive(asio::use_awaitable)
                                         || sender.async_wait_writable(asio::use_awaitable));
            CHECK(first.index() == 1);
            co_await sender.async_send(5);
            CHECK(co_await receiver.async_receive() == 5);
        });
    }

    TEST_CASE("executors of other types serve as well")
    {
        asio::io_context ctx;
        procyard::channel<int> channel(asio::make_strand(ctx));
        asio::co_spawn(
            asio::make_strand(ctx),
            [&]() -> asio::awaitable<void> {
                co_await channel.sender.async_send(6);
                CHECK(co_await channel.receiver.async_receive() == 6);
            },
            [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        run(ctx);
    }

    TEST_CASE("a message that can only be moved from the operation arrives whole")
    {
        asio::io_context ctx;
        auto [sender, receiver] = procyard::channel<std::vector<std::string>>(ctx.get_executor());
        outcome<error_code, std::vector<std::string>> received;
        receiver.async_receive(received.handler());
        outcome<error_code> sent;
        sender.async_send({"one", std::string(1000, 'x'), ""}, sent.handler());
        run(ctx);
        CHECK(received.result() == std::vector<std::string>{"one", std::string(1000, 'x'), ""});
    }
}
