// SPDX-License-Identifier: BSL-1.0
// Judges what a pool's machine makes of time: of deadlines, of heartbeats, and of the graces after
// which a worker is sent SIGTERM and SIGKILL.
#ifndef PROCYARD_TESTS_RUNTIME_POOL_TIME_JUDGE_HPP
#define PROCYARD_TESTS_RUNTIME_POOL_TIME_JUDGE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "pool_fsm.hpp"
#include "pool_known.hpp"

namespace procyard_test {

/// A task whose queue deadline is over is told so, if no worker has begun it, as soon as that is
/// known: where nobody has it at once; else its worker is asked to leave it, and pool_judge sees
/// that it is over when the answer is there. One that was begun runs, whoever was asked; and nobody
/// is sent SIGTERM because of it. Who is to be sent it is so in time, and no earlier.
///
/// To be told before pool_judge: it looks at what was known.
class pool_time_judge {
public:
    using pool_outcome = procyard::pool_outcome;
    using pool_output = procyard::detail::pool_output;
    using duration = procyard::detail::pool_fsm::duration;

    explicit pool_time_judge(known_pool& pool) : pool_(pool) { }

    /// Each output, in order.
    void saw(const pool_output& one)
    {
        using kind = pool_output::kind;
        const auto at = pool_.workers.find(one.worker);
        if (one.what == kind::complete)
            return saw_end(one);
        if (at == pool_.workers.end())
            return;
        if (one.what == kind::deliver || one.what == kind::terminate)
            note_alone(at->second);
        if (one.what == kind::ask && one.outcome == pool_outcome::queue_deadline)
            saw_ask(at->second, one.task);
        if (one.what == kind::terminate && !may_be_terminated(at->second))
            pool_.fail("SIGTERM to a worker for nothing: " + words(at->second));
    }

    void input_ends()
    {
        for (const auto& [number, one] : pool_.workers) {
            note_alone(one);
            note_running(one);
            if (!has_been_dealt_with(one))
                pool_.fail("a worker goes on whose time is over: " + words(one));
        }
        for (const auto number : pool_.unfinished) {
            const auto& task = pool_.tasks.at(number);
            if (pool_.now < task.terms.queue_until || task.asked || task.asked_off)
                continue;
            if (task.worker == 0)
                pool_.fail("task " + std::to_string(number) + " waits for longer than it may");
            else if (has_to_be_asked_for(pool_.workers.at(task.worker), number))
                pool_.fail("task " + std::to_string(number) + " is late, and nobody is asked");
        }
    }

private:
    void saw_ask(const known_worker& at, std::uint64_t number)
    {
        if (pool_.now < pool_.tasks.at(number).terms.queue_until)
            pool_.fail("asks for a task that is not late");
        if (runs(at, number) && pool_.place_at(pool_.tasks.at(number).worker, number) <= at.told)
            pool_.fail("asks for a task that is known to have begun in time");
    }

    void saw_end(const pool_output& one)
    {
        const auto& task = pool_.tasks.at(one.task);
        if (one.outcome != pool_outcome::queue_deadline) {
            pool_.late_begun += task.asked_off && task.begun_ever ? 1 : 0;
            return;
        }
        pool_.late += task.asked_off ? 1 : 0;
        if (task.begun_ever && !task.lied_about)
            pool_.fail("task " + std::to_string(one.task)
                       + " was begun, and is told that it is late");
    }

    // As far as the machine knows.
    [[nodiscard]] bool runs(const known_worker& at, std::uint64_t number) const
    {
        const auto end = at.tasks.begin() + static_cast<std::ptrdiff_t>(running(at));
        return std::find(at.tasks.begin(), end, number) != end;
    }
    [[nodiscard]] std::size_t running(const known_worker& at) const
    {
        return std::min<std::size_t>(at.tasks.size(), pool_.how.tasks_per_worker);
    }

