// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_THREAD_SIGNAL_HPP
#define PROCYARD_IPC_SRC_THREAD_SIGNAL_HPP

#include <signal.h>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// How a signal that a system call raises in its own thread (SIGPIPE, SIGXFSZ) is kept from the
// host. The two calls belong together, in one thread and in stack order; pairs may nest.

// Blocks `number` in this thread and puts the mask it found into `previous`. Returns whether one
// was waiting already.
[[nodiscard]] bool hold_back_signal(int number, sigset_t& previous) noexcept;

// Takes away the one that was raised meanwhile, if `take_raised`, and restores the mask. One that
// another process has sent stays for the host. Leaves errno alone.
void let_signal_go(int number, const sigset_t& previous, bool take_raised) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
