// SPDX-License-Identifier: BSL-1.0
// What pool_model_test's world knows of a pool, without a look into its machine.
#ifndef PROCYARD_TESTS_RUNTIME_POOL_KNOWN_HPP
#define PROCYARD_TESTS_RUNTIME_POOL_KNOWN_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "pool_fsm.hpp"

namespace procyard_test {

/// What the world knows of a task, from what it has said and was told.
struct known_task {
    procyard::detail::pool_task_terms terms{};
    bool admitted = false;
    bool over = false;
    bool cancelled = false;
    bool asked = false;       // to be left, whether begun or not
    bool asked_off = false;   // to be left if it has not been begun
    bool begun_ever = false;  // by anybody, as far as an honest worker has said
    bool lied_about = false;  // a worker has denied to have begun it, or claimed to
    unsigned strikes = 0;
    unsigned suspicions = 0;  // workers that died before they had begun it, as the next one
    procyard::detail::pool_worker_number worker = 0;  // who has it now
    procyard::timer_clock::time_point delivered_at{};
    procyard::timer_clock::time_point asked_at{};  // to be left, whether begun or not
    // Since when it is one of those that its worker may run.
    std::optional<procyard::timer_clock::time_point> runs_since{};
    // Since when nothing runs in its worker but what is over, as it is itself.
    std::optional<procyard::timer_clock::time_point> alone_since{};

    [[nodiscard]] unsigned most_suspicions(unsigned most_strikes) const
    {
        return terms.idempotent && most_strikes > 3 ? most_strikes : 3;
    }
    [[nodiscard]] bool must_be_alone() const { return strikes + suspicions > 0; }
};

/// A worker of the world, which the machine has started and has not been told the end of.
struct known_worker {
    std::size_t slot = 0;
    procyard::timer_clock::time_point started_at{};
    bool ready = false;
    std::optional<procyard::timer_clock::time_point> retired{};
    bool killed = false;
    std::optional<procyard::timer_clock::time_point> terminated{};
    bool stubborn = false;  // answers nothing, and ends only by a kill
    bool alone = false;
    // Those that have not ended, in the order of delivery.
    std::vector<procyard::detail::pool_task_number> tasks{};
    std::vector<char> begun{};
    std::vector<std::uint64_t> places{};  // the how manieth delivery each was
    std::vector<char> withdrawn{};        // it has heard of it before it could begin it
    std::uint64_t delivered = 0;
    std::uint64_t touched = 0;  // the last one of which anything had come to it when it died
    std::uint64_t started = 0;
    std::uint64_t answered = 0;  // the last one
    std::uint64_t told = 0;      // the last one that the machine has heard of as begun
    procyard::timer_clock::time_point beat{};

    bool has_begun(procyard::detail::pool_task_number task) const
    {
        for (std::size_t i = 0; i < tasks.size(); ++i) {
            if (tasks[i] == task)
                return begun[i] != 0;
        }
        return false;
    }
};

/// All of it, and what is wrong with it.
struct known_pool {
    using fsm_type = procyard::detail::pool_fsm;
    using task_number = procyard::detail::pool_task_number;
    using worker_number = procyard::detail::pool_worker_number;

    /// The first one counts.
    void fail(const std::string& what)
    {
        if (broken.empty())
            broken = what + ", at input " + std::to_string(inputs);
    }
    /// 0: the worker does not have it.
    [[nodiscard]] std::uint64_t place_at(worker_number worker, task_number task) const
    {
        const auto at = workers.find(worker);
        if (at == workers.end())
            return 0;
        const auto& its = at->second.tasks;
        const auto found = std::find(its.begin(), its.end(), task);
        return found == its.end() ? 0 : at->second.places[std::size_t(found - its.begin())];
    }
    [[nodiscard]] unsigned limit_of(const known_task& task) const
    {
        return task.terms.strikes == 0 ? how.strikes : task.terms.strikes;
    }

    fsm_type::setup how{};
    fsm_type::time_point now{std::chrono::hours(1)};
    std::uint64_t inputs = 0;
    std::map<task_number, known_task> tasks{};
    std::set<task_number> unfinished{};
    std::map<worker_number, known_worker> workers{};
    worker_number last_worker = 0;
    std::map<std::size_t, std::uint64_t> changed{};  // each slot: when its worker came or went
    bool changed_size = false;
    // What the machine is just told of.
    task_number ending_task = 0;
    worker_number ending_worker = 0;
    known_worker dying{};
    worker_number confirming = 0;
    std::uint64_t confirmed = 0;  // what it is said to have begun
    bool stopping = false;
    fsm_type::time_point drain_by = fsm_type::time_point::max();
    fsm_type::time_point kill_by = fsm_type::time_point::max();
    // What it has told.
    std::size_t finished = 0;
    std::size_t ends[procyard::pool_outcomes] = {};
    std::size_t let_go = 0;
    std::size_t late = 0;        // told while a worker had it
    std::size_t late_begun = 0;  // asked for, and begun by then
    std::string broken{};
};

}  // namespace procyard_test

#endif
