// SPDX-License-Identifier: BSL-1.0
#include "supervisor_fsm.hpp"

#include <boost/assert.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using enum service_state;

supervisor_fsm::time_point later(supervisor_fsm::time_point now, supervisor_fsm::duration delay)
{
    using time_point = supervisor_fsm::time_point;
    return delay > time_point::max() - now ? time_point::max() : now + delay;
}

}  // namespace

supervisor_fsm::supervisor_fsm(const setup& what, std::uint64_t seed)
    : how_(what),
      random_(seed) { }

std::size_t supervisor_fsm::add(service_setup what)
{
    const auto position = services_.size();
    for (auto& before : what.depends_on) {
        before = position_of(before);
        BOOST_ASSERT_MSG(before < position, "supervisor_fsm: depends on what is not there");
        services_[before].dependants.push_back(position);
    }
    service added;
    added.number = next_number_++;
    added.main.generation = what.generation;
    added.how = std::move(what);
    if (!added.how.generations)
        added.how.generations = std::make_shared<std::uint64_t>(0);
    added.wanted = started_ && !closing_;
    services_.push_back(std::move(added));
    return services_.back().number;
}

// Nobody was removed, and it stands where its number is; or it is to be looked for. Numbers grow.
std::size_t supervisor_fsm::position_of(std::size_t number) const noexcept
{
    if (number < services_.size() && services_[number].number == number)
        return number;
    const auto found =
        std::lower_bound(services_.begin(), services_.end(), number,
                         [](const service& one, std::size_t other) { return one.number < other; });
    return found == services_.end() || found->number != number
        ? services_.size()
        : static_cast<std::size_t>(found - services_.begin());
}

// From the last to the first: one that others depend on stays until they have gone.
void supervisor_fsm::forget_removed()
{
    for (auto which = services_.size(); which-- > 0;) {
        if (services_[which].state == removed && services_[which].dependants.empty())
            forget(which);
    }
}

void supervisor_fsm::forget(std::size_t which)
{
    for (const auto before : services_[which].how.depends_on)
        std::erase(services_[before].dependants, which);
    services_.erase(services_.begin() + static_cast<std::ptrdiff_t>(which));
    for (auto& one : services_) {
        for (auto* const places : {&one.how.depends_on, &one.dependants}) {
            for (auto& place : *places)
                place -= place > which ? 1 : 0;
        }
    }
}

bool supervisor_fsm::asked_to_stop(const incarnation& one) noexcept
{
    return one.phase == stopping || one.phase == killing;
}

// What was killed and does not go (a coroutine that does not listen, a process in the kernel) uses
// what it depends on no more, or not for long: others are not kept waiting for it.
bool supervisor_fsm::holds_on(const service& one) noexcept
{
    return (one.main_lives && one.main.phase != killing)
        || (one.extra && one.extra->phase != killing);
}

bool supervisor_fsm::anybody_lives() const noexcept
{
    return std::any_of(services_.begin(), services_.end(), lives);
}

const supervisor_fsm::step& supervisor_fsm::resume(const supervisor_input& told, time_point now)
{
    step_.outputs.clear();
    step_.transitions.clear();
    if (finished_)
        return step_;
    auto input = told;
    input.service = position_of(told.service);
    using enum supervisor_input::kind;
    switch (input.what) {
    case ready:
    case unready:
    case unhealthy:
    case extend:
    case ended_clean:
    case ended_failed: on_news(input, now); break;
    default: on_request(input, now); break;
    }
    // The news first: what has ended by now is not killed, nor is what has become ready stopped for
    // not being ready.
    on_time(now);
    reconcile(now);
    if (std::exchange(forgets_, false))
        forget_removed();
    BOOST_ASSERT(broken_promise().empty());
    return step_;
}

void supervisor_fsm::on_request(const supervisor_input& input, time_point now)
{
    using enum supervisor_input::kind;
    if (input.what == tick)
        return;
    if (input.what == stop)
        return close(std::min(input.deadline, later(now, how_.stop_budget)), false, now);
    if (closing_)
        return;
    if (input.what == supervisor_input::kind::start) {
        started_ = true;
        for (auto& one : services_)
            one.wanted = one.wanted || one.state == configured;
        return;
    }
    if (input.service >= services_.size())
        return;
    auto& one = services_[input.service];
    if (one.state == removed || one.removing)
        return;
    switch (input.what) {
    case start_service:
        want(one);
        one.failures = one.state == failed ? 0 : one.failures;
        break;
    case stop_service:
        one.wanted = false;
        one.left_out = false;
        break;
    case restart_service:
        one.together = one.together || one.main_lives;
        want(one);
        break;
    case remove_service:
        one.wanted = false;
        one.removing = true;
        break;
    case replace_service: on_replace(input.service, now); break;
    default: BOOST_ASSERT_MSG(false, "supervisor_fsm: no such request");
    }
}

