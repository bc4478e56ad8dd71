// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_RUN_RESULT_HPP
#define PROCYARD_RUNTIME_RUN_RESULT_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/run_error.hpp>
#include <procyard/runtime/run_reason.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/runtime/spawn_info.hpp>
#include <procyard/runtime/stop.hpp>

PROCYARD_NAMESPACE_BEGIN

/// A consumer of an output that failed, and got nothing more from then on.
/// @par Thread safety   A value; distinct objects: safe, though copies share the exception. Shared
///                      objects: unsafe.
struct sink_failure {
    /// Its place among the sinks of its `run_output`, from 0.
    std::size_t index = 0;
    /// `file "log.txt"`, `callback`, `lines`, `coroutine`, `stream`.
    std::string sink{};
    error_code error{};
    /// What a callback or coroutine threw; null for the others.
    std::exception_ptr exception{};
};

/// What became of one output of the child.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT stream_result {
    /// What was captured; empty without a capture.
    std::string data{};
    /// How much was read from the child.
    std::uint64_t bytes_seen = 0;
    /// The capture limit was hit: `data` is not all of it (`bytes_seen` were there).
    bool truncated = false;
    /// The child had ended, and a descendant held the pipe open beyond the drain grace: what it
    /// wrote later is not here.
    bool held_by_descendant = false;
    /// A deadline or a cancellation came while a sink still held the output up.
    bool aborted = false;
    /// How many lines were longer than allowed and lost their ends (`run_output::each_line`): the
    /// sink did not get all of it.
    std::size_t long_lines = 0;
    /// Why reading ended early, if it did.
    error_code read_error{};
    std::vector<sink_failure> sink_failures{};

    /// How much was captured.
    [[nodiscard]] std::uint64_t bytes_kept() const noexcept { return data.size(); }
    /// Everything the child and its descendants wrote went to every sink.
    [[nodiscard]] bool complete() const noexcept;
};

/// What became of the input.
/// @par Thread safety   A value; distinct objects: safe, though copies share the exception. Shared
///                      objects: unsafe.
struct input_result {
    /// How much the pipe to the child took. (The last bytes may still have been in it when the
    /// child ended.) 0 for a file, which the child reads itself.
    std::uint64_t bytes_fed = 0;
    /// How much was there to be fed and was not taken, as far as it is known: the rest of the
    /// memory, or of the piece at hand. No error: a child need not read all of its input.
    std::uint64_t bytes_rejected = 0;
    /// The child (with all who held its stdin) closed it, or ended, before the input did.
    bool rejected = false;
    /// Why the source failed, if it did.
    error_code error{};
    /// What a generator threw.
    std::exception_ptr exception{};
};

/// Where the time went, by the run's clock.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct run_times {
    /// The call that made the child, by the machine's clock.
    std::chrono::nanoseconds spawn{};
    /// From then until the child's end was seen.
    std::chrono::nanoseconds run{};
    /// From the first rung of a ladder to the empty tree; 0 when nothing was stopped.
    std::chrono::nanoseconds stop{};
    /// From the child's end (the tree's, if it was stopped) until the streams were done.
    std::chrono::nanoseconds drain{};
    /// From the call of async_run to its completion.
    std::chrono::nanoseconds total{};
};

/// Everything about a run.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT run_result {
    exit_status status{};
    run_reason reason = run_reason::exited;
    stream_result std_out{};
    stream_result std_err{};
    input_result input{};
    /// The ladder, if one was needed.
    std::optional<stop_result> stop{};
    run_times times{};
    pid_t pid = 0;
    spawn_info info{};
    /// Why there was no child; then nothing else here means anything.
    spawn_failure failure{};

    /// What the child used, its waited-for descendants included.
    [[nodiscard]] const resource_usage& usage() const noexcept { return status.usage(); }

    /// Exit code 0, and nobody had to end it, and the outputs are complete: all three.
    [[nodiscard]] bool success() const noexcept;
    /// No error for a success; else the first that applies of: spawn failure, reason, status,
    /// incomplete output. See `run_errc`.
    [[nodiscard]] error_code error() const noexcept;
    /// `exit 0`, `deadline: killed by SIGTERM`, `exit 0; stdout held open by a descendant`.
    [[nodiscard]] std::string to_string() const;
};

PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const run_result& result);

PROCYARD_NAMESPACE_END

#endif