    // Of one that is late: all but those that have begun, and those whose worker goes anyway.
    [[nodiscard]] bool has_to_be_asked_for(const known_worker& at, std::uint64_t number) const
    {
        if (at.killed || (at.terminated && runs(at, number)))
            return false;
        return pool_.place_at(pool_.tasks.at(number).worker, number) > at.told;
    }

    // Nothing runs there but what is over: from now on that has to go.
    void note_alone(const known_worker& at)
    {
        const auto end = at.tasks.begin() + static_cast<std::ptrdiff_t>(running(at));
        const auto is_over = [&](auto number) { return pool_.tasks.at(number).over; };
        if (!std::all_of(at.tasks.begin(), end, is_over))
            return;
        for (auto number = at.tasks.begin(); number != end; ++number) {
            auto& since = pool_.tasks.at(*number).alone_since;
            since = since.value_or(pool_.now);
        }
    }

    void note_running(const known_worker& at)
    {
        for (std::size_t i = 0; i < running(at); ++i) {
            auto& since = pool_.tasks.at(at.tasks[i]).runs_since;
            since = since.value_or(pool_.now);
        }
    }

    // What has to follow from the time has: SIGKILL, SIGTERM, or a word to its worker.
    [[nodiscard]] bool has_been_dealt_with(const known_worker& at) const
    {
        if (at.killed)
            return true;
        if (at.terminated)
            return pool_.now - *at.terminated < pool_.how.term_grace;
        if (at.retired)
            return pool_.now - *at.retired < pool_.how.ask_grace;
        if (!at.ready)
            return pool_.now - at.started_at < pool_.how.start_timeout;
        const auto end = at.tasks.begin() + static_cast<std::ptrdiff_t>(running(at));
        return std::none_of(at.tasks.begin(), end, [&](auto number) {
            const auto& task = pool_.tasks.at(number);
            if (task.over)
                return task.alone_since && pool_.now - *task.alone_since >= pool_.how.ask_grace;
            if (task.asked)
                return pool_.now - std::max(task.asked_at, *task.runs_since) >= pool_.how.ask_grace;
            return pool_.now - *task.runs_since >= task.terms.run_limit
                || pool_.now - std::max(*task.runs_since, at.beat) >= task.terms.heartbeat_limit;
        });
    }

    [[nodiscard]] std::string words(const known_worker& at) const
    {
        const auto ns = [&](auto since) {
            return std::to_string((pool_.now - since).count()) + " ns";
        };
        std::string text = at.ready ? "ready" : "starting";
        text += ", grace " + std::to_string(pool_.how.ask_grace.count()) + " ns";
        for (std::size_t i = 0; i < at.tasks.size(); ++i) {
            const auto& task = pool_.tasks.at(at.tasks[i]);
            text += "; task " + std::to_string(at.tasks[i])
                + (i < running(at) ? "" : " (sent ahead)") + (task.over ? " over" : "")
                + (task.asked ? ", asked " + ns(task.asked_at) + " ago" : "")
                + (task.asked_off ? ", asked off" : "")
                + (task.alone_since ? ", alone for " + ns(*task.alone_since) : "");
        }
        return text;
    }

    [[nodiscard]] bool may_be_terminated(const known_worker& at) const
    {
        if (at.retired)
            return pool_.now - *at.retired >= pool_.how.ask_grace;
        if (!at.ready)
            return pool_.now - at.started_at >= pool_.how.start_timeout;
        const auto end = at.tasks.begin() + static_cast<std::ptrdiff_t>(running(at));
        return std::any_of(at.tasks.begin(), end, [&](auto number) {
            const auto& task = pool_.tasks.at(number);
            if (task.over)
                return task.alone_since && pool_.now - *task.alone_since >= pool_.how.ask_grace;
            if (task.asked)
                return pool_.now - task.asked_at >= pool_.how.ask_grace;
            return task.terms.heartbeat_limit != duration::max()
                && pool_.now - std::max(task.delivered_at, at.beat) >= task.terms.heartbeat_limit;
        });
    }

    known_pool& pool_;
};

}  // namespace procyard_test

#endif
