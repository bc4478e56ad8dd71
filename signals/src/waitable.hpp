// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SRC_WAITABLE_HPP
#define PROCYARD_SIGNALS_SRC_WAITABLE_HPP

#include <signal.h>

#include <procyard/ipc/config.hpp>

#include "signal_mailbox.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// A signal that a set can have.
[[nodiscard]] inline bool is_waitable(int number) noexcept
{
    // Between the two ranges are those of the C library.
    if (number < 1 || number > SIGRTMAX || (number >= first_realtime && number < SIGRTMIN))
        return false;
    switch (number) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL: return false;
    default: return true;
    }
}

/// A signal whose default action ends the process.
[[nodiscard]] inline bool is_deadly(int number) noexcept
{
    switch (number) {
    case SIGCHLD:
    case SIGCONT:
    case SIGURG:
    case SIGWINCH:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU: return false;
    default: return true;
    }
}

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
