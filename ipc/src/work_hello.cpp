// SPDX-License-Identifier: BSL-1.0
// The one descriptor of a consumer: a socket in which its two channels lie.
#include <boost/asio/error.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/detail/work_broker.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "connection_packet.hpp"
#include "hello_sort.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// Goes up with every change that an older peer would misunderstand, in the records as well.
constexpr std::uint32_t work_version = 1;
constexpr std::uint64_t most_leases = 4096;

// An ABI, as hello_header.
struct work_header {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t across_users;
    std::uint64_t most_leases;
    std::uint64_t capacity_messages;
    std::uint64_t capacity_bytes;
};
static_assert(sizeof(work_header) == 40);

}  // namespace

channel_options answer_options(const work_hello& hello) noexcept
{
    auto options = hello.channels;
    // An answer for each lease, and then a wish for each that can follow.
    options.capacity_messages = static_cast<std::size_t>(2 * hello.most_leases);
    options.capacity_bytes = 0;
    // Some hundred bytes: that the items lie in huge pages is no reason to take one for these.
    options.huge_pages = huge_page_policy::never;
    return options;
}

unique_fd pack_consumer(const work_hello& hello, int items, int answers, error_code& ec)
{
    auto ends = make_raw_socket_pair(SOCK_SEQPACKET, ec);
    if (ec)
        return {};
    const work_header header{work_hello_magic,
                             work_version,
                             hello.channels.across_users ? 1U : 0U,
                             hello.most_leases,
                             hello.channels.capacity_messages,
                             hello.channels.capacity_bytes};
    const std::array<int, 2> descriptors{items, answers};
    (void)try_send_descriptors(ends.first.get(), std::as_bytes(std::span(&header, 1)), descriptors,
                               ec);
    // What was sent stays in the socket, and is closed with it if nobody takes it.
    return ec ? unique_fd() : std::move(ends.second);
}

work_hello unpack_consumer(unique_fd from, unique_fd& items, unique_fd& answers,
                           std::string& sender, error_code& ec)
{
    std::array<std::byte, max_hello_bytes> bytes;  // of whatever it is
    work_header header{};
    std::array<unique_fd, 2> descriptors;
    const auto got = receive_packet(from.get(), bytes, descriptors, ec);
    if (ec == asio::error::would_block || ec == asio::error::eof)
        ec = channel_errc::already_taken;
    if (ec)
        return {};
    std::memcpy(&header, bytes.data(), std::min(got.bytes, sizeof header));
    const bool is_one =
        got.bytes == sizeof header && header.magic == work_hello_magic && got.descriptors == 2;
    sender =
        name_of_sender(std::span(bytes).first(got.bytes), descriptors[0].get(), work_hello_magic);
    if (is_one && header.version != work_version)
        ec = channel_errc::other_version;
    else if (!sender.empty())
        ec = channel_errc::other_direction;
    else if (!is_one || header.most_leases == 0 || header.most_leases > most_leases)
        ec = channel_errc::bad_hello;
    if (ec)
        return {};
    items = std::move(descriptors[0]);
    answers = std::move(descriptors[1]);
    work_hello hello;
    hello.most_leases = header.most_leases;
    hello.channels.capacity_messages = static_cast<std::size_t>(header.capacity_messages);
    hello.channels.capacity_bytes = static_cast<std::size_t>(header.capacity_bytes);
    hello.channels.across_users = header.across_users != 0;
    return hello;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
