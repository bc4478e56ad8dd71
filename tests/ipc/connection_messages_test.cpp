// SPDX-License-Identifier: BSL-1.0
// What a listener and its client say to each other: bytes and decisions, without a socket.
#include "connection_messages.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/syscall.hpp>

#include "message_samples.hpp"

using procyard::channel_errc;
using procyard::duplex;
using procyard::error_code;
using procyard::make_errno;
using procyard::receiver;
using procyard::segment_errc;
using procyard::sender;
using procyard::detail::adopt;
using procyard::detail::connection_answer;
using procyard::detail::connection_request;
using procyard::detail::connection_status;
using procyard::detail::end_kind;
using procyard::detail::judge;
using procyard::detail::parse_answer;
using procyard::detail::parse_request;
using procyard::detail::side_of;
using procyard::detail::status_of;
using procyard::detail::to_bytes;
using procyard::detail::to_error;

namespace {

constexpr std::uint64_t plenty = std::uint64_t{1} << 30;

template <class End>
procyard::detail::end_plan plan(const procyard::channel_options& options = {})
{
    return end_kind<End>::plan(options);
}

template <class End>
connection_request request(std::uint64_t most = plenty)
{
    return {side_of(plan<End>()), most};
}

connection_answer full_answer()
{
    connection_answer answer;
    answer.side = side_of(plan<duplex<int, std::string>>());
    answer.sent_units = 16;
    answer.received_units = 4096;
    answer.across_users = true;
    return answer;
}

template <class Ours, class Theirs>
void check_fits()
{
    const auto verdict = judge(plan<Ours>(), request<Theirs>());
    CHECK(verdict.status == connection_status::accepted);
    CHECK(verdict.explanation.empty());
    connection_answer answer;
    answer.side = side_of(plan<Ours>());
    CHECK(judge(plan<Theirs>(), answer).status == connection_status::accepted);
}

template <class Ours, class Theirs>
void check_unfit(connection_status expected, const std::vector<std::string>& words)
{
    connection_answer answer;
    answer.status = expected;
    answer.side = side_of(plan<Ours>());
    for (const auto& verdict :
         {judge(plan<Ours>(), request<Theirs>()), judge(plan<Theirs>(), answer)}) {
        CHECK(verdict.status == expected);
        for (const auto& word : words)
            CHECK_MESSAGE(verdict.explanation.find(word) != std::string::npos, verdict.explanation);
    }
    // And a listener that takes everybody is found out by the client.
    answer.status = connection_status::accepted;
    CHECK(judge(plan<Theirs>(), answer).status == expected);
}

}  // namespace