void supervisor_fsm::want(service& one) noexcept
{
    one.wanted = true;
    one.left_out = false;
    // It was to stop with its siblings, and goes on after all: they would wait for its end.
    if (!one.together && one.main_lives && !asked_to_stop(one.main))
        one.sibling_failed = false;
}

void supervisor_fsm::on_replace(std::size_t which, time_point now)
{
    auto& one = services_[which];
    // Without something that serves there is nothing to keep up meanwhile.
    if (!one.main_lives || to_be_stopped(one)) {
        want(one);
        return;
    }
    one.replace_again = one.extra && one.extra->role == incarnation_role::retired;
    if (one.extra || asked_to_stop(one.main) || one.main.phase == starting)
        return;  // it is being replaced, or a new one is on its way
    one.extra = begin(one, incarnation_role::successor, now);
    tell(which, *one.extra, waiting, starting, service_cause::asked, now);
    order(supervisor_output::kind::start, which, one.extra->generation);
}

void supervisor_fsm::on_news(const supervisor_input& input, time_point now)
{
    if (input.service >= services_.size())
        return;
    using enum supervisor_input::kind;
    auto& one = services_[input.service];
    if (input.what == ready)
        return on_ready(input.service, input.generation, now);
    if (input.what == ended_clean || input.what == ended_failed)
        return on_end(input.service, input.generation, input.what == ended_clean, now);

    auto* const that = one.extra && one.extra->generation == input.generation ? &*one.extra
        : one.main_lives && one.main.generation == input.generation           ? &one.main
                                                                              : nullptr;
    if (that == nullptr)
        return;
    if (input.what == extend)
        return on_extend(*that, input.extension, now);
    if (asked_to_stop(*that))
        return;
    if (input.what == unhealthy) {
        that->fault = input.cause;
        return begin_stop(input.service, *that, input.cause, now);
    }
    if (that->phase == service_state::ready)
        move_to(input.service, *that, service_state::unready, service_cause::lost_readiness, now);
}

// As systemd does it: counted from now, never sooner than it was, and to be asked for again. The
// end of the supervisor's own stop stands.
void supervisor_fsm::on_extend(incarnation& one, duration wanted, time_point now)
{
    if (one.phase != starting && one.phase != stopping)
        return;
    auto& due = one.phase == starting ? one.ready_by : one.kill_at;
    due = std::max(due, std::min(later(now, wanted), one.most));
}

void supervisor_fsm::on_ready(std::size_t which, std::uint64_t generation, time_point now)
{
    auto& one = services_[which];
    const bool takes_over = one.extra && one.extra->generation == generation;
    if (takes_over) {
        if (one.extra->role != incarnation_role::successor || asked_to_stop(*one.extra))
            return;
        // From here on the new one serves: it takes the old one's place before that is stopped.
        std::swap(one.main, *one.extra);
        one.main.role = incarnation_role::serving;
        one.extra->role = incarnation_role::retired;
    }
    if (one.main_lives && one.main.generation == generation && !asked_to_stop(one.main)) {
        one.main.ready_by = time_point::max();
        if (one.main.phase != ready) {
            one.main.ready_since = std::min(one.main.ready_since, now);
            move_to(which, one.main, ready, service_cause::became_ready, now);
        }
    }
    // Told in this order, too: at no time nobody is said to be ready.
    if (takes_over && !asked_to_stop(*one.extra))
        begin_stop(which, *one.extra, service_cause::replaced, now);
}

void supervisor_fsm::on_end(std::size_t which, std::uint64_t generation, bool clean, time_point now)
{
    auto& one = services_[which];
    if (one.extra && one.extra->generation == generation) {
        const auto gone = *std::exchange(one.extra, std::nullopt);
        tell(which, gone, gone.phase, clean ? exited : failed,
             clean ? service_cause::ended : service_cause::crashed, now);
        if (std::exchange(one.replace_again, false) && one.main_lives && !to_be_stopped(one))
            on_replace(which, now);
        // Only what waited for it needs to know: settled in reconcile().
        if (!one.main_lives && to_be_stopped(one))
            settle(which, service_cause::asked, now);
        return;
    }
    if (one.main_lives && one.main.generation == generation)
        on_end_of_main(which, clean, now);
}

