// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_PIPELINE_HPP
#define PROCYARD_RUNTIME_PIPELINE_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <cstddef>
#include <iosfwd>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/pipeline_result.hpp>
#include <procyard/runtime/pipeline_status.hpp>
#include <procyard/runtime/run.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/runtime/stage.hpp>
#include <procyard/runtime/stdio.hpp>
#include <procyard/runtime/stop.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

struct pipeline_access;
class pipeline_core;

PROCYARD_RUNTIME_EXPORT void
start_wait(const std::shared_ptr<pipeline_core>& core,
           asio::any_completion_handler<void(error_code, pipeline_status)> handler);
PROCYARD_RUNTIME_EXPORT void
start_stop(const std::shared_ptr<pipeline_core>& core, stop_ladder ladder,
           asio::any_completion_handler<void(error_code, stop_result)> handler);

}  // namespace detail

/// Programs and coroutines, each reading what the one before it writes:
/// @code
/// pipeline p = command("find", {"/usr/include"}) | stage("only headers", filter)
///            | command("xargs", {"cat"}) | command("wc");
/// @endcode
/// Two programs share a kernel pipe and nobody stands between them: this process copies nothing and
/// holds no end of it. Next to a coroutine one end is this process'.
///
/// The commands keep all their options. Their standard input and output between the stages are the
/// pipeline's; one that brings its own there is refused when it is started. At the ends the
/// commands' own connections count, which `std_in` and `std_out` set too. Standard error is each
/// command's own: by default the parent's, or `std_err(stdio::to_stdout())` to send it down the
/// pipe.
///
/// Each program has a tree of its own (group or cgroup), and not one for all: a group ends with its
/// leader, so in `head | sort` the second could find no group to join; per-stage users, sessions
/// and cgroups keep their meaning; and a result can say whose descendants remain. Everything that
/// stops a pipeline addresses all the trees, and the coroutines, at once.
///
/// A copyable description, as `command` is: it can be started any number of times.
/// @par Errors          None here: a pipeline without stages, and bad commands, are refused when it
///                      is started, before anything is created.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe for writing; any number of
///                      threads may start one.
/// @par Example         @snippet examples/04_pipeline.cpp pipeline
class PROCYARD_RUNTIME_EXPORT pipeline {
public:
    /// Without stages; cannot be started.
    pipeline() noexcept = default;
    pipeline(command only);
    pipeline(stage only);

    /// Adds the stages of another pipeline behind the last. What this one leaves at its default
    /// (capacity, policy) is the other's.
    pipeline& append(pipeline next);

    // Ends. The same as on the first and last command, and the only way for a coroutine there,
    // which cannot have `to_stdout`, `to_stderr` or `terminal`. There must be a stage.

    /// What the first stage reads; by default the command's own, of a coroutine nothing.
    pipeline& std_in(stdio source);
    /// Where the last stage writes; by default the command's own, of a coroutine nowhere.
    pipeline& std_out(stdio target);

    /// How much each pipe between two stages holds at least. What the kernel refuses fails the
    /// spawn (`spawn_step::pipe`), naming the bytes. 0, the default, leaves it to the library:
    /// 1 MiB for the first few pipes of a context where the kernel grants it, since a larger pipe
    /// means fewer switches between the programs, and the kernel's default beyond.
    pipeline& pipe_capacity(std::size_t capacity_bytes) noexcept;

    /// Which stages have to succeed.
    pipeline& policy(pipefail which) noexcept;

    /// The number of stages.
    [[nodiscard]] std::size_t size() const noexcept { return stages_.size(); }
    [[nodiscard]] bool empty() const noexcept { return stages_.empty(); }
    /// The program or the coroutine's name.
    [[nodiscard]] const std::string& name(std::size_t index) const noexcept;
    /// As one would type it into a shell, with the coroutines' names in brackets:
    /// `find /usr/include | [only headers] | wc`.
    [[nodiscard]] std::string to_string() const;

private:
    friend struct detail::pipeline_access;