TEST_SUITE("connection messages")
{
    TEST_CASE("arrive as they were sent")
    {
        error_code ec;
        const auto asked = parse_request(to_bytes(request<duplex<int, std::string>>(12345)), ec);
        CHECK_FALSE(ec);
        CHECK(asked.max_segment_bytes == 12345);
        REQUIRE(asked.side.sends);
        REQUIRE(asked.side.receives);
        CHECK(*asked.side.sends == procyard::describe<int>());
        CHECK(*asked.side.receives == procyard::describe<std::string>());
        const auto answered = parse_answer(to_bytes(full_answer()), ec);
        CHECK_FALSE(ec);
        CHECK(answered.status == connection_status::accepted);
        CHECK(answered.sent_units == 16);
        CHECK(answered.received_units == 4096);
        CHECK(answered.across_users);
        CHECK(*answered.side.sends == procyard::describe<int>());
        connection_answer bare;
        bare.status = connection_status::too_slow;
        const auto told = parse_answer(to_bytes(bare), ec);
        CHECK_FALSE(ec);
        CHECK(told.status == connection_status::too_slow);
        CHECK_FALSE(told.side.sends);
    }

    TEST_CASE("say of what an end is, and who asks")
    {
        using procyard::subscriber;
        using procyard::detail::end_sort;
        auto asked = request<subscriber<int>>();
        asked.ticket = 4711;
        error_code ec;
        const auto got = parse_request(to_bytes(asked), ec);
        CHECK_FALSE(ec);
        CHECK(got.ticket == 4711);
        CHECK(got.side.sort == end_sort::broadcast);
        const auto offered = end_kind<subscriber<int>>::opposite();
        CHECK(judge(offered, got).status == connection_status::accepted);
        CHECK(judge(offered, request<receiver<int>>()).status
              == connection_status::other_direction);
        auto strange = to_bytes(asked);
        strange[17] = std::byte{200};
        const auto verdict = judge(offered, parse_request(strange, ec));
        CHECK_FALSE(ec);
        CHECK(verdict.explanation == "here a broadcast, there something that is not known here");
    }

    TEST_CASE("cut off anywhere, or with something behind, are none")
    {
        const auto whole = to_bytes(request<duplex<int, std::string>>());
        for (std::size_t length = 0; length < whole.size(); ++length) {
            error_code ec;
            (void)parse_request(std::span(whole).first(length), ec);
            CHECK(ec == channel_errc::bad_hello);
        }
        auto longer = whole;
        longer.push_back(std::byte{0});
        error_code ec;
        (void)parse_request(longer, ec);
        CHECK(ec == channel_errc::bad_hello);
        const auto answer = to_bytes(full_answer());
        for (std::size_t length = 0; length < answer.size(); ++length) {
            (void)parse_answer(std::span(answer).first(length), ec);
            CHECK(ec == channel_errc::bad_hello);
        }
    }

    TEST_CASE("of another magic number or version, and one in the place of the other")
    {
        error_code ec;
        auto bytes = to_bytes(request<sender<int>>());
        (void)parse_answer(bytes, ec);
        CHECK(ec == channel_errc::bad_hello);
        bytes[8] = std::byte{2};
        (void)parse_request(bytes, ec);
        CHECK(ec == channel_errc::other_version);
        // Of another version only the beginning is known.
        (void)parse_request(std::span(bytes).first(16), ec);
        CHECK(ec == channel_errc::other_version);
        bytes[0] ^= std::byte{1};
        (void)parse_request(bytes, ec);
        CHECK(ec == channel_errc::bad_hello);
    }

    TEST_CASE("for no direction: a request is none, an answer only says its status")
    {
        error_code ec;
        (void)parse_request(to_bytes(connection_request{{}, plenty}), ec);
        CHECK(ec == channel_errc::bad_hello);
    }

    TEST_CASE("any byte of them changed is an error or another message, and nothing worse")
    {
        procyard_test::fixed_random random(3);
        for (const auto& good :
             {to_bytes(request<duplex<int, std::string>>()), to_bytes(full_answer())}) {
            for (int round = 0; round < 5000; ++round) {
                auto bytes = good;
                for (auto n = 1 + random.below(4); n > 0; --n)
                    bytes[random.below(bytes.size())] = static_cast<std::byte>(random.next());
                bytes.resize(random.below(bytes.size() + 1));
                error_code ec;
                const auto asked = parse_request(bytes, ec);
                if (!ec)
                    (void)judge(plan<duplex<std::string, int>>(), asked);
                const auto answered = parse_answer(bytes, ec);
                auto ours = plan<duplex<std::string, int>>();
                if (!ec && judge(ours, answered).status == connection_status::accepted)
                    adopt(answered, ours, ec);
            }
        }
    }
}

