// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SIGNAL_ERROR_HPP
#define PROCYARD_SIGNALS_SIGNAL_ERROR_HPP

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/is_error_code_enum.hpp>

#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What can be wrong with a signal, beyond what errno says.
enum class signal_errc {
    /// No signal, or one that cannot be waited for: SIGKILL and SIGSTOP, what the C library keeps
    /// for itself, and the faults of a thread (SIGSEGV, SIGBUS, SIGFPE, SIGILL), which would happen
    /// again as soon as their handler returns. Equal to `errc::invalid_argument`.
    not_waitable = 1,
    /// A thread of the process does not block the signal, so that it would not reach the signalfd.
    /// Equal to `errc::operation_not_permitted`.
    not_blocked,
    /// Every thread blocks the signal, so that no handler would ever run. Equal to
    /// `errc::operation_not_permitted`.
    blocked,
    /// The set is empty: a wait would never end. Equal to `errc::invalid_argument`.
    no_signals,
    /// A second one of this signal cannot end the process, since its default action is another.
    /// Equal to `errc::invalid_argument`.
    not_deadly,
    /// Others have put their handlers above ours too often. Equal to
    /// `errc::device_or_resource_busy`.
    taken_over
};

/// The category "procyard.signals".
[[nodiscard]] PROCYARD_SIGNALS_EXPORT const boost::system::error_category&
signal_category() noexcept;

[[nodiscard]] inline error_code make_error_code(signal_errc e) noexcept
{
    return error_code(static_cast<int>(e), signal_category());
}

PROCYARD_NAMESPACE_END

template <>
struct boost::system::is_error_code_enum<procyard::signal_errc> : std::true_type { };

#endif
