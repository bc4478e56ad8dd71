// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/frame_buffer.hpp>

#include <boost/asio/error.hpp>

#include <cstring>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include "framed_fixture.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::frame_checksum;
using procyard::framed_errc;
using procyard::framed_options;
using procyard::detail::frame_buffer;
using procyard::detail::frame_header_bytes;
using procyard::detail::frame_hello;
using procyard::detail::frame_kind;
using procyard_test::frame_of;

namespace {

using bytes = std::vector<std::byte>;

void append(frame_buffer& buffer, std::span<const std::byte> in)
{
    while (!in.empty()) {
        const auto room = buffer.prepare();
        const auto n = std::min(room.size(), in.size());
        std::memcpy(room.data(), in.data(), n);
        buffer.commit(n);
        in = in.subspan(n);
    }
}

bytes frame(frame_kind kind, const std::string& payload, frame_checksum checksum = {})
{
    bytes out(frame_header_bytes + payload.size());
    std::memcpy(out.data() + frame_header_bytes, payload.data(), payload.size());
    procyard::detail::seal_frame(out, kind, checksum);
    return out;
}

bytes message(const std::string& payload, frame_checksum checksum = {})
{
    return frame(frame_kind::message, payload, checksum);
}

bytes operator+(bytes a, const bytes& b)
{
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

// The payload, or what is wrong.
std::string take(frame_buffer& buffer)
{
    error_code ec;
    const bool ready = buffer.ready();
    const auto got = buffer.next(ec);
    CHECK(ready == (ec != asio::error::would_block));
    if (!got)
        return "<" + ec.message() + ">";
    return {reinterpret_cast<const char*>(got->payload.data()), got->payload.size()};
}

const std::string nothing = "<" + error_code(asio::error::would_block).message() + ">";
const std::string end = "<" + error_code(asio::error::eof).message() + ">";

std::string error(framed_errc e)
{
    return "<" + make_error_code(e).message() + ">";
}

}  // namespace

TEST_SUITE("frame_buffer")
{
    TEST_CASE("the bytes of a frame are what the protocol says")
    {
        const auto plain = message("ab");
        const unsigned char expected[] = {'P', 'y', 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b'};
        REQUIRE(plain.size() == sizeof expected);
        CHECK(std::memcmp(plain.data(), expected, sizeof expected) == 0);
        // CRC-32C of 50 79 02 01 02 00 00 00 61 62.
        const auto checked = message("ab", frame_checksum::crc32c);
        CHECK(checked[3] == std::byte{1});
        std::uint32_t crc = 0;
        std::memcpy(&crc, checked.data() + 8, 4);
        CHECK(crc == 0x63c01277U);
    }

    TEST_CASE("frames come out whole, wherever the pieces are cut")
    {
        const auto all = message("one") + message("") + message(std::string(5000, 'x'));
        for (const std::size_t piece : {1U, 2U, 3U, 7U, 12U, 13U, 4096U, 100'000U}) {
            frame_buffer buffer({.read_bytes = 64});
            std::vector<std::string> got;
            for (std::size_t at = 0; at < all.size(); at += piece) {
                append(buffer, std::span(all).subspan(at, std::min(piece, all.size() - at)));
                for (auto text = take(buffer); text != nothing; text = take(buffer))
                    got.push_back(text);
            }
            buffer.finish();
            CHECK(take(buffer) == end);
            CHECK(take(buffer) == end);
            CHECK(got == std::vector<std::string>{"one", "", std::string(5000, 'x')});
        }
    }

    TEST_CASE("an end within a frame is told from one between two")
    {
        const auto whole = message("text");
        for (std::size_t n = 1; n < whole.size(); ++n) {
            frame_buffer buffer({});
            append(buffer, std::span(whole).first(n));
            CHECK(take(buffer) == nothing);
            buffer.finish();
            CHECK(take(buffer) == error(framed_errc::truncated));
            CHECK(take(buffer) == error(framed_errc::truncated));
        }
    }

    TEST_CASE("a length beyond the limit is refused with the header, and for good")
    {
        frame_buffer buffer({.max_message_bytes = 4});
        append(buffer, message("1234") + message("12345"));
        CHECK(take(buffer) == "1234");
        CHECK(take(buffer) == error(framed_errc::too_long));
        CHECK(take(buffer) == error(framed_errc::too_long));
    }

    TEST_CASE("an announced length takes no memory before it has come")
    {
        frame_buffer buffer({.max_message_bytes = 0xffffffff, .read_bytes = 100});
        auto header = message("");
        std::memset(header.data() + 4, 0xff, 4);
        append(buffer, header);
        CHECK(take(buffer) == nothing);
        CHECK(buffer.prepare().size() == 100);
        CHECK(buffer.buffered() == header.size());
    }

    TEST_CASE("every header with a changed bit is refused, or a frame of another length")
    {
        const auto good = message("text");
        for (std::size_t bit = 0; bit < frame_header_bytes * 8; ++bit) {
            auto changed = good;
            changed[bit / 8] ^= std::byte{static_cast<unsigned char>(1U << (bit % 8))};
            frame_buffer buffer({});
            append(buffer, changed);
            buffer.finish();
            CHECK(take(buffer) != "text");
        }
    }

    TEST_CASE("what is no frame is refused with its first byte")
    {
        frame_buffer buffer({});
        append(buffer, bytes{std::byte{'G'}});
        CHECK(take(buffer) == error(framed_errc::bad_frame));
        frame_buffer second({});
        append(second, bytes{std::byte{'P'}, std::byte{'O'}});
        CHECK(take(second) == error(framed_errc::bad_frame));
    }

    TEST_CASE("a checksum finds every changed bit")
    {
        const auto good = message("some text", frame_checksum::crc32c);
        for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
            auto changed = good;
            changed[bit / 8] ^= std::byte{static_cast<unsigned char>(1U << (bit % 8))};
            frame_buffer buffer({.checksum = frame_checksum::crc32c});
            append(buffer, changed);
            buffer.finish();
            const auto got = take(buffer);
            CHECK_MESSAGE(got.starts_with("<"), got);
            CHECK(take(buffer) == got);
        }
    }

    TEST_CASE("a checksum is asked for on request, and looked at in any case")
    {
        frame_buffer strict({.checksum = frame_checksum::crc32c});
        append(strict, message("text"));
        CHECK(take(strict) == error(framed_errc::bad_frame));
        frame_buffer easy({});
        auto wrong = message("text", frame_checksum::crc32c);
        append(easy, wrong);
        CHECK(take(easy) == "text");
        wrong.back() = std::byte{'T'};
        append(easy, wrong);
        CHECK(take(easy) == error(framed_errc::bad_checksum));
    }

    TEST_CASE("random bytes are never more than refused")
    {
        procyard_test::fixed_random random(7);
        for (int round = 0; round < 5000; ++round) {
            auto input = message("a") + message("bc", frame_checksum::crc32c);
            for (int i = 0; i < 3; ++i)
                input[random.below(input.size())] = static_cast<std::byte>(random.below(256));
            frame_buffer buffer({.max_message_bytes = 64, .read_bytes = 1 + random.below(32)});
            append(buffer, std::span(input).first(random.below(input.size() + 1)));
            buffer.finish();
            int frames = 0;
            while (!take(buffer).starts_with("<"))
                ++frames;
            CHECK(frames <= 2);
        }
    }

    TEST_CASE("a hello goes to the peer and back, and any part of it is refused")
    {
        const auto sent = procyard_test::hello_of<procyard_test::report, std::string>();
        const auto whole = sent.to_frame({});
        const auto payload = std::span(whole).subspan(frame_header_bytes);
        error_code ec;
        const auto got = frame_hello::parse(payload, ec);
        REQUIRE_FALSE(ec);
        CHECK(got.sends == sent.sends);
        CHECK(got.receives == sent.receives);
        CHECK(got.max_message_bytes == sent.max_message_bytes);
        for (std::size_t n = 0; n < payload.size(); ++n) {
            std::ignore = frame_hello::parse(payload.first(n), ec);
            CHECK(ec == framed_errc::malformed);
        }
        auto longer = bytes(payload.begin(), payload.end());
        longer.push_back(std::byte{0});
        std::ignore = frame_hello::parse(longer, ec);
        CHECK(ec == framed_errc::malformed);
    }
}
