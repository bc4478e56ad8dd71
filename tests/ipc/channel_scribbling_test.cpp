// SPDX-License-Identifier: BSL-1.0
// A peer in a process of its own that writes random bytes over all that it can write, while we
// receive: only errors come of it.
#include <procyard/ipc/channel.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/detail/record_ring.hpp>

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

template <class T>
void survive_scribbling(const procyard::channel_options& options, int rounds)
{
    for (int round = 0; round < rounds; ++round) {
        CAPTURE(round);
        against_producer<T> test(options);
        procyard_test::forked peer([&] {
            return scribble(test.peer, static_cast<std::uint64_t>(round) + 1, round % 2 == 0);
        });
        std::array<T, 4> batch{};
        error_code ec;
        for (int i = 0; i < 300 && !(ec && ec != asio::error::would_block); ++i) {
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
        if (ec && ec != asio::error::would_block)
            CHECK((ec == channel_errc::bad_message || ec == channel_errc::peer_broke_rules
                   || ec == channel_errc::closed));
        (void)test.end.statistics();
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
}
