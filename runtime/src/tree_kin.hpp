// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_TREE_KIN_HPP
#define PROCYARD_RUNTIME_SRC_TREE_KIN_HPP

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include <procyard/ipc/config.hpp>

#include "proc_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// By what a process belongs to a tree.
enum class kinship : std::uint8_t {
    none,
    child,    ///< its parent is a member
    group,    ///< its group is led by a member, or was
    session,  ///< its session is led by a member, or was
    marked,   ///< an orphan that came to us with the tree's marker in its environment
    unknown,  ///< an orphan that came to us, and cannot be asked for its environment at the moment
};

/// The numbers by which the relatives of a tree are known. A decision and nothing else: whether a
/// number is still the one that was meant is the caller's to verify.
class kin_numbers {
public:
    /// A living member; `index` is the caller's place for it.
    void add_member(pid_t pid, std::size_t index) { entries_[pid] = {index, true, true}; }
    /// A member has died: it is nobody's parent any more, but what it led may live on.
    void retire(pid_t pid, bool group, bool session);

    /// Whether nobody can be a relative by parent, group or session.
    [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
    [[nodiscard]] std::optional<std::size_t> member(pid_t pid) const;
    /// Whether a member leads, or led, this group or this session.
    [[nodiscard]] bool leads(pid_t group, pid_t session) const;
    [[nodiscard]] kinship relate(const process_record& record) const;

private:
    struct entry {
        std::optional<std::size_t> member;
        bool group = false;
        bool session = false;
    };

    [[nodiscard]] const entry* find(pid_t pid) const;

    std::unordered_map<pid_t, entry> entries_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
