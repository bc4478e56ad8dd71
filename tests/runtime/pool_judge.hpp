// SPDX-License-Identifier: BSL-1.0
// Judges what a pool's machine decides: whether what it tells may be, after what it was told.
#ifndef PROCYARD_TESTS_RUNTIME_POOL_JUDGE_HPP
#define PROCYARD_TESTS_RUNTIME_POOL_JUDGE_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "pool_fsm.hpp"
#include "pool_known.hpp"

namespace procyard_test {

/// What it sees becomes known. It does not look into the machine, but for how many workers there
/// are of each kind.
class pool_judge {
public:
    using pool_balance = procyard::pool_balance;
    using pool_outcome = procyard::pool_outcome;
    using pool_fsm = procyard::detail::pool_fsm;
    using pool_output = procyard::detail::pool_output;
    using pool_task_number = procyard::detail::pool_task_number;
    using kind = pool_output::kind;

    pool_judge(known_pool& pool, const pool_fsm& fsm) : pool_(pool), fsm_(fsm) { }

    /// Replacement = desired - alive, after each input.
    void input_ends()
    {
        if (pool_.stopping || fsm_.finished())
            return;
        const auto counts = fsm_.workers(pool_.now);
        std::map<std::size_t, unsigned> in_slot;
        unsigned beside = 0;
        for (const auto& [number, one] : pool_.workers)
            beside += ++in_slot[one.slot] > 1 ? 1 : 0;
        if (beside > 1)
            pool_.fail("more than one worker too many");
        if (pool_.workers.size() != fsm_.alive())
            pool_.fail("does not know who lives");
        std::size_t admitted = 0;
        for (const auto number : pool_.unfinished)
            admitted += pool_.tasks[number].admitted ? 1 : 0;
        const auto wanted =
            std::min<std::size_t>(std::max<std::size_t>((admitted + pool_.how.tasks_per_worker - 1)
                                                            / pool_.how.tasks_per_worker,
                                                        pool_.how.min_workers),
                                  pool_.how.max_workers);
        const auto there = counts.starting + counts.idle + counts.busy + counts.cooling;
        const auto taken = static_cast<std::size_t>(
            std::count_if(in_slot.begin(), in_slot.end(),
                          [&](const auto& one) { return one.first < pool_.how.max_workers; }));
        if (there < wanted && pool_.workers.size() < pool_.how.max_workers
            && taken + counts.cooling < pool_.how.max_workers)
            pool_.fail("wants " + std::to_string(wanted) + " workers, has " + std::to_string(there)
                       + " and starts none: " + std::to_string(counts.starting) + " starting, "
                       + std::to_string(counts.idle) + " idle, " + std::to_string(counts.busy)
                       + " busy, " + std::to_string(counts.leaving) + " leaving, "
                       + std::to_string(counts.cooling) + " cooling, of "
                       + std::to_string(pool_.how.max_workers));
        if (pool_.workers.size() <= pool_.how.max_workers)
            pool_.changed_size = false;
    }

    /// Each output, in order.
    void saw(const pool_output& one)
    {
        switch (one.what) {
        case kind::start_worker: return on_start(one);
        case kind::deliver: return on_deliver(one);
        case kind::ask: return on_ask(one);
        case kind::struck: return on_struck(one);
        case kind::complete: return on_complete(one);
        case kind::admitted:
            if (std::exchange(pool_.tasks[one.task].admitted, true))
                pool_.fail("admitted twice");
            return;
        case kind::finished:
            ++pool_.finished;
            if (!pool_.workers.empty() || !pool_.unfinished.empty())
                pool_.fail("finished, and there is somebody or something");
            return;
        case kind::retire:
        case kind::terminate:
        case kind::kill: return on_stop(one);
        }
    }

private:
    void on_start(const pool_output& one)
    {
        if (one.worker != ++pool_.last_worker)
            pool_.fail("a worker's number is not the next one");
        if (one.slot >= pool_.how.max_workers)
            pool_.fail("a slot beyond the last one");
        unsigned beside = 0;
        for (const auto& [number, other] : pool_.workers)
            beside += other.slot == one.slot ? 1 : 0;
        if (beside > 1 || pool_.workers.size() + 1 > pool_.how.max_workers + 1)
            pool_.fail("more workers than there may be");
        if (pool_.stopping && pool_.now >= pool_.drain_by)
            pool_.fail("starts a worker while all are stopped");
        pool_.workers[one.worker] =
            known_worker{.slot = one.slot, .started_at = pool_.now, .beat = pool_.now};
    }

