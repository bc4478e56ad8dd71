// SPDX-License-Identifier: BSL-1.0
// What a supervisor says of its services and of the members of its groups, and who is asked.
#include <algorithm>
#include <stdexcept>
#include <utility>
#include <variant>

#include "supervisor_core.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using kind = supervisor_input::kind;

const service_access::description::members* group_of(const service_access::description& how)
{
    return std::get_if<service_access::description::members>(&how.body);
}

// The members of a group that does not run: as they stood when it ended.
void describe_idle(const service_access::description::members& group, service_history& history,
                   const std::string& path, std::vector<service_snapshot>& all)
{
    for (const auto& member : group.services) {
        const auto& how = *service_access::what(member);
        auto& before = *history.member(how.name);
        service_snapshot now;
        now.name = path + how.name;
        now.state = before.state;
        now.generation = before.generation;
        now.since = before.since;
        now.restarts = before.restarts;
        now.lines_lost = before.lines_lost;
        now.last_death = before.last_death;
        all.push_back(std::move(now));
        if (const auto* const inner = group_of(how))
            describe_idle(*inner, before, path + how.name + '/', all);
    }
}

}  // namespace

void supervisor_core::request(supervisor_input::kind what, std::string_view name,
                              std::string_view path)
{
    const auto slash = name.find('/');
    const auto number = find(name.substr(0, slash));
    if (!number)
        throw std::invalid_argument("supervisor: there is no service \"" + std::string(path) + '"');
    if (slash == std::string_view::npos) {
        if (what == kind::remove_service)
            refuse_if_needed(name);
        return tell({what, *number});
    }
    const auto refuse = [&](const char* why) {
        throw std::invalid_argument("supervisor: \"" + std::string(path) + "\": " + why);
    };
    if (group_of(*services_.at(*number).how) == nullptr)
        refuse("only a group has members");
    if (what == kind::remove_service)
        refuse("a member is removed with its group alone");
    auto* const members = members_of(*number);
    if (members == nullptr)
        refuse("its group does not run");
    members->request(what, name.substr(slash + 1), path);
}

std::vector<service_snapshot> supervisor_core::snapshot() const
{
    std::vector<service_snapshot> all;
    describe({}, all);
    return all;
}

bool supervisor_core::all_serve() const
{
    for (const auto& [number, one] : services_) {
        const auto state = fsm_.state(number);
        if (state != service_state::ready && state != service_state::exited)
            return false;
    }
    return true;
}

// Who supervises the members of a group: of the incarnation that serves.
supervisor_core* supervisor_core::members_of(std::size_t number) const
{
    const auto& runners = services_.at(number).runners;
    const auto found = runners.find(fsm_.generation(number));
    return found == runners.end() ? nullptr : found->second->members();
}

// The member of a group that was a successor has no number of its own until it is started: from the
// takeover on it has that of the one before it.
std::uint64_t supervisor_core::shown_generation(const entry& one, std::uint64_t own) const
{
    return own == 0 && group_ && group_serves() ? one.history->generation : own;
}

// After a transition was told: whether with it another incarnation of a group serves, whose members
// were marked so far. It has become ready, and who served before is still there, or that one has
// died, and has left behind how its members stood.
void supervisor_core::tell_takeover(const service_transition& what)
{
    const bool is_ready = what.from == service_state::starting && what.to == service_state::ready;
    const bool has_died =
        what.to == service_state::starting && what.cause == service_cause::replaced;
    if (what.role != incarnation_role::serving || (!is_ready && !has_died))
        return;
    const auto& one = services_.at(what.service);
    if (group_of(*one.how) == nullptr || what.generation != fsm_.generation(what.service))
        return;
    std::shared_ptr<const service_runner> other;  // held, as all that it has: see take_over()
    for (const auto& [generation, runner] : one.runners) {
        if (generation != what.generation)
            other = runner;
    }
    if (has_died || other)
        members_take_over(what.service, other ? other->members() : nullptr);
}

// Of a group, which serves from now on in the place of `before`; null: that has ended. Who hears
// the events of a member that are not marked shall know where it stands, so one that stands
// elsewhere than the one before it has an event that says so. Rejected: one for each member; most
// stand where the others did, and that is no change of state.
//
// An observer may destroy the supervisor with all its groups: what is used here outlives that.
void supervisor_core::take_over(const supervisor_core* before)
{
    const auto self = shared_from_this();
    for (auto& [number, one] : services_) {
        if (abandoned_)
            return;
        const auto theirs = before == nullptr ? std::nullopt : before->find(one.how->name);
        const auto from = theirs ? before->fsm_.state(*theirs) : one.history->state;
        const auto to = fsm_.state(number);
        if (from != to && options_.on_event)
            tell_replaced(one.how->name, shown_generation(one, fsm_.generation(number)), from, to,
                          one.since);
        if (!abandoned_)
            members_take_over(number, theirs ? before->members_of(*theirs) : nullptr);
    }
}

