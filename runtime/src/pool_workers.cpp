// SPDX-License-Identifier: BSL-1.0
// What pool_fsm does with workers. pool_fsm.cpp has what it does with tasks.
#include "pool_fsm.hpp"

#include <boost/assert.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "pool_time.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using kind = pool_output::kind;

// `part` of it, which may be more than all of it; the longest delay has no double of its own.
pool_fsm::duration part_of(pool_fsm::duration whole, double part)
{
    const auto result = static_cast<double>(whole.count()) * part;
    constexpr auto most = static_cast<double>(pool_fsm::duration::max().count());
    return result < most ? pool_fsm::duration(static_cast<pool_fsm::duration::rep>(result))
                         : pool_fsm::duration::max();
}

// Where there is no memory to start one, no delay would be a start without end in one turn.
constexpr pool_fsm::duration least_delay = std::chrono::milliseconds(1);

}  // namespace

pool_fsm::pool_fsm(const setup& what, std::uint64_t seed)
    : how_(what),
      random_(seed),
      loads_(what.max_workers, what.tasks_per_worker + what.prefetch + 1)
{
    grow(what.max_workers);
}

void pool_fsm::start(time_point now)
{
    begin();
    started_ = true;
    settle(now);
}

void pool_fsm::worker_ready(pool_worker_number number, time_point now)
{
    begin();
    std::size_t which = 0;
    auto* one = find(number, which);
    if (one && one->stands == phase::starting) {
        auto& at = slots_[which];
        one->stands = phase::ready;
        one->was_ready = true;
        one->ready_since = one->idle_since = one->beat = now;
        if (one == &at.extra) {
            std::swap(at.main, at.extra);
            if (serves(at.extra))
                leave(which, at.extra, now);
        }
        touch(which, now);
    }
    settle(now);
}

// As it has said, within what can be. Not even what does not run, as far as the pool knows, is run
// again if it says that it has begun that: an answer that made room for it may be lost. But what
// was not in its channel yet is nobody's fault.
void pool_fsm::worker_ended(pool_worker_number number, std::uint64_t started, std::uint64_t sent,
                            std::uint64_t touched, time_point now)
{
    begin();
    std::size_t which = 0;
    if (auto* const one = find(number, which))
        on_end(which, *one, std::min(std::max(started, one->least_started), sent), touched, now);
    settle(now);
}

void pool_fsm::recycle(pool_worker_number number, time_point now)
{
    begin();
    std::size_t which = 0;
    auto* const one = find(number, which);
    if (one && one == &slots_[which].main)
        mark_recycle(which, now);
    settle(now);
}

void pool_fsm::recycle_all(time_point now)
{
    begin();
    for (std::size_t which = 0; which < slots_.size(); ++which)
        mark_recycle(which, now);
    settle(now);
}

// One that serves and its successor have one slot, and in one turn each is told little.
void pool_fsm::grow(std::size_t slots)
{
    outputs_.reserve(16 + 4 * slots);
    workers_.reserve(2 * slots);
    slot_dues_.reserve(slots);
    if (how_.balance == pool_balance::sticky_key)
        homes_.resize(slots);
    loads_.grow(slots);
    slots_.resize(slots);
}

void pool_fsm::resize(unsigned min_workers, unsigned max_workers, time_point now)
{
    BOOST_ASSERT_MSG(max_workers > 0 && min_workers <= max_workers, "pool_fsm: no such size");
    if (slots_.size() < max_workers)
        grow(max_workers);
    begin();
    how_.min_workers = min_workers;
    how_.max_workers = max_workers;
    homes_moved_ = how_.balance == pool_balance::sticky_key;
    // At once, so that none of those gets a further task.
    leave_too_many(now);
    for (std::size_t which = 0; which < slots_.size(); ++which)
        arm_slot(which, now);
    settle(now);
}