    void on_deliver(const pool_output& one)
    {
        auto& task = pool_.tasks[one.task];
        if (pool_.workers.count(one.worker) == 0)
            return pool_.fail("delivers to nobody");
        auto& at = pool_.workers[one.worker];
        if (!at.ready || at.retired || at.terminated || at.killed)
            pool_.fail("delivers to a worker that is not ready");
        if (task.over || task.worker != 0 || !task.admitted)
            pool_.fail("delivers what is over, elsewhere, or not admitted");
        if (at.tasks.size() >= pool_.how.tasks_per_worker + pool_.how.prefetch)
            pool_.fail("more in flight than the credit");
        if (task.begun_ever && !task.terms.idempotent && !task.lied_about)
            pool_.fail("what may be begun once was, and is delivered again");
        if (one.attempt != task.strikes + 1)
            pool_.fail("a wrong attempt");
        if ((at.alone && !at.tasks.empty()) || (task.must_be_alone() && at.delivered > 0))
            pool_.fail("a task that has a strike, or is suspected, is not alone in a fresh worker");
        at.alone = task.must_be_alone();
        if (!task.must_be_alone()) {
            check_order(one.task);
            check_home(task.terms.key, one.slot);
        }
        at.places.push_back(++at.delivered);
        at.tasks.push_back(one.task);
        at.begun.push_back(0);
        at.withdrawn.push_back(0);
        task.worker = one.worker;
        task.delivered_at = pool_.now;
        task.asked = task.asked_off = false;
        task.alone_since.reset();
        task.runs_since.reset();
    }

    void check_order(pool_task_number number)
    {
        const auto& task = pool_.tasks[number];
        for (const auto other : pool_.unfinished) {
            const auto& before = pool_.tasks[other];
            if (before.worker != 0 || !before.admitted || before.must_be_alone() || other == number)
                continue;
            if (pool_.how.balance == pool_balance::sticky_key && before.terms.key != task.terms.key)
                continue;
            if (before.terms.priority > task.terms.priority
                || (before.terms.priority == task.terms.priority && other < number))
                pool_.fail("task " + std::to_string(number) + " goes before "
                           + std::to_string(other));
        }
    }

    // A key moves only if its worker has gone, or to one that has come.
    void check_home(std::uint64_t key, std::size_t slot)
    {
        if (pool_.how.balance != pool_balance::sticky_key)
            return;
        auto& [home, since] = homes_.try_emplace(key, slot, pool_.inputs).first->second;
        if (home != slot && home < pool_.how.max_workers && pool_.changed[home] < since
            && pool_.changed[slot] < since)
            pool_.fail("key " + std::to_string(key) + " leaves its worker for nothing");
        home = slot;
        since = pool_.inputs;
    }

    void on_ask(const pool_output& one)
    {
        auto& task = pool_.tasks[one.task];
        if (task.over || task.worker != one.worker || pool_.workers.count(one.worker) == 0)
            return pool_.fail("asks of a task that the worker does not have");
        const bool is_off = one.outcome == pool_outcome::queue_deadline;
        if (task.asked || std::exchange(is_off ? task.asked_off : task.asked, true))
            pool_.fail("asks twice");
        if (!is_off)
            task.asked_at = pool_.now;
    }

    void on_struck(const pool_output& one)
    {
        auto& task = pool_.tasks[one.task];
        if (one.worker != pool_.ending_worker || task.worker != 0)
            pool_.fail("a strike of somebody who has not ended");
        if (one.attempt == task.strikes)
            return on_suspected(one.task, task);
        if (!task.terms.idempotent)
            pool_.fail("a strike of a task that may not be begun again");
        if (!pool_.dying.has_begun(one.task) && !task.lied_about)
            pool_.fail("a strike of a task that was not begun");
        if (one.attempt != ++task.strikes)
            pool_.fail("a strike that does not count");
        if (task.strikes >= pool_.limit_of(task))
            pool_.fail("as many strikes as a task may have, and it is not over");
        // It was begun in time.
        task.terms.queue_until = pool_fsm::time_point::max();
    }

    void on_suspected(pool_task_number number, known_task& task)
    {
        if (!is_suspect(number))
            pool_.fail("suspects a task that was not the next one of a worker that served");
        if (++task.suspicions >= task.most_suspicions(pool_.limit_of(task)))
            pool_.fail("as many suspicions as are enough, and it is not over");
    }