    struct part {
        // Of a coroutine: its name, and the connections at the pipeline's ends.
        command what;
        // Empty: a program.
        stage::function body{};
        bool is_coroutine = false;
    };

    std::vector<part> stages_;
    std::size_t pipe_capacity_bytes_ = 0;
    pipefail policy_ = pipefail::forgive_broken_pipe;
};

/// The stages of both, one behind the other. Either may be a `command` or a `stage`.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT pipeline operator|(pipeline left, pipeline right);

PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const pipeline& p);

/// A pipeline that runs: its children, its two ends, its end.
///
/// Made by `spawn`. For those who want to drive it themselves; `async_run` does so for everybody
/// else. An object that is dropped drops its children, each by the drop policy of its command (by
/// default all trees are killed), and cancels the coroutines; it never waits.
///
/// After a move the source is empty: `!x`, and every call but assignment and destruction is a
/// contract violation.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, except `async_wait`, which
///                      any thread may call at any time.
class PROCYARD_RUNTIME_EXPORT running_pipeline {
public:
    using executor_type = asio::any_io_executor;

    /// No pipeline.
    running_pipeline() noexcept = default;
    running_pipeline(running_pipeline&& other) noexcept = default;
    /// What was held before is dropped.
    running_pipeline& operator=(running_pipeline&& other) noexcept;
    ~running_pipeline();

    [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr; }
    [[nodiscard]] executor_type get_executor() const noexcept;

    /// The number of stages.
    [[nodiscard]] std::size_t size() const noexcept { return children_.size(); }
    /// The processes, one per stage and in their order; empty where the stage is a coroutine. They
    /// may be waited for and signalled, and their `std_err` is here if the command asked for a
    /// pipe.
    [[nodiscard]] std::vector<child>& children() noexcept { return children_; }

    /// This process' end of the first stage's input and the last one's output, if a pipe was asked
    /// for there; closed objects otherwise.
    [[nodiscard]] pipe_writer& std_in();
    [[nodiscard]] pipe_reader& std_out();

    /// Waits until every stage has ended.
    ///
    /// Any number of waits may be pending or started later, from any thread: each gets the same
    /// answer. That the stages ended does not mean that the output did: a descendant may hold it.
    /// @par Completion signature   `void(error_code, pipeline_status)`
    /// @par Errors                 `operation_aborted`. How the stages ended is none: ask
    ///                             `pipeline_status::success`.
    /// @par Cancellation           terminal, partial, total: the wait ends, the pipeline goes on.
    /// @par Thread safety          Any thread may call it at any time.
    /// @par Lifetime               The object may be moved or dropped while the wait is pending.
    /// @par Cost                   One wait for each stage, with an allocation each.
    /// @par Example                @snippet examples/guide/pipelines.cpp running
    template <
        asio::completion_token_for<void(error_code, pipeline_status)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, pipeline_status)>(
            [](auto handler, std::shared_ptr<detail::pipeline_core> core) {
                detail::start_wait(core, std::move(handler));
            },
            token, core_);
    }

    /// Stops all stages: every rung of the ladder goes to all trees at once, and what asks a
    /// process to end cancels the coroutines.
    ///
    /// Completes when every tree is empty, every process reaped and every coroutine has ended.
    /// @par Completion signature   `void(error_code, stop_result)`; its status is the last
    ///                             program's. Ask `async_wait` for those of all stages.
    /// @par Errors                 `operation_aborted`. A signal that could not be sent is told in
    ///                             `stop_result::taken`.
    /// @par Cancellation           terminal, partial, total: the ladder is left where it is, with
    ///                             the rungs taken so far in the result. May be emitted in any
    ///                             thread; see `async_run` for when.
    /// @par Thread safety          As for the object.
    /// @par Lifetime               The object may be moved or dropped while the stop is pending.
    /// @par Cost                   A few allocations; for each rung a signal to each tree. A tree
    ///                             without a cgroup is found by reading /proc when it is killed.
    /// @par Example
    /// @code
    /// running_pipeline running = spawn(command("yes") | command("grep", {"n"}), executor);
    /// stop_result how = co_await running.async_stop(stop_ladder::terminate(2s));
    /// pipeline_status status = co_await running.async_wait();  // how each stage ended
    /// @endcode
    template <asio::completion_token_for<void(error_code, stop_result)> Token = asio::deferred_t>
    [[nodiscard]] auto async_stop(stop_ladder ladder, Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, stop_result)>(
            [](auto handler, std::shared_ptr<detail::pipeline_core> core, stop_ladder rungs) {
                detail::start_stop(core, std::move(rungs), std::move(handler));
            },
            token, core_, std::move(ladder));
    }
    /// The same with `stop_ladder::polite()`.
    template <asio::completion_token_for<void(error_code, stop_result)> Token = asio::deferred_t>
    [[nodiscard]] auto async_stop(Token&& token = Token{})
    {
        return async_stop(stop_ladder::polite(), std::forward<Token>(token));
    }

    /// To every member of every stage's tree, as `child::signal_tree`. Coroutines hear nothing.
    /// @par Errors          The first that occurs; the others are signalled none the less.
    /// @par Thread safety   As for the object.
    void signal_tree(int number, error_code& ec);

