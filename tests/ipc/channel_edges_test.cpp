// SPDX-License-Identifier: BSL-1.0
// Where a channel's parts meet: codecs that throw, ends that have failed, loans after the end,
// copies of the process, and messages that are laid out in an unusual way.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using namespace procyard;
using procyard_test::outcome;
using procyard_test::run;

namespace {

/// A string whose codec does as it is told.
struct moody {
    std::string text;
};

enum class mood { good, throws, refuses };
mood when_encoding = mood::good;
mood when_decoding = mood::good;

}  // namespace

template <>
struct procyard::codec<moody> {
    static constexpr std::string_view layout = "moody";
    static std::size_t size(const moody& m) noexcept { return encoded_size(m.text); }
    static void encode(const moody& m, encoder& out)
    {
        if (when_encoding == mood::throws && m.text == "bad")
            throw std::bad_alloc();
        out.put(m.text);
    }
    static bool decode(decoder& in, moody& m)
    {
        if (when_decoding == mood::throws)
            throw std::bad_alloc();
        return in.get(m.text) && when_decoding == mood::good;
    }
};

namespace {

struct moods {
    moods(mood encoding, mood decoding)
    {
        when_encoding = encoding;
        when_decoding = decoding;
    }
    moods(const moods&) = delete;
    moods& operator=(const moods&) = delete;
    ~moods() { when_encoding = when_decoding = mood::good; }
};

struct alignas(64) line {
    std::array<std::uint64_t, 8> words;
};

error_code send_error(sender<std::string>& tx, const std::string& text)
{
    error_code ec;
    (void)tx.try_send(text, ec);
    return ec;
}

}  // namespace

TEST_SUITE("channel: codecs that throw")
{
    TEST_CASE("in the middle of a batch: what was written before is sent")
    {
        asio::io_context ctx;
        channel<moody> c(ctx.get_executor());
        const std::vector<moody> messages{{"one"}, {"two"}, {"bad"}, {"four"}};
        const moods now(mood::throws, mood::good);
        error_code ec;
        CHECK_THROWS_AS((void)c.sender.try_send_some(messages, ec), std::bad_alloc);
        CHECK(c.sender.statistics().messages == 2);
        CHECK(c.receiver.try_receive()->text == "one");
        CHECK(c.receiver.try_receive()->text == "two");
        CHECK_FALSE(c.receiver.try_receive());
    }

    TEST_CASE("in the middle of async_send_all: it says how many have gone")
    {
        asio::io_context ctx;
        channel<moody> c(ctx.get_executor());
        const moods now(mood::throws, mood::good);
        outcome<error_code, std::size_t> sent;
        c.sender.async_send_all(std::vector<moody>{{"one"}, {"bad"}}, sent.handler());
        run(ctx);
        CHECK(sent.error() == boost::system::errc::not_enough_memory);
        CHECK(sent.result() == 1);
        c.sender.close();
        CHECK(c.receiver.try_receive()->text == "one");
    }

    TEST_CASE("when decoding: the message is still there")
    {
        asio::io_context ctx;
        channel<moody> c(ctx.get_executor());
        CHECK(c.sender.try_send({"one"}));
        CHECK(c.sender.try_send({"two"}));
        {
            const moods now(mood::good, mood::throws);
            outcome<error_code, moody> received;
            c.receiver.async_receive(received.handler());
            run(ctx);
            CHECK(received.error() == boost::system::errc::not_enough_memory);
        }
        CHECK(c.receiver.try_receive()->text == "one");
        CHECK(c.receiver.try_receive()->text == "two");
    }
}

