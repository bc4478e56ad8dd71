// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/broadcast_memory.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include <procyard/ipc/detail/record_ring.hpp>

#include "memory_pages.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// Two cells at least: while one is written, the last one is there.
bool is_possible(const ring_shape& shape) noexcept
{
    if (shape.unit_bytes == 1)
        return std::has_single_bit(shape.unit_count)
            && shape.unit_count / broadcast_longest_part >= 2 * record_alignment_bytes;
    return shape.unit_bytes > 0 && shape.unit_bytes % record_alignment_bytes == 0
        && shape.unit_count >= 2 && std::has_single_bit(shape.unit_count);
}

broadcast_header read_header(const std::byte* from) noexcept
{
    std::array<std::uint64_t, sizeof(broadcast_header) / sizeof(std::uint64_t)> copy{};
    for (std::size_t i = 0; i < copy.size(); ++i)
        copy[i] = load_once(from + i * sizeof(std::uint64_t));
    return std::bit_cast<broadcast_header>(copy);
}

error_code check(const broadcast_header& header, broadcast_role role,
                 const ring_shape& shape) noexcept
{
    if (header.magic != broadcast_magic)
        return channel_errc::not_a_channel;
    if (header.version != broadcast_version)  // what comes after may mean anything
        return channel_errc::other_version;
    if (header.role != static_cast<std::uint32_t>(role))
        return channel_errc::not_a_channel;
    return header.shape == shape ? error_code{} : channel_errc::other_type;
}

}  // namespace

std::size_t broadcast_memory::size_bytes(broadcast_role role, const ring_shape& shape,
                                         error_code& ec) noexcept
{
    constexpr std::uint64_t most = std::numeric_limits<std::ptrdiff_t>::max() - ring_units_offset;
    ec.clear();
    if (!is_possible(shape) || shape.unit_count > most / shape.unit_bytes) {
        ec = channel_errc::bad_shape;
        return 0;
    }
    return ring_units_offset
        + (role == broadcast_role::writer
               ? static_cast<std::size_t>(shape.unit_count * shape.unit_bytes)
               : 0);
}

std::size_t broadcast_memory::size_in_pages(broadcast_role role, const ring_shape& shape,
                                            error_code& ec) noexcept
{
    const auto bytes = size_bytes(role, shape, ec);
    return ec ? 0 : whole_pages(bytes, static_cast<std::size_t>(::getpagesize()), ec);
}

broadcast_memory broadcast_memory::create(broadcast_role role, const ring_shape& shape,
                                          std::uint64_t position, error_code& ec)
{
    broadcast_memory made;
    const auto bytes = size_bytes(role, shape, ec);
    if (ec)
        return {};
    made.segment_ = segment::create(bytes, {}, ec);
    if (ec)
        return {};
    const broadcast_header header{broadcast_magic, broadcast_version,
                                  static_cast<std::uint32_t>(role), shape, 0};
    std::memcpy(made.segment_.writable_data(), &header, sizeof header);
    auto* const words = new (made.segment_.writable_data() + ring_words_offset) broadcast_words;
    new (made.segment_.writable_data() + ring_tally_offset) broadcast_tally;
    // Relaxed: nobody else has it as yet.
    words->position.store(position, std::memory_order_relaxed);
    words->oldest.store(position, std::memory_order_relaxed);
    made.segment_.seal_for_peer(ec);
    return ec ? broadcast_memory{} : std::move(made);
}

broadcast_memory broadcast_memory::attach(unique_fd fd, std::uint64_t announced_bytes,
                                          std::uint64_t most_bytes, broadcast_role role,
                                          const ring_shape& shape, error_code& ec)
{
    broadcast_memory attached;
    const auto bytes = size_bytes(role, shape, ec);
    if (!ec && announced_bytes > most_bytes)
        ec = channel_errc::over_limit;
    if (ec)
        return {};
    // More than is needed: the peer's pages may be larger.
    if (announced_bytes < bytes) {
        ec = segment_errc::wrong_size;
        return {};
    }
    attached.segment_ = segment::attach(std::move(fd), announced_bytes, ec);
    if (ec)
        return {};
    ec = check(read_header(attached.segment_.data()), role, shape);
    return ec ? broadcast_memory{} : std::move(attached);
}

void broadcast_memory::put_sort(end_sort sort) noexcept
{
    const auto said = static_cast<std::uint64_t>(sort);
    std::memcpy(segment_.writable_data() + offsetof(broadcast_header, sort), &said, sizeof said);
}

std::optional<end_sort> broadcast_memory::sort() const noexcept
{
    const auto said = load_once(segment_.data() + offsetof(broadcast_header, sort));
    if (said == 0)
        return std::nullopt;
    constexpr std::uint64_t most = 0xff;  // not that 257 were 1
    return static_cast<end_sort>(std::min(said, most));
}

void broadcast_memory::label_type(std::string_view name) noexcept
{
    write_type_label(segment_, name);
}

void broadcast_memory::label_writer(const broadcast_memory& writer) noexcept
{
    write_peer_label(segment_, writer.segment_);
}

broadcast_tally& broadcast_memory::own_tally() noexcept
{
    return *std::launder(
        reinterpret_cast<broadcast_tally*>(segment_.writable_data() + ring_tally_offset));
}

broadcast_words& broadcast_memory::own_words() noexcept
{
    return *std::launder(
        reinterpret_cast<broadcast_words*>(segment_.writable_data() + ring_words_offset));
}

const broadcast_words& broadcast_memory::words() const noexcept
{
    // Of the peer's the object was made by another process: see ring_memory::words.
    return *std::launder(
        reinterpret_cast<const broadcast_words*>(segment_.data() + ring_words_offset));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