private:
    friend struct detail::pipeline_access;

    running_pipeline(std::shared_ptr<detail::pipeline_core> core,
                     std::vector<child> children) noexcept
        : core_(std::move(core)),
          children_(std::move(children))
    {
    }

    std::shared_ptr<detail::pipeline_core> core_;
    std::vector<child> children_;
};

/// Starts a pipeline: the programs from the last to the first, then the coroutines.
///
/// From the last, so that a consumer that cannot be started is found before anything was produced.
/// When a stage cannot be started, those that were are killed at once, with their pipes still open
/// (so that none of them takes the others' end for the end of its input), and the event loop reaps
/// them; nothing is left behind.
/// @par Errors          `spawn_error`, or `failure`, of the stage in question
///                      (`spawn_failure::stage`): which step, which errno, on what.
/// @par Thread safety   Any number of threads may spawn, in one context or several.
/// @par Cost            That of `spawn` for each program, one after the other.
/// @par Process-wide effects   Those of `spawn` of a command.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT running_pipeline spawn(const pipeline& what,
                                                             asio::any_io_executor executor);
/// The same; does not throw `spawn_error`, but fills `failure` and returns an empty pipeline.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT running_pipeline spawn(const pipeline& what,
                                                             asio::any_io_executor executor,
                                                             spawn_failure& failure);

namespace detail {

PROCYARD_RUNTIME_EXPORT void
start_spawn(pipeline what, asio::any_io_executor executor, spawn_failure* failure,
            asio::any_completion_handler<void(error_code, running_pipeline)> handler);

}  // namespace detail

/// Starts a pipeline from the context's spawner thread (see `async_spawn` of a command).
/// @par Completion signature   `void(error_code, running_pipeline)`; empty when `ec` is set.
/// @par Errors                 A code of `spawn_category`; with `failure`, the whole story.
///                             `operation_aborted`. Before it says so, everything that was started
///                             has been killed and reaped.
/// @par Cancellation           terminal, partial, total: no further stage is started, and those
///                             that were are killed and reaped. May be emitted in any thread; see
///                             `async_run` for when.
/// @par Thread safety          As for `spawn`.
/// @par Lifetime               The arguments are copied or moved; `failure` must outlive the
///                             operation.
/// @par Cost                   That of `spawn`, and two changes of thread.
/// @par Example
/// @code
/// pipeline count = command("ls") | command("wc", {"-l"});
/// running_pipeline running = co_await async_spawn(count, executor);
/// @endcode
template <asio::completion_token_for<void(error_code, running_pipeline)> Token = asio::deferred_t>
[[nodiscard]] auto async_spawn(pipeline what, asio::any_io_executor executor,
                               Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, running_pipeline)>(
        [](auto handler, pipeline moved, asio::any_io_executor io) {
            detail::start_spawn(std::move(moved), std::move(io), nullptr, std::move(handler));
        },
        token, std::move(what), std::move(executor));
}

