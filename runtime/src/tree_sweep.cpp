// SPDX-License-Identifier: BSL-1.0
#include "tree_sweep.hpp"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// For a tree that keeps growing although it is being stopped.
constexpr std::size_t most_passes = 64;
// For one that does not, but takes its time to stop.
constexpr std::size_t most_quiet_passes = 4;
// How often `empty` goes back to look while those it finds die in its hands, before it lets the
// event loop have a turn.
constexpr int most_looks = 16;

/// Keeps the first error that says more than "there is nobody" or "not with this kernel".
void note(error_code& first, const error_code& ec)
{
    if (ec && !first && ec != make_errno(ESRCH) && ec != make_errno(ENOTSUP))
        first = ec;
}

bool leads_its_group(pid_t pid)
{
    return ::getpgid(pid) == pid;
}

void stop(tree_roster::member& one)
{
    if (std::exchange(one.stopped, true))
        return;
    if (leads_its_group(one.process.pid()))
        (void)one.process.signal_group(SIGSTOP);  // and each member for itself, below
    (void)one.process.signal(SIGSTOP);  // whom we may not stop, we may not kill: kill_all says so
}

}  // namespace

void tree_sweep::leader_reaped(bool just_now)
{
    if (over())
        return;
    roster_.root_reaped(just_now);
    // Its orphans have just come to us: who dies before anybody looks cannot be told from other
    // children of the host any more.
    //
    // Whoever is left of the tree is one of them, or descends from one. If there are none then
    // there is nobody who could have one later, and `empty` need not look again.
    const auto known = roster_.members().size();
    (void)roster_.is_certain();  // what was doubtful before has been looked at again since
    const auto found = roster_.collect_orphans();
    deserted_ = roster_.is_certain() && found == 0 && roster_.may_have_more();
    if (found != 0)
        reach_the_late(known);
}

bool tree_sweep::all_at_rest() const
{
    const auto& members = roster_.members();
    return std::all_of(members.begin(), members.end(), [](const tree_roster::member& one) {
        return one.settled || genealogy::threads_at_rest(one.process.pid());
    });
}

void tree_sweep::freeze(sweep_result& result)
{
    for (auto& one : roster_.members())
        one.stopped = false;
    for (const auto& one : roster_.formers()) {
        if (one.group)
            (void)one.process.signal_group(SIGSTOP);
    }
    bool new_ones = true;  // the first pass scans
    unsure_ = false;
    for (std::size_t quiet = 0; result.passes < most_passes && quiet < most_quiet_passes;) {
        ++result.passes;
        auto adopted = roster_.walk(stop);
        if (new_ones || adopted > 0)
            adopted += roster_.scan();
        adopted += roster_.collect_orphans();
        new_ones = adopted > 0;
        unsure_ = roster_.was_unsure();
        quiet = new_ones || unsure_ ? 0 : quiet + 1;
        result.settled = !new_ones && !unsure_;
        result.at_rest = result.settled && all_at_rest();
        if (result.at_rest)
            return;
        (void)::sched_yield();  // the stops need a processor to take effect on
    }
}

void tree_sweep::kill_all(sweep_result& result) noexcept
{
    for (const auto& one : roster_.formers()) {
        if (one.group)
            note(result.error, one.process.signal_group(SIGKILL));
    }
    auto& members = roster_.members();
    for (auto one = members.rbegin(); one != members.rend(); ++one) {
        if (one->settled)
            continue;
        if (leads_its_group(one->process.pid()))
            (void)one->process.signal_group(SIGKILL);  // EPERM of one member is not this one's
        note(result.error, one->process.signal(SIGKILL));
        ++result.members;
    }
}

sweep_result tree_sweep::kill() noexcept
{
    sweep_result result;
    if (over())
        return result;
    doomed_ = true;
    try {
        freeze(result);
    } catch (const std::bad_alloc&) {
        result.error = make_errno(ENOMEM);  // those that were found are killed none the less
    }
    kill_all(result);
    if (roster_.was_blind()) {
        result.settled = false;
        if (!result.error)
            result.error = make_errno(EMFILE);
    }
    return result;
}

error_code tree_sweep::signal(int number)
{
    if (over())
        return {};
    if (number == SIGKILL)
        return kill().error;
    if (number == SIGSTOP)
        return suspend();
    // Everybody is looked for before anybody is signalled: a member that ends takes the way to its
    // children with it.
    look();
    return send(number);
}

