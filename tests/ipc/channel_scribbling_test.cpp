// SPDX-License-Identifier: BSL-1.0
// A peer in a process of its own that writes random bytes over all that it can write, while we
// receive: only errors come of it.
#include <procyard/ipc/channel.hpp>

#include <sched.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/detail/record_ring.hpp>
#include <procyard/ipc/fan_in.hpp>

#include "against_peer.hpp"
#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "raw_peer.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::detail::record_header;
using procyard::detail::record_kind;
using procyard_test::against_producer;
using procyard_test::fixed_random;
using procyard_test::outcome;
using procyard_test::raw_peer;

namespace {

constexpr auto data = static_cast<std::uint32_t>(record_kind::data);
constexpr auto padding = static_cast<std::uint32_t>(record_kind::padding);

// The position is often believable.
template <class T>
int scribble(raw_peer<T>& peer, std::uint64_t seed, bool words_too)
{
    fixed_random random(seed);
    const auto units = peer.units();
    auto& words = peer.words();
    const std::uint64_t step = procyard::fixed_bytes<T> != 0 ? 1 : 8;
    const auto steps = static_cast<std::size_t>(peer.capacity() / step);
    for (;;) {
        for (int i = 0; i < 64; ++i)
            units[random.below(units.size())] = static_cast<std::byte>(random.next() >> 40U);
        // Now and then a header or a length that is one.
        const auto at = random.below(units.size() / 8) * 8;
        const record_header header{static_cast<std::uint32_t>(random.below(64)),
                                   random.below(8) != 0 ? data : padding};
        const auto length = static_cast<std::uint32_t>(random.below(32));
        std::memcpy(units.data() + at, &header, sizeof header);
        std::memcpy(units.data() + (at + 8) % units.size(), &length, sizeof length);
        words.position.store(peer.peer_words().position.load() + step * random.below(steps + 1));
        if (words_too && random.below(200) == 0) {
            words.position.store(random.next());
            words.closed.store(static_cast<std::uint32_t>(random.next()));
        }
        words.sleep.store(random.next());
        words.wake_at.store(random.next());
        peer.press();
    }
}

// A sender that drops the oldest, and mostly keeps to the rules: whoever does not is cut off before
// anybody is overtaken. Not `gently`: it does not more often, and lies about what is gone as well.
template <class T>
int overwrite(raw_peer<T>& peer, std::uint64_t seed, bool gently)
{
    fixed_random random(seed);
    const auto units = peer.units();
    auto& claims = peer.claims();
    constexpr bool is_cells = procyard::fixed_bytes<T> != 0;
    constexpr std::size_t record = 16;
    const std::uint64_t step = is_cells ? 1 : record;
    const auto steps = static_cast<std::size_t>(peer.capacity() / step);
    const auto message_bytes = units.size() / steps;
    const auto claim = [&](std::uint64_t oldest, std::uint64_t gone) {
        const auto number = claims.claims.load() + 1;
        auto& place = claims.places[number % 2];
        place.oldest.store(oldest);
        place.gone.store(gone);
        claims.claims.store(number);
    };
    std::uint64_t position = 0;
    std::uint64_t oldest = 0;
    for (;;) {
        for (std::size_t at = 0; at < steps; ++at) {
            auto* const to = units.data() + at * message_bytes;
            std::memset(to, 0, message_bytes);
            const record_header header{record - sizeof header, data};
            if (!is_cells)  // an empty text, and four bytes behind it that are none of it
                std::memcpy(to, &header, sizeof header);
            const std::uint32_t length = 4;
            if (!is_cells)
                std::memcpy(to + sizeof header, &length, sizeof length);
        }
        if (random.below(gently ? 64 : 4) == 0)
            units[random.below(units.size())] = static_cast<std::byte>(random.next() >> 40U);
        if (!gently && random.below(100) == 0)
            claim(random.below(2) != 0 ? random.next() : oldest, random.next());
        const auto advance = step * (1 + random.below(steps / 2));
        if (position + advance - oldest > peer.capacity()) {
            oldest = position + advance - peer.capacity();
            claim(oldest, oldest / step);
        }
        position += advance;
        peer.words().position.store(position);
        peer.press();
        for (auto turns = random.below(8); turns > 0; --turns)
            ::sched_yield();
    }
}

// What a hostile peer may make of an attempt, and whether that was its end.
bool is_end(const error_code& ec)
{
    return ec && ec != asio::error::would_block && ec != channel_errc::lapped;
}
bool is_expected(const error_code& ec)
{
    return !is_end(ec) || ec == channel_errc::bad_message || ec == channel_errc::peer_broke_rules
        || ec == channel_errc::closed;
}

template <class T>
int scribble(raw_peer<T>& peer, procyard::when_full full, int round)
{
    const auto seed = static_cast<std::uint64_t>(round) + 1;
    return full == procyard::when_full::drop_oldest ? overwrite(peer, seed, round % 2 == 0)
                                                    : scribble(peer, seed, round % 2 == 0);
}

template <class T>
void survive_scribbling(const procyard::channel_options& options, int rounds)
{
    for (int round = 0; round < rounds; ++round) {
        CAPTURE(round);
        against_producer<T> test(options);
        procyard_test::forked peer([&] { return scribble(test.peer, options.full, round); });
        std::array<T, 4> batch{};
        error_code ec;
        for (int i = 0; i < 300 && !is_end(ec); ++i) {
            if (i % 3 == 0) {
                (void)test.end.try_receive(batch[0], ec);
            } else if (i % 3 == 1) {
                (void)test.end.try_receive_some(batch, ec);
            } else {
                outcome<error_code, T> received;
                test.end.async_receive(received.handler());
                procyard_test::run_until(test.ctx, [&] { return received.done(); });
                ec = received.error();
            }
        }
        CHECK_MESSAGE(is_expected(ec), ec.message());
        (void)test.end.statistics();
        (void)test.end.lost();
    }
}

// The same as one of two sources: the other loses nothing by it.
template <class T>
void survive_beside(const procyard::channel_options& options, int rounds)
{
    for (int round = 0; round < rounds; ++round) {
        CAPTURE(round);
        against_producer<T> test(options);
        procyard_test::forked peer([&] { return scribble(test.peer, options.full, round); });
        procyard::fan_in<T> from(test.ctx.get_executor(), {.burst = 1});
        const auto bad = from.add(std::move(test.end));
        procyard::channel<T> good(test.ctx.get_executor(), options);
        const auto honest = from.add(std::move(good.receiver));
        int sent = 0;
        int received = 0;
        for (int i = 0; i < 300; ++i) {
            if (sent == received)
                sent += good.sender.try_send(T{}) ? 1 : 0;
            outcome<error_code, procyard::arrival<T>> got;
            from.async_receive(got.handler());
            procyard_test::run_until(test.ctx, [&] { return got.done(); });
            REQUIRE_FALSE(is_end(got.error()));
            if (got.error())
                continue;
            if (got.result().source == honest)
                ++received;
            else
                CHECK_MESSAGE(is_expected(got.result().ended), got.result().ended.message());
        }
        CHECK(sent - received <= 1);
        CHECK(received > 50);
        (void)from.statistics(bad);
    }
}

}  // namespace

