// SPDX-License-Identifier: BSL-1.0
// How an end begins and ends, within one process: closing, moving, the peer that has not come.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard_test::outcome;
using procyard_test::run;

namespace {

const error_code aborted = asio::error::operation_aborted;
const error_code bad_descriptor = asio::error::bad_descriptor;

constexpr procyard::channel_options two_messages{.capacity_messages = 2};

error_code try_send_error(sender<int>& s)
{
    error_code ec;
    CHECK_FALSE(s.try_send(1, ec));
    return ec;
}

error_code try_receive_error(receiver<int>& r)
{
    error_code ec;
    int n = 0;
    CHECK_FALSE(r.try_receive(n, ec));
    return ec;
}

error_code send_error(asio::io_context& ctx, sender<int>& s)
{
    outcome<error_code> sent;
    s.async_send(1, sent.handler());
    run(ctx);
    return sent.error();
}

error_code receive_error(asio::io_context& ctx, receiver<int>& r)
{
    outcome<error_code, int> received;
    r.async_receive(received.handler());
    run(ctx);
    return received.error();
}

}  // namespace

TEST_SUITE("channel end: close")
{
    TEST_CASE("of the sender: everything is received, and then it is closed, for ever")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        for (const int n : {1, 2, 3})
            CHECK(c.sender.try_send(n));
        c.sender.close();
        CHECK(c.receiver.try_receive() == 1);
        outcome<error_code, int> received;
        c.receiver.async_receive(received.handler());
        run(ctx);
        CHECK(received.result() == 2);
        CHECK(c.receiver.try_receive() == 3);
        for (int i = 0; i < 3; ++i) {
            CHECK(try_receive_error(c.receiver) == channel_errc::closed);
            CHECK(receive_error(ctx, c.receiver) == channel_errc::closed);
        }
        outcome<error_code> readable;
        c.receiver.async_wait_readable(readable.handler());
        run(ctx);
        CHECK(readable.error() == channel_errc::closed);
        CHECK_FALSE(c.receiver.is_open());
        CHECK(c.receiver.failure() == channel_errc::closed);
    }

    TEST_CASE("of the sender: whoever waits hears of it")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        outcome<error_code, int> first;
        outcome<error_code> second;
        c.receiver.async_receive(first.handler());
        c.receiver.async_wait_readable(second.handler());
        ctx.poll();
        c.sender.close();
        run(ctx);
        CHECK(first.error() == channel_errc::closed);
        CHECK(second.error() == channel_errc::closed);
    }

    TEST_CASE("of the receiver: the sender is told at once, and when it waits (case 26)")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), two_messages);
        procyard_test::fill(c.sender);
        outcome<error_code> first;
        outcome<error_code> second;
        c.sender.async_send(1, first.handler());
        c.sender.async_wait_writable(second.handler());
        ctx.poll();
        c.receiver.close();
        run(ctx);
        CHECK(first.error() == channel_errc::closed);
        CHECK(second.error() == channel_errc::closed);
        CHECK(try_send_error(c.sender) == channel_errc::closed);
        CHECK(send_error(ctx, c.sender) == channel_errc::closed);
    }

    TEST_CASE("of the receiver of a ring with room: the sender is told at once")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        c.receiver.close();
        CHECK(try_send_error(c.sender) == channel_errc::closed);
        CHECK(send_error(ctx, c.sender) == channel_errc::closed);
    }

    TEST_CASE("makes every call on this end fail, and a second one does nothing")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        c.sender.close();
        c.sender.close();
        c.sender.cancel();
        CHECK_FALSE(c.sender.is_open());
        CHECK(try_send_error(c.sender) == bad_descriptor);
        CHECK(send_error(ctx, c.sender) == bad_descriptor);
        c.receiver.close();
        CHECK(try_receive_error(c.receiver) == bad_descriptor);
        CHECK(receive_error(ctx, c.receiver) == bad_descriptor);
    }

    TEST_CASE("before the peer has opened its end: it receives everything, and then the close")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>();
        {
            sender<int> s(ctx.get_executor(), std::move(ends.sender));
            CHECK(s.try_send(1));
            CHECK(s.try_send(2));
        }
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(r.try_receive() == 1);
        CHECK(r.try_receive() == 2);
        CHECK(receive_error(ctx, r) == channel_errc::closed);
    }

    TEST_CASE("of a receiver before the sender has opened: the sender is told")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>();
        {
            const receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        }
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        CHECK(try_send_error(s) == channel_errc::closed);
    }

    TEST_CASE("in a handler, and destruction of both ends in a handler")
    {
        asio::io_context ctx;
        std::optional<channel<int>> c(ctx.get_executor());
        outcome<error_code, int> second;
        c->receiver.async_receive([&](error_code, int) {
            c->receiver.close();
            c->receiver.async_receive([&](error_code ec, int) {
                CHECK(ec == bad_descriptor);
                c.reset();
            });
        });
        c->receiver.async_receive(second.handler());
        CHECK(c->sender.try_send(1));
        run(ctx);
        CHECK(second.error() == aborted);
        CHECK_FALSE(c);
    }
}

