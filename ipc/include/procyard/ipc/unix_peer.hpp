// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_UNIX_PEER_HPP
#define PROCYARD_IPC_UNIX_PEER_HPP

#include <sys/types.h>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Who is at the other end of a Unix socket.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct unix_peer {
    pid_t pid = 0;  ///< 0: a process that this one's PID namespace does not have
    uid_t uid = static_cast<uid_t>(-1);
    gid_t gid = static_cast<gid_t>(-1);
};

/// Asks the kernel who the peer of a connected stream or seqpacket socket is.
///
/// It answers with who connected, or called listen(), at that time and with the effective IDs of
/// that time: not with who holds the other descriptor now. For the two ends of a socketpair that is
/// the process that made the pair, on either side, so it says nothing of a child that was given
/// one.
/// @param fd            The socket, as by Asio's native_handle().
/// @par Errors          ENOTCONN: it has no peer, or is no Unix socket; EBADF, ENOTSOCK.
/// @par Thread safety   Any thread.
/// @par Cost            One system call.
/// @par Example         `const unix_peer who = peer_credentials(socket.native_handle(), ec);`
[[nodiscard]] PROCYARD_IPC_EXPORT unix_peer peer_credentials(int fd, error_code& ec) noexcept;

/// A pidfd of the same process, by which it can be signalled and its end waited for, whatever
/// becomes of its number.
///
/// Exact where the kernel has SO_PEERPIDFD (Linux 6.5). Before that the number that
/// peer_credentials() tells is opened: that is another process when the peer is dead and its number
/// was given away since. Who must know for certain lets the peer send its pidfd.
/// @par Errors          ESRCH: the process is gone (where the kernel does not keep it for a gone
///                      one, which it does since 6.16), or not in this PID namespace. Those of
///                      peer_credentials(). EMFILE.
/// @par Thread safety   Any thread.
/// @par Cost            Two system calls; one more without SO_PEERPIDFD.
/// @par Example         `const unique_fd process = peer_pidfd(socket.native_handle(), ec);`
[[nodiscard]] PROCYARD_IPC_EXPORT unique_fd peer_pidfd(int fd, error_code& ec) noexcept;

PROCYARD_NAMESPACE_END

#endif
