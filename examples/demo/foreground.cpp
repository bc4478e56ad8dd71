// SPDX-License-Identifier: BSL-1.0
#include "foreground.hpp"

#include <signal.h>
#include <unistd.h>

namespace demo {

foreground::foreground()
{
    // Who takes the terminal from the background is stopped, unless he does not listen. (Children
    // of Procyard start with default dispositions.)
    (void)::signal(SIGTTOU, SIG_IGN);
}

bool foreground::lend(pid_t group) noexcept
{
    if (::tcgetpgrp(STDIN_FILENO) == ::getpgrp())
        lent_ = ::tcsetpgrp(STDIN_FILENO, group) == 0;
    return lent_;
}

bool foreground::concerns(int number) const noexcept
{
    if (number == SIGTTIN || number == SIGTTOU)
        return ::tcgetpgrp(STDIN_FILENO) != -1;
    return lent_;
}

void foreground::take_back() noexcept
{
    if (lent_)
        (void)::tcsetpgrp(STDIN_FILENO, ::getpgrp());
    lent_ = false;
}

}  // namespace demo
