// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/descriptor_passing.hpp>

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/error.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>

#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/socket_error.hpp>
#include <procyard/ipc/syscall.hpp>

#include "descriptor_receipt.hpp"

#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04  // Linux 6.5; newer than the headers we build with
#endif

PROCYARD_NAMESPACE_BEGIN

namespace {

constexpr std::size_t rights_space(std::size_t count) noexcept
{
    return CMSG_SPACE(count * sizeof(int));
}

// Beside the descriptors: what a host may have switched on for its socket, credentials and a pidfd.
// Not more, since the kernel fills what is left with descriptors.
constexpr std::size_t other_space = CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int));

template <std::size_t Size>
struct control_room {
    alignas(cmsghdr) std::array<std::byte, Size> bytes;
};

error_code would_block_or(int error_number) noexcept
{
    if (error_number == EAGAIN || error_number == EWOULDBLOCK)
        return asio::error::would_block;
    return make_errno(error_number);
}

error_code check_sending(std::size_t size_bytes, std::size_t count) noexcept
{
    if (count > max_passed_descriptors)
        return socket_errc::too_many_to_send;
    return count > 0 && size_bytes == 0 ? socket_errc::no_payload : error_code{};
}

// The descriptors of what recvmsg has delivered. All are closed with the object, save those that
// were taken.
class arrived_descriptors {
public:
    // `header` stands in a buffer that ends at `end`.
    void add(const cmsghdr& header, const std::byte* end) noexcept
    {
        const bool rights = header.cmsg_type == SCM_RIGHTS;
        if (header.cmsg_level != SOL_SOCKET || (!rights && header.cmsg_type != SCM_PIDFD))
            return;
        const auto* const data = reinterpret_cast<const std::byte*>(CMSG_DATA(&header));
        const auto count = (header.cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int number = -1;
            std::memcpy(&number, data + i * sizeof number, sizeof number);
            unique_fd fd(number);  // of a pidfd that the kernel could not make: minus an errno
            if (rights && count_ < fds_.size())
                fds_[count_++] = std::move(fd);
        }
        if (rights)
            room_left_ = static_cast<std::size_t>(end - data) / sizeof(int) > count;
    }

    [[nodiscard]] std::size_t count() const noexcept { return count_; }
    // Whether the buffer had room for more, so that it is not for want of room if some are missing.
    [[nodiscard]] bool room_left() const noexcept { return room_left_; }

    void move_to(std::span<unique_fd> room) noexcept
    {
        std::move(fds_.begin(), fds_.begin() + static_cast<std::ptrdiff_t>(count_), room.begin());
    }

private:
    std::array<unique_fd, max_passed_descriptors> fds_;
    std::size_t count_ = 0;
    bool room_left_ = true;
};

bool is_connection(int socket) noexcept
{
    int type = 0;
    socklen_t length = sizeof type;
    return ::getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type != SOCK_DGRAM;
}

// What is to be said of a message that has come.
error_code judge(int socket, std::size_t size_bytes, int flags, const arrived_descriptors& arrived,
                 std::size_t max_count) noexcept
{
    if (arrived.count() > max_count)
        return socket_errc::too_many_received;
    // Cut off: by the end of the buffer, or because the kernel could not give them numbers.
    if ((flags & MSG_CTRUNC) != 0)
        return arrived.room_left() ? make_errno(EMFILE) : socket_errc::too_many_received;
    if ((flags & MSG_TRUNC) != 0)
        return socket_errc::message_too_large;
    if (size_bytes == 0 && arrived.count() == 0 && is_connection(socket))
        return asio::error::eof;
    return {};
}

}  // namespace

std::size_t try_send_descriptors(int socket, std::span<const std::byte> data,
                                 std::span<const int> descriptors, error_code& ec) noexcept
{
    ec = check_sending(data.size(), descriptors.size());
    if (ec)
        return 0;
    // sendmsg does not write through it.
    iovec bytes{const_cast<std::byte*>(data.data()), data.size()};
    control_room<rights_space(max_passed_descriptors)> control;
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
        message.msg_control = control.bytes.data();
        message.msg_controllen = rights_space(descriptors.size());
        std::fill_n(control.bytes.begin(), message.msg_controllen, std::byte{0});
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
    }
    const auto sent =
        retry_eintr([&] { return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT); });
    if (sent >= 0)
        return static_cast<std::size_t>(sent);
    ec = would_block_or(errno);
    return 0;
}

received_counts try_receive_descriptors(int socket, std::span<std::byte> data,
                                        std::span<unique_fd> room, error_code& ec) noexcept
{
    return detail::receive_descriptors(socket, data, room, 0, ec);
}

