// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_DOORBELL_HPP
#define PROCYARD_IPC_DETAIL_DOORBELL_HPP

#include <cstdint>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>

// What wakes a process that sleeps on a ring (ring_core.hpp says when), and what tells it that its
// peer is no more: a pipe, of which matters only whether it is empty, and whether anybody holds its
// other end. The sleeper makes it and waits for the one end; the peer presses the other.
//
// A pipe and not an eventfd, which costs the same. An eventfd has one open file description for
// both sides. So a hostile peer can make it a blocking one (O_NONBLOCK is the description's, not
// the descriptor's) and count it up to its maximum, and then our write would never return;
// RWF_NOWAIT does not work on an eventfd. Of a pipe either side has a description of its own: the
// sleeper that of the read end, which it gives to nobody, and the peer one that it opens anew. Nor
// can the peer's SIGPIPE be a matter: its description is for reading as well, so the pipe never
// lacks a reader. And an eventfd does not say that the peer has died.
//
// A pair of Unix sockets is as safe, since send() has MSG_DONTWAIT and MSG_NOSIGNAL, and takes
// three times as long (0.7 µs against 0.2). It serves where a pipe cannot be opened anew: without
// /proc, and between different users.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

enum class doorbell_kind : std::uint8_t { pipe, socket };

/// What a look at a doorbell has found.
enum class doorbell_state : std::uint8_t {
    silent,     ///< nothing since the last time
    rung,       ///< it has been pressed
    abandoned,  ///< and will not be any more: nobody has the button, so the peer is no more
};

/// The sleeper's end.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Cost            One descriptor, and one page of the kernel's once it has been rung.
class PROCYARD_IPC_EXPORT doorbell {
public:
    /// None.
    doorbell() noexcept = default;

    /// Makes one. `button` is to be passed to the peer, and to be closed then: who keeps it can
    /// press it, and is taken for the peer's being alive.
    /// @par Errors   EMFILE, ENFILE; ENOMEM.
    [[nodiscard]] static doorbell create(doorbell_kind kind, unique_fd& button,
                                         error_code& ec) noexcept;

    /// Readable: it has been rung, or abandoned. -1: none.
    [[nodiscard]] int native_handle() const noexcept { return read_end_.get(); }

    /// Empties it. `abandoned` is said when what was pressed before has been answered.
    /// @par Cost   One system call, whatever the peer has put in.
    doorbell_state answer() noexcept;
    /// Whether nobody has its button any more. Takes nothing out of it.
    [[nodiscard]] bool is_abandoned() const noexcept;

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
    /// @par Errors   `errc::bad_message`: neither a pipe nor a Unix socket; EACCES: it is somebody
    ///               else's pipe; ENOENT: there is no /proc; EMFILE. After EACCES and ENOENT the
    ///               peer can be asked for a socket. The descriptor is closed.
    [[nodiscard]] static doorbell_button attach(unique_fd fd, error_code& ec) noexcept;

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(fd_); }

    /// Rings. Never blocks, never raises SIGPIPE; that the pipe is full is as good, and that nobody
    /// listens any more is told by other means.
    /// @par Cost   One system call, 0.2 µs, and the peer's wake-up.
    void press() const noexcept;

private:
    unique_fd fd_;
    doorbell_kind kind_ = doorbell_kind::pipe;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
