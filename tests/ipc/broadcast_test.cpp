// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/broadcast.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::broadcaster;
using procyard::channel_errc;
using procyard::error_code;
using procyard::slow_reader;
using procyard::subscriber;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::run_coroutine;

namespace {

// All that is there now, losses included; the error that ended it.
template <class T>
error_code drain(subscriber<T>& from, std::vector<T>& into)
{
    for (;;) {
        T message{};
        error_code ec;
        if (from.try_receive(message, ec))
            into.push_back(std::move(message));
        else if (ec != channel_errc::lapped || !from.is_open())
            return ec;
    }
}

std::vector<int> numbers(int from, int to)
{
    std::vector<int> made(static_cast<std::size_t>(to - from));
    std::iota(made.begin(), made.end(), from);
    return made;
}

}  // namespace

TEST_SUITE("broadcast")
{
    TEST_CASE("every subscriber gets every message, in order")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 16});
        subscriber<int> one(ctx.get_executor(), b.subscribe());
        subscriber<int> two(ctx.get_executor(), b.subscribe());
        for (int n = 0; n < 10; ++n)
            CHECK(b.try_send(n));
        std::vector<int> first;
        std::vector<int> second;
        CHECK(drain(one, first) == asio::error::would_block);
        CHECK(drain(two, second) == asio::error::would_block);
        CHECK(first == numbers(0, 10));
        CHECK(second == numbers(0, 10));
        CHECK(b.readers() == 2);
    }

    TEST_CASE("of different lengths: the same")
    {
        asio::io_context ctx;
        broadcaster<std::string> b(ctx.get_executor(), {.capacity_bytes = 1024});
        subscriber<std::string> s(ctx.get_executor(),
                                  b.subscribe({.when_slow = slow_reader::holds_back}));
        std::uint64_t received = 0;
        for (int n = 0; n < 1000; ++n) {
            const std::string sent(static_cast<std::size_t>(n % 237),
                                   static_cast<char>('a' + n % 26));
            REQUIRE(b.try_send(sent));
            std::string got;
            error_code ec;
            REQUIRE(s.try_receive(got, ec));
            CHECK(got == sent);
            ++received;
        }
        CHECK(received == 1000);
        CHECK(s.lost() == 0);
    }

    TEST_CASE("a waiting subscriber is woken")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor());
        subscriber<int> s(ctx.get_executor(), b.subscribe());
        outcome<error_code, int> got;
        s.async_receive(got.handler());
        ctx.poll();
        CHECK(!got.done());
        CHECK(b.try_send(7));
        run(ctx);
        CHECK(got.error() == error_code());
        CHECK(got.result() == 7);
        CHECK(b.statistics().rung == 1);
    }

    TEST_CASE("one that is too slow learns how many it has lost, and goes on with the oldest")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 8});
        subscriber<int> s(ctx.get_executor(), b.subscribe());
        for (int n = 0; n < 20; ++n)
            CHECK(b.try_send(n));
        int got = -1;
        error_code ec;
        CHECK(!s.try_receive(got, ec));
        CHECK(ec == channel_errc::lapped);
        CHECK(s.lost() == 12);
        std::vector<int> rest;
        CHECK(drain(s, rest) == asio::error::would_block);
        CHECK(rest == numbers(12, 20));
        CHECK(s.lost() == 12);
    }

    TEST_CASE("one that holds back makes the writer wait, and loses nothing")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 4});
        subscriber<int> s(ctx.get_executor(), b.subscribe({.when_slow = slow_reader::holds_back}));
        subscriber<int> quick(ctx.get_executor(), b.subscribe());
        for (int n = 0; n < 4; ++n)
            CHECK(b.try_send(n));
        error_code ec;
        CHECK(!b.try_send(4, ec));
        CHECK(ec == asio::error::would_block);
        outcome<error_code> sent;
        b.async_send(4, sent.handler());
        ctx.poll();
        CHECK(!sent.done());
        std::vector<int> got;
        CHECK(drain(quick, got) == asio::error::would_block);
        ctx.restart();
        ctx.poll();
        CHECK(!sent.done());
        CHECK(s.try_receive() == 0);
        run(ctx);
        CHECK(sent.error() == error_code());
        got.clear();
        CHECK(drain(s, got) == asio::error::would_block);
        CHECK(got == numbers(1, 5));
        CHECK(s.lost() == 0);
    }

    TEST_CASE("one that is dropped is told what it has lost, and that is its end")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 4});
        subscriber<int> s(ctx.get_executor(), b.subscribe({.when_slow = slow_reader::is_dropped}));
        for (int n = 0; n < 7; ++n)
            CHECK(b.try_send(n));
        int got = -1;
        error_code ec;
        CHECK(!s.try_receive(got, ec));
        CHECK(ec == channel_errc::lapped);
        CHECK(s.lost() == 3);
        CHECK(!s.try_receive(got, ec));
        CHECK(ec == channel_errc::lapped);
        CHECK(s.lost() == 3);
        CHECK(!s.is_open());
        CHECK(b.readers() == 0);
    }

    TEST_CASE("a late joiner gets the last k, or what is there")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 8});
        const auto joined = [&](std::size_t history) {
            subscriber<int> s(ctx.get_executor(), b.subscribe({.history = history}));
            std::vector<int> got;
            CHECK(drain(s, got) == asio::error::would_block);
            CHECK(s.lost() == 0);
            return got;
        };
        CHECK(joined(3).empty());
        for (int n = 0; n < 5; ++n)
            CHECK(b.try_send(n));
        CHECK(joined(0).empty());
        CHECK(joined(3) == numbers(2, 5));
        CHECK(joined(100) == numbers(0, 5));
        for (int n = 5; n < 21; ++n)
            CHECK(b.try_send(n));
        CHECK(joined(8) == numbers(13, 21));
        CHECK(joined(100) == numbers(13, 21));
    }

    TEST_CASE("several at once: what there is room for, and what is there, in one step")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 8});
        subscriber<int> s(ctx.get_executor(), b.subscribe({.when_slow = slow_reader::holds_back}));
        const auto sent = numbers(0, 20);
        error_code ec;
        CHECK(b.try_send_some(sent, ec) == 8);
        CHECK(ec == asio::error::would_block);
        std::vector<int> got(5);
        CHECK(s.try_receive_some(got, ec) == 5);
        CHECK(!ec);
        CHECK(got == numbers(0, 5));
        CHECK(b.try_send_some(std::span(sent).subspan(8), ec) == 5);
        got.resize(20);
        CHECK(s.try_receive_some(got, ec) == 8);
        CHECK(!ec);
        CHECK(s.try_receive_some(got, ec) == 0);
        CHECK(ec == asio::error::would_block);
        outcome<error_code> sent_later;
        b.async_send(20, sent_later.handler());
        run(ctx);
        CHECK(s.try_receive() == 20);
    }

    TEST_CASE("several at once, more than are kept: woken once, and the loss is told")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 8});
        subscriber<int> s(ctx.get_executor(), b.subscribe());
        outcome<error_code> readable;
        s.async_wait_readable(readable.handler());
        ctx.poll();
        const auto sent = numbers(0, 30);
        error_code ec;
        CHECK(b.try_send_some(sent, ec) == 30);
        CHECK(!ec);
        CHECK(b.statistics().rung == 1);
        run(ctx);
        std::vector<int> got(30);
        CHECK(s.try_receive_some(got, ec) == 0);
        CHECK(ec == channel_errc::lapped);
        CHECK(s.lost() == 22);
        CHECK(s.try_receive_some(got, ec) == 8);
        CHECK(!ec);
        got.resize(8);
        CHECK(got == numbers(22, 30));
    }

    TEST_CASE("statistics: messages and units, of those that are kept, are there, or are lost")
    {
        asio::io_context ctx;
        broadcaster<int> cells(ctx.get_executor(), {.capacity_messages = 8});
        subscriber<int> number(ctx.get_executor(), cells.subscribe());
        for (int n = 0; n < 20; ++n)
            CHECK(cells.try_send(n));
        CHECK(cells.statistics().messages == 20);
        CHECK(cells.statistics().depth == 8);
        CHECK(cells.statistics().used == 8);
        CHECK_FALSE(number.try_receive());
        CHECK(number.try_receive() == 12);
        CHECK(number.statistics().messages == 1);
        CHECK(number.statistics().dropped == 12);
        CHECK(number.statistics().depth == 7);
        CHECK(number.statistics().used == 7);

        broadcaster<std::string> records(ctx.get_executor(), {.capacity_bytes = 256});
        subscriber<std::string> text(ctx.get_executor(), records.subscribe());
        const std::string five(5, 'x');
        for (int n = 0; n < 3; ++n)
            CHECK(records.try_send(five));
        CHECK(records.statistics().depth == 3);
        CHECK(text.statistics().depth == 3);
        CHECK(text.statistics().used == records.statistics().used);
        CHECK(text.try_receive() == five);
        CHECK(text.statistics().depth == 2);
        for (int n = 0; n < 100; ++n)  // with paddings between them, and over the end of the ring
            CHECK(records.try_send(std::string(static_cast<std::size_t>(n % 30), 'y')));
        const auto there = records.statistics().depth;
        CHECK(there < 103);
        CHECK_FALSE(text.try_receive());
        CHECK(text.statistics().depth == there);
        CHECK(text.statistics().dropped == 102 - there);
        std::vector<std::string> rest;
        CHECK(drain(text, rest) == asio::error::would_block);
        CHECK(rest.size() == there);
        CHECK(text.statistics().depth == 0);
        CHECK(text.statistics().used == 0);
    }

    TEST_CASE("spinning: a round trip without a sleep, and one that is in vain ends in one")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.spin = std::chrono::microseconds(10)});
        auto end = b.subscribe({.spin = std::chrono::microseconds(10)});
        CHECK(end.options().spin == std::chrono::microseconds(10));
        subscriber<int> s(ctx.get_executor(), std::move(end));
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (int n = 0; n < 100; ++n) {
                co_await b.async_send(n);
                CHECK(co_await s.async_receive() == n);
            }
        });
        outcome<error_code, int> got;
        s.async_receive(got.handler());
        ctx.restart();
        ctx.poll();
        CHECK(!got.done());
        CHECK(s.statistics().sleeps == 1);
        CHECK(b.try_send(7));
        run(ctx);
        CHECK(got.result() == 7);
    }

    TEST_CASE("across users, with sockets for doorbells: both sides are woken, and hear of the end")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 2});
        subscriber<int> s(
            ctx.get_executor(),
            b.subscribe({.when_slow = slow_reader::holds_back, .across_users = true}));
        outcome<error_code, int> got;
        s.async_receive(got.handler());
        ctx.poll();
        CHECK(b.try_send(1));
        run(ctx);
        CHECK(got.result() == 1);
        while (b.try_send(2)) { }
        outcome<error_code> sent;
        b.async_send(3, sent.handler());
        ctx.restart();
        ctx.poll();
        CHECK(!sent.done());
        CHECK(s.try_receive() == 2);
        run(ctx);
        CHECK(sent.error() == error_code());
        s.close();
        CHECK(b.readers() == 0);
    }

    TEST_CASE("moved ends go on; one that was never opened has nothing to close")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor());
        subscriber<int> s(ctx.get_executor(), b.subscribe());
        outcome<error_code, int> got;
        s.async_receive(got.handler());
        broadcaster<int> moved(std::move(b));
        subscriber<int> other;
        CHECK(!other.is_open());
        other = std::move(s);
        ctx.poll();
        CHECK(moved.try_send(1));
        run(ctx);
        CHECK(got.result() == 1);
        CHECK(other.is_open());
        CHECK(other.lost() == 0);
        other = subscriber<int>();
        CHECK(moved.readers() == 0);
        broadcaster<int> none;
        none.close();
        CHECK(none.readers() == 0);
        CHECK(none.statistics() == procyard::channel_statistics{});
    }

    TEST_CASE("its errors have a sentence, and a condition to compare with")
    {
        const error_code lapped = channel_errc::lapped;
        const error_code full = channel_errc::too_many_subscribers;
        CHECK(lapped == boost::system::errc::no_buffer_space);
        CHECK(full == boost::system::errc::too_many_links);
        CHECK(lapped.message() == "messages were lost, since they were not received in time");
        CHECK(full.message() == "the broadcast has as many subscribers as there can be");
    }

    TEST_CASE("closed: what was sent first, then the error")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor());
        subscriber<int> s(ctx.get_executor(), b.subscribe());
        auto late = b.subscribe({.history = 1});
        CHECK(b.try_send(1));
        b.close();
        std::vector<int> got;
        CHECK(drain(s, got) == channel_errc::closed);
        CHECK(got == numbers(1, 2));
        subscriber<int> opened_late(ctx.get_executor(), std::move(late));
        got.clear();
        CHECK(drain(opened_late, got) == channel_errc::closed);
        CHECK(got == numbers(1, 2));
        error_code ec;
        CHECK(!b.try_send(2, ec));
        CHECK(ec == asio::error::bad_descriptor);
    }

    TEST_CASE("a waiting subscriber hears that the writer has closed")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor());
        subscriber<int> s(ctx.get_executor(), b.subscribe());
        outcome<error_code, int> got;
        s.async_receive(got.handler());
        ctx.poll();
        b.close();
        run(ctx);
        CHECK(got.error() == channel_errc::closed);
    }

    TEST_CASE("whoever looks at the bells meanwhile takes no wake-up from a send that waits")
    {
        const std::vector<void (*)(broadcaster<int>&)> looks{
            [](broadcaster<int>& b) { CHECK(b.readers() == 1); },
            [](broadcaster<int>& b) { (void)b.subscribe(); },
            [](broadcaster<int>& b) {
                CHECK(b.try_send(4));  // goes ahead, and takes the room
                CHECK(!b.try_send(5));
            },
        };
        for (std::size_t n = 0; n < looks.size(); ++n) {
            CAPTURE(n);
            asio::io_context ctx;
            broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 2});
            subscriber<int> s(ctx.get_executor(),
                              b.subscribe({.when_slow = slow_reader::holds_back}));
            CHECK(b.try_send(1));
            CHECK(b.try_send(2));
            outcome<error_code> sent;
            b.async_send(3, sent.handler());
            ctx.poll();
            CHECK(s.try_receive() == 1);  // and has rung
            looks[n](b);
            ctx.restart();
            ctx.poll();
            CHECK(s.try_receive() == 2);
            run(ctx);
            CHECK(sent.count == 1);
        }
    }

    TEST_CASE("one that has rung as it went is not counted any more")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 2});
        outcome<error_code> sent;
        {
            const subscriber<int> s(ctx.get_executor(),
                                    b.subscribe({.when_slow = slow_reader::holds_back}));
            CHECK(b.try_send(1));
            CHECK(b.try_send(2));
            b.async_send(3, sent.handler());
            ctx.poll();
            CHECK(!sent.done());
        }
        CHECK(b.readers() == 0);
        run(ctx);
        CHECK(!sent.error());
    }

    TEST_CASE("a waiting writer hears that the one that held it back has closed")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 2});
        subscriber<int> s(ctx.get_executor(), b.subscribe({.when_slow = slow_reader::holds_back}));
        auto unopened = b.subscribe({.when_slow = slow_reader::holds_back});
        CHECK(b.try_send(0));
        CHECK(b.try_send(1));
        outcome<error_code> sent;
        b.async_send(2, sent.handler());
        ctx.poll();
        s.close();
        ctx.restart();
        ctx.poll();
        CHECK(!sent.done());
        unopened = {};
        run(ctx);
        CHECK(sent.error() == error_code());
        CHECK(b.readers() == 0);
    }
}
