// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CGROUP_LEAF_HPP
#define PROCYARD_RUNTIME_SRC_CGROUP_LEAF_HPP

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class guarded_entry;

/// What a cgroup has counted; empty where the controller is not there.
struct cgroup_usage {
    std::optional<std::uint64_t> memory_peak_bytes{};
    std::optional<std::chrono::microseconds> cpu_time{};
    std::optional<std::uint64_t> oom_kills{};
};

/// A cgroup v2 of ours, made for one child and all it starts.
///
/// Everything goes through the descriptor of its directory. A lock on that (flock) says that its
/// maker lives: an empty leaf without one is what a killed process left behind, and the next one
/// removes it.
///
/// The destructor removes the leaf if it is empty, and never waits.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
class cgroup_leaf {
public:
    /// Makes `procyard-<pid>-<counter>` in the cgroup directory `parent`, which `entry` is told
    /// before. A failure to tell it is one to make it.
    [[nodiscard]] static cgroup_leaf create(int parent, guarded_entry& entry, error_code& ec);
    [[nodiscard]] static cgroup_leaf create(int parent, error_code& ec);
    /// Takes a directory that is there already; `name` is its name in its parent.
    [[nodiscard]] static cgroup_leaf adopt(unique_fd directory, std::string name);
    /// Removes the leaves in `parent` that have no members and no living maker.
    static void remove_stale(int parent);

    cgroup_leaf() noexcept = default;
    cgroup_leaf(cgroup_leaf&&) noexcept = default;
    cgroup_leaf& operator=(cgroup_leaf&& other) noexcept;
    ~cgroup_leaf();

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(directory_); }
    /// The directory, for clone3 with CLONE_INTO_CGROUP.
    [[nodiscard]] int directory() const noexcept { return directory_.get(); }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }

    /// cgroup.procs: who writes `0` into it becomes a member.
    [[nodiscard]] unique_fd open_procs(error_code& ec) const;
    /// cgroup.events, opened for one waiter: the kernel remembers per open file what was read.
    [[nodiscard]] unique_fd open_events(error_code& ec) const;
    /// Reads an open cgroup.events; a change after this makes it ready (EPOLLPRI). Not populated
    /// when the leaf has been removed.
    [[nodiscard]] static bool populated(int events, error_code& ec);
    [[nodiscard]] bool populated(error_code& ec) const;

    /// Sends a signal to every member, those of inner cgroups too, once each.
    [[nodiscard]] error_code signal(int number) const;
    /// Orders the members to stop; each does before it returns to its own code.
    [[nodiscard]] error_code freeze() const;
    [[nodiscard]] error_code thaw() const;
    /// SIGKILL to all members. Repeat it until nobody is left: a fork that looked for pending
    /// signals before, and joins the cgroup after, the kernel's walk through the list is missed by
    /// cgroup.kill (the kernel compares a count of kills that the fork read in between).
    [[nodiscard]] error_code kill() const;
    /// Removes the leaf and the cgroups its members have made below it. EBUSY while it has members.
    error_code remove();

    [[nodiscard]] std::vector<pid_t> members() const;
    [[nodiscard]] cgroup_usage usage() const { return read_usage(directory_.get()); }
    /// The same of any directory that has a cgroup's files.
    [[nodiscard]] static cgroup_usage read_usage(int directory);

private:
    void remove_quietly() noexcept;
    [[nodiscard]] error_code write(const char* file, const char* text) const;
    [[nodiscard]] std::vector<std::string> inner_cgroups() const;
    std::size_t signal_new(int number, std::unordered_set<pid_t>& done, error_code& first) const;
    [[nodiscard]] error_code kill_one_by_one() const;

    unique_fd directory_;
    std::string name_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