/// The same; `failure` gets the whole story before the operation completes, and is left empty by a
/// success.
template <asio::completion_token_for<void(error_code, running_pipeline)> Token = asio::deferred_t>
[[nodiscard]] auto async_spawn(pipeline what, asio::any_io_executor executor,
                               spawn_failure& failure, Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, running_pipeline)>(
        [](auto handler, pipeline moved, asio::any_io_executor io, spawn_failure* out) {
            detail::start_spawn(std::move(moved), std::move(io), out, std::move(handler));
        },
        token, std::move(what), std::move(executor), &failure);
}

namespace detail {

using pipeline_run_handler = asio::any_completion_handler<void(error_code, pipeline_result)>;

PROCYARD_RUNTIME_EXPORT void start_run(pipeline what, asio::any_io_executor ex, run_options options,
                                       pipeline_run_handler handler);

}  // namespace detail

/// Runs a pipeline to its end, as `async_run` does with one program: starts it, feeds the first
/// stage, reads the last one's output and every program's standard error, watches the time, stops
/// it if need be, reaps it, and tells everything.
///
/// The options mean what they mean there. `std_in` is the first stage's and `std_out` the last
/// one's; by default the first reads nothing and the last is captured. `std_err` counts for each
/// program by itself: by default each is captured with a limit of its own
/// (`stage_result::std_err`), `run_output::merge()` sends it down the pipe with the output, and
/// `run_output::as_command()` leaves it the parent's. (Callbacks hear all stages; a file is shared;
/// a stream should be given to one stage only, since two would write at once.) There is one
/// deadline and one ladder, which reaches every tree and coroutine at once.
///
/// All stages are waited for, also those whose reader has left: a producer that never writes again
/// does not notice, as in a shell.
/// @par Completion signature   `void(error_code, pipeline_result)`; the result tells what happened
///                             up to then even if `ec` is set.
/// @par Errors                 Those of `spawn`, also in `pipeline_result::failure`, after what was
///                             started has been killed and reaped; `operation_aborted` after a
///                             cancellation. How the stages ended is no error of the operation: ask
///                             `success()` or `error()`.
/// @par Cancellation           terminal, partial, total: the ladder on all stages, whatever the
///                             type. A second one skips the rest of the ladder's graces. Before the
///                             first turn: nothing is started.
/// @par Thread safety          As for a program. Each coroutine stage has a strand of its own.
/// @par Lifetime               The arguments are copied or moved. A context that is destroyed
///                             meanwhile kills the programs by their drop policies.
/// @par Cost                   One spawn for each program, a few allocations for each stage, and
///                             64 KiB for each output that has come to write something. Between two
///                             programs this process touches nothing.
/// @par Example                @snippet examples/04_pipeline.cpp pipeline
template <asio::completion_token_for<void(error_code, pipeline_result)> Token = asio::deferred_t>
[[nodiscard]] auto async_run(pipeline what, asio::any_io_executor ex, run_options options,
                             Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, pipeline_result)>(
        [](auto handler, pipeline moved, asio::any_io_executor io, run_options how) {
            detail::start_run(std::move(moved), std::move(io), std::move(how), std::move(handler));
        },
        token, std::move(what), std::move(ex), std::move(options));
}

/// The same with the default options.
template <asio::completion_token_for<void(error_code, pipeline_result)> Token = asio::deferred_t>
[[nodiscard]] auto async_run(pipeline what, asio::any_io_executor ex, Token&& token = Token{})
{
    return async_run(std::move(what), std::move(ex), run_options{}, std::forward<Token>(token));
}

PROCYARD_NAMESPACE_END

#endif
