// SPDX-License-Identifier: BSL-1.0
#include "ring_view.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

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

// As ring_memory does when it attaches; a program that looks in has no right to trust more.
bool is_possible(const ring::ring_header& header, std::uint64_t memory_bytes)
{
    const auto role = static_cast<ring::ring_role>(header.role);
    const bool overwrites = (header.features & ring::feature_overwrites) != 0;
    const auto version = overwrites ? ring::overwritten_ring_version : ring::ring_version;
    if (header.magic != ring::ring_magic || header.version != version
        || header.role > static_cast<std::uint32_t>(ring::ring_role::consumer))
        return false;
    procyard::error_code ec;
    const auto needed = ring::ring_memory::size_bytes(role, header.shape, ec);
    return !ec && memory_bytes >= needed;
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

}  // namespace

std::optional<ring_view> parse_ring(std::span<const std::byte, ring_view_bytes> bytes,
                                    std::uint64_t memory_bytes)
{
    static_assert(ring_view_bytes == ring::ring_tally_offset + sizeof(ring::ring_tally));
    const auto header = read_at<ring::ring_header>(bytes, 0);
    if (!is_possible(header, memory_bytes))
        return std::nullopt;
    const auto label = read_at<ring::ring_label>(bytes, ring::ring_label_offset);
    constexpr auto words = ring::ring_words_offset;
    const auto sleep = read_at<std::uint64_t>(bytes, words + offsetof(ring::ring_words, sleep));

    ring_view view;
    view.role = static_cast<ring_role>(header.role);
    view.units = header.shape.unit_count;
    view.unit_bytes = header.shape.unit_bytes;
    view.fingerprint = header.shape.type;
    view.peer_inode = label.peer_inode;
    const auto* const end = std::find(std::begin(label.type), std::end(label.type), '\0');
    view.type = printable(std::string_view(label.type, end));
    view.position = read_at<std::uint64_t>(bytes, words + offsetof(ring::ring_words, position));
    view.sleeps = sleep / 4;  // two bits of state
    view.asleep = (sleep & 1) != 0;
    view.closed = read_at<std::uint32_t>(bytes, words + offsetof(ring::ring_words, closed)) != 0;
    view.dropped = read_at<std::uint64_t>(bytes, words + offsetof(ring::ring_words, dropped));
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

}  // namespace inspect
