// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_INSPECT_RING_VIEW_HPP
#define PROCYARD_EXAMPLES_INSPECT_RING_VIEW_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace inspect {

/// Of a channel, or of a broadcast: a latest value is one, too.
enum class ring_role : std::uint8_t { producer, consumer, writer, reader };

[[nodiscard]] constexpr bool is_broadcast(ring_role role) noexcept
{
    return role == ring_role::writer || role == ring_role::reader;
}
/// Whether it fills the ring that the other one empties.
[[nodiscard]] constexpr bool sends(ring_role role) noexcept
{
    return role == ring_role::producer || role == ring_role::writer;
}

/// What a side has counted. Nothing: it is of an older library, which does not count.
struct ring_counts {
    std::optional<std::uint64_t> stalls{};  ///< times that an operation had to wait
    std::optional<std::uint64_t> rung{};    ///< system calls to wake the other side

    friend bool operator==(const ring_counts&, const ring_counts&) = default;
};

/// One side of a channel or a broadcast, out of the first page of its memory. See
/// docs/channel-abi.md.
struct ring_view {
    ring_role role = ring_role::producer;
    std::uint64_t units = 0;       ///< the capacity, in cells or bytes
    std::uint64_t unit_bytes = 0;  ///< 1: records of different lengths
    std::uint64_t fingerprint = 0;
    /// Of the other side's memory. 0: there is none yet, or it is a writer, who has any number.
    std::uint64_t peer_inode = 0;
    std::string type;            ///< what is sent; empty: not said
    std::uint64_t position = 0;  ///< units committed or released
    std::uint64_t sleeps = 0;    ///< announcements of sleep
    bool asleep = false;
    bool closed = false;
    bool overwrites = false;    ///< a producer that drops the oldest; how many its consumer counts
    std::uint64_t oldest = 0;   ///< of such a producer: units before this one are overwritten
    std::uint64_t dropped = 0;  ///< messages: for want of room, or lost by a reader
    ring_counts counts{};

    /// Whether the two can be the sides of one channel or broadcast.
    [[nodiscard]] bool fits(const ring_view& other) const noexcept
    {
        return is_broadcast(role) == is_broadcast(other.role) && sends(role) != sends(other.role)
            && units == other.units && unit_bytes == other.unit_bytes
            && fingerprint == other.fingerprint;
    }

    friend bool operator==(const ring_view&, const ring_view&) = default;
};

/// How many bytes of the memory parse_ring() looks at.
inline constexpr std::size_t ring_view_bytes = 640;

/// Reads what another process has written, which may be anything: nothing when it is not the memory
/// of a channel or a broadcast of a version we know, or such a one does not fit into
/// `memory_bytes`.
[[nodiscard]] std::optional<ring_view> parse_ring(std::span<const std::byte, ring_view_bytes> bytes,
                                                  std::uint64_t memory_bytes);

/// Units in the ring, of a consumer's position that was read before the producer's. Nothing when no
/// honest sides can stand like that.
[[nodiscard]] std::optional<std::uint64_t> depth_of(std::uint64_t produced, std::uint64_t consumed,
                                                    std::uint64_t units) noexcept;
/// The same of a channel's two sides. What is overwritten is not in the ring any more, wherever its
/// consumer stands: that goes on behind it when it looks the next time.
[[nodiscard]] std::optional<std::uint64_t> depth_of(const ring_view& producer,
                                                    const ring_view& consumer) noexcept;

}  // namespace inspect

#endif