void pool_fsm::stop(time_point drain_by, time_point kill_by, time_point now)
{
    begin();
    if (!closing_) {
        closing_ = closing{started_ ? drain_by : now, kill_by};
        while (!waiting_.empty()) {
            const auto place = waiting_.first();
            dequeue(place);
            complete(place, pool_outcome::stopped, now);
        }
    }
    closing_->drain_by = std::min(closing_->drain_by, drain_by);
    closing_->kill_by = std::min(closing_->kill_by, kill_by);
    settle(now);
}

// What is to be done to bring those who live closer to those who shall.
void pool_fsm::reconcile(time_point now)
{
    start_missing(now);
    make_room_for_alone(now);
    recycle_next(now);
    close_if_done(now);
}

void pool_fsm::leave_too_many(time_point now)
{
    for (std::size_t which = how_.max_workers; which < slots_.size(); ++which) {
        if (serves(slots_[which].main))
            leave(which, slots_[which].main, now);
        if (serves(slots_[which].extra))
            leave(which, slots_[which].extra, now);
    }
}

// How many workers the tasks are worth.
unsigned pool_fsm::demand() const noexcept
{
    const auto tasks = queued_ + in_flight_;
    const auto workers = tasks / how_.tasks_per_worker + (tasks % how_.tasks_per_worker != 0);
    return static_cast<unsigned>(std::min<std::size_t>(workers, how_.max_workers));
}

unsigned pool_fsm::desired() const
{
    if (!started_ || (closing_ && (closing_->drained || tasks_.size() == 0)))
        return 0;
    auto count = closing_ ? demand() : std::max(demand(), how_.min_workers);
    // A task that has to be alone waits for one that has had none.
    if (!alone_.empty() && !fresh_one_comes())
        count = std::max(count, std::min(how_.max_workers, serving_ + 1));
    return count;
}

bool pool_fsm::fresh_one_comes() const noexcept
{
    return std::any_of(slots_.begin(), slots_.end(), [](const slot& at) {
        const auto comes = [](const worker& one) {
            return one.number != 0 && one.stands == phase::starting;
        };
        return comes(at.main) || comes(at.extra);
    });
}

// A slot that waits after a failure counts as if it had a worker: else all others would be tried
// in the meantime.
void pool_fsm::start_missing(time_point now)
{
    const auto wanted = desired();
    if (serving_ >= wanted)
        return;
    const auto is_free = [&](std::size_t which) {
        const auto& at = slots_[which];
        return at.main.number == 0 && (at.extra.number == 0 || which == replacing_);
    };
    unsigned cooling = 0;
    for (std::size_t which = 0; which < how_.max_workers; ++which)
        cooling += is_free(which) && slots_[which].start_at > now ? 1 : 0;
    for (std::size_t which = 0; which < how_.max_workers; ++which) {
        const unsigned beside =
            replacing_ != no_slot && slots_[replacing_].extra.number != 0 ? 1 : 0;
        if (serving_ + cooling >= wanted || alive_ - beside >= how_.max_workers)
            return;
        if (is_free(which) && slots_[which].start_at <= now)
            start_worker(which, slots_[which].main, now);
    }
}

void pool_fsm::start_worker(std::size_t which, worker& one, time_point now)
{
    one = worker{};
    one.number = ++last_worker_;
    one.due = later(now, how_.start_timeout);
    one.idle_since = one.beat = now;
    one.jobs_left = std::numeric_limits<std::uint64_t>::max();
    if (how_.recycle_after_jobs != 0) {
        const auto jobs = static_cast<double>(how_.recycle_after_jobs) * jitter();
        one.jobs_left = jobs < 1 ? 1
            : jobs < 1e18        ? static_cast<std::uint64_t>(std::llround(jobs))
                                 : how_.recycle_after_jobs;
    }
    if (how_.recycle_after_age != duration::max())
        one.recycle_at = later(now, part_of(how_.recycle_after_age, jitter()));
    workers_.insert(one.number, static_cast<pool_place>(which));
    ++alive_;
    outputs_.push_back({.what = kind::start_worker, .worker = one.number, .slot = which});
    touch(which, now);
}

