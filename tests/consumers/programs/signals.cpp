// SPDX-License-Identifier: BSL-1.0
// What a user of procyard::signals writes: signals that wait until the scope is left.
#include <procyard/signals.hpp>

#include <signal.h>

#include <cstdio>

int main()
{
    bool pending = false;
    bool restored = false;
    {
        const procyard::signal_mask_guard guard({SIGUSR1});
        ::raise(SIGUSR1);
        sigset_t waiting;
        pending = ::sigpending(&waiting) == 0 && ::sigismember(&waiting, SIGUSR1) == 1;
        restored = ::sigismember(&guard.previous(), SIGUSR1) == 0;
        (void)::signal(SIGUSR1, SIG_IGN);  // takes the one that waits away
    }
    std::printf("signals consumer: %s\n", pending && restored ? "blocked" : "not blocked");
    return pending && restored ? 0 : 1;
}