received_counts detail::receive_descriptors(int socket, std::span<std::byte> data,
                                            std::span<unique_fd> room, int flags,
                                            error_code& ec) noexcept
{
    for (auto& fd : room)
        fd.reset();
    if (data.empty()) {
        ec = socket_errc::no_payload;
        return {};
    }
    const auto max_count = std::min(room.size(), max_passed_descriptors);
    iovec bytes{data.data(), data.size()};
    // Room for one descriptor more than was asked for, so that it can be told from a failure of
    // the kernel's; and not for as many as there can be, since they are installed before they are
    // counted.
    control_room<rights_space(max_passed_descriptors + 1) + other_space> control;
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.data();
    message.msg_controllen = rights_space(max_count + 1) + other_space;
    const auto* const end = control.bytes.data() + message.msg_controllen;
    const auto count = retry_eintr(
        [&] { return ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT | flags); });
    if (count == -1) {
        ec = would_block_or(errno);
        return {};
    }
    arrived_descriptors arrived;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header))
        arrived.add(*header, end);
    received_counts result{static_cast<std::size_t>(count), 0};
    ec = judge(socket, result.bytes, message.msg_flags, arrived, max_count);
    if (!ec) {
        arrived.move_to(room);
        result.descriptors = arrived.count();
    }
    return result;
}

namespace detail {

namespace {

using wait_type = asio::socket_base::wait_type;

class send_operation final : public socket_operation {
public:
    send_operation(socket_ref socket, const asio::any_io_executor& ex, asio::const_buffer data,
                   std::vector<int> descriptors, send_handler handler)
        : socket_operation(std::move(socket), wait_type::wait_write,
                           asio::get_associated_executor(handler, ex)),
          data_(static_cast<const std::byte*>(data.data()), data.size()),
          descriptors_(std::move(descriptors)),
          handler_(std::move(handler))
    {
    }

    void launch() { start(handler_.get_cancellation_slot()); }

private:
    error_code attempt(int fd) noexcept override
    {
        error_code ec;
        sent_ = try_send_descriptors(fd, data_, descriptors_, ec);
        return ec;
    }
    void finish(std::shared_ptr<socket_operation> self, const error_code& ec) override
    {
        auto handler = std::move(handler_);
        const auto sent = sent_;
        const auto result = ec;
        self.reset();
        std::move(handler)(result, sent);
    }

    const std::span<const std::byte> data_;
    const std::vector<int> descriptors_;
    send_handler handler_;
    std::size_t sent_ = 0;
};

class receive_operation final : public socket_operation {
public:
    receive_operation(socket_ref socket, const asio::any_io_executor& ex, asio::mutable_buffer data,
                      std::size_t max_count, receive_handler handler)
        : socket_operation(std::move(socket), wait_type::wait_read,
                           asio::get_associated_executor(handler, ex)),
          data_(static_cast<std::byte*>(data.data()), data.size()),
          handler_(std::move(handler))
    {
        // Before anything has come, which a failed allocation would lose.
        received_.descriptors.resize(std::min(max_count, max_passed_descriptors));
    }

    void launch() { start(handler_.get_cancellation_slot()); }

private:
    error_code attempt(int fd) noexcept override
    {
        error_code ec;
        const auto got = try_receive_descriptors(fd, data_, received_.descriptors, ec);
        received_.bytes = got.bytes;
        count_ = got.descriptors;
        return ec;
    }
    void finish(std::shared_ptr<socket_operation> self, const error_code& ec) override
    {
        auto handler = std::move(handler_);
        auto received = std::move(received_);
        received.descriptors.resize(count_);
        const auto result = ec;
        self.reset();
        std::move(handler)(result, std::move(received));
    }

    const std::span<std::byte> data_;
    receive_handler handler_;
    received_descriptors received_;
    std::size_t count_ = 0;
};

}  // namespace

void start_send_descriptors(socket_ref socket, const asio::any_io_executor& ex,
                            asio::const_buffer data, std::vector<int> descriptors,
                            send_handler handler)
{
    if (const auto ec = check_sending(data.size(), descriptors.size())) {
        pending<void(error_code, std::size_t)>(ex, std::move(handler)).complete(ec, 0);
        return;
    }
    std::make_shared<send_operation>(std::move(socket), ex, data, std::move(descriptors),
                                     std::move(handler))
        ->launch();
}

void start_receive_descriptors(socket_ref socket, const asio::any_io_executor& ex,
                               asio::mutable_buffer data, std::size_t max_count,
                               receive_handler handler)
{
    if (data.size() == 0) {
        pending<void(error_code, received_descriptors)>(ex, std::move(handler))
            .complete(socket_errc::no_payload, {});
        return;
    }
    std::make_shared<receive_operation>(std::move(socket), ex, data, max_count, std::move(handler))
        ->launch();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
