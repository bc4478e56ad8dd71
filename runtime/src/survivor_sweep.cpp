// SPDX-License-Identifier: BSL-1.0
#include "survivor_sweep.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <utility>

#include <procyard/ipc/syscall.hpp>

#include "own_cgroup.hpp"
#include "proc_fs.hpp"
#include "proc_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// On a machine on which something is executed all the time there is always somebody of whom nothing
// can be said; those of the supervisor before have had their chance by then.
constexpr int most_unsure_passes = 16;

unique_fd open_leaf(const std::string& cgroup)
{
    std::string text;
    error_code ec;
    constexpr std::size_t limit_bytes = 16 << 20;
    if (!read_file(AT_FDCWD, "/proc/self/mountinfo", text, ec, limit_bytes))
        return {};
    for (const auto& mount : parse_cgroup_mounts(text)) {
        const auto name = directory_of(mount, cgroup);
        auto directory = name ? open_cgroup(*name, ec) : unique_fd();
        // A leaf whose maker lives is locked: its name is one that was used again.
        if (directory
            && retry_eintr([&] { return ::flock(directory.get(), LOCK_EX | LOCK_NB); }) == 0)
            return directory;
    }
    return {};
}

// Then the number of the group is one that was given out again: no group leaves its session.
bool is_of_other_session(const survivor_record& leader, const process_record& member) noexcept
{
    return leader.session != 0 && member.session != leader.session;
}

}  // namespace

std::string cgroup_of(pid_t pid)
{
    std::string text;
    error_code ignored;
    if (!read_file(AT_FDCWD, ("/proc/" + std::to_string(pid) + "/cgroup").c_str(), text, ignored))
        return {};
    return parse_own_cgroup(text).value_or("");
}

bool may_be_swept(std::string_view cgroup, std::string_view own) noexcept
{
    const auto name = cgroup.substr(cgroup.rfind('/') + 1);
    const bool is_around_us =
        own.starts_with(cgroup) && (own.size() == cgroup.size() || own[cgroup.size()] == '/');
    return is_leaf_name(name) && !is_around_us;
}

survivor_sweep::survivor_sweep(std::string marker, const std::vector<survivor_record>& records,
                               const look_limits& limits)
    : limits_(limits),
      marker_(std::move(marker)),
      own_cgroup_(cgroup_of(::getpid()))
{
    take_records(records);
}

void survivor_sweep::take_records(const std::vector<survivor_record>& records)
{
    for (const auto& one : records) {
        take_leaf(one.cgroup);
        // Not the group that we are in: then the number is another's by now.
        if ((one.leads_group || one.leads_session) && ::getpgrp() != one.pid
            && ::getsid(0) != one.pid)
            leaders_.push_back(one);
        auto held = held_process::hold(one.pid);
        // Read after the hold: so it is the one that is held.
        const auto now = read_stat(one.pid);
        if (!held || !now || now->start_ticks != one.start_ticks || is_dead(*now))
            continue;
        auto& added = *trees_.emplace_back(new tree{std::move(*held), tree_sweep()});
        added.sweep.attach(one.pid, added.root.descriptor(), now->session == one.pid);
        (void)added.sweep.kill();
        ++killed_;
    }
}

void survivor_sweep::take_leaf(const std::string& cgroup)
{
    const auto name = cgroup.substr(cgroup.rfind('/') + 1);
    if (!may_be_swept(cgroup, own_cgroup_)
        || std::find(leaf_names_.begin(), leaf_names_.end(), cgroup) != leaf_names_.end())
        return;
    leaf_names_.push_back(cgroup);
    if (auto directory = open_leaf(cgroup))
        leaves_.push_back(cgroup_leaf::adopt(std::move(directory), name));
}

bool survivor_sweep::pass()
{
    bool left = false;
    // At once: who was missed has a child by now that is as quick as he was.
    for (int look = 0; look < limits_.at_once; ++look) {
        missed_ = false;
        left = kill_marked() || left;
        if (!missed_)
            break;
    }
    left = trees_live() || left;
    left = leaves_live() || left;
    // Not when it has lost its memory, but when it has lost its descriptors: until then it may hold
    // a lock, or a port.
    std::erase_if(doomed_, [](const held_process& one) { return !one.alive(); });
    return left || !doomed_.empty();
}

bool survivor_sweep::kill_marked()
{
    std::vector<pid_t> pids;
    error_code ec;
    if (!list_processes(pids, ec))
        return is_shortage(ec);
    bool left = false;
    std::map<pid_t, std::uint64_t> unsure;
    // The newest first, as far as numbers tell: of a family that forks and exits without end there
    // is never more than one, and not for long.
    std::sort(pids.begin(), pids.end(), std::greater<>());
    for (const auto pid : pids) {
        const auto marking = pid == ::getpid() ? tree_marking::absent : marking_of(pid);
        if (marking == tree_marking::present) {
            doom(pid);
            left = true;
        } else if (marking == tree_marking::unknown) {
            left = is_unsure(pid, unsure) || left;
        } else {
            missed_ = missed_ || was_missed(pid);
        }
    }
    unsure_ = std::move(unsure);
    if (!unsure_.empty())
        ++unsure_passes_;
    seen_ = std::move(pids);
    forget_leaders();
    missed_ = missed_ && ++missed_looks_ <= limits_.in_all;
    return left || missed_;
}