error_code tree_sweep::ask(int number)
{
    asked_ = number;
    return number == 0 ? error_code{} : signal(number);
}

void tree_sweep::look()
{
    (void)roster_.walk();
    const auto& members = roster_.members();
    const bool alone =
        members.size() == 1 && roster_.formers().empty() && !members.front().leads_session;
    if (!alone)
        (void)roster_.scan();
    (void)roster_.collect_orphans();
    unsure_ = roster_.was_unsure();
    for (std::size_t pass = 1; unsure_ && pass < most_passes; ++pass) {
        (void)::sched_yield();  // an exec needs a processor to come to its end on
        if (roster_.collect_orphans() > 0)
            (void)roster_.walk();
        unsure_ = roster_.was_unsure();
    }
}

error_code tree_sweep::send(int number)
{
    error_code first;
    group_was_sent_ = false;
    if (const auto* const root = roster_.root_process(); root != nullptr && number != 0) {
        const auto ec = root->signal_group(number);
        group_was_sent_ = !ec;
        note(first, ec);
    }
    for (const auto& one : roster_.members()) {
        if (!one.settled && !was_sent_by_group(one))
            note(first, one.process.signal(number));
    }
    return first;
}

error_code tree_sweep::suspend()
{
    if (over())
        return {};
    sweep_result result;
    freeze(result);
    error_code first;
    for (const auto& one : roster_.members()) {
        if (!one.settled)
            note(first, one.process.signal(0));
    }
    return first;
}

error_code tree_sweep::resume()
{
    return signal(SIGCONT);
}

bool tree_sweep::empty()
{
    if (over())
        return true;
    if (!std::exchange(walked_, true)) {
        const auto known = roster_.members().size();
        (void)roster_.walk();
        ask_the_late(known);
    }
    if (unsure_)
        find_the_late();
    (void)roster_.was_blind();
    int clean_looks = deserted_ ? 1 : 0;
    for (int look = 0; look < most_looks; ++look) {
        if (roster_.settle_dead())
            return false;
        roster_.forget_what_is_empty();
        // One clean look is enough unless it met the dead; two are always.
        const bool met_the_dead = roster_.met_the_dead();
        if (!roster_.may_have_more() || clean_looks == 2 || (clean_looks == 1 && !met_the_dead)) {
            ended_ = true;
            roster_.clear();
            return true;
        }
        if (!find_the_late()) {
            if (roster_.was_blind() || unsure_)
                return false;
            ++clean_looks;
            continue;
        }
        clean_looks = 0;
    }
    return false;
}

// Those that no look has found before get what the others got.
bool tree_sweep::find_the_late()
{
    const auto known = roster_.members().size();
    const auto found = roster_.scan() + roster_.collect_orphans();
    unsure_ = roster_.was_unsure();
    if (found == 0)
        return false;
    reach_the_late(known);
    return true;
}

// Those after the first `known`. Their children are looked for first: who ends takes the way to
// them along.
void tree_sweep::reach_the_late(std::size_t known)
{
    if (doomed_) {
        (void)kill();
        return;
    }
    (void)roster_.walk();
    ask_the_late(known);
}

// Whoever is in the root's group was sent the signal with the group, found or not: a second one is
// more than a repetition to a program that takes it for impatience.
void tree_sweep::ask_the_late(std::size_t known) const
{
    const auto& members = roster_.members();
    for (auto i = known; asked_ != 0 && i < members.size(); ++i) {
        if (was_sent_by_group(members[i]))
            continue;
        (void)members[i].process.signal(asked_);
        (void)members[i].process.signal(SIGCONT);
    }
}

bool tree_sweep::was_sent_by_group(const tree_roster::member& one) const
{
    return group_was_sent_ && ::getpgid(one.process.pid()) == roster_.root();
}

int tree_sweep::wait_descriptor() const
{
    if (unsure_)
        return -1;
    const auto& members = roster_.members();
    for (auto one = members.rbegin(); one != members.rend(); ++one) {
        if (!one->settled && one->process.descriptor() >= 0 && one->process.alive())
            return one->process.descriptor();
    }
    return -1;
}

std::vector<pid_t> tree_sweep::members() const
{
    std::vector<pid_t> pids;
    for (const auto& one : roster_.members()) {
        if (!one.settled)
            pids.push_back(one.process.pid());
    }
    return pids;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
