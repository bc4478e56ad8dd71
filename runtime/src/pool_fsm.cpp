// SPDX-License-Identifier: BSL-1.0
#include "pool_fsm.hpp"

#include <boost/assert.hpp>

#include <algorithm>
#include <utility>

#include "pool_time.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using kind = pool_output::kind;
using task_state = pool_task::state;

// So many workers may die before they have begun a task that was the next one for each.
// If the task may have more strikes, so many.
constexpr unsigned least_suspicions = 3;

// SplitMix64's finish: each bit of the result depends on each one of the value.
std::uint64_t mixed(std::uint64_t value) noexcept
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
    return value ^ (value >> 31);
}

// Of one that has waited for too long in its worker it is only asked that it is not begun. If it
// was, it runs.
bool is_for_good(const std::optional<pool_outcome>& verdict) noexcept
{
    return verdict && *verdict != pool_outcome::queue_deadline;
}

// Whether its worker has to let go of it, or to go.
bool is_unwanted(const pool_task& task) noexcept
{
    return task.withdrawn || is_for_good(task.verdict);
}

// What a task ends with of which its worker has said `said`.
pool_outcome judged(const std::optional<pool_outcome>& verdict, pool_outcome said) noexcept
{
    if (!verdict)
        return said == pool_outcome::cancelled ? pool_outcome::task_failed : said;
    // What came while it was being cancelled is not thrown away; what came too late is too late.
    if (said == pool_outcome::done && *verdict != pool_outcome::run_deadline)
        return said;
    // Whoever is cancelled may fail of it. One that was only to be left alone was not.
    if (said == pool_outcome::task_failed && *verdict == pool_outcome::queue_deadline)
        return said;
    return *verdict;
}

}  // namespace

pool_fsm::setup::setup(const pool_options& options)
    : min_workers(options.min_workers),
      max_workers(options.max_workers),
      tasks_per_worker(options.tasks_per_worker),
      prefetch(options.prefetch),
      high_water(options.high_water),
      balance(options.balance),
      idle_timeout(options.idle_timeout),
      start_timeout(options.start_timeout),
      ask_grace(options.ask_grace),
      term_grace(options.term_grace),
      recycle_after_jobs(options.recycle_after_jobs),
      recycle_after_age(options.recycle_after_age),
      recycle_jitter(options.recycle_jitter),
      backoff(options.backoff),
      strikes(options.strikes)
{
}

pool_task_number pool_fsm::submit(const task_terms& terms, time_point now)
{
    begin();
    if (closing_) {
        outputs_.push_back(
            {.what = kind::complete, .task = tasks_.skip(), .outcome = pool_outcome::stopped});
        return tasks_.last_number();
    }
    const auto place = tasks_.add();
    auto& task = tasks_[place];
    const auto number = task.number;
    task.terms = terms;
    task.submitted = now;
    waiting_.insert(tasks_, place);
    arm(place);
    settle(now);
    return number;
}

void pool_fsm::cancel(pool_task_number number, time_point now, pool_outcome verdict)
{
    begin();
    const auto place = tasks_.find(number);
    if (place != no_place) {
        if (tasks_[place].stands == task_state::delivered) {
            ask(place, verdict, now);
        } else {
            dequeue(place);
            complete(place, verdict, now);
        }
    }
    settle(now);
}

void pool_fsm::task_ended(pool_worker_number number, pool_task_number task, pool_outcome said,
                          time_point now)
{
    begin();
    const auto place = tasks_.find(task);
    if (place != no_place && tasks_[place].stands == task_state::delivered
        && tasks_[place].worker == number) {
        const std::size_t which = tasks_[place].slot;
        auto& at = worker_of(tasks_[place]);
        if (said != pool_outcome::cancelled)
            at.least_started = std::max(at.least_started, tasks_[place].delivery);
        ++at.ended;
        take_from(at, place, now);
        complete(place, judged(tasks_[place].verdict, said), now);
        if (--at.jobs_left == 0 && &at == &slots_[which].main)
            mark_recycle(which, now);
        if (at.in_flight == 0)
            became_idle(which, at, now);
        else if (loads_[which] != pool_loads::closed && &at == &slots_[which].main)
            loads_.set(which, at.in_flight);
    }
    settle(now);
}

