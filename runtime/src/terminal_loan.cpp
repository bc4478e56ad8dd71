// SPDX-License-Identifier: BSL-1.0
#include "terminal_loan.hpp"

#include <signal.h>
#include <unistd.h>

#include <procyard/signals/signal_mask_guard.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

bool hand_over(pid_t group) noexcept
{
    const signal_mask_guard quiet({SIGTTOU});  // or the one that is not in front is stopped
    return ::tcsetpgrp(0, group) == 0;
}

void let_go_on(pid_t pid) noexcept
{
    (void)::kill(::getpgid(pid) == pid ? -pid : pid, SIGCONT);
}

// As if the ^Z had been ours, whatever is done with SIGTSTP here otherwise.
void stop_ourselves() noexcept
{
    struct sigaction stop{};
    struct sigaction before{};
    stop.sa_handler = SIG_DFL;
    if (::sigaction(SIGTSTP, &stop, &before) != 0)
        return;
    sigset_t it;
    sigset_t mask;
    (void)::sigemptyset(&it);
    (void)::sigaddset(&it, SIGTSTP);
    (void)::pthread_sigmask(SIG_UNBLOCK, &it, &mask);
    (void)::raise(SIGTSTP);
    (void)::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    (void)::sigaction(SIGTSTP, &before, nullptr);
}

}  // namespace

terminal_loan::terminal_loan(pid_t to) noexcept : to_(to)
{
    // It may have been faster than we are.
    if (lend())
        let_go_on(to_);
}

void terminal_loan::on_stop(int number) noexcept
{
    const bool wants_terminal = number == SIGTTIN || number == SIGTTOU;
    if (!wants_terminal && number != SIGTSTP)
        return;  // SIGSTOP: whoever has sent it will let it go on
    if (!wants_terminal || !lend()) {
        take_back();
        stop_ourselves();
        // Without the terminal it would be stopped again at once.
        if (!lend() && wants_terminal)
            return;
    }
    let_go_on(to_);
}

bool terminal_loan::lend() noexcept
{
    if (::getpgid(to_) != to_ || ::tcgetpgrp(0) != ::getpgrp())
        return false;
    lent_ = hand_over(to_);
    return lent_;
}

void terminal_loan::take_back() noexcept
{
    if (lent_)
        (void)hand_over(::getpgrp());
    lent_ = false;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
