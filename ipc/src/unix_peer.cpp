// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/unix_peer.hpp>

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include <procyard/ipc/syscall.hpp>

#include "io_features.hpp"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5; newer than the headers we build with
#endif

PROCYARD_NAMESPACE_BEGIN

namespace {

// Close-on-exec, as every pidfd.
unique_fd exact_pidfd(int fd, error_code& ec) noexcept
{
    int pidfd = -1;
    socklen_t length = sizeof pidfd;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0) {
        ec.clear();
        return unique_fd(pidfd);
    }
    // EINVAL: the process was reaped (6.5 to 6.15).
    ec = make_errno(errno == EINVAL ? ESRCH : errno);
    return {};
}

unique_fd pidfd_by_number(pid_t pid, error_code& ec) noexcept
{
    unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    ec = pidfd ? error_code{} : last_error();
    return pidfd;
}

}  // namespace

unix_peer peer_credentials(int fd, error_code& ec) noexcept
{
    ucred found{};
    socklen_t length = sizeof found;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &found, &length) == -1) {
        ec = last_error();
        return {};
    }
    // The kernel says so of every socket without a peer, those of TCP included.
    const bool nobody = found.pid == 0 && found.uid == static_cast<uid_t>(-1);
    ec = nobody ? make_errno(ENOTCONN) : error_code{};
    return {found.pid, found.uid, found.gid};
}

unique_fd peer_pidfd(int fd, error_code& ec) noexcept
{
    const auto peer = peer_credentials(fd, ec);
    if (ec)
        return {};
    auto& known = detail::io().peer_pidfd;
    if (known.load(std::memory_order_relaxed)) {
        auto pidfd = exact_pidfd(fd, ec);
        if (ec != make_errno(ENOPROTOOPT))
            return pidfd;
        known.store(false, std::memory_order_relaxed);
    }
    if (peer.pid == 0) {
        ec = make_errno(ESRCH);
        return {};
    }
    return pidfd_by_number(peer.pid, ec);
}

PROCYARD_NAMESPACE_END