service_cause supervisor_fsm::cause_of_end(std::size_t number, std::uint64_t generation,
                                           bool clean) const noexcept
{
    const auto itself = clean ? service_cause::ended : service_cause::crashed;
    const auto* const one = known(number);
    if (one == nullptr)
        return itself;
    if (one->extra && one->extra->generation == generation)
        return one->extra->stopped_for.value_or(itself);
    return one->main.generation == generation ? one->main.stopped_for.value_or(itself) : itself;
}

void supervisor_fsm::on_end_of_main(std::size_t which, bool clean, time_point now)
{
    auto& one = services_[which];
    one.main_lives = false;
    one.completed = clean && !asked_to_stop(one.main);
    if (one.extra && one.extra->role == incarnation_role::successor && !asked_to_stop(*one.extra)) {
        // Its successor is on its way already, sooner than any restart would be.
        move_to(which, exited, clean ? service_cause::ended : service_cause::crashed, now);
        one.main = *std::exchange(one.extra, std::nullopt);
        one.main.role = incarnation_role::serving;
        one.main_lives = true;
        return move_to(which, starting, service_cause::replaced, now);
    }
    // It was asked to stop, and may be wanted again by now: no failure of its own.
    if (to_be_stopped(one) || (asked_to_stop(one.main) && !one.main.fault))
        return settle(which, clean ? service_cause::ended : service_cause::crashed, now);
    on_own_end(which, clean, now);
}

void supervisor_fsm::on_own_end(std::size_t which, bool clean, time_point now)
{
    auto& one = services_[which];
    const bool bad = !clean || one.main.fault.has_value();
    const auto cause =
        one.main.fault.value_or(clean ? service_cause::ended : service_cause::crashed);
    const bool again = one.how.restart == restart_kind::permanent
        || (one.how.restart == restart_kind::transient && bad);
    if (!again) {
        one.wanted = false;
        return move_to(which, bad ? failed : exited, cause, now);
    }
    if (!admits_restart(now)) {
        one.wanted = false;
        move_to(which, failed, service_cause::too_many_restarts, now);
        return close(later(now, how_.stop_budget), true, now);
    }
    const bool was_stable = one.main.ready_since != time_point::max()
        && now - one.main.ready_since >= one.how.backoff.stable_after;
    one.failures = was_stable ? 1 : one.failures + 1;
    const auto delay = delay_of(one);
    one.start_at = later(now, delay);
    move_to(which, backoff, cause, now, delay);
    restart_siblings(which);
}

void supervisor_fsm::restart_siblings(std::size_t culprit)
{
    if (how_.strategy == restart_strategy::one_for_one)
        return;
    const auto first = how_.strategy == restart_strategy::one_for_all ? 0 : culprit;
    for (auto i = first; i < services_.size(); ++i) {
        auto& one = services_[i];
        // Also one that is on its way out since an earlier failure, and does not return.
        one.sibling_failed = one.wanted || (one.sibling_failed && lives(one));
        if (one.how.restart == restart_kind::temporary)
            one.left_out = std::exchange(one.wanted, false) || one.left_out;
        one.together = one.wanted;
    }
    together_at_ = std::max(together_at_, services_[culprit].start_at);
}

bool supervisor_fsm::admits_restart(time_point now)
{
    while (!restarts_.empty() && now - restarts_.front() >= how_.intensity.window)
        restarts_.pop_front();
    if (restarts_.size() >= how_.intensity.restarts)
        return false;
    restarts_.push_back(now);
    return true;
}

supervisor_fsm::duration supervisor_fsm::delay_of(const service& one)
{
    const auto& how = one.how.backoff;
    if (how.first == duration::zero())
        return duration::zero();
    const auto cap = static_cast<double>(how.cap.count());
    const auto plain = static_cast<double>(how.first.count())
        * std::pow(how.factor, static_cast<double>(one.failures - 1));
    std::uniform_real_distribution<double> part(1.0 - how.jitter, 1.0 + how.jitter);
    // pow() may be infinite, and the longest delay that there is has no double of its own.
    const auto delay = std::min(plain, cap) * part(random_);
    return delay < cap ? duration(static_cast<duration::rep>(delay)) : how.cap;
}