// What is unwanted keeps its place in the worker, which is full until that has answered. Rejected:
// not to send ahead what has a deadline, which costs each short task a round trip; and to believe
// what the worker has begun without its having to look once more, which a task that begins just
// then would make a lie.
void pool_fsm::worker_begun(pool_worker_number number, std::uint64_t started, time_point now)
{
    begin();
    std::size_t which = 0;
    if (auto* const one = find(number, which)) {
        const auto begun_by = std::max(started, one->least_started);
        one->known_begun = std::max(one->known_begun, started);
        for (auto place = one->tasks.first(); place != no_place; place = tasks_[place].after) {
            auto& task = tasks_[place];
            if (!task.asked || task.withdrawn || task.delivery <= begun_by)
                continue;
            tell_end(task, *task.verdict, false, now);
            task.withdrawn = true;
            task.ask_until = time_point::max();
            one->withdrawn += task.running ? 1 : 0;
            arm(place);
        }
        hurry_withdrawn(*one, now);
    }
    settle(now);
}

void pool_fsm::worker_runs(pool_worker_number number, std::uint64_t started, time_point now)
{
    begin();
    std::size_t which = 0;
    if (auto* const one = find(number, which))
        one->known_begun = std::max(one->known_begun, started);
    settle(now);
}

bool pool_fsm::is_withdrawn(pool_worker_number number, pool_task_number task,
                            unsigned attempt) const noexcept
{
    const auto place = tasks_.find(task);
    return place != no_place && tasks_[place].withdrawn && tasks_[place].worker == number
        && tasks_[place].strikes + 1 == attempt;
}

void pool_fsm::worker_beat(pool_worker_number number, time_point now)
{
    begin();
    std::size_t which = 0;
    if (auto* const one = find(number, which))
        one->beat = now;
    settle(now);
}

void pool_fsm::tick(time_point now)
{
    begin();
    held_ = false;
    settle(now);
}

void pool_fsm::settle(time_point now)
{
    if (finished_ || held_)
        return;
    // The news first: what has ended by now is not cancelled, nor what is ready stopped for not
    // being so. Again, as what follows may have a time that is now: a grace of 0.
    do {
        on_time(now);
        dispatch(now);
        reconcile(now);
    } while (is_due(now));
}

void pool_fsm::on_time(time_point now)
{
    while (!task_dues_.empty() && task_dues_.first_due() <= now)
        on_task_due(task_dues_.first(), now);
    while (!slot_dues_.empty() && slot_dues_.first_due() <= now)
        on_slot_due(slot_dues_.first(), now);
    on_closing_time(now);
}

bool pool_fsm::is_due(time_point now) const
{
    const auto first = first_due();
    return first <= now && first != time_point::max();
}

std::optional<pool_fsm::time_point> pool_fsm::next() const
{
    const auto first = first_due();
    return first == time_point::max() ? std::nullopt : std::optional(first);
}

pool_fsm::time_point pool_fsm::first_due() const noexcept
{
    auto first = time_point::max();
    if (finished_)
        return first;
    if (!task_dues_.empty())
        first = task_dues_.first_due();
    if (!slot_dues_.empty())
        first = std::min(first, slot_dues_.first_due());
    if (closing_ && !closing_->drained)
        first = std::min(first, closing_->drain_by);
    if (closing_ && !closing_->killed)
        first = std::min(first, closing_->kill_by);
    return first;
}

pool_queue& pool_fsm::queue_of(const pool_task& task)
{
    if (task.stands == task_state::waiting)
        return waiting_;
    if (task.alone)
        return alone_;
    return task.home == no_place ? queue_ : homes_[task.home];
}

void pool_fsm::enqueue(pool_place place)
{
    auto& task = tasks_[place];
    task.stands = task_state::queued;
    if (how_.balance == pool_balance::sticky_key)
        task.home = home_of(task.terms.key);
    queue_of(task).insert(tasks_, place);
    ++queued_;
    arm(place);
}

void pool_fsm::dequeue(pool_place place)
{
    auto& task = tasks_[place];
    queue_of(task).erase(tasks_, place);
    if (task.stands == task_state::queued)
        --queued_;
}

