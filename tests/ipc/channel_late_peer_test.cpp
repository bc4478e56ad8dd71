// SPDX-License-Identifier: BSL-1.0
// An end whose peer has not come: comes late, while this side does something else, or never.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>

#include <optional>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard_test::outcome;
using procyard_test::run;

namespace {

constexpr procyard::channel_options two_messages{.capacity_messages = 2};

error_code try_send_error(sender<int>& s)
{
    error_code ec;
    CHECK_FALSE(s.try_send(1, ec));
    return ec;
}

}  // namespace

TEST_SUITE("channel end: the peer that has not come")
{
    TEST_CASE("a sender fills its ring, waits, and all of it arrives")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>(two_messages);
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        CHECK_FALSE(s.is_connected());
        CHECK(procyard_test::fill(s, 1) == 2);
        outcome<error_code> third;
        outcome<error_code> fourth;
        s.async_send(3, third.handler());
        s.async_send(4, fourth.handler());
        ctx.poll();
        CHECK_FALSE(third.done());
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        for (const int expected : {1, 1, 3, 4}) {
            outcome<error_code, int> received;
            r.async_receive(received.handler());
            procyard_test::run_until(ctx, [&] { return received.done(); });
            CHECK(received.result() == expected);
        }
        run(ctx);
        CHECK_FALSE(third.error());
        CHECK_FALSE(fourth.error());
        CHECK(s.is_connected());
    }

    TEST_CASE("a receiver waits for it")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>();
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        outcome<error_code, int> received;
        r.async_receive(received.handler());
        ctx.poll();
        CHECK_FALSE(r.is_connected());
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        ctx.poll();
        CHECK(r.is_connected());
        CHECK_FALSE(received.done());
        CHECK(s.try_send(5));
        run(ctx);
        CHECK(received.result() == 5);
    }

    TEST_CASE("comes and sleeps while the sender does something else: the next message wakes it")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>();
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        CHECK(s.try_send(1));
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(r.try_receive() == 1);
        outcome<error_code, int> received;
        r.async_receive(received.handler());
        ctx.poll();
        REQUIRE_FALSE(s.is_connected());  // has not looked since
        CHECK(s.try_send(2));
        CHECK(s.is_connected());
        run(ctx);
        CHECK(received.result() == 2);
    }

    TEST_CASE("comes, fills the ring and sleeps while the receiver does something else")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>(two_messages);
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        procyard_test::fill(s);
        outcome<error_code> sent;
        s.async_send(1, sent.handler());
        ctx.poll();
        CHECK_FALSE(sent.done());
        CHECK(r.try_receive());
        run(ctx);
        CHECK_FALSE(sent.error());
    }

    TEST_CASE("never comes: an unopened end that is destroyed is a peer that has died")
    {
        for (const bool before : {true, false}) {
            CAPTURE(before);
            asio::io_context ctx;
            auto a = make_channel<int>(two_messages);
            auto b = make_channel<int>();
            if (before) {
                a.receiver = {};
                b.sender = {};
            }
            sender<int> s(ctx.get_executor(), std::move(a.sender));
            receiver<int> r(ctx.get_executor(), std::move(b.receiver));
            outcome<error_code, int> received;
            r.async_receive(received.handler());
            if (!before) {
                procyard_test::fill(s);
                outcome<error_code> sent;
                s.async_send(1, sent.handler());
                ctx.poll();
                a.receiver = {};
                b.sender = {};
                run(ctx);
                CHECK(sent.error() == channel_errc::peer_died);
            }
            run(ctx);
            CHECK(received.error() == channel_errc::peer_died);
            CHECK_FALSE(r.explanation().empty());
            CHECK(try_send_error(s) == channel_errc::peer_died);
            CHECK_FALSE(s.is_open());
        }
    }

    TEST_CASE("a half-used channel without its io_context running is destroyed in any order")
    {
        asio::io_context ctx;
        auto ends = make_channel<std::string>();
        std::optional<sender<std::string>> s(std::in_place, ctx.get_executor(),
                                             std::move(ends.sender));
        std::optional<receiver<std::string>> r(std::in_place, ctx.get_executor(),
                                               std::move(ends.receiver));
        s->async_send("x", [](error_code) { });
        r->async_receive([](error_code, const std::string&) { });
        s.reset();
        r.reset();
        run(ctx);
    }
}
