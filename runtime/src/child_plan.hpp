// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CHILD_PLAN_HPP
#define PROCYARD_RUNTIME_SRC_CHILD_PLAN_HPP

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/spawn_error.hpp>

// The plan: everything a child does between clone and exec, as plain data. The parent makes it
// (plan_builder), so the order of the steps is decided, and tested, without a process; the child
// only walks through it (child_main).

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// One step. What the operands mean is listed with the functions in child_main.cpp.
struct child_op {
    spawn_step step = spawn_step::none;
    /// May fail: the errno goes into `error`, and the next step follows.
    bool optional = false;
    /// Out: written by the child.
    int error = 0;
    /// Index of the spawn's operand text, for the parent's message; the child does not look at it.
    int operand = -1;
    std::int64_t a = 0;
    std::int64_t b = 0;
    std::int64_t c = 0;
    const void* data = nullptr;
    std::size_t size = 0;
};

/// One descriptor of the child: the parent's `source` becomes the child's `target`.
struct fd_move {
    int source = -1;
    int target = -1;
    /// Between the two phases of the shuffle: where the source waits. Filled in by the child.
    int parked = -1;
};

/// In place of a descriptor's number: the table as a whole could not be made as planned.
constexpr std::int64_t table_failed = -1;

struct descriptor_plan {
    fd_move* moves = nullptr;
    std::size_t move_count = 0;
    /// The targets in ascending order, inherited ones included: everything else is closed.
    const int* keep = nullptr;
    std::size_t keep_count = 0;
    /// The table is shared with the parent until the child unshares it, copying only the numbers
    /// below this one. 0: not shared.
    int unshare_above = 0;
    /// Sources at or above `unshare_above` are fetched from the parent's table (pidfd_getfd), of
    /// which the child then has no copy.
    bool fetch = false;
    /// close_range(2) is there.
    bool close_range = true;
};

struct signal_plan {
    /// Handlers were reset by CLONE_CLEAR_SIGHAND; only ignored signals need a look.
    bool handlers_cleared = false;
    /// Leave ignored signals and the mask as they are.
    bool inherit = false;
    /// Real-time signals that may be ignored (bit n-1 for signal n): the only ones of their kind
    /// worth a system call.
    std::uint64_t ignored_realtime = 0;
    const int* ignore = nullptr;
    std::size_t ignore_count = 0;
};

/// Where the child writes its own id, as text that ends with a NUL. Nobody else can know it before
/// there is a child, nor know it as the child does, in a pid namespace of its own.
struct own_id_plan {
    char* digits = nullptr;
    std::size_t size = 0;
};

struct exec_plan {
    const char* path = nullptr;
    char* const* argv = nullptr;
    char* const* envp = nullptr;
    unsigned text_busy_retries = 0;
};

struct child_plan {
    child_op* ops = nullptr;
    std::size_t op_count = 0;
    /// Out: index of the step that failed, or -1; its `error` says why.
    int failed_op = -1;
};

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