double pool_fsm::jitter()
{
    std::uniform_real_distribution<double> part(1.0 - how_.recycle_jitter,
                                                1.0 + how_.recycle_jitter);
    return part(random_);
}

// All slots have workers that have run something, and a task has to be alone in one that has not:
// one is replaced, as if it was recycled.
void pool_fsm::make_room_for_alone(time_point now)
{
    if (alone_.empty() || replacing_ != no_slot || serving_ < how_.max_workers || fresh_one_comes())
        return;
    const bool one_is_marked = std::any_of(slots_.begin(), slots_.end(), [](const slot& at) {
        return serves(at.main) && at.main.recycle;
    });
    if (one_is_marked)
        return;
    if (const auto least = loads_.least(); least != pool_loads::closed)
        mark_recycle(loads_.first_with(least), now);
}

void pool_fsm::mark_recycle(std::size_t which, time_point now)
{
    auto& one = slots_[which].main;
    if (!serves(one) || (closing_ && alone_.empty()))
        return;
    one.recycle = true;
    recycle_wanted_ = true;
    // Its slot may have to wait until it may start another one.
    arm_slot(which, now);
}

// The oldest of those that are to be replaced gets a successor, if nobody has one.
void pool_fsm::recycle_next(time_point now)
{
    if (!recycle_wanted_ || replacing_ != no_slot || alive_ > how_.max_workers
        || (closing_ && (closing_->drained || alone_.empty())))
        return;
    recycle_wanted_ = false;
    auto oldest = no_slot;
    for (std::size_t which = 0; which < how_.max_workers; ++which) {
        const auto& one = slots_[which].main;
        if (!serves(one) || !one.recycle)
            continue;
        recycle_wanted_ = true;
        if (one.stands == phase::ready && slots_[which].start_at <= now
            && (oldest == no_slot || one.number < slots_[oldest].main.number))
            oldest = which;
    }
    if (oldest == no_slot)
        return;
    replacing_ = oldest;
    start_worker(oldest, slots_[oldest].extra, now);
}

void pool_fsm::close_if_done(time_point now)
{
    if (!closing_)
        return;
    if (closing_->drained || tasks_.size() == 0) {
        for (std::size_t which = 0; which < slots_.size(); ++which) {
            if (serves(slots_[which].main))
                leave(which, slots_[which].main, now);
            if (serves(slots_[which].extra))
                leave(which, slots_[which].extra, now);
        }
    }
    if (alive_ != 0 || tasks_.size() != 0 || finished_)
        return;
    finished_ = true;
    outputs_.push_back({.what = kind::finished});
}

void pool_fsm::on_closing_time(time_point now)
{
    if (!closing_)
        return;
    if (!closing_->drained && now >= closing_->drain_by) {
        closing_->drained = true;
        const auto end_all = [&](pool_queue& of) {
            while (!of.empty()) {
                const auto place = of.first();
                dequeue(place);
                complete(place, pool_outcome::stopped, now);
            }
        };
        end_all(queue_);
        end_all(alone_);
        std::for_each(homes_.begin(), homes_.end(), end_all);
        for (auto& at : slots_) {
            for (auto* const one : {&at.main, &at.extra}) {
                for (auto at_task = one->tasks.first(); at_task != no_place;
                     at_task = tasks_[at_task].after)
                    ask(at_task, pool_outcome::stopped, now);
            }
        }
    }
    if (closing_->killed || now < closing_->kill_by)
        return;
    closing_->killed = true;
    for (std::size_t which = 0; which < slots_.size(); ++which) {
        for (auto* const one : {&slots_[which].main, &slots_[which].extra}) {
            if (one->number != 0 && one->stands != phase::killing)
                kill(which, *one, now);
        }
    }
}

