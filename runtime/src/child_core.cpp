// SPDX-License-Identifier: BSL-1.0
#include "child_core.hpp"

#include <boost/asio/error.hpp>

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <new>
#include <utility>

#include <procyard/ipc/syscall.hpp>

#include "child_service.hpp"
#include "child_stop_target.hpp"
#include "kernel_features.hpp"
#include "raw_syscall.hpp"
#include "stop_operation.hpp"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

// The kernel's struct pidfd_info in its first version, and PIDFD_GET_INFO; newer than most headers.
struct pidfd_info {
    std::uint64_t mask;
    std::uint64_t cgroupid;
    std::uint32_t ids[11];
    std::int32_t exit_code;
};
static_assert(sizeof(pidfd_info) == 64);
constexpr std::uint64_t pidfd_info_pid = 1U << 0;
constexpr std::uint64_t pidfd_info_exit = 1U << 3;
constexpr unsigned long pidfd_get_info = _IOWR(0xFF, 11, pidfd_info);

std::chrono::microseconds to_duration(const timeval& t) noexcept
{
    return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
}

resource_usage to_usage(const rusage& r) noexcept
{
    resource_usage usage;
    usage.user_time = to_duration(r.ru_utime);
    usage.system_time = to_duration(r.ru_stime);
    usage.max_rss_bytes = static_cast<std::uint64_t>(r.ru_maxrss) * 1024;
    usage.minor_faults = static_cast<std::uint64_t>(r.ru_minflt);
    usage.major_faults = static_cast<std::uint64_t>(r.ru_majflt);
    usage.voluntary_switches = static_cast<std::uint64_t>(r.ru_nvcsw);
    usage.involuntary_switches = static_cast<std::uint64_t>(r.ru_nivcsw);
    return usage;
}

exit_status to_status(const siginfo_t& info) noexcept
{
    if (info.si_code == CLD_EXITED)
        return exit_status::exited(info.si_status);
    return exit_status::signaled(info.si_status, info.si_code == CLD_DUMPED);
}

}  // namespace

child_core::child_core(child_service& service, asio::any_io_executor ex)
    : executor(std::move(ex)),
      observers(service.observers()),
      service_(&service)
{
}

child_core::~child_core()
{
    // Not through the service: an ended child may outlive its context.
    if (pipe_budget)
        pipe_budget->fetch_sub(static_cast<int>(enlarged_pipes),
                               std::memory_order_relaxed);  // Relaxed: a budget.
}

child_core::closed_streams& child_core::closed()
{
    if (!closed_)
        closed_.reset(new closed_streams{pipe_writer(executor), pipe_reader(executor),
                                         pipe_reader(executor)});
    return *closed_;
}

void child_core::start_wait(asio::any_completion_handler<void(error_code, exit_status)> handler)
{
    wait_handler waiting(executor, std::move(handler));
    auto slot = waiting.get_cancellation_slot();
    // Relaxed: a number that is nobody else's, and nothing more.
    const auto waiter_id = next_waiter_.fetch_add(1, std::memory_order_relaxed);
    std::optional<exit_status> ended;
    bool foreign = false;
    // Before the waiter is in the list: from then on another thread may complete it, and the slot
    // goes with its handler. By number, because the slot's owner may emit long after the wait is
    // over.
    if (slot.is_connected()) {
        slot.assign([weak = weak_from_this(), waiter_id](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->cancel_wait(waiter_id);
        });
    }
    // What takes memory is done before there is an interest, which nobody would take back.
    std::list<waiter> one;
    one.push_back({waiter_id, std::move(waiting)});
    // Before the waiter is in the list: from then on a reaper in another thread may take its
    // interest back.
    service_->add_interest();
    {
        const std::lock_guard lock(mutex_);
        ended = status_;
        foreign = foreign_ && !ended;
        if (!ended && !foreign)
            waiters_.splice(waiters_.end(), one);
    }
    if (ended || foreign) {
        service_->remove_interest();
        one.front().handler.complete(foreign ? make_errno(ECHILD) : error_code{},
                                     ended.value_or(exit_status{}));
    }
}

void child_core::cancel_wait(std::uint64_t waiter_id)
{
    wait_handler cancelled;
    {
        const std::lock_guard lock(mutex_);
        for (auto at = waiters_.begin(); at != waiters_.end(); ++at) {
            if (at->id == waiter_id) {
                cancelled = std::move(at->handler);
                waiters_.erase(at);
                break;
            }
        }
    }
    if (!cancelled)
        return;  // completed in the meantime: the cancellation came too late
    service_->remove_interest();
    cancelled.complete(asio::error::operation_aborted, exit_status{});
}

std::optional<exit_status> child_core::status() const
{
    const std::lock_guard lock(mutex_);
    return status_;
}