supervisor_fsm::duration supervisor_fsm::asking_part(duration budget, duration reserve) noexcept
{
    return budget == duration::max() ? budget : budget - std::min<duration>(reserve, budget / 2);
}

void supervisor_fsm::close(time_point deadline, bool failed, time_point now)
{
    const auto kill_at =
        now + asking_part(std::max(deadline - now, duration::zero()), how_.kill_reserve);
    // Shares are given out once for each deadline: another time would take back what a service was
    // granted meanwhile.
    if (closing_ && kill_at >= closing_->kill_at)
        return;
    if (closing_)
        closing_->kill_at = kill_at;
    else
        closing_ = closing{kill_at, failed};
    for (std::size_t i = 0; i < services_.size(); ++i) {
        auto& one = services_[i];
        one.wanted = false;
        if (one.main_lives)
            share(i, one.main, now);
        if (one.extra)
            share(i, *one.extra, now);
    }
}

// What is stopping already has no more than its share either: it would use up what those have that
// it depends on, which are killed then without having been asked.
void supervisor_fsm::share(std::size_t which, incarnation& one, time_point now)
{
    if (one.phase != stopping)
        return;
    const auto most = later(now, share_of(which, now));
    one.most = std::min(one.most, later(most, services_[which].how.most_extension));
    if (most >= one.kill_at)
        return;
    one.kill_at = most;
    order(supervisor_output::kind::hurry, which, one.generation, most);
}

// What one level does not use the next ones have.
supervisor_fsm::duration supervisor_fsm::share_of(std::size_t which, time_point now) const
{
    return std::max(closing_->kill_at - now, duration::zero()) / levels_below(which);
}

void supervisor_fsm::on_time(time_point now)
{
    for (std::size_t i = 0; i < services_.size(); ++i) {
        if (services_[i].main_lives)
            on_time_of(i, services_[i].main, now);
        if (services_[i].extra)
            on_time_of(i, *services_[i].extra, now);
    }
}

void supervisor_fsm::on_time_of(std::size_t which, incarnation& one, time_point now)
{
    if (one.phase == starting && now >= one.ready_by) {
        one.fault = service_cause::start_timeout;
        begin_stop(which, one, service_cause::start_timeout, now);
    }
    if (closing_ && one.phase != killing && now >= closing_->kill_at)
        return kill(which, one, service_cause::budget_over, now);
    if (one.phase == stopping && now >= one.kill_at)
        kill(which, one, service_cause::grace_over, now);
}

void supervisor_fsm::reconcile(time_point now)
{
    for (bool again = true; again;) {
        again = stop_what_is_due(now);
        for (std::size_t i = 0; i < services_.size(); ++i)
            again = start_if_due(i, now) || again;
    }
    if (!closing_ || anybody_lives())
        return;
    finished_ = true;
    step_.outputs.push_back(
        {.what = supervisor_output::kind::finished, .failed = closing_->failed});
}

bool supervisor_fsm::stop_what_is_due(time_point now)
{
    bool changed = false;
    // Who holds up what it depends on: at any distance, for what stands between may have failed.
    holds_.assign(services_.size(), false);
    for (auto i = services_.size(); i-- > 0;) {
        const auto& dependants = services_[i].dependants;
        const bool held = std::any_of(dependants.begin(), dependants.end(),
                                      [&](std::size_t other) { return holds_[other]; });
        if (!held)
            changed = stop_if_due(i, now) || changed;
        holds_[i] = held || (to_be_stopped(services_[i]) && holds_on(services_[i]));
    }
    return changed;
}

bool supervisor_fsm::stop_if_due(std::size_t which, time_point now)
{
    auto& one = services_[which];
    if (!to_be_stopped(one))
        return false;
    if (!lives(one)) {
        const auto before = one.state;
        settle(which, service_cause::asked, now);
        return one.state != before;
    }
    const auto cause = closing_ && closing_->failed ? service_cause::too_many_restarts
        : one.sibling_failed                        ? service_cause::sibling_failed
                                                    : service_cause::asked;
    bool changed = false;
    if (one.main_lives && !asked_to_stop(one.main)) {
        begin_stop(which, one.main, cause, now);
        changed = true;
    }
    if (one.extra && !asked_to_stop(*one.extra)) {
        begin_stop(which, *one.extra, cause, now);
        changed = true;
    }
    return changed;
}

