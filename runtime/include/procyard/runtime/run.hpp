// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_RUN_HPP
#define PROCYARD_RUNTIME_RUN_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/run_input.hpp>
#include <procyard/runtime/run_output.hpp>
#include <procyard/runtime/run_result.hpp>
#include <procyard/runtime/stop.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What happens to the child when a consumer of its output has failed.
enum class sink_failure_policy : std::uint8_t {
    /// It goes on; an output nobody takes any more is read and thrown away.
    go_on,
    /// The ladder stops it when all sinks of an output have failed.
    stop_without_consumer,
    /// The ladder stops it at the first failure.
    stop,
};

/// How a run is made. Everything has a default that is safe to leave.
///
/// A copyable value with setters, and deliberately no aggregate: GCC 12 destroys an aggregate that
/// is brace-initialised inside a co_await expression twice.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Example         `run_options().std_in("text").deadline(5s)`
class PROCYARD_RUNTIME_EXPORT run_options {
public:
    run_options();

    /// What is fed to the child; see `run_input`.
    run_options& std_in(run_input source);
    /// Where standard output goes; see `run_output`.
    run_options& std_out(run_output target);
    /// Where standard error goes; see `run_output`.
    run_options& std_err(run_output target);

    /// From the call; then the ladder stops the tree. A spawn that hangs in the kernel cannot be
    /// cut short; the ladder begins when it returns. Default: as long as it takes.
    run_options& deadline(std::chrono::nanoseconds limit);
    /// The longest silence on both outputs; then the ladder stops the tree. Counts only outputs
    /// that come through this process, and not the time in which a sink holds one of them up: that
    /// silence is not the child's; where no output comes through, the run is refused (EINVAL of the
    /// step `options`). Default: as long as it likes.
    run_options& idle_deadline(std::chrono::nanoseconds limit);
    /// How the tree is stopped, for whatever reason. Default: `stop_ladder::polite()`.
    run_options& ladder(stop_ladder rungs);
    /// How long the outputs may stay open after the child's end, when a descendant holds them.
    /// What is in the pipe by then is still read. Default: 1 s.
    run_options& drain_grace(std::chrono::nanoseconds limit);
    /// What becomes of the descendants of a child that ended by itself. Default: `leave`.
    run_options& descendants(descendant_policy policy);
    /// Default: `stop_without_consumer`.
    run_options& on_sink_failure(sink_failure_policy policy);
    /// Spawns on the context's spawner thread (`async_spawn`), so that a hanging file system does
    /// not hold the event loop. Default: in the loop.
    run_options& spawn_off_loop(bool off = true);
    /// Measures deadlines and graces (the ladder's too, unless it brings its own). Default: the
    /// machine's steady clock.
    run_options& clock(std::shared_ptr<timer_clock> source);

private:
    friend struct detail::run_access;

    run_input std_in_;
    run_output std_out_;
    run_output std_err_;
    std::optional<std::chrono::nanoseconds> deadline_;
    std::optional<std::chrono::nanoseconds> idle_deadline_;
    stop_ladder ladder_ = stop_ladder::polite();
    std::chrono::nanoseconds drain_grace_ = std::chrono::seconds(1);
    descendant_policy descendants_ = descendant_policy::leave;
    sink_failure_policy on_sink_failure_ = sink_failure_policy::stop_without_consumer;
    bool spawn_off_loop_ = false;
    std::shared_ptr<timer_clock> clock_;
};

namespace detail {

using run_handler = asio::any_completion_handler<void(error_code, run_result)>;
using output_handler = asio::any_completion_handler<void(error_code, std::string)>;
using status_handler = asio::any_completion_handler<void(error_code, exit_status)>;
using lines_handler = asio::any_completion_handler<void(error_code, std::vector<std::string>)>;

PROCYARD_RUNTIME_EXPORT void start_run(command what, asio::any_io_executor ex, run_options options,
                                       run_handler handler);
PROCYARD_RUNTIME_EXPORT void start_output(command what, asio::any_io_executor ex,
                                          run_options options, output_handler handler);
PROCYARD_RUNTIME_EXPORT void start_status(command what, asio::any_io_executor ex,
                                          run_options options, status_handler handler);
PROCYARD_RUNTIME_EXPORT void start_lines(command what, asio::any_io_executor ex,
                                         run_options options, lines_handler handler);

}  // namespace detail

