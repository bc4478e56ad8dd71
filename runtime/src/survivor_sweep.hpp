// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SURVIVOR_SWEEP_HPP
#define PROCYARD_RUNTIME_SRC_SURVIVOR_SWEEP_HPP

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>

#include "cgroup_leaf.hpp"
#include "held_process.hpp"
#include "proc_fs.hpp"
#include "survivor_record.hpp"
#include "tree_sweep.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// As /proc/PID/cgroup says it; empty: it has none, or cannot be asked.
[[nodiscard]] std::string cgroup_of(pid_t pid);
// Whether all in this cgroup may be killed by who runs in `own`: it is a leaf of the library's, and
// we are not in it ourselves.
[[nodiscard]] bool may_be_swept(std::string_view cgroup, std::string_view own) noexcept;

// How often to look again because of somebody who has come, and is dead, between two looks, and may
// have left a child behind the list: at once, and in all. One who holds up a loop meanwhile looks
// once, and soon takes it for another's: on a busy machine there is always one.
struct look_limits {
    int at_once = 1;
    int in_all = 16;
};

// Kills what a supervisor that was killed has left behind:
//
// - who has its marker in the environment, and with it whoever they have started, in whatever
//   session, unless a program clears its environment;
// - those in the file, by pid and start time, with their trees, and when such a one has gone, who
//   is in the group and the session that it has led;
// - who is in a cgroup of the library's that one of these is, or was, in.
//
// Nothing of it is our child, so nobody tells us of their ends: pass() looks again.
class survivor_sweep {
public:
    survivor_sweep(std::string marker, const std::vector<survivor_record>& records,
                   const look_limits& limits = {});

    // Kills whom it finds. False when nobody is left, and nobody can be.
    [[nodiscard]] bool pass();
    // How many processes were killed by themselves, not as a part of a tree or cgroup.
    [[nodiscard]] std::size_t killed() const noexcept { return killed_; }
    // Who was left after the last pass, for a message.
    [[nodiscard]] std::string describe_left() const;

private:
    struct tree {
        held_process root;
        tree_sweep sweep;
    };

    void take_records(const std::vector<survivor_record>& records);
    [[nodiscard]] bool kill_marked();
    [[nodiscard]] tree_marking marking_of(pid_t pid);
    [[nodiscard]] bool was_missed(pid_t pid) const;
    [[nodiscard]] bool was_led(pid_t pid);
    void forget_leaders();
    [[nodiscard]] pid_t led_group_of(pid_t pid) const;
    [[nodiscard]] bool is_unsure(pid_t pid, std::map<pid_t, std::uint64_t>& now) const;
    void doom(pid_t pid);
    void take_leaf(const std::string& cgroup);
    [[nodiscard]] bool trees_live();
    [[nodiscard]] bool leaves_live();

    look_limits limits_;
    std::string marker_;
    std::string own_cgroup_;
    std::vector<survivor_record> leaders_{};
    std::vector<pid_t> led_{};  // those of whom this look has found a member
    std::vector<std::unique_ptr<tree>> trees_{};
    std::vector<cgroup_leaf> leaves_{};
    std::vector<std::string> leaf_names_{};
    std::vector<held_process> doomed_{};
    // Those in the middle of an exec when they were looked at, with their start times.
    std::map<pid_t, std::uint64_t> unsure_{};
    int unsure_passes_ = 0;
    // Those of the last list, the highest first.
    std::vector<pid_t> seen_{};
    bool missed_ = false;
    int missed_looks_ = 0;
    std::size_t killed_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
