// SPDX-License-Identifier: BSL-1.0
#include "broadcast_hello.hpp"

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

// An ABI, as broadcast_header.
struct broadcast_hello_header {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint16_t role;
    std::uint16_t manner;
    ring_shape shape;
    std::uint64_t memory_bytes;
    std::uint64_t start;
    std::uint64_t start_number;
};
static_assert(sizeof(broadcast_hello_header) == 64
              && offsetof(broadcast_hello_header, role) == hello_role_offset);
static_assert(sizeof(broadcast_hello_header) + type_description::max_bytes <= max_hello_bytes);

using hello_bytes =
    std::array<std::byte, sizeof(broadcast_hello_header) + type_description::max_bytes>;

error_code check(const broadcast_hello_header& header, std::size_t received,
                 broadcast_role role) noexcept
{
    if (received < sizeof header || header.magic != broadcast_hello_magic)
        return channel_errc::bad_hello;
    if (header.version != hello_version)  // what comes after may mean anything
        return channel_errc::other_version;
    return header.role == static_cast<std::uint16_t>(role) ? error_code{} : channel_errc::bad_hello;
}

}  // namespace

void send_broadcast_hello(int socket, const broadcast_hello& hello, int memory, int button,
                          error_code& ec)
{
    const broadcast_hello_header header{broadcast_hello_magic,
                                        hello_version,
                                        static_cast<std::uint16_t>(hello.role),
                                        static_cast<std::uint16_t>(hello.manner),
                                        hello.shape,
                                        hello.memory_bytes,
                                        hello.start,
                                        hello.start_number};
    hello_bytes bytes;
    const auto length = std::min(hello.description.size(), type_description::max_bytes);
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, hello.description.data(), length);
    const std::array<int, descriptor_count> descriptors{memory, button};
    (void)try_send_descriptors(socket, std::span(bytes).first(sizeof header + length), descriptors,
                               ec);
}

broadcast_hello receive_broadcast_hello(int socket, broadcast_role role, error_code& ec)
{
    hello_bytes bytes;
    std::array<unique_fd, descriptor_count> descriptors;
    // It stays where it is: without a descriptor now it can be read again.
    const auto got = peek_packet(socket, bytes, descriptors, ec);
    if (ec)
        return {};
    broadcast_hello_header header{};
    std::memcpy(&header, bytes.data(), std::min(got.bytes, sizeof header));
    ec = check(header, got.bytes, role);
    if (!ec && got.descriptors != descriptor_count)
        ec = channel_errc::bad_hello;
    if (ec)
        return {};
    const auto* const text = reinterpret_cast<const char*>(bytes.data() + sizeof header);
    return {role,
            header.manner,
            header.shape,
            header.memory_bytes,
            header.start,
            header.start_number,
            std::string(text, got.bytes - sizeof header),
            std::move(descriptors[0]),
            std::move(descriptors[1])};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
