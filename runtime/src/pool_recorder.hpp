// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_RECORDER_HPP
#define PROCYARD_RUNTIME_SRC_POOL_RECORDER_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/pool_metrics.hpp>

#include "pool_fsm.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Makes a pool's metrics of what its machine says. Costs no allocation for a task, and nothing when
// nobody asks but a few additions.
class pool_recorder {
public:
    using time_point = timer_clock::time_point;

    pool_recorder(unsigned tasks_per_worker, time_point now)
        : tasks_per_worker_(tasks_per_worker),
          since_(now)
    {
    }

    // So that a worker of each of these is noted without memory.
    void make_room(std::size_t slots) { used_.resize(std::max(used_.size(), slots), false); }

    // After each call of the machine that had outputs or has changed something.
    void record(const pool_fsm& fsm, time_point now)
    {
        pass(now);
        running_ = fsm.running();
        ready_ = fsm.ready();
        for (const auto& one : fsm.outputs())
            note(one);
    }

    // All but the users' counters.
    [[nodiscard]] pool_metrics snapshot(const pool_fsm& fsm, time_point now)
    {
        pass(now);
        auto all = totals_;
        all.waiting = fsm.waiting();
        all.queued = fsm.queued();
        all.prefetched = fsm.in_flight() - fsm.running();
        all.running = fsm.running();
        all.submitted = fsm.submitted();
        all.workers_lost = fsm.lost();
        const auto workers = fsm.workers(now);
        all.starting = workers.starting;
        all.idle = workers.idle;
        all.busy = workers.busy;
        all.leaving = workers.leaving;
        all.cooling = workers.cooling;
        return all;
    }

private:
    void pass(time_point now)
    {
        const auto passed = now - since_;
        since_ = now;
        totals_.busy_time += passed * static_cast<timer_clock::duration::rep>(running_);
        totals_.ready_time += passed * (timer_clock::duration::rep{ready_} * tasks_per_worker_);
    }

    void note(const pool_output& one)
    {
        using kind = pool_output::kind;
        switch (one.what) {
        case kind::start_worker: return note_start(one.slot);
        case kind::terminate: ++totals_.workers_terminated; return;
        case kind::kill: ++totals_.workers_killed; return;
        case kind::struck: ++totals_.strikes; return;
        case kind::complete: return note_end(one);
        case kind::deliver:
        case kind::ask:
        case kind::retire:
        case kind::admitted:
        case kind::finished: return;
        }
    }

    void note_start(std::size_t slot)
    {
        ++totals_.workers_started;
        make_room(slot + 1);
        totals_.restarts += used_[slot] ? 1 : 0;
        used_[slot] = true;
    }

    void note_end(const pool_output& one)
    {
        ++totals_.outcomes[static_cast<std::size_t>(one.outcome)];
        totals_.wait.add(one.waited);
        if (one.has_run)
            totals_.run.add(one.ran);
    }

    unsigned tasks_per_worker_;
    time_point since_;
    std::size_t running_ = 0;
    unsigned ready_ = 0;
    std::vector<bool> used_{};  // slots that have had a worker
    pool_metrics totals_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
