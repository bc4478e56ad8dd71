// SPDX-License-Identifier: BSL-1.0
#include "held_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <string>

#include <procyard/ipc/syscall.hpp>

#include "kernel_features.hpp"
#include "proc_fs.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr unsigned signal_process_group = 1U << 2;   // PIDFD_SIGNAL_PROCESS_GROUP: Linux 6.9
constexpr auto by_pidfd = static_cast<idtype_t>(3);  // P_PIDFD: not in every libc's headers

int pidfd_open(pid_t pid) noexcept
{
    return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
}

/// 0 or the errno.
int pidfd_send_signal(int pidfd, int number, unsigned flags) noexcept
{
    return ::syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, flags) == -1 ? errno : 0;
}

// Numbers kept free of members: to look at /proc takes descriptors, too, and so does the host.
constexpr rlim_t reserve = 32;

/// Whether this new descriptor, the lowest that was free, still leaves the reserve.
bool leaves_room(const unique_fd& fd)
{
    rlimit limit{};
    return ::getrlimit(RLIMIT_NOFILE, &limit) == -1 || limit.rlim_cur == RLIM_INFINITY
        || static_cast<rlim_t>(fd.get()) + reserve < limit.rlim_cur;
}

int open_process_directory(pid_t pid)
{
    const auto path = "/proc/" + std::to_string(pid);
    return retry_eintr([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
}

error_code unless_gone(int error_number) noexcept
{
    return error_number == 0 || error_number == ESRCH ? error_code{} : make_errno(error_number);
}

}  // namespace

std::optional<held_process> held_process::hold(pid_t pid)
{
    // 0 and negative numbers mean groups to kill(), 1 is nobody's child; and we are not our own.
    if (pid <= 1 || pid == ::getpid())
        return std::nullopt;
    held_process held;
    held.pid_ = pid;
    if (has(kernel().pidfd)) {
        held.pidfd_.reset(pidfd_open(pid));
        if (held.pidfd_ && leaves_room(held.pidfd_))
            return held;
        const int cause = held.pidfd_ ? EMFILE : errno;
        held.pidfd_.reset();
        const bool none_left = cause == EMFILE || cause == ENFILE || cause == ENOMEM;
        // EPERM: pidfd_open has no such error of its own, a seccomp filter has.
        if (!none_left && !refused(kernel().pidfd, cause, EPERM))
            return std::nullopt;
    }
    held.directory_.reset(open_process_directory(pid));
    if (held.directory_ && leaves_room(held.directory_))
        return held;
    held.directory_.reset();
    const auto record = read_stat(pid);
    if (!record)
        return std::nullopt;
    held.start_ticks_ = record->start_ticks;
    return held;
}

held_process held_process::borrow(pid_t pid, int pidfd) noexcept
{
    held_process held;
    held.pid_ = pid;
    held.borrowed_ = pidfd;
    held.is_borrowed_ = true;
    return held;
}

held_process::condition held_process::look() const
{
    error_code ec;
    const auto seen = look(ec);
    return ec ? condition::alive : seen;
}

held_process::condition held_process::look(error_code& ec) const
{
    if (reaped_)
        return condition::gone;
    if (const int fd = descriptor(); fd >= 0) {
        pollfd ask{fd, POLLIN, 0};
        if (retry_eintr([&] { return ::poll(&ask, 1, 0); }) == 0)
            return condition::alive;
        return pidfd_send_signal(fd, 0, 0) == ESRCH ? condition::gone : condition::dead;
    }
    // The directory stays that of its process: a stranger of the same number has another one.
    const auto path = "/proc/" + std::to_string(pid_) + "/stat";
    const auto record = directory_ ? read_stat(directory_.get(), "stat", ec)
                                   : read_stat(AT_FDCWD, path.c_str(), ec);
    if (!is_shortage(ec))
        ec = {};
    const bool is_stranger =
        record && !directory_ && !is_borrowed_ && record->start_ticks != start_ticks_;
    if (!record || is_stranger)
        return condition::gone;
    return is_dead(*record) ? condition::dead : condition::alive;
}

// For a signal by number. One that is borrowed is not reaped before its owner says so. False with
// an error: nobody can tell.
bool held_process::has_own_number(error_code& ec) const noexcept
{
    if (is_borrowed_)
        return !reaped_;
    try {
        return look(ec) != condition::gone && !ec;
    } catch (const std::bad_alloc&) {
        ec = make_errno(ENOMEM);
        return false;
    }
}

error_code held_process::signal(int number) const noexcept
{
    if (reaped_)
        return {};
    if (const int fd = descriptor(); fd >= 0)
        return unless_gone(pidfd_send_signal(fd, number, 0));
    error_code ec;
    if (!has_own_number(ec))
        return ec;
    return unless_gone(::kill(pid_, number) == -1 ? errno : 0);
}

error_code held_process::signal_group(int number) const noexcept
{
    if (const int fd = descriptor(); fd >= 0 && has(kernel().pidfd_group_signal)) {
        const int result = pidfd_send_signal(fd, number, signal_process_group);
        if (!refused(kernel().pidfd_group_signal, result, EINVAL))
            return result == 0 ? error_code{} : make_errno(result);
    }
    // By number while the leader, dead or alive, still owns it. That it is reaped between the look
    // and the signal, and the number given out again after a whole round of pids, does not happen
    // in that instant; after the reaping it may.
    error_code ignored;
    if (reaped_ || !has_own_number(ignored))
        return make_errno(ENOTSUP);
    return ::kill(-pid_, number) == -1 ? last_error() : error_code{};
}

bool held_process::reap() const noexcept
{
    siginfo_t info{};
    const int fd = descriptor();
    const int result = retry_eintr([&] {
        return fd >= 0 ? ::waitid(by_pidfd, static_cast<id_t>(fd), &info, WEXITED | WNOHANG)
                       : ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG);
    });
    return result == 0 && info.si_pid == pid_;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
