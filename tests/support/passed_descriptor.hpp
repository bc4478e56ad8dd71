// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_PASSED_DESCRIPTOR_HPP
#define PROCYARD_TESTS_SUPPORT_PASSED_DESCRIPTOR_HPP

#include <sys/socket.h>

#include <cstring>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

namespace procyard_test {

/// Sends `fd` over a Unix socket with one byte. False when that fails.
[[nodiscard]] inline bool send_descriptor(int socket, int fd)
{
    char byte = 'd';
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return procyard::retry_eintr([&] { return ::sendmsg(socket, &message, MSG_NOSIGNAL); }) == 1;
}

/// Waits for what send_descriptor() sends; empty when something else comes, or the end.
[[nodiscard]] inline procyard::unique_fd receive_descriptor(int socket)
{
    char byte = 0;
    iovec data{&byte, 1};
    int fd = -1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const auto count =
        procyard::retry_eintr([&] { return ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC); });
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    if (count == 1 && header != nullptr && header->cmsg_type == SCM_RIGHTS)
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return procyard::unique_fd(fd);
}

}  // namespace procyard_test

#endif
