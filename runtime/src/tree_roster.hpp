// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_TREE_ROSTER_HPP
#define PROCYARD_RUNTIME_SRC_TREE_ROSTER_HPP

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>

#include "held_process.hpp"
#include "proc_fs.hpp"
#include "tree_kin.hpp"

// Who belongs to a tree without a cgroup.
//
// Members. The root; the children of a member; the processes of a group or session that a member
// leads or led (a group in a member's name can only hold what the tree put there); as a subreaper
// also our own children that carry the tree's marker. What moved to a session of its own *and* lost
// its parent before anybody looked is not found: that needs a subreaper or a cgroup.
//
// Identity. A number found in /proc becomes a member in this order: take a pidfd; read its stat;
// see that it is kin; see that it is not reaped. A number belongs to its process until the reaping,
// so the stat was that of the pidfd's process. The relative that makes it kin must own its number
// too, after the stat was read: else the kinship may be to a stranger.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

struct sweep_options {
    /// The id in the members' PROCYARD_TREE; not empty means that we are a subreaper, look for
    /// orphans among our children, and reap those of this tree.
    std::string marker_id;
    /// Children of ours that somebody else reaps: they may be members, but are left to him.
    std::function<bool(pid_t)> spoken_for;
};

/// The members of one tree, found and held.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
class tree_roster {
public:
    struct member {
        held_process process;
        bool leads_session = false;
        bool stopped = false;
        bool settled = false;  // dead, and taken care of
    };
    /// Dead, but what it led may live on, or it is still to be reaped.
    struct former {
        held_process process;
        bool group = false;
        bool session = false;
        bool unburied = false;
    };

    explicit tree_roster(sweep_options options) : options_(std::move(options)) { }

    void set_root(pid_t pid, int pidfd, bool leads_session);
    /// The root has been reaped; `just_now`: its number cannot have been given out again.
    void root_reaped(bool just_now);
    [[nodiscard]] pid_t root() const noexcept { return root_; }
    /// The root, alive or not; null when nothing can be left of what it led.
    [[nodiscard]] const held_process* root_process() const;

    /// In the order they were found: parents before children. The settled are to be passed over.
    [[nodiscard]] std::vector<member>& members() noexcept { return members_; }
    [[nodiscard]] const std::vector<member>& members() const noexcept { return members_; }
    [[nodiscard]] const std::vector<former>& formers() const noexcept { return former_; }

    // Each of the three adds whom it finds, and returns how many.

    /// The children of all members; `before` is called with each member before its children are
    /// listed.
    std::size_t walk(void (*before)(member&) = nullptr);
    /// The processes of all groups and sessions that members lead or led.
    std::size_t scan();
    /// Our own children that carry the marker, or are kin.
    std::size_t collect_orphans();

    /// Takes the dead off the end; true when a living member is left (the last is one then).
    bool settle_dead();
    /// Drops the names of groups that are empty, and buries our own dead.
    void forget_what_is_empty();
    /// Whether a look (scan, collect_orphans) can find anybody although all members are dead.
    [[nodiscard]] bool may_have_more() const;
    /// Whether a look failed since this was last asked (no descriptor left, or no /proc although a
    /// group has somebody): that nobody was found says nothing then.
    [[nodiscard]] bool was_blind() noexcept { return std::exchange(blind_, false); }
    /// Whether a dead relative was met since this was last asked: one of them may have forked, and
    /// ended, behind the reader's back.
    [[nodiscard]] bool met_the_dead() noexcept { return std::exchange(met_the_dead_, false); }
    /// Whether an orphan was met since this was last asked of whom it cannot be said yet whose it
    /// is: look again soon.
    [[nodiscard]] bool was_unsure() noexcept { return std::exchange(unsure_, false); }
    /// Whether the looks since those three were last asked, and those since this was, leave no
    /// doubt that nobody has been overlooked, and there is nobody whose relatives a scan would
    /// find.
    [[nodiscard]] bool is_certain() noexcept
    {
        return !std::exchange(doubtful_, false) && numbers_.empty() && !blind_ && !met_the_dead_
            && !unsure_;
    }
    void clear() noexcept;

private:
    bool adopt(pid_t pid, bool orphan);
    [[nodiscard]] kinship verified_kinship(const held_process& held, bool orphan) const;
    [[nodiscard]] bool owns_group(pid_t group) const;
    [[nodiscard]] bool owns_session(pid_t session) const;
    [[nodiscard]] const former* find_former(pid_t pid) const;
    [[nodiscard]] bool is_spoken_for(pid_t pid) const;
    void settle(member& one);
    void bury();

    sweep_options options_;
    std::vector<member> members_;
    std::vector<former> former_;
    kin_numbers numbers_;
    genealogy genealogy_;
    pid_t root_ = -1;
    bool trust_root_ = false;  // the root was reaped just now: its number is still its own
    bool met_the_dead_ = false;
    bool blind_ = false;
    bool unsure_ = false;
    // Apart from met_the_dead_: a zombie that its host never buries would cost a second look each
    // time.
    bool doubtful_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
