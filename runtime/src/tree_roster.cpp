// SPDX-License-Identifier: BSL-1.0
#include "tree_roster.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using condition = held_process::condition;

bool is(const error_code& ec, int error_number)
{
    return ec == make_errno(error_number);
}

bool leads_its_session(pid_t pid)
{
    return ::getsid(pid) == pid;
}

}  // namespace

void tree_roster::set_root(pid_t pid, int pidfd, bool leads_session)
{
    PROCYARD_ASSERT(root_ == -1 && "a tree has one root");
    root_ = pid;
    members_.push_back({held_process::borrow(pid, pidfd), leads_session});
    numbers_.add_member(pid, 0);
}

void tree_roster::root_reaped(bool just_now)
{
    if (const auto index = numbers_.member(root_)) {
        members_[*index].process.set_reaped();
        settle(members_[*index]);
    }
    for (auto& one : former_) {
        if (one.process.pid() != root_)
            continue;
        one.process.set_reaped();
        if (!one.group || !is(one.process.signal_group(0), ENOTSUP))
            return;
        // Before Linux 6.9 the group has only its number, and that is safe for as long as it has
        // a member we hold. So the members must be found now, before the number can be reused:
        // pids are given out in a circle, which does not come round in an instant.
        if (!just_now)
            return;
        if (::kill(-root_, 0) == -1 && errno == ESRCH) {
            one.group = false;
            return;
        }
        trust_root_ = true;
        (void)scan();
        trust_root_ = false;
        return;
    }
}

const held_process* tree_roster::root_process() const
{
    if (const auto index = numbers_.member(root_))
        return &members_[*index].process;
    const auto* const gone = find_former(root_);
    return gone == nullptr ? nullptr : &gone->process;
}

// Identity

const tree_roster::former* tree_roster::find_former(pid_t pid) const
{
    const auto found = std::find_if(former_.begin(), former_.end(),
                                    [&](const former& one) { return one.process.pid() == pid; });
    return found == former_.end() ? nullptr : &*found;
}

bool tree_roster::owns_group(pid_t group) const
{
    if (const auto index = numbers_.member(group))
        return members_[*index].process.owns_number();
    if (const auto* const leader = find_former(group)) {
        if (leader->process.owns_number() || (trust_root_ && group == root_))
            return true;
        const auto ec = leader->process.signal_group(0);
        if (!is(ec, ENOTSUP))
            return !is(ec, ESRCH);
    }
    return std::any_of(members_.begin(), members_.end(), [&](const member& one) {
        return !one.settled && ::getpgid(one.process.pid()) == group && one.process.owns_number();
    });
}

bool tree_roster::owns_session(pid_t session) const
{
    if (const auto index = numbers_.member(session))
        return members_[*index].process.owns_number();
    if (const auto* const leader = find_former(session);
        leader != nullptr && (leader->process.owns_number() || (trust_root_ && session == root_)))
        return true;
    return std::any_of(members_.begin(), members_.end(), [&](const member& one) {
        return !one.settled && ::getsid(one.process.pid()) == session && one.process.owns_number();
    });
}

kinship tree_roster::verified_kinship(const held_process& held, bool orphan) const
{
    auto record = read_stat(held.pid());
    if (!record || !held.owns_number())
        return kinship::none;
    const bool is_ours = record->parent == ::getpid();
    for (bool related = true; related;) {
        switch (numbers_.relate(*record)) {
        case kinship::child:
            if (members_[*numbers_.member(record->parent)].process.owns_number())
                return kinship::child;
            record->parent = 0;  // the number is a stranger's now: try the next relation
            break;
        case kinship::group:
            if (owns_group(record->group))
                return kinship::group;
            record->group = 0;
            break;
        case kinship::session:
            if (owns_session(record->session))
                return kinship::session;
            record->session = 0;
            break;
        case kinship::none:
        case kinship::marked:
        case kinship::unknown: related = false; break;
        }
    }
    if (!orphan || !is_ours)
        return kinship::none;
    const auto marking = look_for_marker(held.pid(), options_.marker_id);
    if (marking == tree_marking::absent || !held.owns_number())
        return kinship::none;
    return marking == tree_marking::present ? kinship::marked : kinship::unknown;
}

bool tree_roster::adopt(pid_t pid, bool orphan)
{
    if (const auto index = numbers_.member(pid)) {
        if (members_[*index].process.owns_number())
            return false;
        settle(members_[*index]);
    }
    // An orphan that is gone, or dead, when it is asked can have been a member, and left another.
    auto held = held_process::hold(pid);
    if (!held) {
        doubtful_ = doubtful_ || orphan;
        return false;
    }
    const auto kin = verified_kinship(*held, orphan);
    unsure_ = unsure_ || kin == kinship::unknown;
    if (kin == kinship::none || kin == kinship::unknown) {
        doubtful_ = doubtful_ || (orphan && !held->alive());
        return false;
    }
    if (!held->alive()) {
        if (find_former(pid) == nullptr) {
            met_the_dead_ = true;
            former_.push_back({std::move(*held), false, false, true});
            bury();
        }
        return false;
    }
    numbers_.add_member(pid, members_.size());
    members_.push_back({std::move(*held), leads_its_session(pid)});
    return true;
}

