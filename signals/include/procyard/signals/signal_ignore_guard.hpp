// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SIGNAL_IGNORE_GUARD_HPP
#define PROCYARD_SIGNALS_SIGNAL_IGNORE_GUARD_HPP

#include <signal.h>

#include <initializer_list>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Ignores signals for as long as it lives, then puts back exactly what it found: handler, flags
/// and mask. What has been installed since by somebody else is left alone.
///
/// For one thread, or one call that writes to a pipe, `signal_mask_guard` and `sigpipe_guard` do
/// the same without an effect on the rest of the process. Children of `spawn` do not inherit it.
/// @par Thread safety          Construct and destroy guards of the same signal in stack order, and
///                             not at once in several threads.
/// @par Process-wide effects   The signals' dispositions. A pending signal is dropped when it
///                             begins to be ignored; with SIGCHLD children leave no zombies, and so
///                             no status.
/// @par Example                `signal_ignore_guard no_hangup({SIGHUP});`
class PROCYARD_SIGNALS_EXPORT signal_ignore_guard {
public:
    /// @throws boost::system::system_error   `signal_errc::not_waitable`; nothing has changed then
    explicit signal_ignore_guard(std::initializer_list<int> numbers);
    signal_ignore_guard(const signal_ignore_guard&) = delete;
    signal_ignore_guard& operator=(const signal_ignore_guard&) = delete;
    ~signal_ignore_guard();

private:
    struct ignored {
        int number;
        struct sigaction found;
    };
    std::vector<ignored> ignored_;
};

PROCYARD_NAMESPACE_END

#endif
