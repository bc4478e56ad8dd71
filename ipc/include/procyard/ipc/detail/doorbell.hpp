// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_DOORBELL_HPP
#define PROCYARD_IPC_DETAIL_DOORBELL_HPP

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>

// What wakes a process that sleeps on a ring (ring_core.hpp says when): a pipe, of which matters
// only whether it is empty. The sleeper makes it and waits for the one end, the peer presses the
// other.
//
// A pipe and not an eventfd, which costs the same. Both sides hold one open file description of an
// eventfd. So a hostile peer can make it a blocking one (O_NONBLOCK is the description's, not the
// descriptor's) and count it up to its maximum, and then our write would never return; RWF_NOWAIT
// does not work on an eventfd. Of a pipe either side has a description of its own: the sleeper that
// of the read end, which it gives to nobody, and the peer one that it opens anew. Nor can the
// peer's SIGPIPE be a matter: its description is for reading as well, so the pipe never lacks a
// reader.
//
// Rejected: a byte through a Unix socket with MSG_DONTWAIT, which is as safe, and takes three times
// as long (0.7 µs against 0.2). It is what is left where the pipe cannot be opened anew: without
// /proc, and between different users.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// The sleeper's end.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Cost            One descriptor, and one page of the kernel's once it has been rung.
class PROCYARD_IPC_EXPORT doorbell {
public:
    /// None.
    doorbell() noexcept = default;

    /// Makes one. `button` is to be passed to the peer, and to be closed then: who keeps it can
    /// press it.
    /// @par Errors   EMFILE, ENFILE; ENOMEM.
    [[nodiscard]] static doorbell create(unique_fd& button, error_code& ec) noexcept;

    /// Readable: it has been rung. -1: none.
    [[nodiscard]] int native_handle() const noexcept { return read_end_.get(); }

    /// Empties it. True: it had been rung since the last time.
    /// @par Cost   One system call, whatever the peer has put in.
    bool answer() noexcept;

private:
    unique_fd read_end_;
};

/// The peer's end.
/// @par Thread safety   press(): from any threads at once.
/// @par Cost            One descriptor.
class PROCYARD_IPC_EXPORT doorbell_button {
public:
    /// None.
    doorbell_button() noexcept = default;

    /// Takes what somebody has sent as a button, who need not be honest.
    /// @par Errors   `errc::bad_message`: it is not a pipe; EACCES: it is somebody else's pipe;
    /// ENOENT:
    ///               there is no /proc; EMFILE. After the last three another way can be taken to
    /// wake
    ///               the peer. The descriptor is closed.
    [[nodiscard]] static doorbell_button attach(unique_fd fd, error_code& ec) noexcept;

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(pipe_); }

    /// Rings. Never blocks, never raises SIGPIPE; that the pipe is full is as good, and that nobody
    /// listens any more is told by other means.
    /// @par Cost   One system call, 0.2 µs, and the peer's wake-up.
    void press() const noexcept;

private:
    unique_fd pipe_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
