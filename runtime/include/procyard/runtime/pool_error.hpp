// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_POOL_ERROR_HPP
#define PROCYARD_RUNTIME_POOL_ERROR_HPP

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/is_error_code_enum.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What can be wrong with a pool's task, or with the pool. Who, when and why in detail is in the
/// task's report.
enum class pool_errc {
    /// The handler has thrown. What it has said is in the report; the worker goes on.
    task_failed = 1,
    /// The worker has died while it ran the task, and the task is not idempotent. How it has died
    /// is in the report.
    worker_died,
    /// The task was not begun in the time that it may wait. Equal to `errc::timed_out`.
    queue_deadline,
    /// The task has run for longer than it may. Equal to `errc::timed_out`.
    run_deadline,
    /// The worker's own loop has stood still for longer than the task allows. Equal to
    /// `errc::timed_out`.
    heartbeat_lost,
    /// As many workers have died while they ran the task as it may cost, or three before they had
    /// begun it, as the next one. Their deaths are in the report.
    poisoned,
    /// A stream of responses has ended before its end: its worker has died.
    truncated,
    /// There are not as many workers ready as there shall be at least. Equal to
    /// `errc::resource_unavailable_try_again`.
    not_ready,
    /// The pool is stopped, or was before the task was done. Equal to `errc::operation_canceled`.
    stopped,
    /// A request or a response cannot be encoded, decoded or sent, or is not of the type that the
    /// other side has. Equal to `errc::bad_message`.
    bad_message,
};

/// How a task has ended.
enum class pool_outcome : std::uint8_t {
    done,
    task_failed,
    worker_died,
    queue_deadline,
    run_deadline,
    heartbeat_lost,
    cancelled,
    poisoned,
    stopped,
};
/// How many there are: for tables with an entry for each.
inline constexpr std::size_t pool_outcomes = 9;

/// `run deadline`, `worker died`, …
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(pool_outcome what) noexcept;

/// The category "procyard.pool".
[[nodiscard]] PROCYARD_RUNTIME_EXPORT const boost::system::error_category& pool_category() noexcept;

[[nodiscard]] inline error_code make_error_code(pool_errc e) noexcept
{
    return error_code(static_cast<int>(e), pool_category());
}
/// The code that a task with this outcome completes with: none if it is done, `operation_aborted`
/// if it was cancelled.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT error_code make_pool_error(pool_outcome what) noexcept;

PROCYARD_NAMESPACE_END

template <>
struct boost::system::is_error_code_enum<procyard::pool_errc> : std::true_type { };

#endif
