// SPDX-License-Identifier: BSL-1.0
#include "child_service.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/strand.hpp>
#include <boost/container/static_vector.hpp>

#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <procyard/ipc/syscall.hpp>

#include "child_core.hpp"
#include "spawner_thread.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

using namespace std::chrono_literals;

// Polling is for the rare cases: short at first, since the cause is usually over at once, then
// seldom enough not to matter.
constexpr std::chrono::nanoseconds shortest_poll = 1ms;
constexpr std::chrono::nanoseconds longest_poll = 50ms;

constexpr int most_enlarged_pipes = 16;

// The reaper's own handlers belong to the context, not to the strand of whoever spawned first.
// Neither is the work that such an executor may track: the context shall end without us.
asio::any_io_executor without_strand(const asio::any_io_executor& executor)
{
    const auto inner = [&]() -> asio::any_io_executor {
        if (const auto* strand = executor.target<asio::strand<asio::io_context::executor_type>>())
            return strand->get_inner_executor();
        if (const auto* strand = executor.target<asio::strand<asio::any_io_executor>>())
            return strand->get_inner_executor();
        return executor;
    };
    return asio::prefer(inner(), asio::execution::outstanding_work.untracked);
}

std::uint64_t find_ignored_realtime_signals() noexcept
{
    std::uint64_t mask = 0;
    for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
        struct sigaction action;
        if (::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN)
            mask |= std::uint64_t{1} << (number - 1);
    }
    return mask;
}

unique_fd make_epoll()
{
    unique_fd made(::epoll_create1(EPOLL_CLOEXEC));
    if (!made)
        throw boost::system::system_error(last_error(), "child service: epoll_create1");
    return made;
}

// In a forked copy of the process: an object whose destructor must not run there. It is lost, once.
template <class T>
void leave_behind(std::unique_ptr<T>& object) noexcept
{
    [[maybe_unused]] const auto* const lost = object.release();
}

}  // namespace

asio::execution_context::id child_service::id;

child_service::child_service(asio::execution_context& context)
    : service(context),
      process_(::getpid()),
      epoll_(make_epoll()),
      ignored_realtime_(find_ignored_realtime_signals())
{
}

child_service::~child_service() = default;

child_service& child_service::of(const asio::any_io_executor& executor)
{
    auto& context = asio::query(executor, asio::execution::context);
    if (asio::has_service<child_service>(context)) {
        auto& made = asio::use_service<child_service>(context);
        // Acquire, pairs with the release below. Not ready: another thread is making it at this
        // moment, or was refused a descriptor while it did.
        if (made.ready_.load(std::memory_order_acquire))
            return made;
    }
    // Services go down in the reverse order of their making. These two use the reactor and the
    // timer queue: with them made first, ours is gone before.
    const auto own = without_strand(executor);
    auto descriptor = std::make_unique<asio::posix::stream_descriptor>(own);
    auto timer = std::make_unique<asio::steady_timer>(own);
    auto& service = asio::use_service<child_service>(context);
    const std::lock_guard lock(service.mutex_);
    if (!service.descriptor_) {
        descriptor->assign(service.epoll_.get());
        service.executor_ = own;
        service.descriptor_ = std::move(descriptor);
        service.poll_timer_ = std::move(timer);
        // Release, pairs with the acquire above.
        service.ready_.store(true, std::memory_order_release);
    }
    return service;
}

child_service* child_service::try_of(const asio::any_io_executor& executor, error_code& ec)
{
    try {
        return &of(executor);
    } catch (const boost::system::system_error& refused) {
        ec = refused.code();
        return nullptr;
    }
}

child_service* child_service::find(const asio::any_io_executor& executor)
{
    auto& context = asio::query(executor, asio::execution::context);
    return asio::has_service<child_service>(context) ? &asio::use_service<child_service>(context)
                                                     : nullptr;
}

