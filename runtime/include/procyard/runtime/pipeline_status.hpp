// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_PIPELINE_STATUS_HPP
#define PROCYARD_RUNTIME_PIPELINE_STATUS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/run_reason.hpp>
#include <procyard/runtime/run_result.hpp>
#include <procyard/runtime/spawn_info.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Which stages have to succeed for a pipeline to be a success.
enum class pipefail : std::uint8_t {
    /// All of them, but a stage that is not the last may have been cut off by a reader that had
    /// enough (`stage_end::broken_pipe`): in `yes | head` nothing went wrong. The default.
    forgive_broken_pipe,
    /// All of them, whatever the cause.
    strict,
    /// The last one alone, as in a shell without `pipefail`.
    last,
};

/// How a stage came to its end.
enum class stage_end : std::uint8_t {
    /// Exit code 0; a coroutine returned.
    success,
    /// Its reader left before it was done: killed by SIGPIPE, or exit code 141 (a shell says so of
    /// a command of its own that was); a coroutine that let `broken_pipe` escape.
    broken_pipe,
    /// Anything else; an unknown status too.
    failed,
};

enum class stage_kind : std::uint8_t { process, coroutine };

/// `forgive broken pipe`, `strict`, `last`.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(pipefail policy) noexcept;
/// `success`, `broken pipe`, `failed`.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(stage_end end) noexcept;

/// What became of one stage.
/// @par Thread safety   A value; distinct objects: safe, though copies share the exception. Shared
///                      objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT stage_result {
    /// The program, or the name given to the coroutine.
    std::string name{};
    stage_kind kind = stage_kind::process;

    /// Of a process: how it ended, with what it used. Unknown for a coroutine.
    exit_status status{};
    /// Of a coroutine: what it threw; null when it returned.
    std::exception_ptr exception{};
    /// Of a coroutine: the code of the `system_error` it threw, of Boost's or the standard's kind.
    error_code error{};

    /// `exited` when the stage ended by itself; else why the pipeline was being stopped by then.
    run_reason reason = run_reason::exited;

    /// From the stage's start to its end.
    std::chrono::nanoseconds wall{};
    /// The bytes that came through its standard input and went through its standard output, where
    /// one end of that pipe was this process': next to a coroutine. Programs that are connected
    /// directly are not counted, since nobody stands between them.
    std::optional<std::uint64_t> bytes_in{};
    std::optional<std::uint64_t> bytes_out{};

    /// What it wrote to its standard error, if that came through this process (`async_run`).
    stream_result std_err{};

    /// How the process was spawned.
    spawn_info info{};

    [[nodiscard]] stage_end end() const noexcept;
    /// `exit 0`, `killed by SIGPIPE`, `done`, `broken pipe`, or the exception's text.
    [[nodiscard]] std::string to_string() const;
};

/// What became of all stages of a pipeline, in their order.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT pipeline_status {
    std::vector<stage_result> stages{};
    pipefail policy = pipefail::forgive_broken_pipe;

    /// By `policy`. A pipeline that is stopped while its stages succeed is a success for this
    /// function; `pipeline_result::success` knows better.
    [[nodiscard]] bool success() const noexcept { return !failing(); }
    /// The stage to blame: of those that count by `policy` the first that failed, since those
    /// behind it had less to work with; a broken pipe only when nothing else went wrong.
    [[nodiscard]] std::optional<std::size_t> failing() const noexcept;

    /// `all 3 stages succeeded`, `stage 2 of 3, "sort": exit 2`, or `success, in spite of stage 1
    /// of 2, "yes": killed by SIGPIPE`.
    [[nodiscard]] std::string to_string() const;
};

PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const stage_result& result);
PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const pipeline_status& status);

PROCYARD_NAMESPACE_END

#endif
