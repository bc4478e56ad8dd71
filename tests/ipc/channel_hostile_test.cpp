// SPDX-License-Identifier: BSL-1.0
// A peer that is connected and then keeps to no rules: whatever it writes where it can, the other
// side has an error, and nothing worse.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/detail/record_ring.hpp>

#include "against_peer.hpp"
#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "skip.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::sender;
using procyard::detail::record_header;
using procyard::detail::record_kind;
using procyard::detail::ring_role;
using procyard_test::against_consumer;
using procyard_test::against_producer;
using procyard_test::fixed_random;
using procyard_test::outcome;
using procyard_test::raw_peer;
using procyard_test::run;

namespace {

constexpr procyard::channel_options four{.capacity_messages = 4};
constexpr procyard::channel_options bytes_256{.capacity_bytes = 256};
constexpr auto last = std::numeric_limits<std::uint64_t>::max();

void put_record(raw_peer<std::string>& peer, std::size_t at, record_header header,
                const std::string& payload = {})
{
    std::memcpy(peer.units().data() + at, &header, sizeof header);
    std::memcpy(peer.units().data() + at + sizeof header, payload.data(), payload.size());
}

constexpr auto data = static_cast<std::uint32_t>(record_kind::data);
constexpr auto padding = static_cast<std::uint32_t>(record_kind::padding);

// The bytes of a string of that length, as its codec writes them, whatever the length says.
std::string with_length(std::uint32_t length, const std::string& text)
{
    std::string bytes(sizeof length, '\0');
    std::memcpy(bytes.data(), &length, sizeof length);
    return bytes + text;
}

}  // namespace

TEST_SUITE("channel hostile: positions")
{
    TEST_CASE("of a producer that jumps ahead or back (case 42)")
    {
        for (const std::uint64_t position :
             {std::uint64_t{5}, std::uint64_t{1} << 32U, std::uint64_t{1} << 63U, last - 1, last}) {
            CAPTURE(position);
            against_producer<int> test(four);
            test.peer.jump_to(position);
            CHECK(test.receive_error() == channel_errc::peer_broke_rules);
        }
        against_producer<int> test(four);
        test.peer.jump_to(3);
        CHECK(test.end.try_receive() == 0);
        test.peer.jump_to(2);
        CHECK(test.end.try_receive() == 0);  // was seen before
        CHECK(test.end.try_receive() == 0);
        CHECK(test.receive_error() == channel_errc::peer_broke_rules);
    }

    TEST_CASE("of a producer that jumps while we wait, and several wait (case 42)")
    {
        against_producer<int> test(four);
        std::array<outcome<error_code, int>, 3> received;
        for (auto& each : received)
            test.end.async_receive(each.handler());
        test.ctx.poll();
        test.peer.jump_to(last);
        run(test.ctx);
        for (auto& each : received)
            CHECK(each.error() == channel_errc::peer_broke_rules);
    }

    TEST_CASE("of a consumer that has received what was never sent, or gives it back (case 42)")
    {
        for (const std::uint64_t position : {std::uint64_t{5}, std::uint64_t{1} << 63U, last}) {
            CAPTURE(position);
            against_consumer<int> test(four);
            CHECK(procyard_test::fill(test.end) == 4);
            outcome<error_code> sent;
            test.end.async_send(1, sent.handler());
            test.ctx.poll();
            test.peer.jump_to(position);
            run(test.ctx);
            CHECK(sent.error() == channel_errc::peer_broke_rules);
        }
        against_consumer<int> test(four);
        procyard_test::fill(test.end);
        test.peer.jump_to(2);
        CHECK(procyard_test::fill(test.end) == 2);
        test.peer.jump_to(1);
        error_code ec;
        CHECK_FALSE(test.end.try_send(1, ec));
        CHECK(ec == channel_errc::peer_broke_rules);
        CHECK(test.end.statistics().messages == 6);
    }

    TEST_CASE("of a consumer that receives nothing: the sender sees a full ring (case 48)")
    {
        against_consumer<int> test(four);
        CHECK(procyard_test::fill(test.end) == 4);
        for (int i = 0; i < 1000; ++i) {
            test.peer.press();
            CHECK_FALSE(test.end.try_send(1));
        }
    }
}

