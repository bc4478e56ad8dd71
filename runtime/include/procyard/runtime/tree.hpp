// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_TREE_HPP
#define PROCYARD_RUNTIME_TREE_HPP

#include <cstdint>
#include <iosfwd>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How a child and everything it starts shall be kept together, so that stopping the child stops
/// all of it.
enum class tree_mode : std::uint8_t {
    /// `cgroup` where this process may make one below its own (it was delegated to it), else
    /// `process_group`, or for a `service` `subreaper`. With `command::cgroup_parent` it is
    /// `cgroup` there, or the spawn fails.
    automatic,
    /// A cgroup v2 leaf per child, or the spawn fails. Nothing can leave it, however it forks.
    cgroup,
    /// As `process_group`, and orphans come back to this process and are found by a marker in
    /// their environment. Finds double-forked daemons too.
    /// @par Process-wide effects   Makes this process a child subreaper, for good
    ///                             (PR_SET_CHILD_SUBREAPER): the orphans of *all* its
    ///                             children become its children.
    subreaper,
    /// The child leads a process group. A kill freezes the group and every descendant that can be
    /// found, sessions and groups of their own included, and then kills them. A daemon that was
    /// orphaned into a session of its own before the first signal to the tree escapes.
    process_group,
    /// The child alone.
    none,
};

/// What keeps a child's tree together in fact.
enum class tree_mechanism : std::uint8_t { cgroup, subreaper, process_group, none };

/// `automatic`, `cgroup`, `subreaper`, `process group`, `none`.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(tree_mode mode) noexcept;
/// `cgroup`, `subreaper`, `process group`, `none`.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(tree_mechanism mechanism) noexcept;

PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, tree_mode mode);
PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, tree_mechanism mechanism);

PROCYARD_NAMESPACE_END

#endif