void child_service::shutdown()
{
    // In a forked copy that was never told: the thread stayed behind, and Asio's own epoll set is
    // shared with the other process, which would miss what is taken out of it here. Both objects
    // are left where they are; their destructors would do harm.
    const bool copied = ::getpid() != process_;
    if (copied)
        leave_behind(spawner_);
    // Joins: a spawn under way there ends first, and finds the service still whole.
    spawner_.reset();
    decltype(children_) last;
    {
        const std::lock_guard lock(mutex_);
        down_ = true;
        last.swap(children_);
        if (copied)
            leave_behind(descriptor_);
        else if (descriptor_)
            (void)descriptor_->release();  // epoll_ owns the number
        descriptor_.reset();
        poll_timer_.reset();
    }
    // One after the other: the tree of each that ends passes over the others by their numbers.
    for (const auto& [number, core] : last) {
        core->shutdown();
        const std::lock_guard lock(mutex_);
        forget_pid(*core);
    }
    epoll_.reset();
}

// In a fork's copy of the process. The set of pidfds is one with the other process', down to its
// edges, so whoever looks first would take them from the other: this one gets a set of its own, and
// the children, which are not its children, leave.
void child_service::notify_fork(asio::execution_context::fork_event event)
{
    if (event != asio::execution_context::fork_child)
        return;
    leave_behind(spawner_);  // its thread stayed behind; joining it would never end
    decltype(children_) others;
    {
        const std::lock_guard lock(mutex_);
        process_ = ::getpid();
        others.swap(children_);
        pids_.clear();
        polled_.clear();
        if (descriptor_)
            (void)descriptor_->release();
        // Without one (no descriptors left) children are polled for, as those without a pidfd.
        epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
        error_code ignored;
        if (descriptor_ && epoll_)
            descriptor_->assign(epoll_.get(), ignored);
    }
    for (const auto& [number, core] : others)
        core->become_foreign();
}

void child_service::add(const std::shared_ptr<child_core>& core)
{
    const std::lock_guard lock(mutex_);
    const auto number = next_id_++;  // also of one that fails: nobody else's
    pids_[core->pid] = number;
    try {
        children_.emplace(number, core);
    } catch (...) {  // no memory
        pids_.erase(core->pid);
        throw;
    }
    core->id = number;  // now it is known: who failed before that has to end it
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.u64 = core->id;
    if (!core->pidfd || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, core->pidfd.get(), &event) == -1)
        polled_.push_back(core->id);
}

void child_service::remove(child_core& core) noexcept
{
    std::shared_ptr<child_core> last;  // destroyed outside the lock
    const std::lock_guard lock(mutex_);
    const auto found = children_.find(core.id);
    if (found == children_.end())
        return;
    last = std::move(found->second);
    children_.erase(found);
    forget_pid(core);
    // The pidfd stays in the epoll set until it is closed, and longer where another process still
    // holds a copy of the table. That is harmless, so it is not worth a system call: the number is
    // looked up here, and never found again.
    std::erase(polled_, core.id);
}

void child_service::collect()
{
    bool without_pidfd = false;
    {
        const std::lock_guard lock(mutex_);
        if (armed_ || children_.empty())
            return;
        without_pidfd = !polled_.empty();
    }
    drain();
    if (without_pidfd)
        look_at_polled();
}

void child_service::add_interest()
{
    const std::lock_guard lock(mutex_);
    ++interest_;
    try {
        arm();
        if (!polled_.empty()) {
            poll_interval_ = shortest_poll;
            poll_later();
        }
    } catch (...) {  // no memory: whoever asked has not
        --interest_;
        throw;
    }
}

void child_service::remove_interest() noexcept
{
    const std::lock_guard lock(mutex_);
    if (--interest_ != 0 || down_)
        return;
    error_code ignored;
    if (armed_)
        descriptor_->cancel(ignored);
    if (polling_)
        poll_timer_->cancel();
}

// Under the lock.
void child_service::arm()
{
    if (armed_ || interest_ == 0 || down_ || !descriptor_->is_open())
        return;
    descriptor_->async_wait(asio::posix::descriptor_base::wait_read,
                            [this](const error_code& ec) { on_readable(ec); });
    armed_ = true;  // not before: without memory nobody waits
}

void child_service::on_readable(const error_code&)
{
    {
        const std::lock_guard lock(mutex_);
        armed_ = false;
    }
    // Also after a cancellation: what is ready is ready, and a look costs one system call.
    drain();
    const std::lock_guard lock(mutex_);
    arm();
}

