// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CHILD_CORE_HPP
#define PROCYARD_RUNTIME_SRC_CHILD_CORE_HPP

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/any_io_executor.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/drop_policy.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/spawn_info.hpp>

#include "observer_slot.hpp"
#include "process_tree.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

class child_service;

/// What all handles, waiters and the service share about one child.
///
///   running --exit seen, status read (try_reap)--> ended
///
/// running: the pid is the child's, as a process or as a zombie; it may be signalled. The status is
///          not known.
/// ended:   the pid belongs to nobody, or to a stranger; only the status may be used. Entered once,
///          never left.
/// foreign: in a forked copy of the process, where the child is the other's. Nothing is done to it
///          that nobody asked for, and it cannot be waited for.
///
/// `mutex_` guards status and waiters. It is never held while a handler is posted, an observer
/// called, or the service asked.
class child_core : public std::enable_shared_from_this<child_core> {
public:
    using wait_handler = pending<void(error_code, exit_status)>;

    child_core(child_service& service, asio::any_io_executor executor);
    child_core(const child_core&) = delete;
    child_core& operator=(const child_core&) = delete;
    ~child_core();

    // Set once by the spawn, constant afterwards.
    asio::any_io_executor executor;
    pid_t pid = -1;
    unique_fd pidfd;
    std::uint64_t id = 0;
    std::string program;
    spawn_info info;
    /// After pidfd, which it borrows: it must go first.
    process_tree tree;

    // The handle's; nobody else touches them. Empty where the command asked for no stream: most
    // children have none, and a closed one takes as much memory as an open one.
    std::optional<pipe_writer> std_in;
    std::optional<pipe_reader> std_out;
    std::optional<pipe_reader> std_err;
    unique_fd terminal;
    drop_policy on_drop = drop_policy::kill_tree();
    unsigned enlarged_pipes = 0;
    const std::shared_ptr<observer_slot> observers;
    std::shared_ptr<std::atomic<int>> pipe_budget;  // what enlarged_pipes counts against

    /// What a handle shows in the place of streams that nobody asked for.
    struct closed_streams {
        pipe_writer std_in;
        pipe_reader std_out;
        pipe_reader std_err;
    };
    [[nodiscard]] closed_streams& closed();

    void start_wait(asio::any_completion_handler<void(error_code, exit_status)> handler);
    [[nodiscard]] std::optional<exit_status> status() const;
    /// When the status was read; only once there is one.
    [[nodiscard]] std::chrono::steady_clock::time_point ended_at() const;
    /// Reads the status if the child has ended. True when the child is ended (now or before).
    bool try_reap();

    void signal(int number, error_code& ec) noexcept;
    void signal_tree(int number, error_code& ec);
    /// As process_tree::ask.
    void ask_tree(int number, error_code& ec);
    /// The child was reaped, and no descendant that is known to be of its tree is left.
    [[nodiscard]] bool tree_empty();

    /// The handle is gone: acts by the policy.
    void drop() noexcept;
    /// The context goes down: nobody will wait any more.
    void shutdown() noexcept;
    /// Whether the context still is there; without it the child was killed, unless it is detached.
    [[nodiscard]] bool has_context() const noexcept { return service_ != nullptr; }
    /// This process is a forked copy of the one that spawned it.
    void become_foreign();

    /// Hands an event to the context's observer, if there is one.
    void emit(child_event::kind what, int number = 0, std::string_view text = {},
              const exit_status* status = nullptr) const noexcept;

    [[nodiscard]] std::size_t waiters() const;

private:
    struct waiter {
        std::uint64_t id;
        wait_handler handler;
    };

    void cancel_wait(std::uint64_t waiter_id);
    [[nodiscard]] bool is_foreign() const noexcept { return ::getpid() != parent_; }
    void close_streams() noexcept;
    void keep_streams_connected() noexcept;
    void stop_dropped();
    [[nodiscard]] long ask_kernel(int flags, siginfo_t& ended, rusage* usage) const noexcept;
    [[nodiscard]] bool tell_exit();
    [[nodiscard]] exit_status with_cause(exit_status status) const noexcept;
    [[nodiscard]] std::optional<exit_status> read_status_of_gone() const noexcept;

    // Null once the context has gone down. Of a child that has ended it is not used any more,
    // because the service forgets those and may be gone first.
    child_service* service_;
    mutable std::mutex mutex_;
    std::optional<exit_status> status_;
    bool foreign_ = false;  // was told so: waits cannot be served
    const pid_t parent_ = ::getpid();
    bool exit_told_ = false;
    bool telling_exit_ = false;
    std::chrono::steady_clock::time_point ended_at_{};
    std::list<waiter> waiters_;
    std::atomic<std::uint64_t> next_waiter_{0};
    std::unique_ptr<closed_streams> closed_;
};

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
