// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CLONE_CHILD_HPP
#define PROCYARD_RUNTIME_SRC_CLONE_CHILD_HPP

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/spawn_info.hpp>

#include "child_plan.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

struct clone_request {
    child_plan* plan = nullptr;
    /// Is told before the clone whether the new process starts with its handlers reset.
    signal_plan* signals = nullptr;
    void* stack = nullptr;
    std::size_t stack_bytes = 0;
    /// Where to leave the mask this thread had, for a child that inherits it; or null.
    std::uint64_t* inherited_mask = nullptr;
    /// CLONE_NEW… flags.
    std::uint64_t namespaces = 0;
    /// The child changes its user or group.
    bool changes_identity = false;
    /// Directory of the cgroup to be born in, or -1.
    int cgroup = -1;
    /// The child shares the descriptor table until it unshares it.
    bool share_descriptors = false;
};

struct clone_result {
    pid_t pid = -1;
    unique_fd pidfd;
    spawn_mechanism mechanism = spawn_mechanism::clone3;
    /// errno when no process was made.
    int error = 0;
};

/// Makes the process and comes back when it has executed its program, or has ended. Blocks all
/// signals of this thread meanwhile.
[[nodiscard]] clone_result clone_child(const clone_request& request) noexcept;

/// Whether a child can be put into a cgroup by the clone itself (clone3); else the plan needs a
/// step for it.
[[nodiscard]] bool can_clone_into_cgroup() noexcept;

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
