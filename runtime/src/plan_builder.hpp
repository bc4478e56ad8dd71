// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PLAN_BUILDER_HPP
#define PROCYARD_RUNTIME_SRC_PLAN_BUILDER_HPP

#include <boost/container/small_vector.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/spawn_error.hpp>

#include "child_plan.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// What the parent knows when it makes the plan, and what a test gives instead.
struct plan_context {
    /// The parent's environment, ended by null.
    char** environment = nullptr;
    pid_t parent = 0;
    /// The child must become the leader of a group of its own: its tree is one.
    bool lead_group = false;
    /// Descriptor of the cgroup.procs to join by a step of the plan, or -1.
    int cgroup_procs = -1;
    /// Descriptor of the book in which the child writes its number for a guardian, or -1; where.
    int guardian_book = -1;
    std::int64_t place_in_book = 0;
    /// Whose child it is.
    pid_t process = 0;
    /// The value of PROCYARD_TREE, by which a subreaper knows the members of a tree; empty: none.
    std::string marker{};
    bool close_range = true;
};

/// A command compiled: the plan, and the storage its pointers point into. Points into the command
/// as well, which must outlive it.
class spawn_plan {
public:
    spawn_plan() = default;
    spawn_plan(const spawn_plan&) = delete;
    spawn_plan& operator=(const spawn_plan&) = delete;

    child_plan child;
    signal_plan signals;
    descriptor_plan descriptors;
    own_id_plan own_id;
    exec_plan exec;
    std::uint64_t namespaces = 0;

    std::string path;
    boost::container::small_vector<child_op, 12> ops;
    boost::container::small_vector<const char*, 16> argv;
    std::vector<const char*> envp;
    std::vector<std::string> variables;
    boost::container::small_vector<fd_move, 8> moves;
    boost::container::small_vector<int, 8> keep;
    std::string directory;
    std::string id_maps;
    std::vector<unsigned long> cpu_mask;
    std::uint64_t signal_mask = 0;

    /// Points the plan at its arrays, once they are complete.
    void seal() noexcept;

    /// Makes it the plan of a child that stays in the parent's namespaces.
    void give_up_namespaces() noexcept;

    /// What the step was applied to, for a message.
    [[nodiscard]] std::string operand_of(const child_op& op) const;
};

/// Refuses bad input: NULs, an empty program, impossible numbers. Looks at nothing but the command.
[[nodiscard]] spawn_failure check(const command& what);

/// Makes everything of the plan but the descriptors' sources: program, arguments, environment and
/// the steps in their order. Reads file system and environment, creates nothing.
[[nodiscard]] spawn_failure build_plan(const command& what, const plan_context& context,
                                       spawn_plan& plan);

/// What the child finds in a variable, before a marker is added; empty when it is not there.
[[nodiscard]] std::string_view child_variable(const command& what, const plan_context& context,
                                              std::string_view name);

/// A failure of the step, with the command's program filled in.
[[nodiscard]] spawn_failure make_failure(const command& what, spawn_step step, int error_number,
                                         std::string operand = {});

/// For a thread that has nobody above it who could catch: what the exception that is being handled
/// says, as a failed spawn. Only in a handler.
[[nodiscard]] spawn_failure make_failure_of_exception(const command& what);

/// The file to execute for a program without a slash: the first regular, executable file of that
/// name in `path`'s absolute directories. Empty: none, and `error_number` is ENOENT, or EACCES when
/// one was there that may not be executed.
[[nodiscard]] std::string find_program(std::string_view program, std::string_view path,
                                       int& error_number);

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
