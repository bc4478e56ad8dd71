// SPDX-License-Identifier: BSL-1.0
// What a cancellation leaves behind, byte by byte.
#include <procyard/ipc/framed.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/socket_base.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "framed_fixture.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::framed;
using procyard::framed_errc;
using procyard_test::frame_of;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::socket_type;
using procyard_test::sockets;
using cancellation = asio::cancellation_type;
using link_type = framed<socket_type&, std::string>;

namespace {

// A message that no socket takes in one piece.
const std::string large(3'000'000, 'L');

struct large_send {
    large_send() : pair(ctx), link(pair.here, {.max_message_bytes = 4'000'000})
    {
        link.async_send(large, asio::bind_cancellation_slot(signal.slot(), sent.handler()));
        ctx.poll();
        REQUIRE_FALSE(sent.done());
    }
    // All that comes while the loop runs, until nothing comes any more.
    std::vector<std::byte> read_all()
    {
        std::vector<std::byte> all;
        for (;;) {
            ctx.restart();
            ctx.poll();
            const auto part = pair.drain();
            if (part.empty())
                return all;
            all.insert(all.end(), part.begin(), part.end());
        }
    }

    asio::io_context ctx;
    sockets pair;
    link_type link;
    asio::cancellation_signal signal;
    outcome<error_code> sent;
};

std::vector<std::byte> frame_of_large()
{
    error_code ec;
    return procyard::detail::make_frame(large, large.size() + 4, {}, ec);
}

struct unsendable { };

}  // namespace

template <>
struct procyard::codec<unsendable> {
    static std::size_t size(const unsendable&) noexcept { return 0; }
    static void encode(const unsendable&, procyard::encoder& out) { out.fail(); }
    static bool decode(procyard::decoder&, unsendable&) { return false; }
};

TEST_SUITE("framed")
{
    TEST_CASE("a receive that is cancelled keeps the bytes that had come")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        link_type link(pair.here);
        const auto frame = frame_of(std::string("text"));
        for (std::size_t n = 0; n < frame.size(); ++n) {
            pair.put({frame[n]});
            if (n + 1 == frame.size())
                break;
            asio::cancellation_signal signal;
            outcome<error_code, std::string> got;
            link.async_receive(asio::bind_cancellation_slot(signal.slot(), got.handler()));
            ctx.restart();
            ctx.poll();
            signal.emit(cancellation::total);
            run(ctx);
            CHECK(got.error() == asio::error::operation_aborted);
        }
        outcome<error_code, std::string> got;
        link.async_receive(got.handler());
        run(ctx);
        CHECK(got.result() == "text");
    }

    TEST_CASE("a cancellation that meets a message already there leaves it there")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        link_type link(pair.here);
        pair.put_message(std::string("text"));
        asio::cancellation_signal signal;
        outcome<error_code, std::string> got;
        link.async_receive(asio::bind_cancellation_slot(signal.slot(), got.handler()));
        signal.emit(cancellation::total);
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
        link.async_receive(got.handler());
        run(ctx);
        CHECK(got.result() == "text");
    }

    TEST_CASE("of several sends that wait, the cancelled ones are not sent and the others are")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        pair.fill();
        link_type link(pair.here);
        std::vector<asio::cancellation_signal> signals(6);
        std::vector<outcome<error_code>> sent(6);
        for (std::size_t i = 0; i < 6; ++i)
            link.async_send(std::to_string(i),
                            asio::bind_cancellation_slot(signals[i].slot(), sent[i].handler()));
        ctx.poll();
        for (const std::size_t i : {0U, 2U, 5U})
            signals[i].emit(cancellation::total);
        ctx.poll();
        for (std::size_t i = 0; i < 6; ++i)
            CHECK(sent[i].done() == (i == 0 || i == 2 || i == 5));
        std::vector<std::byte> got;
        while (got.size() < 3 * frame_of(std::string("1")).size()) {
            const auto part = pair.drain();
            got.insert(got.end(), part.begin(), part.end());
            ctx.restart();
            ctx.poll();
        }
        run(ctx);
        auto expected = frame_of(std::string("1"));
        for (const char* text : {"3", "4"}) {
            const auto frame = frame_of(std::string(text));
            expected.insert(expected.end(), frame.begin(), frame.end());
        }
        CHECK(got == expected);
        CHECK(sent[2].error() == asio::error::operation_aborted);
        CHECK(sent[3].error() == error_code());
    }

    TEST_CASE("a send of which a part is out is not impressed by partial and total")
    {
        for (const auto how : {cancellation::partial, cancellation::total}) {
            large_send test;
            test.signal.emit(how);
            const auto got = test.read_all();
            CHECK(test.sent.error() == error_code());
            CHECK(got == frame_of_large());
        }
    }

    TEST_CASE("terminal ends the wait for it with half_sent, and the next message follows the rest")
    {
        large_send test;
        test.signal.emit(cancellation::terminal);
        run(test.ctx);
        CHECK(test.sent.error() == framed_errc::half_sent);
        CHECK(test.sent.error() == boost::system::errc::operation_canceled);
        auto got = test.pair.drain();
        CHECK(got.size() < large.size());

        outcome<error_code> next;
        test.link.async_send("next", next.handler());
        const auto rest = test.read_all();
        got.insert(got.end(), rest.begin(), rest.end());
        CHECK(next.error() == error_code());
        auto expected = frame_of_large();
        const auto last = frame_of(std::string("next"));
        expected.insert(expected.end(), last.begin(), last.end());
        CHECK(got == expected);
    }

    TEST_CASE("whatever is cancelled, the peer gets what was not taken back, whole and in order")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        pair.here.set_option(asio::socket_base::send_buffer_size(4096));
        link_type sender(pair.here);
        link_type receiver(pair.there, {.read_bytes = 512});
        procyard_test::fixed_random random(11);
        constexpr std::size_t count = 400;
        std::vector<asio::cancellation_signal> signals(count);
        std::vector<outcome<error_code>> sent(count);
        std::vector<std::string> texts(count);
        std::vector<std::string> received;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                while (received.empty() || received.back() != "last")
                    received.push_back(co_await receiver.async_receive(asio::use_awaitable));
            },
            [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        for (std::size_t i = 0; i < count; ++i) {
            texts[i] = std::to_string(i) + std::string(random.below(20'000), 'x');
            sender.async_send(texts[i],
                              asio::bind_cancellation_slot(signals[i].slot(), sent[i].handler()));
            if (random.below(2) == 0)
                signals[random.below(i + 1)].emit(static_cast<cancellation>(1U << random.below(3)));
            ctx.restart();
            ctx.poll_one();
        }
        // The last one pushes out what may be left of one before it.
        outcome<error_code> last;
        sender.async_send("last", last.handler());
        run(ctx);
        std::vector<std::string> expected;
        int taken_back = 0;
        for (std::size_t i = 0; i < count; ++i) {
            CHECK(sent[i].count == 1);
            if (sent[i].error() == asio::error::operation_aborted)
                ++taken_back;
            else
                expected.push_back(texts[i]);
        }
        expected.emplace_back("last");
        CHECK((received == expected));
        CHECK(taken_back > 0);
        CHECK_FALSE(last.error());
    }

    TEST_CASE("a value that cannot be encoded is an error, and nothing is sent")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        framed<socket_type&, unsendable> link(pair.here);
        outcome<error_code> sent;
        link.async_send(unsendable(), sent.handler());
        run(ctx);
        CHECK(sent.error() == framed_errc::not_encodable);
        CHECK(pair.drain().empty());
    }
}