// Of one that is a group; of another there is nothing to say.
void supervisor_core::members_take_over(std::size_t number, const supervisor_core* before)
{
    if (auto* const members = members_of(number))
        return members->take_over(before);
    const auto& one = services_.at(number);
    if (const auto* const group = group_of(*one.how))
        ended_take_over(*group, *one.history, fsm_.generation(number), one.how->name + '/', before);
}

// The same of a group that has ended meanwhile, `within` being its last number where it serves from
// now on: its members stand as they did then. One that was never started there (0) has left nothing
// behind: they stand as the ones before them.
void supervisor_core::ended_take_over(const service_access::description::members& group,
                                      service_history& history, std::uint64_t within,
                                      const std::string& path, const supervisor_core* before)
{
    for (const auto& member : group.services) {
        if (abandoned_)
            return;
        const auto& how = *service_access::what(member);
        auto& own = *history.member(how.name);
        if (within == 0 || own.aside.within != within)
            continue;
        const auto theirs = before == nullptr ? std::nullopt : before->find(how.name);
        const auto from = theirs ? before->fsm_.state(*theirs) : own.state;
        own.state = own.aside.state;
        own.since = own.aside.since;
        if (own.aside.generation != 0)
            own.generation = own.aside.generation;
        if (from != own.state && options_.on_event)
            tell_replaced(path + how.name, own.generation, from, own.state, own.since);
        const auto* const inner = group_of(how);
        if (inner != nullptr && !abandoned_)
            ended_take_over(*inner, own, own.aside.generation, path + how.name + '/',
                            theirs ? before->members_of(*theirs) : nullptr);
    }
}

void supervisor_core::tell_replaced(std::string name, std::uint64_t generation, service_state from,
                                    service_state to, timer_clock::time_point& since)
{
    since = options_.clock->now();
    service_event event;
    event.sequence = ++told_;
    event.when = since;
    event.service = std::move(name);
    event.generation = generation;
    event.from = from;
    event.to = to;
    event.cause = service_cause::replaced;
    options_.on_event(event);
}

// With the members of each group behind it.
void supervisor_core::describe(const std::string& path, std::vector<service_snapshot>& all) const
{
    for (const auto& [number, one] : services_) {
        service_snapshot now;
        now.name = path + one.how->name;
        now.state = fsm_.state(number);
        if (now.state == service_state::removed)
            continue;
        now.generation = shown_generation(one, fsm_.generation(number));
        now.since = one.since;
        now.restarts = one.history->restarts;
        now.last_death = one.history->last_death;
        now.lines_lost = one.history->lines_lost + one.log->lost();
        now.descriptors_kept = one.kept->all().size();
        if (const auto found = one.runners.find(now.generation); found != one.runners.end()) {
            now.pid = found->second->pid();
            now.status_text = found->second->status_text();
        }
        all.push_back(std::move(now));
        const auto* const group = group_of(*one.how);
        if (group == nullptr)
            continue;
        const auto within = all.back().name + '/';
        if (const auto* const members = members_of(number))
            members->describe(within, all);
        else
            describe_idle(*group, *one.history, within, all);
    }
}

void supervisor_core::on_member(std::size_t number, std::uint64_t generation, service_event event)
{
    if (abandoned_ || !options_.on_event)
        return;
    event.service.insert(0, services_.at(number).how->name + '/');
    event.replacement = event.replacement || generation != fsm_.generation(number);
    event.sequence = ++told_;
    options_.on_event(event);
}

bool supervisor_core::serves(std::size_t number, std::uint64_t generation) const noexcept
{
    return serves_here(number, generation) && (!group_ || group_serves());
}

bool supervisor_core::serves_here(std::size_t number, std::uint64_t generation) const noexcept
{
    return generation == fsm_.generation(number);
}

bool supervisor_core::group_serves() const noexcept
{
    const auto owner = group_->owner.lock();
    return owner && owner->serves(group_->number, group_->generation);
}

// Of a group, its members: itself alone when none of them lives any more.
void supervisor_core::name_left(const std::string& path, std::vector<std::string>& left) const
{
    for (const auto& [number, one] : services_) {
        if (one.runners.empty())
            continue;
        const auto name = path + one.how->name;
        const auto before = left.size();
        for (const auto& [generation, runner] : one.runners) {
            if (const auto* const members = runner->members())
                members->name_left(name + '/', left);
        }
        if (left.size() == before)
            left.push_back(name);
    }
}

}  // namespace detail

PROCYARD_NAMESPACE_END
