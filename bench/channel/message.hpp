// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_CHANNEL_MESSAGE_HPP
#define PROCYARD_BENCH_CHANNEL_MESSAGE_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "../support/round.hpp"

namespace bench {

/// What goes through a channel: `Bytes` bytes, of which the first word and the last are the
/// message's number, so that a lost, a repeated and a torn message are all seen.
template <std::size_t Bytes>
struct message {
    static_assert(Bytes % sizeof(std::uint64_t) == 0);
    static constexpr std::size_t bytes = Bytes;

    std::array<std::uint64_t, Bytes / sizeof(std::uint64_t)> words;

    [[nodiscard]] std::uint64_t number() const noexcept { return words.front(); }
    [[nodiscard]] bool torn() const noexcept { return words.back() != words.front(); }

    void set_number(std::uint64_t number) noexcept
    {
        words.front() = number;
        words.back() = number;
    }

    /// For rows in which a message is made where the receiver reads it: its maker writes all of it
    /// there, and its reader looks at all of it. A copy is then the only thing that is saved.
    void fill(std::uint64_t number) noexcept { words.fill(number); }
    [[nodiscard]] bool is_all(std::uint64_t number) const noexcept
    {
        std::uint64_t different = 0;
        for (const std::uint64_t word : words)
            different |= word ^ number;
        return different == 0;
    }
};

/// Set in the number of the last message.
inline constexpr std::uint64_t last_message = std::uint64_t{1} << 63U;

/// How many messages of a size a contender sends or receives together, where it can: up to 128, and
/// up to 16 KiB, which stay in the first cache.
template <std::size_t Bytes>
inline constexpr std::size_t batch_of = std::clamp<std::size_t>(16384 / Bytes, 1, 128);

inline constexpr std::size_t burst_messages = 16;
/// Of the command `ready`: so many are there before the first is awaited.
inline constexpr std::size_t ready_messages = 64;

/// Messages a queue holds, for contenders that can choose: up to 4096, up to 1 MiB of them, but at
/// least 8.
template <std::size_t Bytes>
inline constexpr std::size_t capacity_of =
    std::clamp<std::size_t>((std::size_t{1} << 20U) / Bytes, 8, 4096);

/// Zeroed messages on the heap: a stack may not have room for one.
template <std::size_t Bytes>
std::unique_ptr<message<Bytes>[]> make_messages(std::size_t count)
{
    return std::make_unique<message<Bytes>[]>(count);
}

/// Calls `visit` with the message size the row asks for, as an integral_constant.
template <class Visitor>
void for_message_size(const round_options& options, Visitor visit)
{
    const auto visited = [&]<std::size_t... Bytes>(std::index_sequence<Bytes...>) {
        const auto bytes = static_cast<std::size_t>(options.number("bytes", 64));
        return ((bytes == Bytes && (visit(std::integral_constant<std::size_t, Bytes>{}), true))
                || ...);
    };
    require(visited(std::index_sequence<8, 64, 1024, 65536, 1048576>{}),
            "bytes=8|64|1024|65536|1048576");
}

}  // namespace bench

#endif
