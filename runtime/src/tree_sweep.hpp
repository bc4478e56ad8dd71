// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_TREE_SWEEP_HPP
#define PROCYARD_RUNTIME_SRC_TREE_SWEEP_HPP

#include <sys/types.h>

#include <cstddef>
#include <vector>

#include <procyard/ipc/config.hpp>

#include "tree_roster.hpp"

// How a tree without a cgroup is signalled and killed. Who belongs to it: tree_roster.hpp.
//
// Freeze. SIGSTOP to a member before its children are listed, again and again until a pass over all
// members finds nobody new and everybody at rest. Without the stop a process can fork between the
// look and the kill, and its end cuts the chain to its children. A group is stopped as a group: the
// kernel then stops a child whose fork is under way, too, before it has run at all. For one that
// leads no group a stop under way is waited for, but only a few passes long: it is no event in a
// process that is not our child, and on a busy machine it takes as long as it takes.
//
// Kill. Last found first: a member that dies makes an orphaned group of its children, which the
// kernel then wakes with SIGHUP and SIGCONT; by then they must have their SIGKILL. Groups get
// theirs as groups, because that includes a fork under way.
//
// Empty. All members dead, and another look (groups, sessions, orphans) finds nobody, and no orphan
// of whom it cannot be said yet whose it is. Whoever is found after the kill is killed; who is
// found after a request (`ask`) is asked.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// What a kill did.
struct sweep_result {
    std::size_t members = 0;  ///< how many were sent SIGKILL
    std::size_t passes = 0;   ///< how often the tree was walked before
    bool settled = false;     ///< the last pass found nobody new
    bool at_rest = false;     ///< and everybody stopped
    error_code error;         ///< the first signal that could not be sent
};

/// Signals and kills the members of one tree, and knows when there are none.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
class tree_sweep {
public:
    explicit tree_sweep(sweep_options options = {}) : roster_(std::move(options)) { }

    /// The root, not reaped as yet. Its pidfd (-1: none) stays open until `*this` is gone.
    void attach(pid_t pid, int pidfd, bool leads_session)
    {
        roster_.set_root(pid, pidfd, leads_session);
    }
    /// The root has been reaped; `just_now`: its number cannot have been given out again.
    void leader_reaped(bool just_now = true);

    /// Sends a signal to every member once. That there is none is no error.
    [[nodiscard]] error_code signal(int number);
    /// The same, and from now on `empty` sends it, and SIGCONT, to whomever it finds; 0: no more.
    /// For a signal that asks to end: any other may be the death of one who was born after it.
    [[nodiscard]] error_code ask(int number);
    /// SIGSTOP to everybody, again for those that were forked meanwhile. They stop when they get a
    /// processor to do it on.
    [[nodiscard]] error_code suspend();
    [[nodiscard]] error_code resume();
    /// One round of freeze, find and kill. From now on `empty` kills whomever it finds.
    sweep_result kill() noexcept;

    /// Whether no member is left; looks again before it says so. No, when a look was not possible
    /// and somebody may be there.
    [[nodiscard]] bool empty();
    /// The pidfd of a member that was alive when `empty` said no: when it is readable, ask `empty`
    /// again. -1: ask again after a while, since there is none to be had, or an orphan's exec is to
    /// be waited for.
    [[nodiscard]] int wait_descriptor() const;
    /// Those found so far and not known to be dead.
    [[nodiscard]] std::vector<pid_t> members() const;

private:
    [[nodiscard]] bool over() const noexcept { return ended_ || roster_.root() == -1; }
    void look();
    [[nodiscard]] error_code send(int number);
    void freeze(sweep_result& result);
    void kill_all(sweep_result& result) noexcept;
    [[nodiscard]] bool all_at_rest() const;
    bool find_the_late();
    void reach_the_late(std::size_t known);
    void ask_the_late(std::size_t known) const;
    [[nodiscard]] bool was_sent_by_group(const tree_roster::member& one) const;

    tree_roster roster_;
    int asked_ = 0;                // the signal for whoever is found from now on
    bool doomed_ = false;          // SIGKILL for whoever is found from now on
    bool group_was_sent_ = false;  // the last signal went to the root's group as a whole
    bool unsure_ = false;    // the last look met an orphan that could not be told from a stranger
    bool deserted_ = false;  // the root was reaped, and left nobody behind
    bool walked_ = false;
    bool ended_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
