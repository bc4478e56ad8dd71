// SPDX-License-Identifier: BSL-1.0
#include "channel_hello.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/type_description.hpp>

#include "connection_packet.hpp"
#include "hello_sort.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// Goes up with every change that an older peer would misunderstand.
constexpr std::uint32_t hello_version = 1;
constexpr std::size_t descriptor_count = 2;

// An ABI, as ring_header.
struct hello_header {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t role;  // ring_role
    ring_shape shape;
    std::uint64_t memory_bytes;
};
static_assert(sizeof(hello_header) == 48 && offsetof(hello_header, role) == hello_role_offset);
static_assert(sizeof(hello_header) + type_description::max_bytes <= max_hello_bytes);

using hello_bytes = std::array<std::byte, sizeof(hello_header) + type_description::max_bytes>;

error_code check(const hello_header& header, std::size_t received) noexcept
{
    if (received < sizeof header || header.magic != channel_hello_magic)
        return channel_errc::bad_hello;
    if (header.version != hello_version)  // what comes after may mean anything
        return channel_errc::other_version;
    const bool is_role = header.role == static_cast<std::uint32_t>(ring_role::producer)
        || header.role == static_cast<std::uint32_t>(ring_role::consumer);
    return is_role ? error_code{} : channel_errc::bad_hello;
}

}  // namespace

void send_hello(int socket, ring_role role, const ring_shape& shape, std::uint64_t memory_bytes,
                std::string_view description, int memory, int button, error_code& ec)
{
    const hello_header header{channel_hello_magic, hello_version, static_cast<std::uint32_t>(role),
                              shape, memory_bytes};
    hello_bytes bytes;
    const auto length = std::min(description.size(), type_description::max_bytes);
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, description.data(), length);
    const std::array<int, descriptor_count> descriptors{memory, button};
    (void)try_send_descriptors(socket, std::span(bytes).first(sizeof header + length), descriptors,
                               ec);
}

channel_hello receive_hello(int socket, error_code& ec)
{
    hello_bytes bytes;
    std::array<unique_fd, descriptor_count> descriptors;
    const auto got = peek_packet(socket, bytes, descriptors, ec);
    if (ec)
        return {};
    hello_header header{};
    std::memcpy(&header, bytes.data(), std::min(got.bytes, sizeof header));
    ec = check(header, got.bytes);
    if (!ec && got.descriptors != descriptor_count)
        ec = channel_errc::bad_hello;
    if (ec)
        return {};
    const auto* const text = reinterpret_cast<const char*>(bytes.data() + sizeof header);
    return {static_cast<ring_role>(header.role),
            header.shape,
            header.memory_bytes,
            std::string(text, got.bytes - sizeof header),
            std::move(descriptors[0]),
            std::move(descriptors[1])};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
