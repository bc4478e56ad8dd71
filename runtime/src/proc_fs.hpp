// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PROC_FS_HPP
#define PROCYARD_RUNTIME_SRC_PROC_FS_HPP

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>

#include "proc_text.hpp"

PROCYARD_NAMESPACE_BEGIN

// What a sweep and a cgroup leaf read from the file system. Thin: the text is taken apart in
// proc_text.hpp.
namespace detail {

/// Reads a whole file of a kernel file system, up to `limit_bytes`. False, and the cause, when it
/// cannot be read.
[[nodiscard]] bool read_file(int directory, const char* name, std::string& text, error_code& ec,
                             std::size_t limit_bytes = 1 << 20);

/// Appends the names in a directory without `.` and `..`; false when it cannot be read.
[[nodiscard]] bool list_directory(int directory, const char* name, std::vector<std::string>& names,
                                  bool directories_only, error_code& ec);

/// Whether /proc is mounted, and shows the pids of this process's own namespace.
[[nodiscard]] bool proc_is_ours() noexcept;

/// Whether an error says that descriptors or memory ran out, and so nothing about what was asked.
[[nodiscard]] bool is_shortage(const error_code& ec) noexcept;

/// What /proc says of a process at this moment; empty when there is none of this number.
[[nodiscard]] std::optional<process_record> read_stat(pid_t pid);
/// The same from the process's own directory in /proc.
[[nodiscard]] std::optional<process_record> read_stat(int directory, const char* name,
                                                      error_code& ec);

/// Appends the pids of all processes that /proc shows. ENOENT when it shows none of ours.
[[nodiscard]] bool list_processes(std::vector<pid_t>& pids, error_code& ec);

/// What the environment that a process was started with says of a tree.
enum class tree_marking : std::uint8_t {
    absent,   ///< nothing, or it is not ours to look at
    present,  ///< that the process is a member
    /// Nothing as yet: the process is in the middle of an exec, when it has the memory of the new
    /// program and no environment; or descriptors or memory ran out here. Look again.
    unknown,
};
/// An id for PROCYARD_TREE, `WHOSE-` and 32 digits, that no other one of any process is.
/// @throws system_error   without randomness
[[nodiscard]] std::string new_tree_marker(std::string_view whose);
[[nodiscard]] tree_marking look_for_marker(pid_t pid, std::string_view id);

/// Answers "who are the children of", one pass at a time.
///
/// Reads /proc/<pid>/task/<tid>/children where the kernel has it: complete for a process that is
/// stopped, and nearly so for any other. Else all processes are asked for their parents, once in a
/// pass.
class genealogy {
public:
    /// A new pass: what was read before is out of date.
    void begin_pass() noexcept { table_is_read_ = false; }

    /// Appends the children of all threads of a process. False when descriptors or memory ran out.
    [[nodiscard]] bool children_of(pid_t pid, std::vector<pid_t>& children);

    /// The children of this process, each in a pass of its own until two readings agree: a reading
    /// in which somebody comes or goes can leave out others. False as children_of.
    [[nodiscard]] bool our_children(std::vector<pid_t>& children);

    /// Whether all threads of a process are at rest (see is_at_rest).
    [[nodiscard]] static bool threads_at_rest(pid_t pid);

private:
    enum class reading : std::uint8_t { done, failed, no_such_file };

    [[nodiscard]] static reading read_children_files(pid_t pid, std::vector<pid_t>& children);
    [[nodiscard]] bool read_table();

    bool table_is_read_ = false;
    bool table_is_good_ = false;
    std::vector<process_record> table_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
