// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CHILD_SERVICE_HPP
#define PROCYARD_RUNTIME_SRC_CHILD_SERVICE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/container/flat_map.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "launch_pad.hpp"
#include "observer_slot.hpp"
#include "own_cgroup.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

class child_core;
class spawner_thread;

/// The reaper of one context: it knows the children, watches their pidfds, and is the only place
/// that waits for them.
///
/// All pidfds are in one epoll set of its own, of which only the one descriptor is registered with
/// Asio. So a child costs the loop no reactor registration, a burst of exits is fetched in batches,
/// and a child that nobody waits for keeps no loop running (an Asio operation per child would). The
/// loop waits for the set only while somebody is interested: a waiter, or a dropped child whose end
/// is still to come.
class child_service final : public asio::execution_context::service {
public:
    using key_type = child_service;
    static asio::execution_context::id id;

    explicit child_service(asio::execution_context& context);
    ~child_service() override;

    /// The service of the executor's context, made by the first call.
    /// @throws boost::system::system_error   no descriptors or no memory for it
    [[nodiscard]] static child_service& of(const asio::any_io_executor& executor);
    /// The same; null instead of an exception.
    [[nodiscard]] static child_service* try_of(const asio::any_io_executor& executor,
                                               error_code& ec);
    /// The same, if there has been a first call.
    [[nodiscard]] static child_service* find(const asio::any_io_executor& executor);

    /// From now on the child is watched.
    void add(const std::shared_ptr<child_core>& core);
    /// The child has ended: forget it.
    void remove(child_core& core) noexcept;

    /// Reaps what has ended, if the loop does not do so anyway. Without it a host that detaches all
    /// its children and waits for none would collect zombies.
    void collect();

    // Interest: while it is above zero the loop waits, and is kept running, for exits.
    void add_interest();
    void remove_interest() noexcept;

    [[nodiscard]] std::vector<std::shared_ptr<child_core>> children() const;

    [[nodiscard]] const std::shared_ptr<observer_slot>& observers() const noexcept
    {
        return observers_;
    }

    [[nodiscard]] launch_pads& pads() noexcept { return pads_; }
    [[nodiscard]] own_cgroup& cgroup() noexcept { return own_cgroup_; }
    /// Whether this process id is that of a child of this context, which is reaped here.
    [[nodiscard]] bool has_child(pid_t pid) const noexcept;
    /// Starts the thread on the first call; null when there is none to be had.
    [[nodiscard]] spawner_thread* try_spawner(error_code& ec);

    /// Real-time signals this process ignored when the service was made (bit n-1 for signal n).
    [[nodiscard]] std::uint64_t ignored_realtime_signals() const noexcept
    {
        return ignored_realtime_;
    }

    // Enlarged pipes count against a limit per user (pipe-user-pages-soft), beyond which all new
    // pipes of that user shrink to one page: so only a few at a time are taken.
    [[nodiscard]] bool may_enlarge_pipe() const noexcept;
    /// Counts them; whoever holds the result takes them off again.
    [[nodiscard]] std::shared_ptr<std::atomic<int>> count_enlarged_pipes(unsigned more) noexcept;

private:
    void shutdown() override;
    void notify_fork(asio::execution_context::fork_event event) override;

    void arm();
    void on_readable(const error_code& ec);
    void drain();
    void reap(std::span<const std::shared_ptr<child_core>> cores);
    void poll_later();
    void on_poll();
    void look_at_polled();
    void forget_pid(const child_core& core) noexcept;

    asio::any_io_executor executor_;
    pid_t process_;  // whose children these are; another one's in a forked copy
    unique_fd epoll_;
    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, std::shared_ptr<child_core>> children_;
    // The numbers in children_. Sorted: new process ids are mostly the greatest, and there is no
    // allocation for each.
    boost::container::flat_map<pid_t, std::uint64_t> pids_;
    std::uint64_t next_id_ = 1;
    std::size_t interest_ = 0;
    bool armed_ = false;
    bool down_ = false;
    // Set once the members below are made. Before, a thread that finds the service must not use it.
    std::atomic<bool> ready_{false};
    std::unique_ptr<asio::posix::stream_descriptor> descriptor_;  // epoll_, as Asio sees it

    // Children without a pidfd, and those whose pidfd was readable although they could not be
    // waited for yet.
    std::unique_ptr<asio::steady_timer> poll_timer_;
    std::chrono::nanoseconds poll_interval_{};
    std::vector<std::uint64_t> polled_;
    bool polling_ = false;

    const std::shared_ptr<observer_slot> observers_ = std::make_shared<observer_slot>();
    launch_pads pads_;
    own_cgroup own_cgroup_;
    std::unique_ptr<spawner_thread> spawner_;
    std::uint64_t ignored_realtime_ = 0;
    std::shared_ptr<std::atomic<int>> enlarged_pipes_ = std::make_shared<std::atomic<int>>(0);
};

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
