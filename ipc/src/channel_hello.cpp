// SPDX-License-Identifier: BSL-1.0
#include "channel_hello.hpp"

#include <boost/asio/error.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/type_description.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::uint64_t hello_magic = 0x4f4c4c4859435250;  // "PRCYHLLO" in memory
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
static_assert(sizeof(hello_header) == 48);

// Room for one descriptor more than there should be: more of them are told by MSG_CTRUNC.
struct control_space {
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE((descriptor_count + 1) * sizeof(int))> bytes{};
};

// All the descriptors that have come, so that each of them is closed again whatever is wrong.
std::size_t take_descriptors(msghdr& message, std::array<unique_fd, descriptor_count + 1>& taken)
{
    std::size_t count = 0;
    for (auto* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
            continue;
        const auto bytes = at->cmsg_len - CMSG_LEN(0);
        for (std::size_t i = 0; i < bytes / sizeof(int); ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
            unique_fd owned(fd);
            if (count < taken.size())
                taken[count++] = std::move(owned);
        }
    }
    return count;
}

error_code check(const hello_header& header, std::size_t received) noexcept
{
    if (received < sizeof header || header.magic != hello_magic)
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
    hello_header header{hello_magic, hello_version, static_cast<std::uint32_t>(role), shape,
                        memory_bytes};
    std::array<iovec, 2> parts{{{&header, sizeof header},
                                {const_cast<char*>(description.data()), description.size()}}};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(descriptor_count * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    auto* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptor_count * sizeof(int));
    const std::array<int, descriptor_count> descriptors{memory, button};
    std::memcpy(CMSG_DATA(rights), descriptors.data(), sizeof descriptors);
    const auto sent =
        retry_eintr([&] { return ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL); });
    ec = sent == -1 ? last_error() : error_code{};
}

channel_hello receive_hello(int socket, error_code& ec)
{
    hello_header header{};
    std::array<char, type_description::max_bytes> text;
    std::array<iovec, 2> parts{{{&header, sizeof header}, {text.data(), text.size()}}};
    control_space control;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    const auto receive = [&] {
        return ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    };
    auto result = retry_eintr(receive);
    // The peer has gone and has not read ours. The kernel tells that first, and once; what the peer
    // had sent comes after.
    if (result == -1 && errno == ECONNRESET)
        result = retry_eintr(receive);
    if (result == -1) {
        ec = last_error();
        return {};
    }
    std::array<unique_fd, descriptor_count + 1> taken;
    const auto count = take_descriptors(message, taken);
    const auto received = static_cast<std::size_t>(result);
    if (received == 0 && count == 0) {
        ec = asio::error::eof;
        return {};
    }
    ec = check(header, received);
    if (!ec && (message.msg_flags & MSG_CTRUNC) != 0 && count < descriptor_count)
        ec = make_errno(EMFILE);  // they have not found a number here
    else if (!ec && ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || count != descriptor_count))
        ec = channel_errc::bad_hello;
    if (ec)
        return {};
    return {static_cast<ring_role>(header.role),
            header.shape,
            header.memory_bytes,
            std::string(text.data(), received - sizeof header),
            std::move(taken[0]),
            std::move(taken[1])};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