std::chrono::steady_clock::time_point child_core::ended_at() const
{
    const std::lock_guard lock(mutex_);
    return ended_at_;
}

std::size_t child_core::waiters() const
{
    const std::lock_guard lock(mutex_);
    return waiters_.size();
}

// The status of a child that cannot be waited for any more: the host ignores SIGCHLD, or waited for
// any child. Since Linux 6.15 a pidfd still tells. What nobody knows is "unknown", and never an
// invented 0. Empty: the kernel knows and does not tell yet.
std::optional<exit_status> child_core::read_status_of_gone() const noexcept
{
    if (!pidfd || !has(kernel().pidfd_info_exit))
        return exit_status::unknown();
    pidfd_info answer{};
    const auto ask = [&] {
        answer = {};
        answer.mask = pidfd_info_exit;
        return ::ioctl(pidfd.get(), pidfd_get_info, &answer);
    };
    // ESRCH: it was reaped while the kernel looked, after it had found no status and before it
    // looked for the process. The status is there by now.
    int result = ask();
    if (result == -1 && errno == ESRCH)
        result = ask();
    if (result == -1) {
        (void)refused(kernel().pidfd_info_exit, errno, ENOTTY);
        return exit_status::unknown();
    }
    if ((answer.mask & pidfd_info_exit) != 0)
        return exit_status::from_wait_status(answer.exit_code);
    // Its pid is still there: whoever reaps it is not done, and only then the kernel tells. A new
    // edge on the pidfd (EPOLLHUP) says when.
    if ((answer.mask & pidfd_info_pid) != 0)
        return std::nullopt;
    return exit_status::unknown();
}

// Only a cgroup knows whether a SIGKILL was the out-of-memory killer's.
exit_status child_core::with_cause(exit_status status) const noexcept
{
    if (status.signal() != SIGKILL || tree.mechanism() != tree_mechanism::cgroup)
        return status;
    try {
        return tree.usage().oom_kills.value_or(0) > 0 ? status.with_out_of_memory() : status;
    } catch (const std::bad_alloc&) {
        return status;  // the cause is worth less than the status
    }
}

// The raw call has a fifth argument that libc's does not: the child's resource usage. By pidfd,
// because a pid may by now be a stranger's; never for any child, because the host's other children
// are not ours to reap.
long child_core::ask_kernel(int flags, siginfo_t& ended, rusage* usage) const noexcept
{
    return pidfd ? raw_syscall(SYS_waitid, P_PIDFD, pidfd.get(), raw_arg(&ended),
                               WEXITED | WNOHANG | flags, raw_arg(usage))
                 : raw_syscall(SYS_waitid, P_PID, pid, raw_arg(&ended), WEXITED | WNOHANG | flags,
                               raw_arg(usage));
}

// Tells the observer of the exit before the reaping: as long as it is a zombie, /proc knows what
// the process has used, and its number is its own. False when another thread is telling just now;
// that one will reap.
bool child_core::tell_exit()
{
    if (!observers->is_taken())
        return true;
    {
        const std::lock_guard lock(mutex_);
        if (status_ || exit_told_)
            return !telling_exit_;
        siginfo_t ended{};
        if (ask_kernel(WNOWAIT, ended, nullptr) != 0 || ended.si_pid == 0)
            return true;
        exit_told_ = true;
        telling_exit_ = true;
    }
    emit(child_event::kind::exited);
    const std::lock_guard lock(mutex_);
    telling_exit_ = false;
    return true;
}

bool child_core::try_reap()
{
    if (!tell_exit())
        return true;  // it has ended
    std::list<waiter> done;
    exit_status status;
    bool told = false;
    {
        const std::lock_guard lock(mutex_);
        if (status_)
            return true;
        if (foreign_)
            return false;
        siginfo_t ended{};
        rusage usage{};
        const long result = ask_kernel(0, ended, &usage);
        if (result == 0 && ended.si_pid == 0)
            return false;  // not yet: a tracer may still hold it although its pidfd is readable
        if (result == 0) {
            status = to_status(ended).with_usage(to_usage(usage));
        } else if (result == -ECHILD) {
            const auto known = read_status_of_gone();
            if (!known)
                return false;
            status = *known;
        } else {
            return false;  // EINTR
        }
        tree.leader_reaped(result == 0);
        status = with_cause(status);
        status_ = status;
        ended_at_ = std::chrono::steady_clock::now();
        done.swap(waiters_);
        told = std::exchange(exit_told_, true);
    }
    const auto self = shared_from_this();  // the service's may be the last reference
    if (service_ != nullptr)
        service_->remove(*this);
    if (!told)
        emit(child_event::kind::exited);
    emit(child_event::kind::reaped, 0, {}, &status);
    for (auto& one : done) {
        service_->remove_interest();
        one.handler.complete(error_code{}, status);
    }
    return true;
}