    // Whether it was the first that the worker which has just died would have begun, and had any
    // part of.
    bool is_suspect(pool_task_number number) const
    {
        const bool served = pool_.dying.ready && !pool_.dying.retired && !pool_.dying.terminated
            && !pool_.dying.killed;
        if (!served || pool_.dying.tasks.empty())
            return false;
        const auto lied = [&](auto each) { return pool_.tasks.at(each).lied_about; };
        if (std::any_of(pool_.dying.tasks.begin(), pool_.dying.tasks.end(), lied))
            return true;
        std::size_t next = 0;
        while (next < pool_.dying.tasks.size() && pool_.dying.withdrawn[next])
            ++next;
        return next < pool_.dying.tasks.size() && pool_.dying.tasks[next] == number
            && pool_.dying.begun[next] == 0 && pool_.dying.places[next] <= pool_.dying.touched;
    }

    void on_complete(const pool_output& one)
    {
        auto& task = pool_.tasks[one.task];
        if (std::exchange(task.over, true))
            return pool_.fail("a task is over twice");
        pool_.unfinished.erase(one.task);
        ++pool_.ends[static_cast<std::size_t>(one.outcome)];
        const bool is_let_go = (task.asked || task.asked_off)
            && pool_.place_at(pool_.confirming, one.task) > pool_.confirmed;
        if (task.worker != 0 && pool_.ending_task != one.task && pool_.ending_worker != task.worker
            && !is_let_go)
            pool_.fail("over, and its worker has neither answered nor gone, and may begin it");
        pool_.let_go += is_let_go ? 1 : 0;
        if (one.waited.count() < 0 || one.ran.count() < 0)
            pool_.fail("a time below nothing");
        const bool honest = !task.lied_about;
        const bool begun = pool_.dying.has_begun(one.task);
        bool right = true;
        switch (one.outcome) {
        case pool_outcome::done:
        case pool_outcome::task_failed: right = pool_.ending_task == one.task; break;
        case pool_outcome::worker_died: right = !task.terms.idempotent && (begun || !honest); break;
        case pool_outcome::queue_deadline: right = pool_.now >= task.terms.queue_until; break;
        case pool_outcome::run_deadline:
            right = pool_.now - task.delivered_at >= task.terms.run_limit;
            break;
        case pool_outcome::heartbeat_lost:
            right = task.terms.heartbeat_limit != pool_fsm::duration::max()
                && pool_.now - task.delivered_at >= task.terms.heartbeat_limit;
            break;
        case pool_outcome::cancelled: right = task.cancelled; break;
        case pool_outcome::poisoned:
            right = (task.terms.idempotent && task.strikes + 1 == pool_.limit_of(task)
                     && (begun || !honest))
                || (task.suspicions + 1 == task.most_suspicions(pool_.limit_of(task))
                    && is_suspect(one.task));
            break;
        case pool_outcome::stopped: right = pool_.stopping; break;
        }
        if (!right)
            pool_.fail("task " + std::to_string(one.task)
                       + " is over without reason: " + std::string(to_string(one.outcome)));
    }

    void on_stop(const pool_output& one)
    {
        if (pool_.workers.count(one.worker) == 0)
            return pool_.fail("stops what does not live");
        auto& at = pool_.workers[one.worker];
        pool_.changed[at.slot] = pool_.inputs;
        if (one.what == kind::retire && (at.retired || at.terminated))
            pool_.fail("told to end twice");
        if (one.what == kind::retire)
            at.retired = pool_.now;
        if (one.what == kind::retire && !at.tasks.empty())
            pool_.fail("told to end while it has tasks");
        if (one.what == kind::terminate && (at.terminated || at.killed))
            pool_.fail("SIGTERM twice");
        if (one.what == kind::terminate)
            at.terminated = pool_.now;
        if (one.what != kind::kill)
            return;
        if (std::exchange(at.killed, true))
            pool_.fail("SIGKILL twice");
        if (!(pool_.stopping && pool_.now >= pool_.kill_by)
            && (!at.terminated || pool_.now - *at.terminated < pool_.how.term_grace))
            pool_.fail("SIGKILL before the grace is over");
    }

    known_pool& pool_;
    const pool_fsm& fsm_;
    std::map<std::uint64_t, std::pair<std::size_t, std::uint64_t>> homes_{};  // each key's, when
};

}  // namespace procyard_test

#endif