void pool_fsm::admit_waiting()
{
    while (queued_ < how_.high_water && !waiting_.empty()) {
        const auto place = waiting_.first();
        dequeue(place);
        outputs_.push_back({.what = kind::admitted, .task = tasks_[place].number});
        enqueue(place);
    }
}

void pool_fsm::dispatch(time_point now)
{
    if (homes_moved_)
        move_homes();
    do {
        admit_waiting();
    } while (dispatch_alone(now) || dispatch_one(now));
}

// To the first worker that has not had a task.
bool pool_fsm::dispatch_alone(time_point now)
{
    if (alone_.empty())
        return false;
    for (std::size_t which = 0; which < how_.max_workers; ++which) {
        if (loads_[which] == pool_loads::closed || slots_[which].main.delivered != 0)
            continue;
        const auto place = alone_.first();
        dequeue(place);
        slots_[which].main.alone = true;
        deliver(place, which, now);
        return true;
    }
    return false;
}

bool pool_fsm::dispatch_one(time_point now)
{
    if (how_.balance == pool_balance::sticky_key)
        return dispatch_home(now);
    if (queue_.empty())
        return false;
    const auto which = pick_slot();
    if (which == no_slot)
        return false;
    const auto place = queue_.first();
    dequeue(place);
    deliver(place, which, now);
    return true;
}

bool pool_fsm::dispatch_home(time_point now)
{
    const auto credit = how_.tasks_per_worker + how_.prefetch;
    for (std::size_t which = 0; which < how_.max_workers; ++which) {
        // What is closed has more than any credit.
        if (homes_[which].empty() || loads_[which] >= credit)
            continue;
        const auto place = homes_[which].first();
        dequeue(place);
        deliver(place, which, now);
        return true;
    }
    return false;
}

// A worker that can run one more task at once; if there is none, one that takes one more in
// advance.
std::size_t pool_fsm::pick_slot()
{
    const auto least = loads_.least();
    auto limit = how_.tasks_per_worker;
    if (least >= limit && least < limit + how_.prefetch && may_prefetch())
        limit += how_.prefetch;
    if (least >= limit)
        return no_slot;
    if (how_.balance == pool_balance::least_loaded)
        return loads_.first_with(least);
    do {
        turn_ = (turn_ + 1) % how_.max_workers;
    } while (loads_[turn_] >= limit);
    return turn_;
}

// Those that workers to come will run at once are not sent to others in advance, behind what may
// take long.
bool pool_fsm::may_prefetch() const noexcept
{
    const auto to_come = how_.max_workers > ready_ ? how_.max_workers - ready_ : 0;
    return queue_.size() > std::size_t{to_come} * how_.tasks_per_worker;
}

// The slot of the highest hash, of those that are ready (rendezvous hashing): when one goes, only
// its keys move.
pool_place pool_fsm::home_of(std::uint64_t key) const noexcept
{
    auto best = no_place;
    std::uint64_t highest = 0;
    for (pool_place which = 0; which < how_.max_workers; ++which) {
        const auto weight = mixed(mixed(key) + which);
        if (slots_[which].ready && (best == no_place || weight > highest)) {
            best = which;
            highest = weight;
        }
    }
    return best;
}

// Those that are ready are others than before: what waits goes where it belongs now. In the order
// of submission, so that each is at the end of its new queue at once.
void pool_fsm::move_homes()
{
    homes_moved_ = false;
    moved_.clear();
    const auto empty = [&](pool_queue& from) {
        for (; !from.empty(); from.erase(tasks_, from.first()))
            moved_.push_back(from.first());
    };
    empty(queue_);
    for (auto& one : homes_)
        empty(one);
    std::sort(moved_.begin(), moved_.end(), [&](pool_place one, pool_place other) {
        return tasks_[one].number < tasks_[other].number;
    });
    for (const auto place : moved_) {
        tasks_[place].home = home_of(tasks_[place].terms.key);
        queue_of(tasks_[place]).insert(tasks_, place);
    }
}

