// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_PATIENCE_HPP
#define PROCYARD_IPC_SRC_PATIENCE_HPP

#include <sched.h>
#include <time.h>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Waits for another process that removes or makes a name. That takes it a few system calls, unless
// it loses the processor in between. Not by waiting for its lock (F_OFD_SETLKW, flock): it may be
// stopped, and that is no reason for us to stop as well.
class patience {
public:
    // False when it has lasted too long: after about 100 ms in all.
    [[nodiscard]] bool wait() noexcept
    {
        if (waits_ == most_waits)
            return false;
        if (++waits_ <= yields) {
            (void)::sched_yield();
        } else {
            // tidy: allow sleep: the kernel tells of no free lock but to who blocks for it
            (void)::nanosleep(&pause, nullptr);
        }
        return true;
    }

private:
    static constexpr int yields = 10;
    static constexpr int most_waits = yields + 100;
    static constexpr timespec pause{.tv_sec = 0, .tv_nsec = 1'000'000};

    int waits_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
