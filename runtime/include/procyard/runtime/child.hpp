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

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class child_core;

PROCYARD_RUNTIME_EXPORT void
start_wait(const std::shared_ptr<child_core>& core,
           asio::any_completion_handler<void(error_code, exit_status)> handler);

}  // namespace detail

/// A running (or finished) child process: its pid, its streams, its end.
///
/// Made by `spawn`. The event loop owns the waiting: there is no SIGCHLD handler, no thread, and
/// one place that reaps, so any number of waiters get the same status at any time. An object that
/// is dropped while the child runs acts by its drop policy, by default it kills the child's whole
/// tree; see `on_drop` and `detach`.
///
/// After a move the source is empty: `!x`, and every call but assignment and destruction is a
/// contract violation.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, except `async_wait`,
/// `try_wait` and the functions that
///                      send signals, which any thread may call at any time. Emitting a
///                      cancellation signal counts as access to the operation it cancels, not to
///                      the child.
/// @par Example         @snippet examples/01_hello_child.cpp hello
class PROCYARD_RUNTIME_EXPORT child {
public:
    using executor_type = asio::any_io_executor;

    /// No child.
    child() noexcept = default;
    explicit child(std::shared_ptr<detail::child_core> core) noexcept : core_(std::move(core)) { }
    child(child&& other) noexcept = default;
    /// What was held before is dropped, by its policy.
    child& operator=(child&& other) noexcept;
    /// Drops the child, by its policy; never blocks.
    ~child();

    [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr; }
    [[nodiscard]] executor_type get_executor() const noexcept;

    /// The process id. A number that stays this child's until it is reaped; to signal the child,
    /// use the functions below, which never hit another process that got the number later.
    [[nodiscard]] pid_t id() const noexcept;
    /// The pidfd, or -1 where the kernel has none. Still the child's own; for pidfd_getfd(2) and
    /// the like.
    [[nodiscard]] int pidfd() const noexcept;
    /// How it was spawned.
    [[nodiscard]] const spawn_info& info() const noexcept;

    // Streams: this process' ends of the pipes, sockets or terminals the command asked for; closed
    // objects otherwise. They belong to the reader, not to the child: what was written before the
    // exit can be read after it.

    [[nodiscard]] pipe_writer& std_in() noexcept;
    [[nodiscard]] pipe_reader& std_out() noexcept;
    [[nodiscard]] pipe_reader& std_err() noexcept;

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
    /// @par Errors                 `operation_aborted`. A status that somebody else took is no
    /// error but `unknown()`.
    /// @par Cancellation           terminal, partial, total: the wait ends, the child goes on.
    /// @par Lifetime               The object may be moved or dropped while the wait is pending.
    /// @par Cost                   No thread, no signal handler; one system call per exit beside
    /// the loop's own.
    template <asio::completion_token_for<void(error_code, exit_status)> Token = asio::deferred_t>
    auto async_wait(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, exit_status)>(
            [](auto handler, std::shared_ptr<detail::child_core> core) {
                detail::start_wait(core, std::move(handler));
            },
            token, core_);
    }

    /// The status if the child has ended, without waiting.
    [[nodiscard]] std::optional<exit_status> try_wait();

    // Signals. To a child that has ended they do nothing and succeed.

    void signal(int number, error_code& ec) noexcept;
    /// @throws boost::system::system_error   e.g. EPERM for a child that changed its user
    void signal(int number);
    void interrupt() { signal(SIGINT); }
    void terminate() { signal(SIGTERM); }
    void kill() { signal(SIGKILL); }
    /// SIGSTOP: the child stands still until `resume()`.
    void suspend() { signal(SIGSTOP); }
    /// SIGCONT
    void resume() { signal(SIGCONT); }
    /// To every member of the child's tree, also after the child itself has ended.
    void signal_tree(int number, error_code& ec);

    // Drop

    /// What becomes of the child when this object goes.
    void on_drop(drop_policy policy) noexcept;
    /// Lets the child go: it lives on, and this object is empty. Returns its pid.
    pid_t detach() noexcept;

    /// For the library's own functions.
    [[nodiscard]] const std::shared_ptr<detail::child_core>& core() const noexcept { return core_; }

private:
    std::shared_ptr<detail::child_core> core_;
};

PROCYARD_NAMESPACE_END

#endif
