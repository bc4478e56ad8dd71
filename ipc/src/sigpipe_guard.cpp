// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/sigpipe_guard.hpp>

#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace {

sigset_t sigpipe_only() noexcept
{
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGPIPE);
    return set;
}

bool sigpipe_waits() noexcept
{
    sigset_t waiting;
    return ::sigpending(&waiting) == 0 && ::sigismember(&waiting, SIGPIPE) == 1;
}

// The kernel hands out a signal of the thread before one of the process, and a SIGPIPE raised by a
// write is of the thread. So one that comes from elsewhere is only ever met when we raised none.
void take_own_sigpipe() noexcept
{
    const sigset_t set = sigpipe_only();
    const timespec at_once{};
    siginfo_t info;
    const int taken = retry_eintr([&] { return ::sigtimedwait(&set, &info, &at_once); });
    if (taken == SIGPIPE && info.si_code <= 0 && info.si_pid != ::getpid())
        (void)::kill(::getpid(), SIGPIPE);  // given back: it was meant for the host
}

}  // namespace

sigpipe_guard::sigpipe_guard() noexcept
{
    const sigset_t set = sigpipe_only();
    // Can only fail for a bad `how`, so there is nothing to report.
    (void)::pthread_sigmask(SIG_BLOCK, &set, &previous_);
    // One that waits while its signal is not blocked would have been delivered: no need to ask.
    waiting_before_ = ::sigismember(&previous_, SIGPIPE) == 1 && sigpipe_waits();
}

sigpipe_guard::~sigpipe_guard()
{
    const int saved = errno;
    // An ignored signal waits as well while it is blocked (the kernel cannot know whether it will
    // still be ignored later), so this is right whatever the disposition.
    if (may_have_raised_ && !waiting_before_)
        take_own_sigpipe();
    (void)::pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
    errno = saved;
}

PROCYARD_NAMESPACE_END