TEST_SUITE("channel: an end that has failed")
{
    TEST_CASE("does not let an honest peer wait for it")
    {
        asio::io_context ctx;
        channel<moody> c(ctx.get_executor(), {.capacity_bytes = 64});
        (void)procyard_test::fill(c.sender, moody{"x"});
        outcome<error_code> sent;
        c.sender.async_send({"more"}, sent.handler());
        ctx.poll();
        CHECK_FALSE(sent.done());
        const moods now(mood::good, mood::refuses);
        error_code ec;
        moody message;
        CHECK_FALSE(c.receiver.try_receive(message, ec));
        CHECK(ec == channel_errc::bad_message);
        CHECK(c.receiver.failure() == channel_errc::bad_message);
        run(ctx);
        CHECK(sent.error() == channel_errc::closed);
    }

    TEST_CASE("has failed for good, whatever room there is")
    {
        asio::io_context ctx;
        auto ends = make_channel<std::string>({.capacity_bytes = 128});
        sender<std::string> tx(ctx.get_executor(), std::move(ends.sender));
        {
            receiver<std::string> rx(ctx.get_executor(), std::move(ends.receiver));
            CHECK_FALSE(send_error(tx, std::string(60, 'x')));
        }
        CHECK(send_error(tx, std::string(60, 'x')) == channel_errc::closed);
        CHECK(send_error(tx, "y") == channel_errc::closed);
        CHECK_FALSE(tx.is_open());
    }

    TEST_CASE("a loan that is committed after the close was never promised to anybody")
    {
        asio::io_context ctx;
        channel<line> c(ctx.get_executor());
        error_code ec;
        auto loan = c.sender.try_loan(1, ec);
        REQUIRE(loan);
        c.sender.close();
        CHECK_FALSE(loan.commit());
        line message{};
        CHECK_FALSE(c.receiver.try_receive(message, ec));
        CHECK(ec == channel_errc::closed);
    }
}

TEST_SUITE("channel: copies of the process")
{
    TEST_CASE("a copy that unwinds disturbs nobody")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        const int result = procyard_test::in_fork([&] {
            {
                auto sender = std::move(c.sender);
                auto receiver = std::move(c.receiver);
            }
            return 0;
        });
        CHECK(result == 0);
        CHECK(c.sender.try_send(7));
        outcome<error_code, int> received;
        c.receiver.async_receive(received.handler());
        run(ctx);
        CHECK(received.result() == 7);
    }

    TEST_CASE("a batch that a copy gives back is still lent in the original")
    {
        asio::io_context ctx;
        channel<std::uint64_t> c(ctx.get_executor(), {.capacity_messages = 2});
        error_code ec;
        {
            const auto before = c.sender.try_loan(1, ec);
        }  // has asked for the process before
        REQUIRE(c.sender.try_send(1));
        REQUIRE(c.sender.try_send(2));
        auto batch = c.receiver.try_receive_batch(ec);
        REQUIRE(batch.in_place().size() == 2);
        const int result = procyard_test::in_fork([&] {
            batch = {};
            return 0;
        });
        CHECK(result == 0);
        CHECK_FALSE(c.sender.try_send(3));
        batch = {};
        CHECK(c.sender.try_send(3));
    }
}

TEST_SUITE("channel: unusual messages and places")
{
    TEST_CASE("messages that are aligned to a line are, wherever they lie")
    {
        asio::io_context ctx;
        channel<line> c(ctx.get_executor(), {.capacity_messages = 2});
        for (std::uint64_t n = 0; n < 10; ++n) {
            outcome<error_code> sent;
            line message{};
            message.words.fill(n);
            c.sender.async_send(message, sent.handler());
            outcome<error_code, line> received;
            c.receiver.async_receive(received.handler());
            run(ctx);
            CHECK_FALSE(sent.error());
            REQUIRE_FALSE(received.error());
            CHECK(received.result().words[7] == n);
        }
    }

    TEST_CASE("across users it is sockets that wake, in both directions")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 1, .across_users = true});
        for (int n = 0; n < 100; ++n) {
            outcome<error_code, int> received;
            c.receiver.async_receive(received.handler());
            ctx.restart();
            ctx.poll();
            CHECK_FALSE(received.done());
            CHECK(c.sender.try_send(n));
            outcome<error_code> second;
            c.sender.async_send(-1, second.handler());
            procyard_test::run_until(ctx, [&] { return received.done() && second.done(); });
            CHECK(received.result() == n);
            CHECK_FALSE(second.error());
            CHECK(c.receiver.try_receive() == -1);
        }
        outcome<error_code, int> last;
        c.receiver.async_receive(last.handler());
        ctx.restart();
        ctx.poll();
        c.sender.close();
        run(ctx);
        CHECK(last.error() == channel_errc::closed);
    }
}
