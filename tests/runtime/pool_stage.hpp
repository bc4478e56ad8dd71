// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_RUNTIME_POOL_STAGE_HPP
#define PROCYARD_TESTS_RUNTIME_POOL_STAGE_HPP

#include "pool_fsm.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace procyard_test {

/// Plays the world for a pool's machine: what it is told to do is written down as text, for
/// comparison: `start w2/1` is worker 2 in slot 1, `deliver t3 w1 #2` task 3's second attempt,
/// `t3 done` the end of task 3.
class pool_stage {
public:
    using fsm_type = procyard::detail::pool_fsm;
    using terms = fsm_type::task_terms;
    using outcome = procyard::pool_outcome;

    /// Without jitter, and with room for one task at each worker unless told.
    static fsm_type::setup plain(unsigned min, unsigned max, unsigned prefetch = 0)
    {
        fsm_type::setup how;
        how.min_workers = min;
        how.max_workers = max;
        how.prefetch = prefetch;
        how.recycle_jitter = 0;
        how.backoff.jitter = 0;
        return how;
    }

    explicit pool_stage(const fsm_type::setup& how) : fsm(how, 1) { }

    /// A key from `from` on whose tasks go to this worker. All are idle, before and after.
    std::uint64_t key_of(std::uint64_t worker, std::uint64_t from)
    {
        for (std::uint64_t key = from;; ++key) {
            submit({.key = key});
            const auto home = fsm.outputs().back().worker;
            done(home, last);
            if (home == worker)
                return key;
        }
    }
    /// How many tasks it has been sent.
    std::uint64_t delivered_to(std::uint64_t worker) const
    {
        return worker < delivered_.size() ? delivered_[worker] : 0;
    }

    std::string start()
    {
        fsm.start(now);
        return note();
    }
    /// Starts, and all workers are ready.
    void begin()
    {
        start();
        for (unsigned i = fsm.alive(); i > 0; --i)
            ready(fsm.alive() - i + 1);
    }
    std::string submit(const terms& how = {})
    {
        last = fsm.submit(how, now);
        return note();
    }
    /// What follows from the last one.
    std::string submit_many(unsigned count, const terms& how = {})
    {
        for (; count > 1; --count)
            submit(how);
        return submit(how);
    }
    std::string cancel(std::uint64_t task)
    {
        fsm.cancel(task, now);
        return note();
    }
    std::string ready(std::uint64_t worker)
    {
        fsm.worker_ready(worker, now);
        return note();
    }
    /// All that it was sent has been in its channel, unless told.
    std::string ended(std::uint64_t worker, std::uint64_t started = 0)
    {
        return ended(worker, started, delivered_to(worker));
    }
    std::string ended(std::uint64_t worker, std::uint64_t started, std::uint64_t sent)
    {
        return ended(worker, started, sent, sent);
    }
    std::string ended(std::uint64_t worker, std::uint64_t started, std::uint64_t sent,
                      std::uint64_t touched)
    {
        fsm.worker_ended(worker, started, sent, touched, now);
        return note();
    }
    std::string done(std::uint64_t worker, std::uint64_t task, outcome how = outcome::done)
    {
        fsm.task_ended(worker, task, how, now);
        return note();
    }
    /// It has heard all that it was asked, and has begun so many.
    std::string begun(std::uint64_t worker, std::uint64_t started)
    {
        fsm.worker_begun(worker, started, now);
        return note();
    }
    /// It says so by itself.
    std::string runs(std::uint64_t worker, std::uint64_t started)
    {
        fsm.worker_runs(worker, started, now);
        return note();
    }
    std::string beat(std::uint64_t worker)
    {
        fsm.worker_beat(worker, now);
        return note();
    }
    /// What comes now, until pass(), has come before.
    void hold() { fsm.hold(); }
    std::string pass(std::chrono::nanoseconds time)
    {
        now += time;
        fsm.tick(now);
        return note();
    }
    std::string recycle(std::uint64_t worker)
    {
        fsm.recycle(worker, now);
        return note();
    }
    std::string recycle_all()
    {
        fsm.recycle_all(now);
        return note();
    }
    std::string resize(unsigned min, unsigned max)
    {
        fsm.resize(min, max, now);
        return note();
    }
    std::string stop(std::chrono::nanoseconds drain, std::chrono::nanoseconds kill)
    {
        fsm.stop(now + drain, now + kill, now);
        return note();
    }

    fsm_type fsm;
    fsm_type::time_point now{std::chrono::hours(1)};
    std::uint64_t last = 0;  // the task that was submitted last
    bool tells_admitted = false;

private:
    std::string note()
    {
        std::string text;
        for (const auto& one : fsm.outputs()) {
            const auto part = words(one);
            text += text.empty() || part.empty() ? part : ", " + part;
        }
        const auto broken = fsm.broken_promise();
        return broken.empty() ? text : "BROKEN: " + std::string(broken);
    }

    std::string words(const procyard::detail::pool_output& one)
    {
        using kind = procyard::detail::pool_output::kind;
        const auto worker = "w" + std::to_string(one.worker);
        const auto task = "t" + std::to_string(one.task);
        switch (one.what) {
        case kind::start_worker: return "start " + worker + '/' + std::to_string(one.slot);
        case kind::deliver:
            delivered_.resize(std::max<std::size_t>(delivered_.size(), one.worker + 1));
            ++delivered_[one.worker];
            return "deliver " + task + ' ' + worker
                + (one.attempt > 1 ? " #" + std::to_string(one.attempt) : std::string());
        case kind::ask: return "ask " + task + ' ' + worker;
        case kind::retire: return "retire " + worker;
        case kind::terminate: return "terminate " + worker;
        case kind::kill: return "kill " + worker;
        case kind::struck: return "struck " + task;
        case kind::complete: return task + ' ' + std::string(to_string(one.outcome));
        case kind::admitted: return tells_admitted ? "admitted " + task : std::string();
        case kind::finished: return "finished";
        }
        return "?";
    }

    std::vector<std::uint64_t> delivered_{};  // by the worker's number
};

/// One that has begun.
class ready_pool : public pool_stage {
public:
    explicit ready_pool(const fsm_type::setup& how) : pool_stage(how) { begin(); }
    explicit ready_pool(unsigned workers = 1, unsigned prefetch = 0)
        : ready_pool(plain(workers, workers, prefetch))
    {
    }
};

}  // namespace procyard_test

#endif
