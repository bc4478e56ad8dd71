// SPDX-License-Identifier: BSL-1.0
// The handshake of framed, and peers that do not keep to the protocol.
#include <procyard/ipc/framed.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "framed_fixture.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::framed;
using procyard::framed_errc;
using procyard::detail::frame_header_bytes;
using procyard_test::links;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::socket_type;
using procyard_test::sockets;

namespace here {
struct quote {
    std::uint64_t time = 0;
    double price = 0;
};
}  // namespace here
namespace there {
struct quote {
    std::uint64_t time = 0;
    float price = 0;
};
}  // namespace there

namespace {

template <class Link>
error_code shake(asio::io_context& ctx, Link& link)
{
    outcome<error_code> got;
    link.async_handshake(got.handler());
    run(ctx);
    return got.error();
}

template <class Link>
error_code receive_error(asio::io_context& ctx, Link& link)
{
    outcome<error_code, typename Link::receive_type> got;
    link.async_receive(got.handler());
    run(ctx);
    return got.error();
}

}  // namespace

TEST_SUITE("framed")
{
    TEST_CASE("a handshake between equals, and messages that were sent meanwhile come after it")
    {
        asio::io_context ctx;
        links<std::string> both(ctx);
        outcome<error_code> left;
        outcome<error_code> right;
        outcome<error_code> sent;
        both.left.async_handshake(left.handler());
        both.left.async_send("early", sent.handler());
        both.right.async_handshake(right.handler());
        run(ctx);
        CHECK_FALSE(left.error());
        CHECK_FALSE(right.error());
        CHECK_FALSE(sent.error());
        outcome<error_code, std::string> got;
        both.right.async_receive(got.handler());
        run(ctx);
        CHECK(got.result() == "early");
        // Once is enough.
        CHECK_FALSE(shake(ctx, both.left));
    }

    TEST_CASE("a mismatch names the types of both sides and the first field that differs")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        framed<socket_type&, here::quote> left(pair.here);
        framed<socket_type&, there::quote, here::quote> right(pair.there);
        outcome<error_code> a;
        outcome<error_code> b;
        left.async_handshake(a.handler());
        right.async_handshake(b.handler());
        run(ctx);
        CHECK(a.error() == framed_errc::other_type);
        CHECK(a.error() == boost::system::errc::wrong_protocol_type);
        CHECK(b.error() == framed_errc::other_type);
        CHECK(left.explanation()
              == "what is received: here quote, 16 bytes {u64@0 f64@8}; there quote, 16 bytes "
                 "{u64@0 f32@8}/16: field 2 is f64@8 here and f32@8 there");
        CHECK(right.explanation().starts_with("what is sent: here quote, 16 bytes {u64@0 f32@8}"));
        // What such a peer sends is not looked at.
        CHECK(receive_error(ctx, left) == framed_errc::other_type);
        CHECK(shake(ctx, left) == framed_errc::other_type);
    }

    TEST_CASE("the lower limit of both holds for what is sent")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        framed<socket_type&, std::string> left(pair.here);
        framed<socket_type&, std::string> right(pair.there, {.max_message_bytes = 8});
        outcome<error_code> got;
        left.async_handshake(got.handler());
        CHECK_FALSE(shake(ctx, right));
        left.async_send("12345", got.handler());
        run(ctx);
        CHECK(got.error() == framed_errc::too_long);
        CHECK(got.error() == boost::system::errc::message_size);
    }

    TEST_CASE("another version of the protocol is told from another type")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        framed<socket_type&, std::string> link(pair.here);
        auto hello = procyard_test::hello_of<std::string, std::string>();
        hello.version = 2;
        pair.put(hello.to_frame({}));
        CHECK(shake(ctx, link) == framed_errc::other_version);
        CHECK(link.explanation() == "protocol version 1 here and 2 there");
    }

    TEST_CASE("a side without a handshake is noticed by either")
    {
        asio::io_context ctx;
        sockets first(ctx);
        framed<socket_type&, std::string> asks(first.here);
        first.put_message(std::string("text"));
        CHECK(shake(ctx, asks) == framed_errc::unexpected);

        sockets second(ctx);
        framed<socket_type&, std::string> does_not(second.here);
        second.put_hello<std::string, std::string>();
        CHECK(receive_error(ctx, does_not) == framed_errc::unexpected);
        CHECK(receive_error(ctx, does_not) == framed_errc::unexpected);
    }

    TEST_CASE("a handshake that was cancelled goes on with the next, and greets only once")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        framed<socket_type&, std::string> link(pair.here);
        const auto hello = procyard_test::hello_of<std::string, std::string>().to_frame({});
        for (std::ptrdiff_t i = 0; i < 3; ++i) {
            asio::cancellation_signal signal;
            outcome<error_code> got;
            link.async_handshake(asio::bind_cancellation_slot(signal.slot(), got.handler()));
            ctx.restart();
            ctx.poll();
            // A part of the peer's answer each time.
            const auto third = std::ssize(hello) / 3;
            pair.put({hello.begin() + i * third,
                      i == 2 ? hello.end() : hello.begin() + (i + 1) * third});
            ctx.poll();
            if (i < 2)
                signal.emit(asio::cancellation_type::total);
            run(ctx);
            CHECK(got.error()
                  == (i < 2 ? error_code(asio::error::operation_aborted) : error_code()));
        }
        CHECK(pair.drain() == hello);
    }

    TEST_CASE("a handshake that waits for room and is cancelled has sent nothing")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        pair.fill();
        framed<socket_type&, std::string> link(pair.here);
        asio::cancellation_signal signal;
        outcome<error_code> got;
        link.async_handshake(asio::bind_cancellation_slot(signal.slot(), got.handler()));
        ctx.poll();
        signal.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
        CHECK(pair.drain().empty());
        pair.put_hello<std::string, std::string>();
        CHECK_FALSE(shake(ctx, link));
        CHECK(pair.drain().size() > frame_header_bytes);
    }

    TEST_CASE("a frame that is no value is an error of its own, and the next one is received")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        framed<socket_type&, std::string, bool> link(pair.here);
        pair.put_message(std::uint8_t{2});
        pair.put_message(std::string("text"));
        pair.put_message(true);
        CHECK(receive_error(ctx, link) == framed_errc::malformed);
        CHECK(receive_error(ctx, link) == framed_errc::malformed);
        CHECK(receive_error(ctx, link) == error_code());
    }

    TEST_CASE("whole messages come before what is wrong after them")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        framed<socket_type&, std::string> link(pair.here, {.max_message_bytes = 100});
        pair.put_message(std::string("text"));
        pair.put_message(std::string(200, 'x'));
        CHECK(receive_error(ctx, link) == error_code());
        CHECK(receive_error(ctx, link) == framed_errc::too_long);

        sockets cut(ctx);
        framed<socket_type&, std::string> other(cut.here);
        cut.put_message(std::string("text"));
        cut.put(std::vector<std::byte>(5, std::byte{'P'}));
        cut.there.close();
        CHECK(receive_error(ctx, other) == error_code());
        CHECK(receive_error(ctx, other) == framed_errc::bad_frame);
    }

    TEST_CASE("each error has a message and a condition")
    {
        using errc = framed_errc;
        for (const auto each :
             {errc::too_long, errc::bad_frame, errc::bad_checksum, errc::truncated, errc::malformed,
              errc::unexpected, errc::other_version, errc::other_type, errc::not_encodable,
              errc::half_sent}) {
            const error_code ec = each;
            CHECK(ec.message().find("unknown") == std::string::npos);
            CHECK(ec.default_error_condition().category() == boost::system::generic_category());
        }
        CHECK(std::string(procyard::framed_category().name()) == "procyard.framed");
        CHECK(error_code(99, procyard::framed_category()).message() == "unknown framed error 99");
    }
}
