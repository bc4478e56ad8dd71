// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SIGPIPE_GUARD_HPP
#define PROCYARD_IPC_SIGPIPE_GUARD_HPP

#include <signal.h>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Keeps a SIGPIPE that the calling thread raises from reaching the host.
///
/// Blocks SIGPIPE in this thread. At the end it takes away the SIGPIPE that was raised meanwhile,
/// and restores the mask it found. Whatever the host does with SIGPIPE (default, ignore, a handler)
/// never happens and is never changed. A SIGPIPE that was already waiting at the start, or that
/// another process sends meanwhile, stays for the host.
///
/// `pipe_writer` needs no guard. This class is for code that writes to pipes and sockets on its
/// own. Construct and destroy it in the same thread, in stack order; they may nest.
/// @par Thread safety   Distinct objects: safe. Belongs to the thread that made it.
/// @par Process-wide effects   The calling thread's signal mask, until the destructor; nothing else
///                             of the process.
/// @par Cost            Three system calls, two after `nothing_raised()`; one more where the host
///                      has SIGPIPE blocked itself.
/// @par Limits          When the host blocks SIGPIPE and one sent to the process waits already, one
///                      raised meanwhile cannot be told apart and stays as well.
/// @par Example         `sigpipe_guard quiet;` before a write(2), which then fails with EPIPE at
///                      worst.
class PROCYARD_IPC_EXPORT sigpipe_guard {
public:
    sigpipe_guard() noexcept;
    sigpipe_guard(const sigpipe_guard&) = delete;
    sigpipe_guard& operator=(const sigpipe_guard&) = delete;

    /// Does not change errno, so it may stand between a failed call and its errno.
    ~sigpipe_guard();

    /// Says that no call since the construction failed with EPIPE, so there is nothing to take
    /// away. Saves a system call.
    void nothing_raised() noexcept { may_have_raised_ = false; }

private:
    sigset_t previous_;
    bool waiting_before_ = false;
    bool may_have_raised_ = true;
};

PROCYARD_NAMESPACE_END

#endif
