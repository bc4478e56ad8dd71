// SPDX-License-Identifier: BSL-1.0
// The bytes of calls; docs/channel-abi.md describes them.
#include <procyard/ipc/detail/call_messages.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/detail/framed_operation.hpp>

#include "message_samples.hpp"

using namespace procyard::detail;
using procyard::error_code;
using procyard::framed_errc;
using procyard_test::padded;
using procyard_test::report;
using procyard_test::sample_report;
using clock_type = std::chrono::steady_clock;

namespace {

template <class T>
std::vector<std::byte> bytes_of(const T& value)
{
    error_code ec;
    auto frame = procyard::detail::make_frame(value, 1U << 20U, {}, ec);
    REQUIRE_FALSE(ec);
    return frame;
}

template <class Request>
void check_start(const Request& request)
{
    error_code ec;
    auto frame = open_frame(call_start_view<Request>{&request}, 1U << 20U, ec);
    REQUIRE_FALSE(ec);
    stamp_call(frame, 0x1122334455667788, 99, {});
    CHECK((frame
           == bytes_of(question<Request>(call_start<Request>{0x1122334455667788, 99, request}))));
}

template <class Reply>
void check_reply(const Reply& reply)
{
    CHECK((bytes_of(call_reply_view<Reply>{7, &reply})
           == bytes_of(answer<Reply>(call_reply<Reply>{7, reply}))));
}

std::vector<unsigned> payload(const std::vector<std::byte>& frame)
{
    std::vector<unsigned> out;
    for (const auto each : std::span(frame).subspan(frame_header_bytes))
        out.push_back(std::to_integer<unsigned>(each));
    return out;
}

}  // namespace

TEST_SUITE("call_messages")
{
    TEST_CASE("what is sent without a copy is what is described and received")
    {
        check_start(std::string("text"));
        check_start(sample_report());
        check_start(padded{'x', -7, true});
        check_start(std::uint8_t{5});
        check_reply(std::string("text"));
        check_reply(sample_report());
        check_reply(padded{'x', -7, true});
    }

    TEST_CASE("the bytes are those of the page")
    {
        using list = std::vector<unsigned>;
        using asked = question<std::uint8_t>;
        using said = answer<std::uint8_t>;
        CHECK(payload(bytes_of(asked(call_start<std::uint8_t>{2, 3, 4})))
              == list{0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4});
        CHECK(payload(bytes_of(asked(call_withdrawal{2}))) == list{1, 2, 0, 0, 0, 0, 0, 0, 0});
        CHECK(payload(bytes_of(said(call_reply<std::uint8_t>{2, 4})))
              == list{0, 2, 0, 0, 0, 0, 0, 0, 0, 4});
        CHECK(payload(bytes_of(said(call_refusal{2, -1, "no"})))
              == list{1, 2, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 2, 0, 0, 0, 'n', 'o'});
        CHECK(payload(bytes_of(said(call_dropped{2}))) == list{2, 2, 0, 0, 0, 0, 0, 0, 0});
        CHECK(payload(bytes_of(said(call_limit{256}))) == list{3, 0, 1, 0, 0});
    }

    TEST_CASE("a request that is too long is said so at once")
    {
        error_code ec;
        const std::string request(100, 'x');
        CHECK(open_frame(call_start_view<std::string>{&request}, 120, ec).empty());
        CHECK(ec == framed_errc::too_long);
        CHECK(open_frame(call_start_view<std::string>{&request}, 121, ec).size()
              == frame_header_bytes + 121);
        CHECK_FALSE(ec);
    }

    TEST_CASE("the types are named where two sides differ")
    {
        const auto text = explain_difference(procyard::describe<question<padded>>(),
                                             procyard::describe<question<report>>());
        CHECK_MESSAGE(text.starts_with("here calls ({u64 u64 padded {char@0 "), text);
        CHECK_MESSAGE(text.find("; there calls (") != std::string::npos, text);
        CHECK_MESSAGE(text.find("{u64 u64 report {str ") != std::string::npos, text);
        CHECK(procyard::describe<answer<padded>>().name == "answers");
    }

    TEST_CASE("patience is what is left, and ends where the clock does")
    {
        const auto now = clock_type::time_point(std::chrono::hours(1));
        CHECK(patience_until(clock_type::time_point::max(), now) == endless_patience);
        CHECK(patience_until(now + std::chrono::microseconds(2), now) == 2000);
        CHECK(patience_until(now, now) == 0);
        CHECK(patience_until(now - std::chrono::seconds(1), now) == 0);
        CHECK(deadline_after(now, 2000) == now + std::chrono::microseconds(2));
        CHECK(deadline_after(now, 0) == now);
        const auto most = std::numeric_limits<std::uint64_t>::max();
        for (const auto ns : {most, most / 2, most / 2 + 1})
            CHECK(deadline_after(now, ns) == clock_type::time_point::max());
    }
}
