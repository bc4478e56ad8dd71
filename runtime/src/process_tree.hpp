// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PROCESS_TREE_HPP
#define PROCYARD_RUNTIME_SRC_PROCESS_TREE_HPP

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/tree.hpp>

#include "cgroup_leaf.hpp"
#include "guarded_entry.hpp"
#include "held_process.hpp"
#include "own_cgroup.hpp"
#include "tree_sweep.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// What is asked of a tree, before the child is made.
struct tree_request {
    tree_mode mode = tree_mode::automatic;
    /// What `automatic` becomes where no cgroup is to be had: `process_group` or `subreaper`.
    tree_mode without_cgroup = tree_mode::process_group;
    /// The cgroup directory in which the leaf is made, named by the user; empty: our own cgroup.
    std::string cgroup_parent{};
    /// Where our own cgroup was looked up before; null: it is looked up for this tree alone.
    own_cgroup* own = nullptr;
    /// For a subreaper: whether a child of ours is somebody else's to reap. Called while the tree
    /// is locked.
    std::function<bool(pid_t)> spoken_for{};
};

/// What to wait for until a tree may be empty.
struct tree_event {
    /// Nobody is left; nothing to wait for.
    bool empty = false;
    /// Ready when it is time to ask again; the asker's to close. None: there is nothing that could
    /// tell (no pidfd, no descriptor left, an orphan in the middle of an exec), so ask again soon.
    unique_fd descriptor{};
    /// Ready means EPOLLPRI (cgroup.events) and not EPOLLIN (a pidfd).
    bool priority = false;
};

/// One who waits until a tree is empty, and is told when another asker has found it so.
class tree_watcher {
public:
    tree_watcher() = default;
    tree_watcher(const tree_watcher&) = delete;
    tree_watcher& operator=(const tree_watcher&) = delete;

    /// It is time to ask again, whatever the descriptor says. In any thread; no lock of the tree is
    /// held, and none of this one's may wait for another's.
    virtual void tree_ended() noexcept = 0;

protected:
    ~tree_watcher() = default;
};

/// A child and all it has started: one mechanism of several behind one face.
///
///   new --prepare--> prepared --attach--> attached --leader_reaped--> attached
///                        \--fall_back--^     \--next_event says empty--> ended
///
/// new, prepared: nobody is in it; every signal is a success without effect.
/// attached:      the child is in it. Its pidfd is borrowed and stays open until `*this` is gone.
/// ended:         nobody is left, and nobody is signalled any more. Entered once, never left.
///
/// The destructor removes the cgroup if it is empty, signals nobody, and never waits.
/// @par Thread safety   Distinct and shared objects: safe. No call waits for a process.
class process_tree {
public:
    process_tree() = default;
    process_tree(const process_tree&) = delete;
    process_tree& operator=(const process_tree&) = delete;
    ~process_tree();

    /// In the book of its guardian. Before prepare; without it nobody guards the tree.
    void set_guarded(guarded_entry entry) noexcept { guarded_ = std::move(entry); }

    /// Chooses the mechanism and makes what it needs. Fails where a mechanism was asked for by
    /// name, or a cgroup parent was; `automatic` takes the process group instead.
    [[nodiscard]] error_code prepare(tree_request request);

    // For the plan of the child, between prepare and attach.