void pool_fsm::deliver(pool_place place, std::size_t which, time_point now)
{
    auto& task = tasks_[place];
    auto& at = slots_[which].main;
    BOOST_ASSERT_MSG(at.stands == phase::ready, "pool_fsm: delivers to a worker that is not ready");
    task.stands = task_state::delivered;
    task.slot = static_cast<std::uint32_t>(which);
    task.worker = at.number;
    task.delivery = ++at.delivered;
    at.tasks.push_back(tasks_, place);
    ++at.in_flight;
    ++in_flight_;
    loads_.set(which, at.alone ? pool_loads::closed : at.in_flight);
    outputs_.push_back({.what = kind::deliver,
                        .worker = at.number,
                        .slot = which,
                        .task = task.number,
                        .attempt = task.strikes + 1});
    if (at.running < how_.tasks_per_worker)
        return run(place, at, now);
    if (at.next_to_run == no_place)
        at.next_to_run = place;
    arm(place);
}

void pool_fsm::run(pool_place place, worker& at, time_point now)
{
    auto& task = tasks_[place];
    task.running = true;
    task.running_since = now;
    if (task.withdrawn)
        ++at.withdrawn;
    else if (is_unwanted(task))
        task.ask_until = later(now, how_.ask_grace);
    ++at.running;
    ++running_;
    arm(place);
}

// Its worker has it no more; the next one that waits there runs.
void pool_fsm::take_from(worker& at, pool_place place, time_point now)
{
    auto& task = tasks_[place];
    if (at.next_to_run == place)
        at.next_to_run = task.after;
    at.tasks.erase(tasks_, place);
    --at.in_flight;
    --in_flight_;
    if (!task.running)
        return;
    --at.running;
    --running_;
    at.withdrawn -= task.withdrawn ? 1 : 0;
    run_next(at, now);
    hurry_withdrawn(at, now);
}

void pool_fsm::run_next(worker& at, time_point now)
{
    if (at.next_to_run == no_place)
        return;
    const auto next = at.next_to_run;
    at.next_to_run = tasks_[next].after;
    run(next, at, now);
}

// A worker that has nothing else to do lets go of what is withdrawn at once. While it runs another
// task, that may hold its loop: nobody is stopped because of one that is over anyway.
void pool_fsm::hurry_withdrawn(worker& at, time_point now)
{
    if (at.withdrawn == 0 || at.withdrawn < at.running)
        return;
    for (auto place = at.tasks.first(); place != no_place; place = tasks_[place].after) {
        auto& task = tasks_[place];
        if (!task.running || task.ask_until != time_point::max())
            continue;
        task.ask_until = later(now, how_.ask_grace);
        arm(place);
    }
}

// Delivered in time, and its worker has not said that it has begun it.
bool pool_fsm::may_wait_still(const pool_task& task)
{
    const auto& at = worker_of(task);
    return !task.verdict && task.delivery > std::max(at.least_started, at.known_begun);
}

void pool_fsm::ask(pool_place place, pool_outcome verdict, time_point now)
{
    auto& task = tasks_[place];
    if (is_unwanted(task))
        return;
    task.verdict = verdict;
    // Twice for one that has waited for too long, and is cancelled: it may have been begun.
    // One that was sent SIGTERM may live, and begin what it has.
    const auto& at = worker_of(task);
    if (!is_forced(at) || (at.stands == phase::stopping && !task.running)) {
        task.asked = true;
        outputs_.push_back({.what = kind::ask,
                            .worker = task.worker,
                            .slot = task.slot,
                            .task = task.number,
                            .outcome = verdict});
    }
    if (task.running && is_for_good(verdict))
        task.ask_until = later(now, how_.ask_grace);
    arm(place);
}