TEST_SUITE("channel end: move")
{
    TEST_CASE("what is pending goes on, and the new object is the end")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        outcome<error_code, int> received;
        c.receiver.async_receive(received.handler());
        ctx.poll();
        receiver<int> r(std::move(c.receiver));
        CHECK_FALSE(c.receiver.is_open());
        CHECK_FALSE(c.receiver.is_connected());
        CHECK(c.receiver.statistics() == procyard::channel_statistics{});
        CHECK(c.receiver.explanation().empty());
        c.receiver.close();
        c.receiver.cancel();
        CHECK(r.is_open());
        CHECK(c.sender.try_send(1));
        run(ctx);
        CHECK(received.result() == 1);
    }

    TEST_CASE("assignment closes what was there; to itself it does nothing")
    {
        asio::io_context ctx;
        channel<int> a(ctx.get_executor());
        channel<int> b(ctx.get_executor());
        auto& same = a.receiver;
        a.receiver = std::move(same);
        CHECK(a.receiver.is_open());
        outcome<error_code, int> pending;
        a.receiver.async_receive(pending.handler());
        a.receiver = std::move(b.receiver);
        run(ctx);
        CHECK(pending.error() == aborted);
        CHECK(try_send_error(a.sender) == channel_errc::closed);
        CHECK(b.sender.try_send(2));
        CHECK(a.receiver.try_receive() == 2);
    }

    TEST_CASE("an end made by the default constructor, or of none, is not open")
    {
        asio::io_context ctx;
        sender<int> none;
        none.close();
        CHECK_FALSE(none.is_open());
        error_code ec;
        const sender<int> of_none(ctx.get_executor(), {}, ec);
        CHECK(ec == bad_descriptor);
        CHECK_FALSE(of_none.is_open());
        CHECK_THROWS_WITH_AS(receiver<int>(ctx.get_executor(), {}),
                             doctest::Contains("open channel of i32"), boost::system::system_error);
    }
}

TEST_SUITE("channel end: handlers")
{
    TEST_CASE("an exception of a handler leaves run(), and what waits goes on")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        c.receiver.async_receive([](error_code, int) { throw std::runtime_error("handler"); });
        outcome<error_code, int> second;
        c.receiver.async_receive(second.handler());
        ctx.poll();
        CHECK(c.sender.try_send(1));
        CHECK(c.sender.try_send(2));
        CHECK_THROWS_AS(ctx.run_for(procyard_test::deadlock_guard), std::runtime_error);
        run(ctx);
        CHECK(second.result() == 2);
    }

    TEST_CASE("ends that belong to their own operations go down with the io_context (case 27)")
    {
        auto alive = std::make_shared<int>(0);
        for (const bool connected : {false, true}) {
            std::optional<asio::io_context> ctx(std::in_place);
            auto ends = make_channel<int>(two_messages);
            auto other = make_channel<int>();
            asio::co_spawn(
                *ctx,
                [](sender<int> s, std::shared_ptr<int>) -> asio::awaitable<void> {
                    for (;;)
                        co_await s.async_send(1, asio::use_awaitable);
                }(sender<int>(ctx->get_executor(), std::move(ends.sender)), alive),
                asio::detached);
            asio::co_spawn(
                *ctx,
                [](receiver<int> r, std::shared_ptr<int>) -> asio::awaitable<void> {
                    co_await r.async_wait_readable(asio::use_awaitable);
                }(receiver<int>(ctx->get_executor(), std::move(other.receiver)), alive),
                asio::detached);
            std::optional<receiver<int>> r;
            if (connected)
                r.emplace(ctx->get_executor(), std::move(ends.receiver));
            ctx->poll();
            r.reset();
            ctx.reset();
        }
        CHECK(alive.use_count() == 1);
    }
}
