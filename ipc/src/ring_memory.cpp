// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/ring_memory.hpp>

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include <procyard/ipc/detail/record_ring.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

bool is_possible(const ring_shape& shape) noexcept
{
    if (shape.unit_bytes == 1)
        return is_record_capacity(shape.unit_count);
    return shape.unit_bytes > 0 && shape.unit_bytes % record_alignment_bytes == 0
        && std::has_single_bit(shape.unit_count);
}

std::uint32_t version_of(std::uint64_t features) noexcept
{
    return (features & feature_overwrites) != 0 ? overwritten_ring_version : ring_version;
}

ring_header header_of(ring_role role, const ring_shape& shape, std::uint64_t features) noexcept
{
    return {ring_magic, version_of(features), static_cast<std::uint32_t>(role), shape, features};
}

ring_header read_header(const std::byte* from) noexcept
{
    std::array<std::uint64_t, sizeof(ring_header) / sizeof(std::uint64_t)> copy{};
    for (std::size_t i = 0; i < copy.size(); ++i)
        copy[i] = load_once(from + i * sizeof(std::uint64_t));
    return std::bit_cast<ring_header>(copy);
}

error_code check(const ring_header& header, ring_role role, const ring_shape& shape) noexcept
{
    if (header.magic != ring_magic)
        return channel_errc::not_a_channel;
    if (header.version != version_of(header.features))  // what comes after may mean anything
        return channel_errc::other_version;
    if (header.role != static_cast<std::uint32_t>(role))
        return channel_errc::not_a_channel;
    return header.shape == shape ? error_code{} : channel_errc::other_type;
}

}  // namespace

std::size_t ring_memory::size_bytes(ring_role role, const ring_shape& shape,
                                    error_code& ec) noexcept
{
    constexpr std::uint64_t most = std::numeric_limits<std::ptrdiff_t>::max() - ring_units_offset;
    ec.clear();
    if (!is_possible(shape) || shape.unit_count > most / shape.unit_bytes) {
        ec = channel_errc::bad_shape;
        return 0;
    }
    return ring_units_offset
        + (role == ring_role::producer
               ? static_cast<std::size_t>(shape.unit_count * shape.unit_bytes)
               : 0);
}

ring_memory ring_memory::create(ring_role role, const ring_shape& shape, std::uint64_t features,
                                error_code& ec, const segment_options& options)
{
    ring_memory made;
    const auto bytes = size_bytes(role, shape, ec);
    if (ec)
        return {};
    made.segment_ = segment::create(bytes, options, ec);
    if (ec)
        return {};
    const auto header = header_of(role, shape, features);
    std::memcpy(made.segment_.writable_data(), &header, sizeof header);
    new (made.segment_.writable_data() + ring_words_offset) ring_words;
    new (made.segment_.writable_data() + ring_tally_offset) ring_tally;
    if ((features & feature_overwrites) != 0)
        new (made.segment_.writable_data() + ring_claims_offset) claim_words;
    if (role == ring_role::consumer)
        new (made.segment_.writable_data() + ring_accounts_offset) account_words;
    made.features_ = features;
    made.segment_.seal_for_peer(ec);
    return ec ? ring_memory{} : std::move(made);
}

ring_memory ring_memory::attach(unique_fd fd, std::size_t announced_bytes, ring_role role,
                                const ring_shape& shape, error_code& ec)
{
    ring_memory attached;
    const auto bytes = size_bytes(role, shape, ec);
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
    const auto header = read_header(attached.segment_.data());
    ec = check(header, role, shape);
    if (ec)
        return {};
    attached.features_ = header.features;
    return attached;
}

void write_type_label(segment& own, std::string_view name) noexcept
{
    auto* const to = own.writable_data() + ring_label_offset + offsetof(ring_label, type);
    // Memory is born as zeros, so what is not written ends the text.
    std::memcpy(to, name.data(), std::min(name.size(), sizeof(ring_label::type) - 1));
}

void write_peer_label(segment& own, const segment& peer) noexcept
{
    struct stat file{};
    if (::fstat(peer.native_handle(), &file) == -1)
        return;  // some sandbox; nothing depends on it
    const auto inode = static_cast<std::uint64_t>(file.st_ino);
    std::memcpy(own.writable_data() + ring_label_offset, &inode, sizeof inode);
}

void ring_memory::label_type(std::string_view name) noexcept
{
    write_type_label(segment_, name);
}

void ring_memory::label_peer(const ring_memory& peer) noexcept
{
    write_peer_label(segment_, peer.segment_);
}

ring_words& ring_memory::own_words() noexcept
{
    return *std::launder(
        reinterpret_cast<ring_words*>(segment_.writable_data() + ring_words_offset));
}

ring_tally& ring_memory::own_tally() noexcept
{
    return *std::launder(
        reinterpret_cast<ring_tally*>(segment_.writable_data() + ring_tally_offset));
}

const ring_words& ring_memory::words() const noexcept
{
    // Of the peer's the object was made by another process, of which C++ knows nothing: the layout
    // is fixed, its members are lock-free, and any bytes are a value of them.
    return *std::launder(reinterpret_cast<const ring_words*>(segment_.data() + ring_words_offset));
}

claim_words& ring_memory::own_claims() noexcept
{
    return *std::launder(
        reinterpret_cast<claim_words*>(segment_.writable_data() + ring_claims_offset));
}

const claim_words& ring_memory::claims() const noexcept
{
    return *std::launder(
        reinterpret_cast<const claim_words*>(segment_.data() + ring_claims_offset));
}

account_words& ring_memory::own_accounts() noexcept
{
    return *std::launder(
        reinterpret_cast<account_words*>(segment_.writable_data() + ring_accounts_offset));
}

const account_words& ring_memory::accounts() const noexcept
{
    return *std::launder(
        reinterpret_cast<const account_words*>(segment_.data() + ring_accounts_offset));
}

std::byte* ring_memory::own_units() noexcept
{
    return segment_.writable_data() + ring_units_offset;
}

const std::byte* ring_memory::units() const noexcept
{
    return segment_.data() + ring_units_offset;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
