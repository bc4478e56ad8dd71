// SPDX-License-Identifier: BSL-1.0
// Several messages at once, and the numbers that tell of them.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::channel_errc;
using procyard::error_code;
using procyard_test::drain;
using procyard_test::fill;
using procyard_test::outcome;
using procyard_test::run;

namespace {

struct three_numbers {
    std::uint64_t a;
    std::uint64_t b;
    std::uint64_t c;

    bool operator==(const three_numbers&) const = default;
};

template <class Message>
Message numbered(std::uint64_t n)
{
    if constexpr (std::is_same_v<Message, three_numbers>)
        return {n, ~n, n * 3};
    else
        return static_cast<Message>(n);
}

}  // namespace

TEST_SUITE("channel: batches")
{
    TEST_CASE("send what fits, in order, and say how many (case 9)")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 4});
        const std::array<int, 6> six{0, 1, 2, 3, 4, 5};
        error_code ec;
        CHECK(c.sender.try_send_some(std::span(six).first(3), ec) == 3);
        CHECK_FALSE(ec);
        CHECK(c.sender.try_send_some(std::span(six).subspan(3), ec) == 1);
        CHECK(ec == asio::error::would_block);
        CHECK(c.sender.try_send_some(std::span(six).subspan(4), ec) == 0);
        CHECK(ec == asio::error::would_block);
        std::array<int, 8> got{};
        CHECK(c.receiver.try_receive_some(std::span(got).first(3), ec) == 3);
        CHECK_FALSE(ec);
        CHECK(c.receiver.try_receive_some(std::span(got).subspan(3), ec) == 1);
        CHECK_FALSE(ec);
        CHECK(c.receiver.try_receive_some(got, ec) == 0);
        CHECK(ec == asio::error::would_block);
        CHECK((got[0] == 0 && got[1] == 1 && got[2] == 2 && got[3] == 3));
    }

    // Whose bytes lie as they are in memory are copied several at a time, in two pieces at the end
    // of the ring; others one by one.
    TEST_CASE_TEMPLATE("of every size, from every place of the ring, arrive in order", Message, int,
                       std::uint64_t, three_numbers)
    {
        asio::io_context ctx;
        channel<Message> c(ctx.get_executor(), {.capacity_messages = 8});
        error_code ec;
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        for (std::size_t size = 1; size <= 9; ++size) {
            for (std::size_t place = 0; place < 8; ++place) {
                CAPTURE(size);
                CAPTURE(place);
                while (sent % 8 != place) {
                    REQUIRE(c.sender.try_send(numbered<Message>(sent++), ec));
                    REQUIRE(c.receiver.try_receive() == numbered<Message>(received++));
                }
                std::vector<Message> batch;
                for (std::size_t i = 0; i < size; ++i)
                    batch.push_back(numbered<Message>(sent + i));
                const auto fit = std::min<std::size_t>(size, 8);
                REQUIRE(c.sender.try_send_some(batch, ec) == fit);
                REQUIRE((ec == asio::error::would_block) == (size == 9));
                sent += fit;
                std::vector<Message> got(size + 1);
                REQUIRE(c.receiver.try_receive_some(got, ec) == fit);
                REQUIRE_FALSE(ec);
                for (std::size_t i = 0; i < fit; ++i)
                    REQUIRE(got[i] == numbered<Message>(received++));
                REQUIRE(got[fit] == Message{});
            }
        }
    }

    TEST_CASE("of none do nothing, and say no error")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 1});
        fill(c.sender);
        error_code ec = channel_errc::closed;
        CHECK(c.sender.try_send_some({}, ec) == 0);
        CHECK_FALSE(ec);
        CHECK(c.receiver.try_receive_some({}, ec) == 0);
        CHECK_FALSE(ec);
        CHECK(drain(c.receiver) == 1);
    }

    TEST_CASE("stop before a message that cannot go, with its error (case 9)")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 128});
        const std::array<std::string, 3> three{"first", std::string(1000, 'x'), "third"};
        error_code ec;
        CHECK(c.sender.try_send_some(three, ec) == 1);
        CHECK(ec == channel_errc::too_long);
        std::array<std::string, 3> got;
        CHECK(c.receiver.try_receive_some(got, ec) == 1);
        CHECK(got[0] == "first");
    }

    TEST_CASE("end with the close, when everything has been received")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        CHECK(c.sender.try_send(1));
        c.sender.close();
        std::array<int, 2> got{};
        error_code ec;
        CHECK(c.receiver.try_receive_some(got, ec) == 1);
        CHECK_FALSE(ec);
        CHECK(c.receiver.try_receive_some(got, ec) == 0);
        CHECK(ec == channel_errc::closed);
        CHECK(c.sender.try_send_some(got, ec) == 0);
        CHECK(ec == asio::error::bad_descriptor);
    }

    TEST_CASE("wake a receiver that sleeps, and a sender that waits for room")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 4});
        outcome<error_code, int> received;
        c.receiver.async_receive(received.handler());
        ctx.poll();
        const std::array<int, 4> four{1, 2, 3, 4};
        error_code ec;
        CHECK(c.sender.try_send_some(four, ec) == 4);
        outcome<error_code> sent;
        c.sender.async_send(5, sent.handler());
        run(ctx);
        CHECK(received.result() == 1);
        CHECK_FALSE(sent.error());
        std::array<int, 8> got{};
        CHECK(c.receiver.try_receive_some(got, ec) == 4);
        CHECK(got[3] == 5);
    }
}

