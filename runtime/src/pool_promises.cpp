// SPDX-License-Identifier: BSL-1.0
// What of a pool_fsm must hold at any time.
#include "pool_fsm.hpp"

#include <algorithm>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

std::string_view pool_fsm::broken_promise() const
{
    if (const auto broken = broken_promise_of_slots(); !broken.empty())
        return broken;
    if (const auto broken = broken_promise_of_tasks(); !broken.empty())
        return broken;
    if (finished_ && (alive_ != 0 || tasks_.size() != 0))
        return "finished, and somebody lives or waits";
    if (!waiting_.empty() && queued_ < how_.high_water)
        return "a submission waits, and there is room";
    return {};
}

std::string_view pool_fsm::broken_promise_of_tasks() const
{
    auto in_queues = queue_.size() + alone_.size();
    for (const auto& one : homes_)
        in_queues += one.size();
    if (in_queues != queued_)
        return "the number of those queued is another";
    if (tasks_.size() != queued_ + waiting_.size() + in_flight_)
        return "a task is neither queued nor delivered";
    for (std::size_t which = 0; which < loads_.size(); ++which) {
        if (how_.balance != pool_balance::sticky_key && !queue_.empty()
            && loads_[which] < how_.tasks_per_worker)
            return "a task waits, and a worker could run it";
    }
    return {};
}

std::string_view pool_fsm::broken_promise_of_slots() const
{
    unsigned alive = 0;
    unsigned serving = 0;
    unsigned ready = 0;
    unsigned pairs = 0;
    std::size_t in_flight = 0;
    for (std::size_t which = 0; which < slots_.size(); ++which) {
        const auto& at = slots_[which];
        for (const auto* const one : {&at.main, &at.extra}) {
            if (const auto broken = broken_promise_of(*one); !broken.empty())
                return broken;
            alive += one->number != 0 ? 1 : 0;
            in_flight += one->in_flight;
            if (one->number != 0 && workers_.find(one->number) != which)
                return "a worker is not found by its number";
        }
        pairs += at.extra.number != 0 ? 1 : 0;
        serving += serves(at.main) ? 1 : 0;
        ready += at.main.number != 0 && at.main.stands == phase::ready ? 1 : 0;
        const bool is_open =
            at.main.number != 0 && at.main.stands == phase::ready && !at.main.alone;
        if (loads_[which] != (is_open ? at.main.in_flight : pool_loads::closed))
            return "a slot's load is not that of its worker";
        if (at.extra.number != 0 && replacing_ != which)
            return "a worker beside another one is no replacement";
    }
    if (alive != alive_ || serving != serving_ || ready != ready_ || in_flight != in_flight_)
        return "workers were counted wrong";
    if (pairs > 1)
        return "two workers are replaced at once";
    return {};
}

std::string_view pool_fsm::broken_promise_of(const worker& one) const
{
    if (one.number == 0)
        return one.in_flight == 0 ? std::string_view() : "nobody has tasks";
    unsigned tasks = 0;
    unsigned running = 0;
    unsigned withdrawn = 0;
    std::uint64_t before = 0;
    bool others_run = true;
    for (auto place = one.tasks.first(); place != no_place; place = tasks_[place].after) {
        const auto& task = tasks_[place];
        ++tasks;
        running += task.running ? 1 : 0;
        withdrawn += task.running && task.withdrawn ? 1 : 0;
        if (task.worker != one.number || task.stands != pool_task::state::delivered)
            return "a worker has a task that is not its own";
        if (task.withdrawn && !(task.asked && task.verdict))
            return "a task is withdrawn that nobody has asked for";
        if (task.delivery <= before)
            return "a worker's tasks are not in the order of their delivery";
        if (task.running && !others_run)
            return "a task runs before one that was delivered before it";
        others_run = task.running;
        before = task.delivery;
        if (task.alone && tasks > 1)
            return "a task that has to be alone is not";
    }
    if (tasks != one.in_flight || running != one.running || withdrawn != one.withdrawn)
        return "a worker's tasks were counted wrong";
    if (running != std::min(tasks, how_.tasks_per_worker))
        return "not as many tasks run as can";
    if (tasks > how_.tasks_per_worker + how_.prefetch)
        return "a worker has more tasks than its credit";
    if (one.alone && tasks > 1)
        return "a worker that shall have one task has more";
    if (one.stands == phase::retired && tasks != 0)
        return "a worker was told to end, and has tasks";
    return {};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
