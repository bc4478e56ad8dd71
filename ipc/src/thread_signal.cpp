// SPDX-License-Identifier: BSL-1.0
#include "thread_signal.hpp"

#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

sigset_t only(int number) noexcept
{
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, number);
    return set;
}

bool waits(int number) noexcept
{
    sigset_t waiting;
    return ::sigpending(&waiting) == 0 && ::sigismember(&waiting, number) == 1;
}

// The kernel hands out a signal of the thread before one of the process, and one raised by a system
// call is of the thread. So one that comes from elsewhere is only ever met when we raised none.
void take_own(int number) noexcept
{
    const sigset_t set = only(number);
    const timespec at_once{};
    siginfo_t info;
    const int taken = retry_eintr([&] { return ::sigtimedwait(&set, &info, &at_once); });
    if (taken == number && info.si_code <= 0 && info.si_pid != ::getpid())
        (void)::kill(::getpid(), number);  // given back: it was meant for the host
}

}  // namespace

bool hold_back_signal(int number, sigset_t& previous) noexcept
{
    const sigset_t set = only(number);
    // Can only fail for a bad `how`, so there is nothing to report.
    (void)::pthread_sigmask(SIG_BLOCK, &set, &previous);
    // One that waits while its signal is not blocked would have been delivered: no need to ask.
    return ::sigismember(&previous, number) == 1 && waits(number);
}

void let_signal_go(int number, const sigset_t& previous, bool take_raised) noexcept
{
    const int saved = errno;
    // An ignored signal waits as well while it is blocked (the kernel cannot know whether it will
    // still be ignored later), so this is right whatever the disposition.
    if (take_raised)
        take_own(number);
    (void)::pthread_sigmask(SIG_SETMASK, &previous, nullptr);
    errno = saved;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
