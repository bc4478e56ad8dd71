// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SPAWN_INFO_HPP
#define PROCYARD_RUNTIME_SPAWN_INFO_HPP

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/runtime/tree.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How a child's process was made. Both share the parent's memory until the exec, so neither grows
/// with it; a plain fork, which does, is never used.
enum class spawn_mechanism : std::uint8_t {
    /// clone3(CLONE_VM | CLONE_VFORK …), Linux 5.5.
    clone3,
    /// clone(CLONE_VM | CLONE_VFORK …), where clone3 is missing or a sandbox forbids it.
    clone,
};
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view
to_string(spawn_mechanism mechanism) noexcept;

/// How the child came to its descriptor table.
enum class descriptor_table : std::uint8_t {
    /// The kernel copied only the low numbers the child needs: independent of how many descriptors
    /// the parent has open.
    trimmed,
    /// As `trimmed`, but the descriptors the child needs had high numbers, and it fetched them from
    /// the parent's table (pidfd_getfd): for contexts that were made when low numbers were taken.
    fetched,
    /// The kernel copied the parent's table: the cost grows with the parent's open descriptors.
    copied,
};
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(descriptor_table table) noexcept;

/// What actually happened when a child was spawned.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct spawn_info {
    spawn_mechanism mechanism = spawn_mechanism::clone3;
    descriptor_table descriptors = descriptor_table::copied;
    tree_mechanism tree = tree_mechanism::none;
    /// False where the kernel gives no pidfd: exits are then found by polling with a back-off
    /// timer.
    bool pidfd = false;
    /// The file that was executed.
    std::string path;
    /// The optional steps that failed, with the reason (`spawn_failure::code`).
    std::vector<spawn_failure> not_applied;
    /// When the child was there, and how long the call took that made it.
    std::chrono::steady_clock::time_point started{};
    std::chrono::nanoseconds duration{};
};

PROCYARD_NAMESPACE_END

#endif