TEST_SUITE("channel hostile: messages")
{
    TEST_CASE("a bool that is neither true nor false")
    {
        against_producer<bool> test(four);
        test.peer.units()[0] = std::byte{1};
        test.peer.units()[8] = std::byte{2};
        test.peer.jump_to(2);
        CHECK(test.end.try_receive() == true);
        CHECK(test.receive_error() == channel_errc::bad_message);
    }

    TEST_CASE("in the middle of a batch: what came before it is received")
    {
        against_producer<bool> test(four);
        test.peer.units()[16] = std::byte{0xff};
        test.peer.jump_to(4);
        std::array<bool, 4> got{};
        error_code ec;
        CHECK(test.end.try_receive_some(got, ec) == 2);
        CHECK_FALSE(ec);
        CHECK(test.end.try_receive_some(got, ec) == 0);
        CHECK(ec == channel_errc::bad_message);
    }

    TEST_CASE("records whose headers lie (case 43)")
    {
        struct lie {
            record_header header;
            std::uint64_t position;
        };
        const std::vector<lie> lies{
            {{0xffffffff, data}, 256},
            {{0x80000000, data}, 256},
            {{0xfffffff8, data}, 256},
            {{249, data}, 256},
            {{248, data}, 248},
            {{16, data}, 16},
            {{0, 0}, 8},
            {{0, 0xffffffff}, 8},
            {{4, data + 1}, 16},
            {{0, padding}, 8},
            {{248, padding}, 256},
            {{0xfffffff8, padding}, 256},
            {{5, data}, 4},
            {{0, data}, 1},
        };
        for (const auto& each : lies) {
            CAPTURE(each.header.length);
            CAPTURE(each.header.kind);
            against_producer<std::string> test(bytes_256);
            put_record(test.peer, 0, each.header);
            test.peer.jump_to(each.position);
            CHECK(test.receive_error() == channel_errc::peer_broke_rules);
        }
    }

    TEST_CASE("a padding that ends before the ring does, and one after the other (case 43)")
    {
        against_producer<std::string> test(bytes_256);
        put_record(test.peer, 0, {5, data}, with_length(1, "x"));
        put_record(test.peer, 16, {0, padding});
        test.peer.jump_to(24);
        CHECK(test.end.try_receive() == "x");
        CHECK(test.receive_error() == channel_errc::peer_broke_rules);
    }

    TEST_CASE("records whose contents lie")
    {
        for (const auto& payload :
             {with_length(2, "x"), with_length(0, "x"), with_length(0xffffffff, "x"),
              with_length(0x7fffffff, ""), std::string("xyz"), std::string()}) {
            against_producer<std::string> test(bytes_256);
            put_record(test.peer, 0, {static_cast<std::uint32_t>(payload.size()), data}, payload);
            test.peer.jump_to(procyard::detail::record_bytes(payload.size()));
            CHECK(test.receive_error() == channel_errc::bad_message);
        }
    }

    TEST_CASE("of ours show the peer nothing but themselves (case 50)")
    {
        against_consumer<std::string> test({.capacity_bytes = 64});
        CHECK(test.end.try_send(std::string(52, 's')));
        test.peer.jump_to(64);
        CHECK(test.end.try_send("p"));
        const auto* const units = test.peer.peer_units();
        for (std::size_t i = 8 + 4 + 1; i < 16; ++i)
            CHECK(units[i] == std::byte{0});
    }
}

TEST_SUITE("channel hostile: sleep and doorbell")
{
    TEST_CASE("a consumer that lies about its sleep costs a system call each time, and no more")
    {
        against_consumer<int> test({.capacity_messages = 1024});
        fixed_random random(3);
        for (std::uint64_t i = 0; i < 1000; ++i) {
            test.peer.words().wake_at.store(random.next());
            test.peer.words().sleep.store(random.next() | 1U);
            CHECK(test.end.try_send(1));
        }
        CHECK(test.end.statistics().rung <= 1000);
        test.peer.words().sleep.store(2);
        outcome<error_code> sent;
        test.end.async_send(1, sent.handler());
        run(test.ctx);
        CHECK_FALSE(sent.error());
    }

    TEST_CASE("one that goes on after its close is closed")
    {
        against_producer<int> test(four);
        test.peer.words().closed.store(7);
        test.peer.jump_to(1);
        CHECK(test.end.try_receive() == 0);
        error_code ec;
        int n = 0;
        CHECK_FALSE(test.end.try_receive(n, ec));
        CHECK(ec == channel_errc::closed);
    }

    TEST_CASE("a flood of rings is answered in bounded steps, and others have their turn (case 48)")
    {
        against_producer<int> test(four);
        outcome<error_code, int> received;
        test.end.async_receive(received.handler());
        test.ctx.poll();
        std::uint64_t others = 0;
        std::function<void()> other = [&] {
            for (int i = 0; i < 100; ++i)
                test.peer.press();
            if (++others < 1000)
                asio::post(test.ctx, other);
        };
        asio::post(test.ctx, other);
        procyard_test::run_until(test.ctx, [&] { return others == 1000; });
        CHECK_FALSE(received.done());
        CHECK(test.end.statistics().woken <= 10 * others);
        test.peer.jump_to(1);
        run(test.ctx);
        CHECK(received.result() == 0);
    }

    TEST_CASE("rings without a reason are no messages, and end with the peer (case 21)")
    {
        against_producer<int> test(four);
        outcome<error_code, int> received;
        test.end.async_receive(received.handler());
        for (int i = 0; i < 10; ++i) {
            test.peer.press();
            test.ctx.poll();
            CHECK_FALSE(received.done());
        }
        test.end.close();
        run(test.ctx);
    }

    TEST_CASE("urgent bytes in a bell that is a socket wake async_wait_closed once each")
    {
        constexpr procyard::channel_options across{.capacity_messages = 4, .across_users = true};
        auto ends = make_channel<std::uint64_t>(across);
        std::optional<raw_peer<std::uint64_t>> peer(std::in_place, ring_role::consumer,
                                                    std::move(ends.receiver).take(), across);
        peer->greet();
        asio::io_context ctx;
        sender<std::uint64_t> s(ctx.get_executor(), std::move(ends.sender));
        error_code ec;
        auto theirs = procyard::detail::receive_hello(peer->socket(), ec);
        REQUIRE_FALSE(ec);
        peer->let_go();
        outcome<error_code, error_code> end;
        s.async_wait_closed(end.handler());
        ctx.poll();
        for (int n = 0; n < 3; ++n) {
            if (::send(theirs.button.get(), "!", 1, MSG_OOB | MSG_NOSIGNAL) != 1)
                return procyard_test::skip("Unix sockets have no urgent bytes here");
            int turns = 0;
            while (turns < 1000 && ctx.poll_one() == 1)
                ++turns;
            CHECK(turns < 1000);
            CHECK_FALSE(end.done());
        }
        theirs = {};
        peer.reset();
        run(ctx);
        CHECK(end.result() == channel_errc::peer_died);
    }
}