pool_fsm::worker* pool_fsm::find(pool_worker_number number, std::size_t& which)
{
    const auto place = workers_.find(number);
    if (place == no_place)
        return nullptr;
    which = place;
    auto& at = slots_[which];
    return at.main.number == number ? &at.main : &at.extra;
}

// `begun_by`: the last of its tasks that it has begun.
void pool_fsm::on_end(std::size_t which, worker& one, std::uint64_t begun_by, std::uint64_t touched,
                      time_point now)
{
    one.next_to_run = no_place;
    bool any_begun = false;
    // Where nothing ran, and nobody wanted its end, what it was about to take is suspected, if it
    // could find anything of that.
    bool may_suspect = one.stands == phase::ready;
    while (!one.tasks.empty()) {
        const auto place = one.tasks.first();
        const auto delivery = tasks_[place].delivery;
        const bool begun = delivery <= begun_by;
        // What is withdrawn it would have passed over.
        const bool is_next = !tasks_[place].withdrawn && std::exchange(may_suspect, false);
        const bool suspected = is_next && !begun && delivery <= touched;
        any_begun = any_begun || begun;
        take_from(one, place, now);
        after_death(place, begun, suspected, now);
    }
    auto& at = slots_[which];
    learn_from(at, one, any_begun, now);
    workers_.erase(one.number);
    --alive_;
    const bool was_main = &one == &at.main;
    one = worker{};
    if (was_main && serves(at.extra)) {
        // Its successor is on its way already.
        std::swap(at.main, at.extra);
        replacing_ = no_slot;
    } else if (!was_main) {
        replacing_ = no_slot;
    }
    touch(which, now);
}

// A worker that could not be started, or that ends for nothing, is not started again at once. Who
// dies of a task has a task that says so, and those come to an end.
void pool_fsm::learn_from(slot& at, const worker& one, bool begun, time_point now)
{
    const bool was_stable = one.was_ready
        && (one.ended > 0 || begun || now - one.ready_since >= how_.backoff.stable_after);
    const bool by_itself = serves(one) || one.overdue;
    lost_ += by_itself ? 1 : 0;
    if (was_stable)
        at.failures = 0;
    else if (by_itself)
        at.start_at = later(now, std::max(delay_after(++at.failures), least_delay));
}

pool_fsm::duration pool_fsm::delay_after(unsigned failures)
{
    const auto& how = how_.backoff;
    if (how.first == duration::zero())
        return duration::zero();
    const auto plain = part_of(how.first, std::pow(how.factor, static_cast<double>(failures - 1)));
    std::uniform_real_distribution<double> part(1.0 - how.jitter, 1.0 + how.jitter);
    return std::min(part_of(std::min(plain, how.cap), part(random_)), how.cap);
}

// It gets no further task.
void pool_fsm::leave(std::size_t which, worker& one, time_point now)
{
    if (one.in_flight == 0)
        return retire(which, one, now);
    one.stands = phase::draining;
    touch(which, now);
}

void pool_fsm::retire(std::size_t which, worker& one, time_point now)
{
    one.stands = phase::retired;
    one.due = later(now, how_.ask_grace);
    outputs_.push_back({.what = kind::retire, .worker = one.number, .slot = which});
    touch(which, now);
}

void pool_fsm::terminate(std::size_t which, worker& one, time_point now)
{
    one.stands = phase::stopping;
    one.due = later(now, how_.term_grace);
    outputs_.push_back(
        {.what = kind::terminate, .worker = one.number, .slot = which, .overdue = one.overdue});
    // It is stopped for all of them, whoever's time was over.
    for (auto place = one.tasks.first(); place != no_place; place = tasks_[place].after)
        arm(place);
    touch(which, now);
}

void pool_fsm::kill(std::size_t which, worker& one, time_point now)
{
    one.stands = phase::killing;
    one.due = time_point::max();
    outputs_.push_back({.what = kind::kill, .worker = one.number, .slot = which});
    for (auto place = one.tasks.first(); place != no_place; place = tasks_[place].after)
        arm(place);
    touch(which, now);
}

