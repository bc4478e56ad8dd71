// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_RUN_ERROR_HPP
#define PROCYARD_RUNTIME_RUN_ERROR_HPP

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/error_condition.hpp>

#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Why a run was not a success, for the functions that have nothing but an error_code to say it
/// (`async_output`, `async_lines`). Conditions to compare with: the codes themselves carry the
/// detail, so that `ec == run_errc::exit_nonzero` holds and `ec.message()` is `exit 3`.
enum class run_errc {
    /// The program exited with a code other than 0.
    exit_nonzero = 1,
    /// A signal ended it.
    killed_by_signal,
    /// It ended, and its status went to somebody else.
    unknown_status,
    /// The deadline was over.
    deadline,
    /// It was silent for too long.
    idle,
    /// It wrote more than was wanted.
    output_limit,
    /// A descendant held the output open beyond the drain grace, so the end may be missing.
    held_by_descendant,
    /// A consumer of the output failed.
    sink_failed,
    /// The source of the input failed.
    input_failed,
    /// A line was longer than `run_output::each_line` allows, and lost its end.
    line_too_long,
    /// A user's callback or coroutine left with an exception that carried no error_code.
    threw,
};

/// The category of the codes that match `run_errc`.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT const boost::system::error_category& run_category() noexcept;

[[nodiscard]] PROCYARD_RUNTIME_EXPORT boost::system::error_condition
make_error_condition(run_errc condition) noexcept;
/// A code without detail.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT error_code make_run_error(run_errc condition) noexcept;
/// A code that carries the status; no error for a success.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT error_code make_run_error(const exit_status& status) noexcept;

PROCYARD_NAMESPACE_END

template <>
struct boost::system::is_error_condition_enum<procyard::run_errc> : std::true_type { };

#endif