// What does not live and shall not, or shall with others: says where it stands.
void supervisor_fsm::settle(std::size_t which, service_cause cause, time_point now)
{
    auto& one = services_[which];
    if (lives(one)) {
        // Its other incarnation is still there: nothing may start, nor is it removed, before that
        // has gone, too.
        if (!one.main_lives && one.state != exited)
            move_to(which, exited, cause, now);
        return;
    }
    if (one.removing && one.state != removed)
        return move_to(which, removed, cause, now);
    if (one.wanted) {
        if (one.state != waiting && one.state != backoff)
            move_to(which, waiting, cause, now);
        return;
    }
    one.together = false;
    one.sibling_failed = false;
    if (one.state != configured && one.state != exited && one.state != failed
        && one.state != removed)
        move_to(which, exited, cause, now);
}

bool supervisor_fsm::start_if_due(std::size_t which, time_point now)
{
    auto& one = services_[which];
    if (!one.wanted || lives(one) || closing_)
        return false;
    const auto before = one.state;
    one.completed = false;
    if (one.state == backoff && now >= one.start_at)
        move_to(which, waiting, service_cause::delay_over, now);
    else if (one.state == configured || one.state == exited || one.state == failed)
        move_to(which, waiting, service_cause::asked, now);
    if (one.state != waiting)
        return one.state != before;
    if (one.together && (now < together_at_ || !together_is_down()))
        return one.state != before;
    // Its siblings have gone: from here on it waits for what it depends on alone.
    one.together = false;
    one.sibling_failed = false;
    if (waits_in_vain(one)) {
        one.wanted = false;
        move_to(which, failed, service_cause::dependency_failed, now);
        return true;
    }
    const auto serves = [&](std::size_t before_it) {
        return serves_dependants(services_[before_it]);
    };
    if (!std::all_of(one.how.depends_on.begin(), one.how.depends_on.end(), serves))
        return one.state != before;
    start(which, now);
    return true;
}

void supervisor_fsm::start(std::size_t which, time_point now)
{
    auto& one = services_[which];
    one.together = false;
    one.sibling_failed = false;
    one.main_lives = true;
    one.main = begin(one, incarnation_role::serving, now);
    move_to(which, starting, service_cause::dependencies_ready, now);
    order(supervisor_output::kind::start, which, one.main.generation);
}

supervisor_fsm::incarnation supervisor_fsm::begin(service& one, incarnation_role role,
                                                  time_point now)
{
    const auto ready_by = later(now, one.how.start_timeout);
    return {.generation = ++*one.how.generations,
            .role = role,
            .ready_by = ready_by,
            .most = later(ready_by, one.how.most_extension)};
}

bool supervisor_fsm::serves_dependants(const service& one) const
{
    if (one.how.one_shot)
        return one.completed && one.state == exited;
    // What shall be stopped with others is not there for those that start.
    return one.main_lives && one.main.phase == ready && !to_be_stopped(one);
}

// It has ended by itself, or with its siblings, and nobody starts it again. What was asked to stop
// may be asked to start, by the same who did that.
bool supervisor_fsm::is_over_for_dependants(const service& one)
{
    if (one.wanted || lives(one))
        return false;
    if (one.state != exited)
        return one.state == failed || one.state == removed;
    return one.completed ? !one.how.one_shot : one.left_out;
}

bool supervisor_fsm::waits_in_vain(const service& one) const
{
    const auto& needs = one.how.depends_on;
    return std::any_of(needs.begin(), needs.end(), [&](std::size_t before_it) {
        return is_over_for_dependants(services_[before_it]);
    });
}

// Those that are restarted together start when the last of them has gone.
bool supervisor_fsm::together_is_down() const
{
    return std::none_of(services_.begin(), services_.end(), [](const service& one) {
        return (one.together || one.sibling_failed) && lives(one);
    });
}

// How many stops in a row this one's and those that wait for it take.
unsigned supervisor_fsm::levels_below(std::size_t which) const
{
    std::vector<unsigned> levels(which + 1, 0);
    for (std::size_t i = 0; i <= which; ++i) {
        unsigned deepest = 0;
        for (const auto before : services_[i].how.depends_on)
            deepest = std::max(deepest, levels[before]);
        levels[i] = deepest + (lives(services_[i]) ? 1 : 0);
    }
    return std::max(levels[which], 1U);
}