void child_service::drain()
{
    constexpr int batch = 64;
    epoll_event events[batch];
    for (;;) {
        const int count = retry_eintr([&] { return ::epoll_wait(epoll_.get(), events, batch, 0); });
        if (count <= 0)
            return;
        // No allocation: the edges have been consumed, and whoever is not looked at now is lost.
        boost::container::static_vector<std::shared_ptr<child_core>, batch> ready;
        {
            const std::lock_guard lock(mutex_);
            for (int i = 0; i < count; ++i) {
                // A copy: epoll_event is packed, so a reference to its number is not aligned.
                const std::uint64_t number = events[i].data.u64;
                if (const auto found = children_.find(number); found != children_.end())
                    ready.push_back(found->second);
            }
        }
        reap(ready);
        if (count < batch)
            return;
    }
}

void child_service::reap(std::span<const std::shared_ptr<child_core>> cores)
{
    for (const auto& core : cores) {
        if (core->try_reap())
            continue;
        // Readable, and not to be waited for: a tracer (strace, a leak checker) still holds it. The
        // pidfd is edge-triggered, so it keeps quiet; if the tracer's release makes no new edge,
        // the poll finds the child.
        const std::lock_guard lock(mutex_);
        if (!children_.contains(core->id))
            continue;  // another thread has reaped it since
        if (std::find(polled_.begin(), polled_.end(), core->id) == polled_.end())
            polled_.push_back(core->id);
        poll_interval_ = shortest_poll;
        poll_later();
    }
}

// Under the lock.
void child_service::poll_later()
{
    if (polling_ || interest_ == 0 || down_)
        return;
    poll_timer_->expires_after(poll_interval_);
    poll_interval_ = std::min(poll_interval_ * 2, longest_poll);
    poll_timer_->async_wait([this](const error_code&) { on_poll(); });
    polling_ = true;
}

void child_service::on_poll()
{
    {
        const std::lock_guard lock(mutex_);
        polling_ = false;
    }
    look_at_polled();
    const std::lock_guard lock(mutex_);
    if (!polled_.empty())
        poll_later();
}

void child_service::look_at_polled()
{
    std::vector<std::shared_ptr<child_core>> candidates;
    {
        const std::lock_guard lock(mutex_);
        for (const auto number : polled_) {
            if (const auto found = children_.find(number); found != children_.end())
                candidates.push_back(found->second);
        }
    }
    for (const auto& core : candidates)
        (void)core->try_reap();
}

std::vector<std::shared_ptr<child_core>> child_service::children() const
{
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<child_core>> all;
    all.reserve(children_.size());
    for (const auto& [number, core] : children_)
        all.push_back(core);
    return all;
}

bool child_service::has_child(pid_t pid) const noexcept
{
    const std::lock_guard lock(mutex_);
    return pids_.contains(pid);
}

// Under the lock. Once it has been reaped its process id may be another child's already.
void child_service::forget_pid(const child_core& core) noexcept
{
    const auto found = pids_.find(core.pid);
    if (found != pids_.end() && found->second == core.id)
        pids_.erase(found);
}

spawner_thread* child_service::try_spawner(error_code& ec)
{
    const std::lock_guard lock(mutex_);
    try {
        if (!spawner_)
            spawner_ = std::make_unique<spawner_thread>();
        return spawner_.get();
    } catch (const std::system_error& refused) {
        ec = make_errno(refused.code().value());
        return nullptr;
    }
}

bool child_service::may_enlarge_pipe() const noexcept
{
    // Relaxed: a budget, not a lock; two threads may exceed it by a few.
    return enlarged_pipes_->load(std::memory_order_relaxed) < most_enlarged_pipes;
}

std::shared_ptr<std::atomic<int>> child_service::count_enlarged_pipes(unsigned more) noexcept
{
    // Relaxed: see may_enlarge_pipe.
    enlarged_pipes_->fetch_add(static_cast<int>(more), std::memory_order_relaxed);
    return enlarged_pipes_;
}

}  // namespace detail
PROCYARD_NAMESPACE_END
