// SPDX-License-Identifier: BSL-1.0
#include "orphan_reaper.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

bool orphan_reaper::leave_earlier_children()
{
    std::vector<pid_t> children;
    genealogy_.begin_pass();
    if (!genealogy_.children_of(::getpid(), children))
        return false;
    earlier_.insert(children.begin(), children.end());
    return true;
}

bool orphan_reaper::reap()
{
    // Who has taken /proc away while we ran would have it look as if there were no children.
    if (!proc_is_ours())
        return reap_without_list();
    std::vector<pid_t> children;
    genealogy_.begin_pass();
    if (!genealogy_.children_of(::getpid(), children))
        return false;
    for (const auto pid : children) {
        // An earlier child keeps its number: whoever waits for it does so when we have returned.
        if (!earlier_.contains(pid) && !is_owned_(pid))
            reap_one(pid);
    }
    return true;
}

// One child after the other, up to the first that somebody else has to wait for.
bool orphan_reaper::reap_without_list()
{
    for (;;) {
        siginfo_t info{};
        // tidy: allow wait-any: it looks, and reaps nobody
        const auto look = [&] { return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT); };
        if (retry_eintr(look) != 0 || info.si_pid == 0)
            return true;
        if (earlier_.contains(info.si_pid) || is_owned_(info.si_pid))
            return false;
        reap_one(info.si_pid);
    }
}

void orphan_reaper::reap_one(pid_t pid)
{
    siginfo_t info{};
    const int result = retry_eintr(
        [&] { return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG); });
    if (result != 0 || info.si_pid != pid)
        return;  // it lives
    hear_(pid,
          info.si_code == CLD_EXITED
              ? exit_status::exited(info.si_status)
              : exit_status::signaled(info.si_status, info.si_code == CLD_DUMPED));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