    [[nodiscard]] tree_mechanism mechanism() const noexcept { return mechanism_; }
    /// Directory of the cgroup to be born in (CLONE_INTO_CGROUP), or -1.
    [[nodiscard]] int cgroup_directory() const noexcept { return leaf_.directory(); }
    /// Where clone3 cannot do that: the child writes `0` in here before the exec.
    [[nodiscard]] unique_fd open_cgroup_procs(error_code& ec) const;
    /// Where a guarded child writes its number before its exec; -1: nobody guards it.
    [[nodiscard]] int guardian_book() const noexcept { return guarded_.book(); }
    [[nodiscard]] std::int64_t place_in_book() const noexcept { return guarded_.place_of_pid(); }
    /// The child shall lead a process group: the mechanism is made of that.
    [[nodiscard]] bool needs_own_group() const noexcept;
    /// The value of PROCYARD_TREE for the child, given the value it would inherit otherwise; empty:
    /// the mechanism needs none. Trees nest: an outer one still knows its members by their ids.
    [[nodiscard]] std::string marker(std::string_view inherited) const;
    /// The child could not be put into its cgroup. True: `automatic` takes the process group
    /// instead, so try again; false: the failure stands.
    [[nodiscard]] bool fall_back();
    /// Why `automatic` did not take a cgroup.
    [[nodiscard]] error_code why_no_cgroup() const noexcept { return why_no_cgroup_; }
    /// Why it took the process group where it was to be a subreaper's then: a filter of system
    /// calls, say.
    [[nodiscard]] error_code why_no_subreaper() const noexcept { return why_no_subreaper_; }

    /// The child is there. The error says that its guardian could not be told.
    error_code attach(pid_t pid, int pidfd);
    /// From now on the tree is what is in this leaf. For tests of what a cgroup tells, on machines
    /// whose cgroups have no controllers.
    void adopt(cgroup_leaf leaf);
    /// The child has been reaped: at this moment by us (`just_now`), or some time ago by the kernel
    /// or the host. Before Linux 6.9 only the first case lets a group without its leader be found.
    void leader_reaped(bool just_now = true) noexcept;

    /// Sends a signal to every member.
    [[nodiscard]] error_code signal(int number);
    /// The same for a signal that asks to end: whoever is found later is asked, too, as long as
    /// there is one who asks. A cgroup finds all of them now.
    /// @pre add_asker() was called
    [[nodiscard]] error_code ask(int number);
    /// Several may ask at once (two ladders); the request stands until the last has gone.
    void add_asker() noexcept;
    void remove_asker() noexcept;
    /// Stops every member, or orders it to; thaws and continues them.
    [[nodiscard]] error_code suspend();
    [[nodiscard]] error_code resume();
    /// SIGKILL to every member. Whoever is found later is killed, too.
    sweep_result kill() noexcept;

    /// Whether nobody is left, looked at now.
    [[nodiscard]] bool empty() { return next_event(nullptr).empty; }
    /// `asker` is told when somebody else has found the tree empty: the descriptor of a cgroup that
    /// was removed since may tell nothing.
    [[nodiscard]] tree_event next_event(const std::shared_ptr<tree_watcher>& asker);

    [[nodiscard]] std::vector<pid_t> members() const;
    /// What the cgroup has counted, also after its end.
    [[nodiscard]] cgroup_usage usage() const;

private:
    [[nodiscard]] error_code make_leaf(const tree_request& request);
    void remove_leaf() noexcept;
    [[nodiscard]] error_code become_subreaper();
    [[nodiscard]] bool over() const noexcept { return ended_ || leader_.pid() == -1; }
    [[nodiscard]] bool sweeps() const noexcept;
    [[nodiscard]] tree_sweep& sweep();
    [[nodiscard]] bool group_has_ended(bool just_now) const noexcept;
    [[nodiscard]] tree_event look();
    [[nodiscard]] tree_event next_cgroup_event();
    [[nodiscard]] bool watch(const std::shared_ptr<tree_watcher>& asker) noexcept;
    void end() noexcept;

    mutable std::mutex mutex_;
    tree_mechanism mechanism_ = tree_mechanism::none;
    bool may_fall_back_ = false;
    bool leads_session_ = false;
    bool leader_reaped_ = false;
    bool ended_ = false;
    unsigned askers_ = 0;
    error_code why_no_cgroup_;
    error_code why_no_subreaper_;
    held_process leader_ = held_process::borrow(-1, -1);
    guarded_entry guarded_;
    cgroup_leaf leaf_;
    cgroup_usage last_usage_;
    std::string id_;
    std::function<bool(pid_t)> spoken_for_;
    std::vector<std::weak_ptr<tree_watcher>> watchers_;  // of a cgroup
    std::unique_ptr<tree_sweep> sweep_;  // made when it is needed: most children end on their own
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
