// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_CHILD_HPP
#define PROCYARD_RUNTIME_CHILD_HPP

#include <signal.h>
#include <sys/types.h>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <memory>
#include <optional>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/drop_policy.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/spawn_info.hpp>
#include <procyard/runtime/stdio.hpp>
#include <procyard/runtime/stop.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class child_core;
struct child_access;

PROCYARD_RUNTIME_EXPORT void
start_wait(const std::shared_ptr<child_core>& core,
           asio::any_completion_handler<void(error_code, exit_status)> handler);

PROCYARD_RUNTIME_EXPORT void
start_child_stop(const std::shared_ptr<child_core>& core, stop_ladder ladder,
                 asio::any_completion_handler<void(error_code, stop_result)> handler);

PROCYARD_RUNTIME_EXPORT void
start_wait_tree(const std::shared_ptr<child_core>& core,
                asio::any_completion_handler<void(error_code)> handler);

}  // namespace detail

/// A running (or finished) child process: its pid, its streams, its end.
///
/// Made by `spawn`. The event loop owns the waiting: it takes no SIGCHLD handler and no thread, and
/// one place reaps, so any number of waiters get the same status at any time. An object that
/// is dropped while the child runs acts by its drop policy, by default it kills the child's whole
/// tree; see `on_drop` and `detach`.
///
/// After a move the source is empty: `!x`, and every call but assignment and destruction is a
/// contract violation.
/// Without a token the functions that begin with `async_` return a deferred operation, which starts
/// when it is awaited or given a token; dropped, it starts nothing.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, except `async_wait`,
///                      `async_stop`, `async_wait_tree`, `try_wait` and the functions that send
///                      signals, which any thread may call at any time. Emitting a cancellation
///                      signal is access to the operation it cancels, not to the child; see
///                      `async_run` for when any thread may.
/// @par Example         @snippet examples/01_hello_child.cpp hello
class PROCYARD_RUNTIME_EXPORT child {
public:
    using executor_type = asio::any_io_executor;

    /// No child.
    child() noexcept = default;
    child(child&& other) noexcept = default;
    /// What was held before is dropped, by its policy.
    child& operator=(child&& other) noexcept;
    /// Drops the child, by its policy; never blocks.
    ~child();

    [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr; }
    [[nodiscard]] executor_type get_executor() const noexcept;

    /// The process id. A number that stays this child's until it is reaped; to signal the child,
    /// use the functions below, which know when that is.
    [[nodiscard]] pid_t id() const noexcept;
    /// The pidfd, or -1 where the kernel has none. Still the child's own; for pidfd_getfd(2) and
    /// the like.
    [[nodiscard]] int pidfd() const noexcept;
    /// How it was spawned.
    [[nodiscard]] const spawn_info& info() const noexcept;

    // Streams: this process' ends of the pipes, sockets or terminals the command asked for; closed
    // objects otherwise. They belong to the reader, not to the child: what was written before the
    // exit can be read after it.

    /// Writes what the child reads from its standard input.
    [[nodiscard]] pipe_writer& std_in();
    /// Reads what the child writes to its standard output.
    [[nodiscard]] pipe_reader& std_out();
    /// Reads what the child writes to its standard error.
    [[nodiscard]] pipe_reader& std_err();

    /// Changes the size of the child's terminal; the child's foreground group gets SIGWINCH.
    /// @par Errors   ENOTTY when the child has no terminal of ours.
    void resize_terminal(window_size size, error_code& ec) noexcept;

    // End