// Its worker is gone.
//
// What it had not begun is no fault of anybody's; but a task can kill who receives it, by its mere
// size. So the one that came next is suspected, and goes to a worker of its own; when that dies
// twice, without having begun it, the suspicion is enough. One that may have more strikes than that
// may be suspected as often: who expects deaths from outside says so. Rejected: a strike, which is
// for what has run, and which one death that came from outside would give to a task with a limit of
// one; and no limit, with which such a task takes one worker after the other for ever.
void pool_fsm::after_death(pool_place place, bool begun, bool suspected, time_point now)
{
    auto& task = tasks_[place];
    if (begun && !task.running)
        task.running_since = now;
    task.running = begun;
    if (is_unwanted(task) || (task.verdict && !begun))
        return complete(place, *task.verdict, now);
    if (begun && !task.terms.idempotent)
        return complete(place, pool_outcome::worker_died, now);
    const auto strikes = task.terms.strikes == 0 ? how_.strikes : task.terms.strikes;
    if (begun) {
        if (task.strikes + 1 >= strikes)
            return complete(place, pool_outcome::poisoned, now);
        outputs_.push_back({.what = kind::struck,
                            .worker = task.worker,
                            .slot = task.slot,
                            .task = task.number,
                            .attempt = ++task.strikes});
        task.alone = true;
        // It was begun in time.
        task.terms.queue_until = time_point::max();
    } else if (suspected) {
        const auto limit =
            task.terms.idempotent ? std::max(strikes, least_suspicions) : least_suspicions;
        if (task.suspicions + 1 >= limit)
            return complete(place, pool_outcome::poisoned, now);
        ++task.suspicions;
        outputs_.push_back({.what = kind::struck,
                            .worker = task.worker,
                            .slot = task.slot,
                            .task = task.number,
                            .attempt = task.strikes});
        task.alone = true;
    }
    task.asked = false;
    task.running = false;
    task.verdict.reset();
    task.ask_until = time_point::max();
    enqueue(place);
}

// @pre in no queue, and at no worker
void pool_fsm::complete(pool_place place, pool_outcome outcome, time_point now)
{
    const auto& task = tasks_[place];
    if (!task.withdrawn)
        tell_end(task, outcome, task.running, now);
    task_dues_.set(place, time_point::max());
    tasks_.remove(place);
}

void pool_fsm::tell_end(const pool_task& task, pool_outcome outcome, bool has_run, time_point now)
{
    outputs_.push_back({.what = kind::complete,
                        .worker = task.worker,
                        .slot = task.slot,
                        .task = task.number,
                        .attempt = task.strikes + (has_run ? 1 : 0),
                        .outcome = outcome,
                        .waited = (has_run ? task.running_since : now) - task.submitted,
                        .ran = has_run ? now - task.running_since : duration::zero(),
                        .has_run = has_run});
}

void pool_fsm::on_task_due(pool_place place, time_point now)
{
    auto& task = tasks_[place];
    // Its worker has made progress since.
    if (due_of(task) > now)
        return arm(place);
    if (task.stands != task_state::delivered) {
        dequeue(place);
        return complete(place, pool_outcome::queue_deadline, now);
    }
    if (!task.running)
        return ask(place, pool_outcome::queue_deadline, now);
    if (may_wait_still(task) && now >= task.terms.queue_until)
        return ask(place, pool_outcome::queue_deadline, now);
    const bool asked_in_vain = is_unwanted(task);
    if (!asked_in_vain && now >= later(task.running_since, task.terms.run_limit))
        return ask(place, pool_outcome::run_deadline, now);
    if (!asked_in_vain)
        // Whose loop stands still hears nothing: there is no use in asking.
        task.verdict = pool_outcome::heartbeat_lost;
    terminate(task.slot, worker_of(task), now);
}

void pool_fsm::arm(pool_place place)
{
    task_dues_.set(place, due_of(tasks_[place]));
}

pool_fsm::time_point pool_fsm::due_of(const pool_task& task)
{
    if (task.stands != task_state::delivered)
        return task.terms.queue_until;
    if (!task.running)
        return task.verdict || worker_of(task).stands == phase::killing ? time_point::max()
                                                                        : task.terms.queue_until;
    if (is_unwanted(task))
        return is_forced(worker_of(task)) ? time_point::max() : task.ask_until;
    const auto begin_by = may_wait_still(task) ? task.terms.queue_until : time_point::max();
    const bool unlimited =
        task.terms.run_limit == duration::max() && task.terms.heartbeat_limit == duration::max();
    if (is_forced(worker_of(task)))
        return time_point::max();
    if (unlimited)
        return begin_by;
    const auto alive_at = std::max(worker_of(task).beat, task.running_since);
    return std::min({begin_by, later(task.running_since, task.terms.run_limit),
                     later(alive_at, task.terms.heartbeat_limit)});
}

pool_fsm::worker& pool_fsm::worker_of(const pool_task& task)
{
    auto& at = slots_[task.slot];
    return at.main.number == task.worker ? at.main : at.extra;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
