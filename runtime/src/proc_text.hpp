// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PROC_TEXT_HPP
#define PROCYARD_RUNTIME_SRC_PROC_TEXT_HPP

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

// Pure functions over the text of /proc and cgroup files. A part of that text is chosen by other
// processes (their name, their environment, the names of their cgroups), so all of it is input:
// nothing here trusts a length, a count or a terminator.
namespace detail {

/// The fields of /proc/<pid>/stat that say who a process is and where it belongs.
struct process_record {
    pid_t pid = 0;
    char state = '?';
    pid_t parent = 0;
    pid_t group = 0;
    pid_t session = 0;
    int thread_count = 0;
    std::uint64_t start_ticks = 0;  ///< since boot; with the pid it names a process for good
    /// Where the program's code begins. 0 in the middle of an exec (an exec sets it last of all),
    /// in a process that has ended, and on kernels that do not tell.
    std::uint64_t code_begin = 0;
    /// Where the environment is that the program was started with; equal: it has none.
    std::uint64_t environment_begin = 0;
    std::uint64_t environment_end = 0;

    friend bool operator==(const process_record&, const process_record&) = default;
};

/// Parses a whole /proc/<pid>/stat. Empty when it is not one.
///
/// The name in parentheses is the process's own choice and may hold spaces, parentheses and
/// newlines; every field after it is a number, so the last `)` ends it.
[[nodiscard]] std::optional<process_record> parse_stat(std::string_view text) noexcept;

/// Whether a task in this state runs nothing until somebody wakes it: stopped, traced or dead.
[[nodiscard]] bool is_at_rest(char state) noexcept;

/// Whether the record is that of a process whose threads have all ended.
[[nodiscard]] bool is_dead(const process_record& record) noexcept;

/// Appends the positive decimal numbers of a white-space separated list (children, cgroup.procs).
/// Anything else is passed over: a process of another pid namespace is listed as 0.
void parse_pids(std::string_view text, std::vector<pid_t>& pids);

/// The decimal number that is the whole of `text`, and positive: the name of a process's directory.
[[nodiscard]] std::optional<pid_t> parse_pid(std::string_view text) noexcept;

/// The name of the variable that marks the members of a tree.
inline constexpr std::string_view tree_marker_name = "PROCYARD_TREE";

/// Whether an environment block (NUL-terminated entries) marks a member of the tree `id`: its
/// `PROCYARD_TREE` is a list with `:` between the ids of the trees around the process, outermost
/// first.
[[nodiscard]] bool has_tree_marker(std::string_view environment, std::string_view id) noexcept;

/// The number behind `key` in a file of `key value` lines (cgroup.events, memory.events, cpu.stat).
[[nodiscard]] std::optional<std::uint64_t> parse_keyed(std::string_view text,
                                                       std::string_view key) noexcept;

/// The number that a file of one number holds (memory.peak).
[[nodiscard]] std::optional<std::uint64_t> parse_count(std::string_view text) noexcept;

/// The path of this process's cgroup v2 in /proc/self/cgroup, below the mount's root. Empty when
/// it has none, or when the cgroup has been deleted.
[[nodiscard]] std::optional<std::string> parse_own_cgroup(std::string_view text);

/// One mount of the cgroup v2 hierarchy in /proc/self/mountinfo.
struct cgroup_mount {
    std::string root;   ///< the cgroup that is mounted
    std::string point;  ///< the directory where it is mounted

    friend bool operator==(const cgroup_mount&, const cgroup_mount&) = default;
};
[[nodiscard]] std::vector<cgroup_mount> parse_cgroup_mounts(std::string_view text);

/// The directory of the cgroup `path` under `mount`; empty when the mount does not show it.
[[nodiscard]] std::optional<std::string> directory_of(const cgroup_mount& mount,
                                                      std::string_view path);

/// Whether `name` is one that a leaf of ours can have: `procyard-<pid>-<counter>`.
[[nodiscard]] bool is_leaf_name(std::string_view name) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
