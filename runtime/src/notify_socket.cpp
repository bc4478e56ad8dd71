// SPDX-License-Identifier: BSL-1.0
#include "notify_socket.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include <procyard/ipc/syscall.hpp>

#include "proc_fs.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::size_t longest_message = 4096;  // as systemd's
constexpr std::size_t most_descriptors = 16;   // in one message; more are cut off by the kernel
constexpr int most_ancestors = 64;
// In one turn: whoever floods the socket (anybody of this machine can) keeps nobody else waiting.
constexpr int most_messages = 64;

struct received {
    std::size_t size = 0;
    pid_t sender = 0;
    std::vector<unique_fd> descriptors{};
};

void take_control(msghdr& header, received& got)
{
    for (auto* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET)
            continue;
        const auto bytes = part->cmsg_len - CMSG_LEN(0);
        if (part->cmsg_type == SCM_RIGHTS) {
            for (std::size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
                int number = -1;
                std::memcpy(&number, CMSG_DATA(part) + at, sizeof number);
                got.descriptors.emplace_back(number);
            }
        } else if (part->cmsg_type == SCM_CREDENTIALS && bytes >= sizeof(ucred)) {
            ucred who{};
            std::memcpy(&who, CMSG_DATA(part), sizeof who);
            got.sender = who.pid;
        }
    }
}

// False when there is nothing.
bool receive_one(int fd, std::span<char> buffer, received& got)
{
    alignas(cmsghdr)
        std::array<char, CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(most_descriptors * sizeof(int))>
            control{};
    iovec vector{buffer.data(), buffer.size()};
    msghdr header{};
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    ssize_t size = -1;
    do
        size = ::recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return false;
    take_control(header, got);
    // A message that was longer than any of ours is not half understood.
    got.size = (header.msg_flags & MSG_TRUNC) != 0 ? 0 : static_cast<std::size_t>(size);
    return true;
}

}  // namespace

std::vector<notification> parse_notifications(std::string_view message)
{
    std::vector<notification> found;
    while (!message.empty()) {
        const auto line = message.substr(0, message.find('\n'));
        message.remove_prefix(std::min(line.size() + 1, message.size()));
        const auto equals = line.find('=');
        if (equals != std::string_view::npos && equals > 0)
            found.push_back({line.substr(0, equals), line.substr(equals + 1)});
    }
    return found;
}

std::string_view notify_message::value_of(std::string_view name) const
{
    std::string_view found;
    for (const auto& one : assignments) {
        if (one.name == name)
            found = one.value;
    }
    return found;
}

std::optional<std::uint64_t> parse_notified_number(std::string_view value)
{
    std::uint64_t number = 0;
    const auto* const end = value.data() + value.size();
    const auto [last, error] = std::from_chars(value.data(), end, number);
    if (error != std::errc() || last != end)
        return std::nullopt;
    return number;
}

void notify_socket::open(error_code& ec)
{
    unique_fd made(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socklen_t size = sizeof address;
    const int on = 1;
    // An address without a name: the kernel chooses one in the abstract name space, so that there
    // is no file to be left behind, nor a directory to be found for it.
    if (!made || ::setsockopt(made.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0
        || ::bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(sa_family_t)) != 0
        || ::getsockname(made.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        ec.assign(errno, boost::system::system_category());
        return;
    }
    address_.assign(address.sun_path, size - offsetof(sockaddr_un, sun_path));
    address_.at(0) = '@';
    descriptor_.assign(made.get(), ec);
    if (!ec)
        (void)made.release();
}

void notify_socket::start(pid_t service, listener hear, std::weak_ptr<void> owner)
{
    service_ = service;
    hear_ = std::move(hear);
    wait(std::move(owner));
}

void notify_socket::wait(std::weak_ptr<void> owner)
{
    descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                           [this, owner = std::move(owner)](const error_code& ec) mutable {
                               const auto kept = owner.lock();
                               if (!kept || ec || !descriptor_.is_open())
                                   return;
                               drain();
                               if (descriptor_.is_open())
                                   wait(std::move(owner));
                           });
}

void notify_socket::drain()
{
    for (int i = 0; i < most_messages && descriptor_.is_open() && receive(); ++i) { }
}

bool notify_socket::receive()
{
    std::array<char, longest_message> buffer;
    received got;
    if (!receive_one(descriptor_.native_handle(), buffer, got))
        return false;
    if (!is_of_service(got.sender))
        return true;
    notify_message heard{parse_notifications({buffer.data(), got.size}), {}};
    // A barrier is answered when `got` goes.
    if (heard.value_of("BARRIER").empty())
        heard.descriptors = std::move(got.descriptors);
    hear_(heard);
    return true;
}

// The process itself, or one that it has started, directly or not. Of one that has ended nobody
// knows any more whose it was: systemd-notify(1) waits for the barrier for that reason.
bool notify_socket::is_of_service(pid_t sender) const
{
    for (int i = 0; i < most_ancestors && sender > 1; ++i) {
        if (sender == service_)
            return true;
        const auto record = read_stat(sender);
        if (!record)
            return false;
        // An orphan has lost its parents, but not its group or session.
        if (record->group == service_ || record->session == service_)
            return true;
        sender = record->parent;
    }
    return false;
}

void notify_socket::close() noexcept
{
    if (!descriptor_.is_open())
        return;
    // Not close(): a child of ours may hold a copy of the table for a moment, and the registration
    // in epoll would outlive it.
    const unique_fd gone(descriptor_.release());
}

}  // namespace detail

PROCYARD_NAMESPACE_END
