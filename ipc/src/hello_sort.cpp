// SPDX-License-Identifier: BSL-1.0
#include "hello_sort.hpp"

#include <boost/asio/error.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <procyard/ipc/detail/broadcast_memory.hpp>
#include <procyard/ipc/detail/end_sort.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "connection_messages.hpp"
#include "connection_packet.hpp"
#include "shortage.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

template <class Number>
Number number_at(std::span<const std::byte> packet, std::size_t offset) noexcept
{
    Number number{};
    std::memcpy(&number, packet.data() + offset, sizeof number);
    return number;
}

// A latest value is a broadcast but for a word in its memory. What is not sealed is not looked at:
// it may be of a file system that never answers.
end_sort sort_of_broadcast(int memory) noexcept
{
    std::uint64_t said = 0;
    if (::fcntl(memory, F_GET_SEALS) == -1
        || ::pread(memory, &said, sizeof said, offsetof(broadcast_header, sort)) != sizeof said)
        return end_sort::broadcast;
    const bool is_value = said == static_cast<std::uint64_t>(end_sort::latest_value);
    return is_value ? end_sort::latest_value : end_sort::broadcast;
}

}  // namespace

std::string name_of_sender(std::span<const std::byte> packet, int memory,
                           std::uint64_t expected_magic)
{
    if (packet.size() < hello_role_offset + sizeof(std::uint32_t))
        return {};
    const auto magic = number_at<std::uint64_t>(packet, 0);
    if (magic == expected_magic)
        return {};
    if (magic == work_hello_magic)
        return name_of(end_sort::work_queue, true, true);
    if (magic == channel_hello_magic) {
        const auto role = number_at<std::uint32_t>(packet, hello_role_offset);
        const bool sends = role == static_cast<std::uint32_t>(ring_role::producer);
        const bool receives = role == static_cast<std::uint32_t>(ring_role::consumer);
        return sends || receives ? name_of(end_sort::channel, sends, receives) : std::string();
    }
    if (magic == broadcast_hello_magic) {
        const auto role = number_at<std::uint16_t>(packet, hello_role_offset);
        const bool sends = role == static_cast<std::uint16_t>(broadcast_role::writer);
        return name_of(sort_of_broadcast(memory), sends, !sends);
    }
    return {};
}

std::string name_of_peer(int socket, std::uint64_t expected_magic, error_code& ec)
{
    std::array<std::byte, max_hello_bytes> bytes;
    std::array<unique_fd, 2> descriptors;
    error_code told;
    const auto got = peek_packet(socket, bytes, descriptors, told);
    if (told == asio::error::would_block)
        return "something that has said nothing, as a channel whose other end is not open";
    if (told == asio::error::eof)
        return "something that has gone, and had said nothing";
    if (is_shortage(told))
        ec = told;
    if (told)
        return {};
    return name_of_sender(std::span(bytes).first(got.bytes), descriptors[0].get(), expected_magic);
}

std::string explain_sorts(const std::string& here, const std::string& there)
{
    return there.empty() ? std::string() : "here " + here + ", there " + there;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