TEST_SUITE("channel hostile: scribbling")
{
    TEST_CASE("over a ring of strings (cases 41, 44)")
    {
        survive_scribbling<std::string>({.capacity_bytes = 256}, 40);
    }

    TEST_CASE("over a ring of structures with everything in them (cases 41, 44)")
    {
        survive_scribbling<procyard_test::report>({.capacity_bytes = 1024}, 20);
        survive_scribbling<std::vector<std::vector<std::string>>>({.capacity_bytes = 1024}, 20);
    }

    TEST_CASE("over a ring of cells (cases 41, 44)")
    {
        survive_scribbling<procyard_test::padded>({.capacity_messages = 16}, 40);
    }

    TEST_CASE("over a ring whose sender drops the oldest, and what it says of it (cases 41, 44)")
    {
        survive_scribbling<std::string>(
            {.capacity_bytes = 256, .full = procyard::when_full::drop_oldest}, 20);
        survive_scribbling<procyard_test::padded>(
            {.capacity_messages = 16, .full = procyard::when_full::drop_oldest}, 20);
    }

    TEST_CASE("over the ring of a source: the other one of the fan-in goes on (cases 41, 44)")
    {
        survive_beside<std::string>({.capacity_bytes = 256}, 10);
        survive_beside<std::string>(
            {.capacity_bytes = 256, .full = procyard::when_full::drop_oldest}, 10);
    }
}