    /// Waits until the child has ended.
    ///
    /// Any number of waits may be pending or started later, from any thread: each gets the same
    /// status, and the child is reaped once. That the child ended does not mean that its output
    /// did: a descendant may hold the pipes (see `async_run`).
    /// @par Completion signature   `void(error_code, exit_status)`
    /// @par Errors                 `operation_aborted`. ECHILD in a forked copy of the process that
    ///                             spawned it. A status that somebody else took is no error but
    ///                             `unknown()`.
    /// @par Cancellation           terminal, partial, total: the wait ends, the child goes on.
    /// @par Thread safety          Any thread may call it at any time.
    /// @par Lifetime               The object may be moved or dropped while the wait is pending.
    /// @par Cost                   No thread, no signal handler; one system call per exit beside
    ///                             the loop's own. A few allocations per wait.
    /// @par Example                @snippet examples/guide/ending.cpp wait
    template <asio::completion_token_for<void(error_code, exit_status)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, exit_status)>(
            [](auto handler, const std::shared_ptr<detail::child_core>& core) {
                detail::start_wait(core, std::move(handler));
            },
            token, core_);
    }

    /// Stops the child and everything it started, one rung of the ladder after the other.
    ///
    /// Done when no member of the tree is left and the child is reaped, which may be at once: the
    /// ladder is left as soon as the tree is empty. The end of the child alone does not end it.
    /// @par Completion signature   `void(error_code, stop_result)`; the result is meaningful with
    ///                             an error too, and then tells how far the ladder went.
    /// @par Errors                 `operation_aborted`. A signal that could not be sent is in the
    ///                             result's records.
    /// @par Cancellation           terminal, partial, total: no further rung is taken. What was
    ///                             sent was sent; the child goes on as far as it lives.
    /// @par Thread safety          As for `async_wait`.
    /// @par Lifetime               The object may be moved while the stop is pending. Dropping it
    ///                             acts by its policy, and the stop goes on beside that.
    /// @par Cost                   A few allocations; a signal for each rung. A tree without a
    ///                             cgroup is found by reading /proc when it is killed.
    /// @par Example                @snippet examples/03_stop_ladder.cpp stop
    template <asio::completion_token_for<void(error_code, stop_result)> Token = asio::deferred_t>
    [[nodiscard]] auto async_stop(stop_ladder ladder, Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, stop_result)>(
            [](auto handler, const std::shared_ptr<detail::child_core>& core, stop_ladder rungs) {
                detail::start_child_stop(core, std::move(rungs), std::move(handler));
            },
            token, core_, std::move(ladder));
    }
    /// The same with `stop_ladder::polite()`.
    template <asio::completion_token_for<void(error_code, stop_result)> Token = asio::deferred_t>
    [[nodiscard]] auto async_stop(Token&& token = Token{})
    {
        return async_stop(stop_ladder::polite(), std::forward<Token>(token));
    }

    /// Waits until the child and everything it started are gone. Signals nobody.
    ///
    /// How much that is worth depends on `info().tree`: a daemon that left a process group is not
    /// waited for, one in a cgroup is.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `operation_aborted`
    /// @par Cancellation           terminal, partial, total: the wait ends, the tree goes on.
    /// @par Thread safety          As for `async_wait`.
    /// @par Lifetime               The object may be moved or dropped while the wait is pending.
    /// @par Cost                   Waits for one member after the other by its pidfd, for a cgroup
    ///                             by its events; where there is neither, looks again by a timer.
    /// @par Example
    /// @code
    /// child shell = spawn(command::shell("sleep 10 &"), executor);
    /// co_await shell.async_wait();       // at once: the shell has ended
    /// co_await shell.async_wait_tree();  // and what it left in the background, too
    /// @endcode
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_tree(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code)>(
            [](auto handler, const std::shared_ptr<detail::child_core>& core) {
                detail::start_wait_tree(core, std::move(handler));
            },
            token, core_);
    }

    /// The status if the child has ended, without waiting.
    [[nodiscard]] std::optional<exit_status> try_wait();

    // Signals. To a child that has ended they do nothing and succeed.

    /// Sends a signal to the child alone, by its pidfd: never to another process that got the
    /// number later. Without a pidfd (see `info()`) by its number, as long as it is not reaped
    /// here; a host that reaps children of ours may then have given the number away.
    /// @par Errors          e.g. EPERM for a child that changed its user, EINVAL for what is no
    ///                      signal.
    /// @par Thread safety   Any thread may call it at any time.
    void signal(int number, error_code& ec) noexcept;
    /// The same.
    /// @throws boost::system::system_error   e.g. EPERM for a child that changed its user
    void signal(int number);
    /// `signal(SIGINT)`, which throws, as the next four do: `signal(number, ec)` does not.
    void interrupt() { signal(SIGINT); }
    /// `signal(SIGTERM)`
    void terminate() { signal(SIGTERM); }
    /// `signal(SIGKILL)`
    void kill() { signal(SIGKILL); }
    /// `signal(SIGSTOP)`: the child stands still until `resume()`.
    void suspend() { signal(SIGSTOP); }
    /// `signal(SIGCONT)`
    void resume() { signal(SIGCONT); }
    /// To every member of the child's tree, also after the child itself has ended.
    void signal_tree(int number, error_code& ec);

    // Drop

    /// What becomes of the child when this object goes.
    void on_drop(drop_policy policy) noexcept;
    /// Lets the child go: it lives on, and this object is empty. Returns its pid.
    pid_t detach() noexcept;

private:
    friend struct detail::child_access;

    explicit child(std::shared_ptr<detail::child_core> core) noexcept : core_(std::move(core)) { }

    std::shared_ptr<detail::child_core> core_;
};

PROCYARD_NAMESPACE_END

#endif