TEST_SUITE("connection messages: who fits")
{
    TEST_CASE("the opposite end of the same types")
    {
        check_fits<sender<int>, receiver<int>>();
        check_fits<receiver<std::string>, sender<std::string>>();
        check_fits<duplex<int, std::string>, duplex<std::string, int>>();
    }

    TEST_CASE("another direction, named")
    {
        const auto direction = connection_status::other_direction;
        check_unfit<sender<int>, sender<int>>(direction, {"here a sender", "there a sender"});
        check_unfit<receiver<int>, receiver<int>>(direction, {"here a receiver, there a receiver"});
        check_unfit<duplex<int, int>, receiver<int>>(direction, {"a duplex", "a receiver"});
        check_unfit<sender<int>, duplex<int, int>>(direction, {"a sender", "a duplex"});
    }

    TEST_CASE("another type: both are named, and of a duplex the direction")
    {
        const auto type = connection_status::other_type;
        check_unfit<sender<int>, receiver<std::uint64_t>>(type, {"i32", "u64"});
        check_unfit<duplex<int, int>, duplex<int, std::string>>(type, {"what is ", "i32", "str"});
        check_unfit<duplex<int, std::string>, duplex<int, std::string>>(
            type, {"what is sent: ", "what is received: "});
    }

    TEST_CASE("a ring that takes more than the client allows")
    {
        const auto ours = plan<sender<int>>({.capacity_messages = 1024});
        const std::uint64_t needed = 4096 + 1024 * 8;
        CHECK(judge(ours, request<receiver<int>>(needed)).status == connection_status::accepted);
        const auto verdict = judge(ours, request<receiver<int>>(needed - 1));
        CHECK(verdict.status == connection_status::over_limit);
        CHECK_MESSAGE(verdict.explanation.find("12288") != std::string::npos, verdict.explanation);
    }

    TEST_CASE("a capacity is taken over if a ring can have it, and not beyond the limit")
    {
        const auto adopted = [](std::uint64_t units, std::size_t most) {
            auto ours = plan<receiver<int>>({.capacity_messages = 2, .max_peer_bytes = most});
            connection_answer answer;
            answer.sent_units = units;
            error_code ec;
            adopt(answer, ours, ec);
            CHECK((ec || ours.receives->shape.unit_count == units));
            return ec;
        };
        CHECK(adopted(64, plenty) == error_code());
        CHECK(adopted(64, 4096 + 64 * 8) == error_code());
        CHECK(adopted(64, 4096 + 64 * 8 - 1) == channel_errc::over_limit);
        CHECK(adopted(std::uint64_t{1} << 40, plenty) == channel_errc::over_limit);
        for (const std::uint64_t units :
             {std::uint64_t{0}, std::uint64_t{3}, ~std::uint64_t{0}, std::uint64_t{1} << 63})
            CHECK(adopted(units, plenty) == channel_errc::bad_hello);
    }

    TEST_CASE("what was taken over is in the options too: they make the next peer of the end")
    {
        for (const bool across : {false, true}) {
            CAPTURE(across);
            auto ours = plan<duplex<std::string, int>>({.capacity_bytes = 512});
            auto answer = full_answer();
            answer.across_users = across;
            error_code ec;
            adopt(answer, ours, ec);
            REQUIRE_FALSE(ec);
            const auto sends = procyard::detail::terms_of<std::string>(ours.sends->options);
            const auto receives = procyard::detail::terms_of<int>(ours.receives->options);
            CHECK(sends.shape == ours.sends->shape);
            CHECK(sends.bell == ours.sends->bell);
            CHECK(receives.shape == ours.receives->shape);
            CHECK(receives.bell == ours.receives->bell);
            CHECK(ours.sends->options.across_users == across);
        }
    }
}

TEST_SUITE("connection messages: what is said")
{
    TEST_CASE("of each error, and what a client makes of it")
    {
        CHECK(status_of({}) == connection_status::accepted);
        for (const int number : {EMFILE, ENFILE, ENOMEM, ENOSPC, ENOBUFS})
            CHECK(status_of(make_errno(number)) == connection_status::unavailable);
        for (const error_code& ec :
             {error_code(segment_errc::not_sealed), make_errno(EBADMSG), make_errno(EACCES),
              error_code(channel_errc::not_a_channel), error_code(channel_errc::bad_hello)})
            CHECK(status_of(ec) == connection_status::bad_hello);
        using status = connection_status;
        for (const auto each :
             {status::refused, status::other_version, status::other_type, status::other_direction,
              status::bad_hello, status::over_limit, status::too_slow, status::unavailable})
            CHECK(to_error(each).category() == procyard::channel_category());
        for (const auto each : {status::other_version, status::other_type, status::other_direction,
                                status::bad_hello, status::over_limit})
            CHECK(status_of(to_error(each)) == each);
        CHECK(to_error(status::accepted) == error_code());
        CHECK(to_error(static_cast<status>(77)) == channel_errc::refused);
    }
}