void supervisor_fsm::begin_stop(std::size_t which, incarnation& one, service_cause cause,
                                time_point now)
{
    auto grace = services_[which].how.stop_grace;
    if (closing_)
        grace = std::min(grace, share_of(which, now));
    one.kill_at = later(now, grace);
    one.most = later(one.kill_at, services_[which].how.most_extension);
    const auto goes_on = [&](std::size_t dependant) {
        return lives(services_[dependant]) && !to_be_stopped(services_[dependant]);
    };
    const auto& dependants = services_[which].dependants;
    one.out_of_order = one.fault || !to_be_stopped(services_[which])
        || std::any_of(dependants.begin(), dependants.end(), goes_on);
    one.stopped_for = cause;
    move_to(which, one, stopping, cause, now);
    order(supervisor_output::kind::stop, which, one.generation, one.kill_at);
    // There is no grace: not with a tick of its own.
    if (now >= one.kill_at)
        kill(which, one, service_cause::grace_over, now);
}

void supervisor_fsm::kill(std::size_t which, incarnation& one, service_cause cause, time_point now)
{
    one.out_of_order = one.out_of_order || one.phase != stopping;
    one.stopped_for = one.stopped_for.value_or(cause);
    move_to(which, one, killing, cause, now);
    order(supervisor_output::kind::kill, which, one.generation);
}

void supervisor_fsm::move_to(std::size_t which, incarnation& one, service_state to,
                             service_cause cause, time_point now)
{
    tell(which, one, one.phase, to, cause, now);
    one.phase = to;
    if (&one == &services_[which].main)
        services_[which].state = to;
}

void supervisor_fsm::move_to(std::size_t which, service_state to, service_cause cause,
                             time_point now, duration delay)
{
    auto& one = services_[which];
    tell(which, one.main, one.state, to, cause, now, delay);
    one.state = to;
    forgets_ = forgets_ || to == removed;
}

void supervisor_fsm::tell(std::size_t which, const incarnation& one, service_state from,
                          service_state to, service_cause cause, time_point now, duration delay)
{
    step_.transitions.push_back({++sequence_, now, services_[which].number, one.generation,
                                 one.role, from, to, cause, delay});
}

void supervisor_fsm::order(supervisor_output::kind what, std::size_t which,
                           std::uint64_t generation, time_point deadline)
{
    step_.outputs.push_back({what, services_[which].number, generation, deadline});
}

std::optional<supervisor_fsm::time_point> supervisor_fsm::next() const
{
    auto first = time_point::max();
    const auto look = [&](const incarnation& one) {
        if (one.phase == starting)
            first = std::min(first, one.ready_by);
        if (one.phase == stopping)
            first = std::min(first, one.kill_at);
        if (closing_ && one.phase != killing)
            first = std::min(first, closing_->kill_at);
    };
    for (const auto& one : services_) {
        if (one.main_lives)
            look(one.main);
        if (one.extra)
            look(*one.extra);
        // One that is held up by who depends on it, and shall not run any more, waits for no time.
        if (one.state == backoff && !lives(one) && one.wanted)
            first = std::min(first, one.start_at);
        if (one.state == waiting && one.together && one.wanted && together_is_down())
            first = std::min(first, together_at_);
    }
    if (finished_ || first == time_point::max())
        return std::nullopt;
    return first;
}

std::string_view supervisor_fsm::broken_promise() const
{
    if (restarts_.size() > how_.intensity.restarts)
        return "more restarts within the window than the intensity allows";
    if (finished_ && anybody_lives())
        return "finished, and somebody lives";
    for (const auto& one : services_) {
        if (one.state == removed && lives(one))
            return "removed, and something of it lives";
        const bool says_so = one.state == starting || one.state == ready || one.state == unready
            || one.state == stopping || one.state == killing;
        if (says_so != one.main_lives)
            return "the state does not say whether it lives";
        if (one.extra && one.extra->generation == one.main.generation)
            return "two incarnations with one number";
        if (one.state == waiting && one.wanted && !one.together && !lives(one) && !closing_) {
            if (waits_in_vain(one))
                return "waits for what has ended for good";
            const auto& needs = one.how.depends_on;
            if (std::all_of(needs.begin(), needs.end(), [&](std::size_t before_it) {
                    return serves_dependants(services_[before_it]);
                }))
                return "waits, and all it depends on is ready";
        }
        if (!one.main_lives || !asked_to_stop(one.main) || one.main.out_of_order)
            continue;
        for (const auto other : one.dependants) {
            const auto& dependant = services_[other];
            if (holds_on(dependant) && to_be_stopped(dependant))
                return "stopped before what depends on it";
        }
    }
    return {};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