TEST_SUITE("channel: statistics")
{
    TEST_CASE("count what has happened, on both sides")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 4});
        fill(c.sender);
        CHECK(c.receiver.try_receive());
        auto sent = c.sender.statistics();
        auto received = c.receiver.statistics();
        CHECK(sent.messages == 4);
        CHECK(received.messages == 1);
        CHECK(sent.depth == 3);
        CHECK(received.depth == 3);
        CHECK(sent.capacity == 4);
        CHECK(received.capacity == 4);
        CHECK(sent.high_water >= 3);
        CHECK(sent.stalls == 0);
        CHECK(sent.rung == 0);

        drain(c.receiver);
        outcome<error_code, int> got;
        c.receiver.async_receive(got.handler());
        ctx.poll();
        CHECK(c.sender.try_send(1));
        run(ctx);
        sent = c.sender.statistics();
        received = c.receiver.statistics();
        CHECK(sent.rung == 1);
        CHECK(sent.depth == 0);
        CHECK(received.messages == 5);
        CHECK(received.stalls == 1);
        CHECK(received.sleeps == 1);
        CHECK(received.woken == 1);
        CHECK(received.spins == 0);
    }

    TEST_CASE("of a full ring: the sender's stalls and its high water")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 4});
        fill(c.sender);
        outcome<error_code> sent;
        c.sender.async_send(1, sent.handler());
        ctx.poll();
        CHECK(drain(c.receiver) == 4);
        run(ctx);
        const auto s = c.sender.statistics();
        CHECK(s.high_water == 4);
        CHECK(s.stalls == 1);
        CHECK(s.messages == 5);
        CHECK(s.depth == 1);
        CHECK(c.receiver.statistics().rung == 1);
    }
}

TEST_SUITE("channel: try, and wait when it would block")
{
    const std::string long_one(40, 'l');  // 56 bytes in the ring
    const std::string short_one(4, 's');  // 16 bytes in the ring
    constexpr procyard::channel_options bytes_64{.capacity_bytes = 64};

    TEST_CASE("writable means that the message goes which was refused before")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), bytes_64);
        for (int i = 0; i < 3; ++i)
            CHECK(c.sender.try_send(short_one));
        CHECK_FALSE(c.sender.try_send(long_one));
        outcome<error_code> writable;
        c.sender.async_wait_writable(writable.handler());
        for (int i = 0; i < 3; ++i) {
            ctx.poll();
            CHECK_FALSE(writable.done());
            CHECK(c.receiver.try_receive() == short_one);
        }
        CHECK_FALSE(c.receiver.try_receive());
        run(ctx);
        CHECK_FALSE(writable.error());
        CHECK(c.sender.try_send(long_one));
        CHECK(c.receiver.try_receive() == long_one);
    }

    TEST_CASE("writable means so once: who sends something shorter does not wait for more")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), bytes_64);
        CHECK(c.sender.try_send(short_one));
        CHECK_FALSE(c.sender.try_send(long_one));
        CHECK(drain(c.receiver) == 1);
        CHECK(c.sender.try_send(short_one));
        outcome<error_code> writable;
        c.sender.async_wait_writable(writable.handler());
        run(ctx);
        CHECK_FALSE(writable.error());
    }

    TEST_CASE("readable means that there is a message, and not the unused end of a ring")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), bytes_64);
        for (int i = 0; i < 3; ++i)
            CHECK(c.sender.try_send(short_one));
        CHECK(drain(c.receiver) == 3);
        CHECK_FALSE(c.sender.try_send(long_one));  // goes to the beginning of the ring
        outcome<error_code> readable;
        c.receiver.async_wait_readable(readable.handler());
        ctx.poll();
        CHECK_FALSE(readable.done());
        CHECK(c.sender.try_send(long_one));
        run(ctx);
        CHECK_FALSE(readable.error());
        CHECK(c.receiver.try_receive() == long_one);
    }
}