void child_core::signal(int number, error_code& ec) noexcept
{
    ec = {};
    bool sent = false;
    {
        // The lock keeps the status, and so the pid, as it is: a zombie holds its number.
        const std::lock_guard lock(mutex_);
        if (status_)
            return;
        const long result = pidfd ? raw_syscall(SYS_pidfd_send_signal, pidfd.get(), number, 0, 0)
                                  : raw_syscall(SYS_kill, pid, number);
        // ESRCH: it ended, and somebody else reaped it.
        if (result < 0 && result != -ESRCH)
            ec = make_errno(static_cast<int>(-result));
        sent = result >= 0;
    }
    if (sent)
        emit(child_event::kind::signal_sent, number);
}

void child_core::signal_tree(int number, error_code& ec)
{
    // As long as the child is not reaped it is a member, so only then this costs a look.
    if (tree_empty()) {
        ec = {};
        return;
    }
    switch (number) {
    case SIGKILL: ec = tree.kill().error; break;
    case SIGSTOP: ec = tree.suspend(); break;
    case SIGCONT: ec = tree.resume(); break;
    default: ec = tree.signal(number);
    }
    if (!ec)
        emit(child_event::kind::signal_sent, number, "tree");
}

void child_core::ask_tree(int number, error_code& ec)
{
    if (tree_empty()) {
        ec = {};
        return;
    }
    ec = tree.ask(number);
    if (!ec)
        emit(child_event::kind::signal_sent, number, "tree");
}

bool child_core::tree_empty()
{
    return status() && tree.empty();
}

void child_core::close_streams() noexcept
{
    const auto close = [](auto& stream) {
        if (stream)
            stream->close();
    };
    close(std_in);
    close(std_out);
    close(std_err);
    terminal.reset();
}

void child_core::keep_streams_connected() noexcept
{
    const auto keep = [](auto& stream) {
        if (stream)
            stream->keep_connected();
    };
    keep(std_in);
    keep(std_out);
    keep(std_err);
}

void child_core::drop() noexcept
{
    // The other process goes on with them.
    if (is_foreign()) {
        keep_streams_connected();
        close_streams();
        return;
    }
    // Without a service the context went down before, and killed it. A child that has ended is
    // nobody's to kill, and neither is what it left behind on purpose.
    const bool ours =
        service_ != nullptr && on_drop.what() != drop_policy::kind::detach && !try_reap();
    // Before its streams are closed: it shall not see an end of file and come to an end, or to a
    // conclusion, of its own.
    if (ours && on_drop.what() == drop_policy::kind::kill_tree) {
        error_code ignored;  // who may not be signalled (it changed its user) is still reaped
        signal_tree(SIGKILL, ignored);
    }
    close_streams();
    if (!ours)
        return;
    try {
        stop_dropped();
    } catch (const std::bad_alloc&) {
        // Nobody will look after it: then at once. The service reaps it at the next opportunity.
        error_code ignored;
        signal_tree(SIGKILL, ignored);
    }
}

// The rest of a stop, in the hands of the event loop: it holds the child until its tree is empty,
// so that it is reaped and its cgroup removed.
void child_core::stop_dropped()
{
    auto ladder = on_drop.what() == drop_policy::kind::kill_tree
        ? stop_ladder::kill()
        : stop_ladder::terminate(on_drop.grace());
    start_stop(std::make_shared<child_stop_target>(shared_from_this(), executor), executor,
               std::move(ladder), [](const error_code&, const stop_result&) { });
}

void child_core::shutdown() noexcept
{
    std::list<waiter>
        gone;  // destroyed without a call, as the context demands, and outside the lock
    {
        const std::lock_guard lock(mutex_);
        gone.swap(waiters_);
    }
    if (!is_foreign() && !try_reap() && on_drop.what() != drop_policy::kind::detach) {
        error_code ignored;
        signal_tree(SIGKILL, ignored);
        // Usually too early, and waiting for it would block: the zombie then stays until this
        // process ends.
        (void)try_reap();
    }
    service_ = nullptr;
}

void child_core::become_foreign()
{
    std::list<waiter> gone;
    {
        const std::lock_guard lock(mutex_);
        foreign_ = true;
        gone.swap(waiters_);
    }
    for (auto& one : gone) {
        service_->remove_interest();
        one.handler.complete(make_errno(ECHILD), exit_status{});
    }
}

void child_core::emit(child_event::kind what, int number, std::string_view text,
                      const exit_status* status) const noexcept
{
    if (const auto watcher = observers->get()) {
        child_event event;
        event.what = what;
        event.when = std::chrono::steady_clock::now();
        event.pid = pid;
        event.program = program;
        event.number = number;
        event.text = text;
        event.status = status;
        watcher->on_event(event);
    }
}

}  // namespace detail
PROCYARD_NAMESPACE_END