/// Runs a program to its end: spawns it, feeds it, reads its outputs, watches the time, stops it if
/// need be, reaps it, and tells everything.
///
/// All of that goes on at once, so no full pipe can block it. Memory is bounded by the capture
/// limits. Exit is not end-of-file: after the child's end a descendant that holds an output delays
/// the result by the drain grace at most.
///
/// Without a token it returns a deferred operation, which starts when it is awaited or given a
/// token; dropped, it runs nothing.
///
/// A deadline, silence, a limit, a failed sink or source, and a cancellation run the ladder on the
/// whole tree; the operation completes when the tree is empty, the child reaped and every callback
/// and coroutine of the options has returned.
/// @par Completion signature   `void(error_code, run_result)`; the result tells what happened up
///                             to then even if `ec` is set.
/// @par Errors                 Those of `spawn`, also in `run_result::failure`; `operation_aborted`
///                             after a cancellation. An exit code, a signal, a deadline or a limit
///                             is no error of the operation: ask `success()`, or `error()` for the
///                             one that async_output would give.
/// @par Cancellation           terminal, partial, total: the ladder, whatever the type. A second
///                             one skips the rest of the ladder's graces. Before the first turn:
///                             nothing is spawned.
/// @par Thread safety          The run has a strand of its own on `ex`, in which it calls the
///                             callbacks and coroutines of the options. An
///                             `asio::cancellation_signal` itself is not safe to share: while it is
///                             emitted, nobody else may emit it, fill or clear its slot, or destroy
///                             it. An operation on processes (this one, `async_spawn`,
///                             `async_wait`, `async_stop`, `async_wait_tree`) fills the slot in the
///                             call that starts it and does not touch it again; so from then until
///                             its handler is called, any thread may emit, one at a time. A
///                             coroutine uses one slot for one operation after the other: cancel it
///                             in its executor, as every operation on a stream or a clock.
/// @par Lifetime               The arguments are copied or moved. A context that is destroyed
///                             meanwhile kills the child by the command's drop policy.
/// @par Cost                   One spawn; a few allocations, and one buffer of 64 KiB per output
///                             that has come to write something.
/// @par Example                @snippet examples/02_capture_with_limits.cpp capture
template <asio::completion_token_for<void(error_code, run_result)> Token = asio::deferred_t>
[[nodiscard]] auto async_run(command what, asio::any_io_executor ex, run_options options,
                             Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, run_result)>(
        [](auto handler, command moved, asio::any_io_executor io, run_options how) {
            detail::start_run(std::move(moved), std::move(io), std::move(how), std::move(handler));
        },
        token, std::move(what), std::move(ex), std::move(options));
}

/// The same with the default options: captures both outputs, feeds nothing, waits as long as it
/// takes.
template <asio::completion_token_for<void(error_code, run_result)> Token = asio::deferred_t>
[[nodiscard]] auto async_run(command what, asio::any_io_executor ex, Token&& token = Token{})
{
    return async_run(std::move(what), std::move(ex), run_options{}, std::forward<Token>(token));
}

/// Runs a program and hands out what it wrote to its standard output, if it was a success.
///
/// Standard error goes where the command says. More than `capture_options::limit_bytes` of output
/// stops the program (bring options with a capture of your own for another limit).
/// @par Completion signature   `void(error_code, std::string)`
/// @par Errors                 As async_run; and every run that was not a success is one, see
///                             `run_errc`: `ec == run_errc::exit_nonzero`, `ec.message()` is
///                             `exit 3`. The string then is what was captured.
/// @par Cancellation           As async_run: the ladder on the whole tree, whatever the type.
/// @par Thread safety          As async_run.
/// @par Lifetime               As async_run: the arguments are copied or moved.
/// @par Cost                   That of async_run; no further allocation.
/// @par Example                @snippet examples/02_capture_with_limits.cpp output
template <asio::completion_token_for<void(error_code, std::string)> Token = asio::deferred_t>
[[nodiscard]] auto async_output(command what, asio::any_io_executor ex, run_options options,
                                Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, std::string)>(
        [](auto handler, command moved, asio::any_io_executor io, run_options how) {
            detail::start_output(std::move(moved), std::move(io), std::move(how),
                                 std::move(handler));
        },
        token, std::move(what), std::move(ex), std::move(options));
}