void pool_fsm::became_idle(std::size_t which, worker& one, time_point now)
{
    one.alone = false;
    one.idle_since = now;
    if (one.stands == phase::draining)
        return retire(which, one, now);
    touch(which, now);
}

void pool_fsm::on_slot_due(std::size_t which, time_point now)
{
    on_due_of(which, slots_[which].main, now);
    on_due_of(which, slots_[which].extra, now);
    arm_slot(which, now);
}

void pool_fsm::on_due_of(std::size_t which, worker& one, time_point now)
{
    if (one.number == 0 || now < due_of(one))
        return;
    switch (one.stands) {
    case phase::starting: one.overdue = true; return terminate(which, one, now);
    case phase::ready: break;
    case phase::retired: return terminate(which, one, now);
    case phase::stopping: return kill(which, one, now);
    case phase::draining:
    case phase::killing: return;
    }
    if (now >= one.recycle_at) {
        one.recycle_at = time_point::max();
        mark_recycle(which, now);
    }
    if (one.in_flight != 0 || now < later(one.idle_since, how_.idle_timeout))
        return;
    one.idle_since = now;
    const bool is_replaced = slots_[which].extra.number != 0;
    if (!is_replaced && serving_ > std::max(how_.min_workers, demand()))
        leave(which, one, now);
}

// Something about a slot's workers has changed.
void pool_fsm::touch(std::size_t which, time_point now)
{
    auto& at = slots_[which];
    const auto before = serving_;
    const bool is_serving = serves(at.main);
    const bool is_ready = is_serving && at.main.stands == phase::ready;
    if (std::exchange(at.serving, is_serving) != is_serving)
        is_serving ? ++serving_ : --serving_;
    if (std::exchange(at.ready, is_ready) != is_ready) {
        is_ready ? ++ready_ : --ready_;
        homes_moved_ = how_.balance == pool_balance::sticky_key;
    }
    loads_.set(which, is_ready && !at.main.alone ? at.main.in_flight : pool_loads::closed);
    arm_slot(which, now);
    // From here on those that are idle may be too many: their time counts.
    if (before <= how_.min_workers && serving_ > how_.min_workers) {
        for (std::size_t other = 0; other < slots_.size(); ++other)
            arm_slot(other, now);
    }
}

void pool_fsm::arm_slot(std::size_t which, time_point now)
{
    const auto& at = slots_[which];
    auto due = std::min(due_of(at.main), due_of(at.extra));
    if (at.start_at > now && (at.main.number == 0 || at.main.recycle))
        due = std::min(due, at.start_at);
    slot_dues_.set(static_cast<pool_place>(which), due);
}

pool_fsm::time_point pool_fsm::due_of(const worker& one) const
{
    if (one.number == 0)
        return time_point::max();
    switch (one.stands) {
    case phase::starting:
    case phase::retired:
    case phase::stopping: return one.due;
    case phase::draining:
    case phase::killing: return time_point::max();
    case phase::ready: break;
    }
    // Those that are kept in any case have no time to count.
    const bool may_leave = one.in_flight == 0 && serving_ > how_.min_workers;
    return std::min(one.recycle_at,
                    may_leave ? later(one.idle_since, how_.idle_timeout) : time_point::max());
}

pool_fsm::census pool_fsm::workers(time_point now) const
{
    census counts;
    for (std::size_t which = 0; which < slots_.size(); ++which) {
        const auto& at = slots_[which];
        counts.cooling +=
            which < how_.max_workers && at.main.number == 0 && at.start_at > now ? 1 : 0;
        for (const auto* const one : {&at.main, &at.extra}) {
            if (one->number == 0)
                continue;
            if (one->stands == phase::starting)
                ++counts.starting;
            else if (one->stands != phase::ready)
                ++counts.leaving;
            else
                ++(one->in_flight == 0 ? counts.idle : counts.busy);
        }
    }
    return counts;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