// Their numbers may be others' from now on, as groups and sessions.
void survivor_sweep::forget_leaders()
{
    if (!missed_ && unsure_.empty()) {
        std::erase_if(leaders_, [&](const survivor_record& one) {
            const auto leader = read_stat(one.pid);
            return (!leader || leader->start_ticks != one.start_ticks)
                && std::find(led_.begin(), led_.end(), one.pid) == led_.end();
        });
    }
    led_.clear();
}

// One who has come since the last look, and is dead when it is his turn, may have left a child that
// has come after the list was read.
bool survivor_sweep::was_missed(pid_t pid) const
{
    if (std::binary_search(seen_.begin(), seen_.end(), pid, std::greater<>()))
        return false;
    const auto now = read_stat(pid);
    return !now || is_dead(*now);
}

tree_marking survivor_sweep::marking_of(pid_t pid)
{
    return was_led(pid) ? tree_marking::present : look_for_marker(pid, marker_);
}

// A leader that lives is one of the trees, or a stranger with a number that was given out again:
// then neither the group nor the session of that number is the one that was written down.
bool survivor_sweep::was_led(pid_t pid)
{
    if (leaders_.empty())
        return false;
    const auto now = read_stat(pid);
    if (!now || is_dead(*now))
        return false;
    return std::any_of(leaders_.begin(), leaders_.end(), [&](const survivor_record& one) {
        const bool is_member = (one.leads_group && now->group == one.pid)
            || (one.leads_session && now->session == one.pid);
        if (!is_member || now->start_ticks < one.start_ticks || is_of_other_session(one, *now))
            return false;
        const auto leader = read_stat(one.pid);
        const bool is_theirs = !leader || leader->start_ticks == one.start_ticks;
        if (is_theirs)
            led_.push_back(one.pid);
        return is_theirs;
    });
}

// Of a leader that has gone; 0: none of those.
pid_t survivor_sweep::led_group_of(pid_t pid) const
{
    const auto now = read_stat(pid);
    const auto is_it = [&](const survivor_record& one) {
        return one.leads_group && now->group == one.pid && now->start_ticks >= one.start_ticks
            && !is_of_other_session(one, *now) && !read_stat(one.pid);
    };
    return now && std::any_of(leaders_.begin(), leaders_.end(), is_it) ? now->group : 0;
}

std::string survivor_sweep::describe_left() const
{
    std::string text;
    const auto add = [&](const std::string& one) { text += (text.empty() ? "" : ", ") + one; };
    for (const auto& one : doomed_)
        add("process " + std::to_string(one.pid()));
    for (const auto& one : trees_)
        add("the tree of process " + std::to_string(one->root.pid()));
    if (std::any_of(leaves_.begin(), leaves_.end(), [](const auto& leaf) { return bool(leaf); }))
        add("those in a cgroup of theirs");
    return text.empty() ? "processes in the middle of an exec" : text;
}

bool survivor_sweep::is_unsure(pid_t pid, std::map<pid_t, std::uint64_t>& now) const
{
    const auto record = read_stat(pid);
    // A thread of the kernel's has no environment, ever, and no group.
    if (!record || record->group == 0 || unsure_passes_ >= most_unsure_passes)
        return false;
    now.emplace(pid, record->start_ticks);
    return true;
}

void survivor_sweep::doom(pid_t pid)
{
    auto held = held_process::hold(pid);
    // Looked at again while it is held: the number may have become a stranger's.
    if (!held || marking_of(pid) != tree_marking::present)
        return;
    const auto cgroup = cgroup_of(pid);  // of one who has gone it is not known
    // As a whole, because that includes a fork under way. The number is that group's as long as
    // this process is in it.
    if (const auto group = led_group_of(pid))
        (void)::kill(-group, SIGKILL);
    (void)held->signal(SIGKILL);
    take_leaf(cgroup);
    const auto is_known = [&](const held_process& one) { return one.pid() == pid; };
    if (std::find_if(doomed_.begin(), doomed_.end(), is_known) != doomed_.end())
        return;
    ++killed_;
    doomed_.push_back(std::move(*held));
}

bool survivor_sweep::trees_live()
{
    std::erase_if(trees_, [](const std::unique_ptr<tree>& one) {
        if (one->root.look() == held_process::condition::gone)
            one->sweep.leader_reaped(false);
        return one->sweep.empty() && !one->root.alive();
    });
    return !trees_.empty();
}

bool survivor_sweep::leaves_live()
{
    bool left = false;
    for (auto& leaf : leaves_) {
        error_code ec;
        if (leaf && leaf.populated(ec)) {
            (void)leaf.kill();
            left = !ec || left;
        }
        if (leaf)
            (void)leaf.remove();
    }
    return left;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