// Finding

std::size_t tree_roster::walk(void (*before)(member&))
{
    genealogy_.begin_pass();
    std::size_t adopted = 0;
    std::vector<pid_t> children;
    for (std::size_t i = 0; i < members_.size(); ++i) {  // grows on the way
        if (members_[i].settled)
            continue;
        const auto pid = members_[i].process.pid();
        members_[i].leads_session = members_[i].leads_session || leads_its_session(pid);
        if (before != nullptr)
            before(members_[i]);
        children.clear();
        blind_ = !genealogy_.children_of(pid, children) || blind_;
        for (const auto child : children)
            adopted += adopt(child, false) ? 1 : 0;
    }
    return adopted;
}

// Asks for group and session of everybody by two system calls each: that is some twenty times
// cheaper than to read everybody's stat, and only those that look like kin are looked at closer.
std::size_t tree_roster::scan()
{
    if (numbers_.empty())
        return 0;  // on a machine with thousands of processes the list alone takes a millisecond
    std::vector<pid_t> pids;
    error_code ec;
    if (!list_processes(pids, ec)) {
        // Without /proc at all, at least a group can be asked whether it has anybody.
        blind_ = blind_ || is_shortage(ec)
            || std::any_of(former_.begin(), former_.end(), [](const former& one) {
                     return one.group && !one.process.signal_group(0);
                 });
        return 0;
    }
    std::size_t adopted = 0;
    for (const auto pid : pids) {
        pid_t group = ::getpgid(pid);
        pid_t session = ::getsid(pid);
        if ((group == -1 || session == -1) && errno == EPERM) {  // a security module's
            if (const auto record = read_stat(pid)) {
                group = record->group;
                session = record->session;
            }
        }
        if (numbers_.leads(group, session))
            adopted += adopt(pid, false) ? 1 : 0;
    }
    return adopted;
}

std::size_t tree_roster::collect_orphans()
{
    if (options_.marker_id.empty())
        return 0;
    std::vector<pid_t> children;
    blind_ = !genealogy_.our_children(children) || blind_;
    std::size_t adopted = 0;
    for (const auto pid : children) {
        if (!is_spoken_for(pid))
            adopted += adopt(pid, true) ? 1 : 0;
    }
    return adopted;
}

// Ending

bool tree_roster::is_spoken_for(pid_t pid) const
{
    return pid == root_ || (options_.spoken_for && options_.spoken_for(pid));
}

void tree_roster::settle(member& one)
{
    one.settled = true;
    const auto pid = one.process.pid();
    const auto state = one.process.look();
    const auto ec = one.process.signal_group(0);
    former last{std::move(one.process)};
    if (is(ec, ENOTSUP))
        last.group = state == condition::gone || ::getpgid(pid) == pid;
    else
        last.group = !is(ec, ESRCH);
    last.session = one.leads_session || (state == condition::dead && leads_its_session(pid));
    last.unburied = state == condition::dead && pid != root_;
    numbers_.retire(pid, last.group, last.session);
    if (last.group || last.session || last.unburied)
        former_.push_back(std::move(last));
}

bool tree_roster::settle_dead()
{
    while (!members_.empty()) {
        auto& last = members_.back();
        if (!last.settled) {
            if (last.process.alive())
                return true;
            settle(last);
        }
        members_.pop_back();
    }
    return false;
}

// The dead whose parent is us: orphans that came to a subreaper. A dead member whose own parent
// still lives stays on the list, since it will be ours when that one ends.
void tree_roster::bury()
{
    for (auto& one : former_) {
        if (!one.unburied)
            continue;
        const auto pid = one.process.pid();
        if (options_.marker_id.empty() || one.process.look() == condition::gone) {
            one.unburied = false;
            continue;
        }
        const auto record = read_stat(pid);
        if (record && record->parent == ::getpid() && !is_spoken_for(pid))
            one.unburied = !one.process.reap();
    }
    std::erase_if(former_,
                  [](const former& one) { return !one.group && !one.session && !one.unburied; });
}

void tree_roster::forget_what_is_empty()
{
    for (auto& one : former_) {
        if (one.group && is(one.process.signal_group(0), ESRCH))
            one.group = false;
        if (!numbers_.member(one.process.pid()))
            numbers_.retire(one.process.pid(), one.group, one.session);
    }
    bury();
}

bool tree_roster::may_have_more() const
{
    return !options_.marker_id.empty()
        || std::any_of(former_.begin(), former_.end(),
                       [](const former& one) { return one.group || one.session; });
}

void tree_roster::clear() noexcept
{
    members_.clear();
    former_.clear();
    numbers_ = {};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
