// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_ORPHAN_REAPER_HPP
#define PROCYARD_RUNTIME_SRC_ORPHAN_REAPER_HPP

#include <sys/types.h>

#include <functional>
#include <set>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/exit_status.hpp>

#include "proc_fs.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Reaps the children of this process that are nobody's.
//
// All children are listed, and each that is nobody's is asked for by its own number, without
// waiting. The other ways, and why not:
//   - waitid of any child, with WNOWAIT to look first: it shows the same child again and again,
//     until that is reaped, so one that somebody else has not waited for yet hides all others.
//   - A pidfd for each orphan: nothing tells that a process has been orphaned, so there is no
//     moment at which to open it.
//   - The number that a SIGCHLD tells: signals of several deaths become one (catatonit#4). Here it
//     says no more than "look".
// A child that dies after the list was read raises another SIGCHLD. The first way is what is left
// when /proc goes away meanwhile: it is slow, and may have to wait for others, but no orphan stays.
class orphan_reaper {
public:
    using listener = std::function<void(pid_t, const exit_status&)>;

    // `is_owned`: whether a child is somebody's who waits for it.
    orphan_reaper(std::function<bool(pid_t)> is_owned, listener hear)
        : is_owned_(std::move(is_owned)),
          hear_(std::move(hear))
    {
    }

    // The children of now are somebody's. False: /proc could not be read.
    [[nodiscard]] bool leave_earlier_children();

    // False: /proc could not be read, for want of a descriptor, or is not there, and somebody who
    // is not ours hides the others; look again.
    [[nodiscard]] bool reap();

private:
    [[nodiscard]] bool reap_without_list();
    void reap_one(pid_t pid);

    std::function<bool(pid_t)> is_owned_;
    listener hear_;
    std::set<pid_t> earlier_{};
    genealogy genealogy_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
