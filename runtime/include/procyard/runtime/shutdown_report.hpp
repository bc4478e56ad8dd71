// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SHUTDOWN_REPORT_HPP
#define PROCYARD_RUNTIME_SHUTDOWN_REPORT_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/cancellation.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/task_group.hpp>

PROCYARD_NAMESPACE_BEGIN

/// The phases of a shutdown, in their order.
enum class shutdown_phase : std::uint8_t {
    /// Tells the world: a health check that fails from now on, STOPPING=1.
    announce,
    /// Goes on taking new work until the world has heard, and drains meanwhile.
    linger,
    /// Takes no new work any more.
    close_intake,
    /// Finishes the work it has.
    drain,
    /// Cancels what is not finished, and what never would be.
    cancel,
    /// Stops the children, the last one first.
    stop_children,
    /// Writes out what has been said until now: logs, telemetry.
    flush,
};
inline constexpr std::size_t shutdown_phase_count = 7;
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(shutdown_phase phase) noexcept;
PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, shutdown_phase phase);

/// When a phase began and ended.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct shutdown_phase_record {
    shutdown_phase phase{};
    timer_clock::time_point began{};
    /// When it would have been given up.
    timer_clock::time_point deadline{};
    timer_clock::time_point ended{};
};

/// Something that had not ended when its phase's time was over.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct shutdown_leftover {
    /// `service`: of a supervisor, whose name stands before its own: `services/web`. `pool`: tasks
    /// of it were cut off, or workers killed.
    enum class kind : std::uint8_t { handler, work, task, child, supervisor, service, pool };

    /// The phase that gave it up. In `drain` it was cancelled afterwards; in a later one it may run
    /// still.
    shutdown_phase phase{};
    kind what = kind::handler;
    task_name name{""};
    /// How long it had been running.
    std::chrono::nanoseconds running_for{};
};
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view
to_string(shutdown_leftover::kind what) noexcept;
/// `drain: work GET /slow (server.cpp:42), for 3.2 s`
PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out,
                                                 const shutdown_leftover& leftover);

/// A handler or task that let an exception escape.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct shutdown_failure {
    /// The phase, `tasks`, or `reload`.
    std::string place{};
    task_name name{""};
    /// Null where `what` counts those that there was no room for.
    std::exception_ptr exception{};
    std::string what{};
};
/// `flush: telemetry (server.cpp:42): Connection refused`
PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out,
                                                 const shutdown_failure& failure);

/// How a shutdown went.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT shutdown_report {
    // Not an aggregate: GCC 12 destroys one that is made inside a co_await expression twice.
    shutdown_report() = default;

    /// Why: the first request's.
    cancellation_reason reason{};
    /// What the first request wanted the exit code to be.
    int requested_exit_code = 0;
    timer_clock::time_point began{};
    timer_clock::time_point deadline{};
    timer_clock::time_point ended{};
    std::vector<shutdown_phase_record> phases{};
    std::vector<shutdown_leftover> leftovers{};
    std::vector<shutdown_failure> failures{};

    [[nodiscard]] std::chrono::nanoseconds duration() const noexcept { return ended - began; }
    /// All that was to end has ended in its time, and nothing failed.
    [[nodiscard]] bool clean() const noexcept { return leftovers.empty() && failures.empty(); }
    /// What the request wanted; without a wish, 0 if it was clean and 1 if not. A signal that asked
    /// for it is no failure: service managers expect 0 then. Who wants `128 + signal`, or to die of
    /// it, has `reason.signal` and `die_of_signal`.
    [[nodiscard]] int exit_code() const noexcept;
    /// `SIGTERM: stopped in 1.2 s of 30 s`, and a line for each leftover and failure.
    [[nodiscard]] std::string to_string() const;
};
PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const shutdown_report& report);

/// Ends the process by a signal, as if it had never had a handler for it: what a shell expects of a
/// program that was interrupted. Flushes nothing, and destroys nothing.
/// @par Process-wide effects   Puts the default action of the signal in place and unblocks it in
///                             the calling thread. If the signal's default is to be ignored, or
///                             nothing comes of it, the process exits with `128 + signal`.
[[noreturn]] PROCYARD_RUNTIME_EXPORT void die_of_signal(int signal_number) noexcept;

PROCYARD_NAMESPACE_END

#endif
