// SPDX-License-Identifier: BSL-1.0
#include "ring_view.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

#include <procyard/ipc/detail/broadcast_memory.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>

#include "maps_line.hpp"

namespace inspect {

namespace {

namespace ring = procyard::detail;

template <class Value>
Value read_at(std::span<const std::byte> bytes, std::size_t offset)
{
    Value value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
}

// As ring_memory and broadcast_memory do when they attach; a program that looks in has no right to
// trust more. The two headers are one, but for the features.
std::optional<ring_role> role_of(const ring::ring_header& header, std::uint64_t memory_bytes)
{
    if (header.role > 1)
        return std::nullopt;
    const bool overwrites = (header.features & ring::feature_overwrites) != 0;
    const auto version = overwrites ? ring::overwritten_ring_version : ring::ring_version;
    procyard::error_code ec;
    std::uint64_t needed = 0;
    auto role = static_cast<ring_role>(header.role);
    if (header.magic == ring::ring_magic && header.version == version) {
        needed = ring::ring_memory::size_bytes(static_cast<ring::ring_role>(header.role),
                                               header.shape, ec);
    } else if (header.magic == ring::broadcast_magic && header.version == ring::broadcast_version) {
        role = header.role == 0 ? ring_role::writer : ring_role::reader;
        needed = ring::broadcast_memory::size_bytes(static_cast<ring::broadcast_role>(header.role),
                                                    header.shape, ec);
    } else {
        return std::nullopt;
    }
    return !ec && memory_bytes >= needed ? std::optional(role) : std::nullopt;
}

// The announcements of sleep are counted above the bits of state, of which a channel has two.
void read_words(ring_view& view, std::span<const std::byte> bytes)
{
    using words = ring::ring_words;
    using broadcast = ring::broadcast_words;
    constexpr auto at = ring::ring_words_offset;
    static_assert(offsetof(words, position) == offsetof(broadcast, position)
                  && offsetof(words, sleep) == offsetof(broadcast, sleep)
                  && offsetof(words, closed) == offsetof(broadcast, closed));
    const auto sleep = read_at<std::uint64_t>(bytes, at + offsetof(words, sleep));
    const bool is_channel = !is_broadcast(view.role);
    view.position = read_at<std::uint64_t>(bytes, at + offsetof(words, position));
    view.sleeps = sleep / (is_channel ? 4 : 2);
    view.asleep = (sleep & 1) != 0;
    view.closed = read_at<std::uint32_t>(bytes, at + offsetof(words, closed)) != 0;
    view.dropped = read_at<std::uint64_t>(bytes,
                                          is_channel ? at + offsetof(words, dropped)
                                                     : ring::ring_tally_offset
                                                  + offsetof(ring::broadcast_tally, lost));
}

ring_counts read_counts(std::span<const std::byte> bytes)
{
    constexpr auto tally = ring::ring_tally_offset;
    const auto at = [&](std::size_t offset) {
        return read_at<std::uint64_t>(bytes, tally + offset);
    };
    if (at(offsetof(ring::ring_tally, counts)) == 0)
        return {};
    return {at(offsetof(ring::ring_tally, stalls)), at(offsetof(ring::ring_tally, rung))};
}

// Of the last claim, or of the one before: that a sender has gone on meanwhile is no matter here.
std::uint64_t read_oldest(std::span<const std::byte> bytes)
{
    using words = ring::claim_words;
    constexpr auto at = ring::ring_claims_offset;
    const auto claims = read_at<std::uint64_t>(bytes, at + offsetof(words, claims));
    return read_at<std::uint64_t>(bytes,
                                  at + offsetof(words, places) + claims % 2 * sizeof(words::place)
                                      + offsetof(words::place, oldest));
}

}  // namespace

std::optional<ring_view> parse_ring(std::span<const std::byte, ring_view_bytes> bytes,
                                    std::uint64_t memory_bytes)
{
    static_assert(ring_view_bytes == ring::ring_claims_offset + sizeof(ring::claim_words)
                  && ring::ring_tally_offset + sizeof(ring::broadcast_tally) <= ring_view_bytes
                  && sizeof(ring::ring_tally) <= sizeof(ring::broadcast_tally));
    const auto header = read_at<ring::ring_header>(bytes, 0);
    const auto role = role_of(header, memory_bytes);
    if (!role)
        return std::nullopt;
    const auto label = read_at<ring::ring_label>(bytes, ring::ring_label_offset);
    ring_view view;
    view.role = *role;
    view.units = header.shape.unit_count;
    view.unit_bytes = header.shape.unit_bytes;
    view.fingerprint = header.shape.type;
    view.peer_inode = label.peer_inode;
    const auto* const end = std::find(std::begin(label.type), std::end(label.type), '\0');
    view.type = printable(std::string_view(label.type, end));
    view.overwrites =
        view.role == ring_role::producer && (header.features & ring::feature_overwrites) != 0;
    if (view.overwrites)
        view.oldest = read_oldest(bytes);
    read_words(view, bytes);
    view.counts = read_counts(bytes);
    return view;
}

std::optional<std::uint64_t> depth_of(std::uint64_t produced, std::uint64_t consumed,
                                      std::uint64_t units) noexcept
{
    const std::uint64_t depth = produced - consumed;  // positions may wrap
    // The consumer may have gone on before the producer's position was read, by anything; but never
    // is it ahead.
    if (depth > ~std::uint64_t{0} / 2)
        return std::nullopt;
    return std::min(depth, units);
}

std::optional<std::uint64_t> depth_of(const ring_view& producer, const ring_view& consumer) noexcept
{
    auto depth = depth_of(producer.position, consumer.position, producer.units);
    if (depth && producer.overwrites)
        depth = std::min(*depth, producer.position - producer.oldest);
    return depth;
}

}  // namespace inspect