/// The same with the default options.
template <asio::completion_token_for<void(error_code, std::string)> Token = asio::deferred_t>
[[nodiscard]] auto async_output(command what, asio::any_io_executor ex, Token&& token = Token{})
{
    return async_output(std::move(what), std::move(ex), run_options{}, std::forward<Token>(token));
}

/// Runs a program with its streams as the command says (by default the parent's) and hands out how
/// it ended.
/// @par Completion signature   `void(error_code, exit_status)`
/// @par Errors                 As async_run; and a run that was ended by its deadline, by silence,
///                             by a limit or by a failure of a sink or source is one. An exit code
///                             or a signal by itself is not.
/// @par Cancellation           As async_run: the ladder on the whole tree, whatever the type.
/// @par Thread safety          As async_run.
/// @par Lifetime               As async_run: the arguments are copied or moved.
/// @par Cost                   That of async_run; no buffer, as no output comes through here.
/// @par Example                @snippet examples/02_capture_with_limits.cpp status
template <asio::completion_token_for<void(error_code, exit_status)> Token = asio::deferred_t>
[[nodiscard]] auto async_status(command what, asio::any_io_executor ex, run_options options,
                                Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, exit_status)>(
        [](auto handler, command moved, asio::any_io_executor io, run_options how) {
            detail::start_status(std::move(moved), std::move(io), std::move(how),
                                 std::move(handler));
        },
        token, std::move(what), std::move(ex), std::move(options));
}

/// The same with the default options.
template <asio::completion_token_for<void(error_code, exit_status)> Token = asio::deferred_t>
[[nodiscard]] auto async_status(command what, asio::any_io_executor ex, Token&& token = Token{})
{
    return async_status(std::move(what), std::move(ex), run_options{}, std::forward<Token>(token));
}

/// Runs a program and hands out the lines of its standard output, if it was a success.
///
/// As async_output, cut into lines: without their newlines, empty ones included; the last line need
/// not have a newline. NUL and carriage return are bytes like others. Who wants each line when it
/// comes, or less memory, takes `run_output::each_line`.
/// @par Completion signature   `void(error_code, std::vector<std::string>)`
/// @par Errors                 As async_output. The lines then are those of what was captured; the
///                             last one may lack its end.
/// @par Cancellation           As async_run: the ladder on the whole tree, whatever the type.
/// @par Thread safety          As async_run.
/// @par Lifetime               As async_run: the arguments are copied or moved.
/// @par Cost                   That of async_run, and a string for each line when the program has
///                             ended. The capture limit counts the bytes alone: an output of empty
///                             lines takes some 30 times as much.
/// @par Example                @snippet examples/02_capture_with_limits.cpp lines
template <
    asio::completion_token_for<void(error_code, std::vector<std::string>)> Token = asio::deferred_t>
[[nodiscard]] auto async_lines(command what, asio::any_io_executor ex, run_options options,
                               Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, std::vector<std::string>)>(
        [](auto handler, command moved, asio::any_io_executor io, run_options how) {
            detail::start_lines(std::move(moved), std::move(io), std::move(how),
                                std::move(handler));
        },
        token, std::move(what), std::move(ex), std::move(options));
}

/// The same with the default options.
template <
    asio::completion_token_for<void(error_code, std::vector<std::string>)> Token = asio::deferred_t>
[[nodiscard]] auto async_lines(command what, asio::any_io_executor ex, Token&& token = Token{})
{
    return async_lines(std::move(what), std::move(ex), run_options{}, std::forward<Token>(token));
}

PROCYARD_NAMESPACE_END

#endif
