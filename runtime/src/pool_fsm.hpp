// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_FSM_HPP
#define PROCYARD_RUNTIME_SRC_POOL_FSM_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/pool_options.hpp>

#include "pool_deadlines.hpp"
#include "pool_index.hpp"
#include "pool_loads.hpp"
#include "pool_queue.hpp"
#include "pool_tasks.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// An incarnation of a worker: 1, 2, 3, …; never used again.
using pool_worker_number = std::uint64_t;

// What is to be done. A worker's slot is 0 … max_workers - 1: an incarnation that replaces another
// one has the same.
struct pool_output {
    enum class kind : std::uint8_t {
        start_worker,  // answers: worker_ready and worker_ended; the latter alone if it cannot
        deliver,       // send the task to the worker
        ask,           // nobody wants the task; answers: task_ended, worker_begun, the end
        retire,        // no further task comes: the worker, which has none, shall end by itself
        terminate,     // SIGTERM to its tree
        kill,          // SIGKILL to its tree; answer: worker_ended
        struck,        // the worker's end counts against the task, which will run again, alone
        complete,      // the task is over: `outcome`
        admitted,      // the submission is in the queue, or past it; before its `deliver`
        finished,      // of stop(): nothing lives, and no task is left
    };
    kind what;
    pool_worker_number worker = 0;  // with `complete`: who has it, or had it last; 0 if nobody
    std::size_t slot = 0;
    pool_task_number task = 0;
    unsigned attempt = 0;  // with `deliver`, `struck` and `complete`: from 1
    // With `complete`, and with `ask`: what has waited for too long is left alone if it has begun.
    pool_outcome outcome = pool_outcome::done;
    // With `complete`: from the submission until it ran (the last time), and how long it did; or
    // until now, if it does not run.
    timer_clock::duration waited{};
    timer_clock::duration ran{};
    bool has_run = false;
    bool overdue = false;  // with `terminate`: it was not ready in time

    friend bool operator==(const pool_output&, const pool_output&) = default;
};

// Decides what becomes of a pool's tasks and workers. It knows no process, no bytes and no clock:
// what it is told has a time, and next() says when it wants to be told the next.
//
//   task:    waiting -> queued -> delivered (first its worker's `prefetch`, then running) -> over
//                          ^----- its worker has ended --------/
//     waiting:   submitted, and not admitted: the queue is at its high-water mark
//     queued:    in order of priority, then of submission; so what comes back is at the front
//     delivered: to one worker. Of those a worker has, the first `tasks_per_worker` run, as far as
//                the pool knows: until their worker says so they may wait behind one of them that
//                holds its loop, and their queue deadline counts.
//     One that nobody wants is withdrawn from its worker, and over, once it is certain that it
//     will not be begun (worker_begun); it keeps its place there until the worker has answered.
//
//   worker:  starting -> ready -> draining -> retired -> ended
//                \--------\---------\---------\--> stopping -> killing -> ended
//     ready:     gets tasks                 draining: gets none, and has some
//     retired:   has none, and was told     stopping: SIGTERM   killing: SIGKILL
//
// There are no orders in flight. After every input reconcile() compares how many workers there
// shall be with how many there are, which are looked at and not counted by what was once asked
// for: pools that did otherwise have deadlocked (cpython#115634).
//
// Each slot has one worker, but for one slot, whose worker is being replaced: that one serves until
// its successor is ready, and is drained then. So a pool is never short of a worker because one is
// recycled, and never has more than one too many.
//
// What a worker had begun when it ended is what it has said (`started`), but no more than what it
// was sent, and no less than what it has ended. What had not begun is queued again,
// and nobody's fault. What had is over (worker_died), or has a strike if it may be begun twice: it
// runs again alone, in a worker that has run nothing else, so that no neighbour is blamed.
//
// Nothing here allocates once each queue has seen its largest number of tasks and priorities.
class pool_fsm {
public:
    using time_point = timer_clock::time_point;
    using duration = timer_clock::duration;
    using task_terms = pool_task_terms;

    // See pool_options.
    struct setup {
        unsigned min_workers = 1;
        unsigned max_workers = 1;
        unsigned tasks_per_worker = 1;
        unsigned prefetch = 1;
        std::size_t high_water = 1024;
        pool_balance balance = pool_balance::least_loaded;
        duration idle_timeout = std::chrono::seconds(60);
        duration start_timeout = std::chrono::seconds(30);
        duration ask_grace = std::chrono::seconds(1);
        duration term_grace = std::chrono::seconds(1);
        std::uint64_t recycle_after_jobs = 0;
        duration recycle_after_age = duration::max();
        double recycle_jitter = 0.1;
        restart_backoff backoff{};
        unsigned strikes = 3;

        setup() = default;
        explicit setup(const pool_options& options);
    };

    // How many there are now.
    struct census {
        unsigned starting = 0;
        unsigned idle = 0;
        unsigned busy = 0;
        unsigned leaving = 0;  // draining, retired, stopping, killing
        unsigned cooling = 0;  // slots that wait until they may start a worker again
    };

    pool_fsm(const setup& what, std::uint64_t seed);

    void start(time_point now);
    // Without room in the queue the task waits; `admitted` says when it does no more. It is over at
    // once (stopped) after stop().
    pool_task_number submit(const task_terms& terms, time_point now);
    // The next number, for one that cannot be submitted: it may have been named by it already.
    pool_task_number refuse() noexcept
    {
        ++refused_;
        return tasks_.skip();
    }
    // For what the end of a task, and what follows from it, says.
    void make_room() { outputs_.reserve(16); }
    // At once where no worker has it. Else the worker is asked, and the task is over when it is
    // certain that it will not be begun, or when the worker has answered or is gone; SIGTERM and
    // SIGKILL are for a worker that runs it.
    void cancel(pool_task_number task, time_point now,
                pool_outcome verdict = pool_outcome::cancelled);

    void worker_ready(pool_worker_number worker, time_point now);
    // Nothing of it lives, and everything it has sent was told. `started`: the last of its tasks
    // that it has begun, counted from 1 in the order in which they were delivered, those that it
    // has skipped because they were cancelled included; 0 if none. As it has said, unchecked. A
    // task counts as begun from before its request is decoded: what kills its worker by that is to
    // blame, too. `sent`: the last one that was in its channel, which it cannot have gone beyond.
    // `touched`: the last one of which anything may have been there, which is no less.
    void worker_ended(pool_worker_number worker, std::uint64_t started, std::uint64_t sent,
                      std::uint64_t touched, time_point now);
    // `outcome`: done, task_failed (its handler has thrown), cancelled (by what was asked).
    void task_ended(pool_worker_number worker, pool_task_number task, pool_outcome outcome,
                    time_point now);
    // All that it was asked is where it looks before it calls a handler, and after that it had
    // begun so many, as in worker_ended(). What it was asked to leave and had not begun then, it
    // does not begin any more: that is over.
    void worker_begun(pool_worker_number worker, std::uint64_t started, time_point now);
    // It has begun so many, whatever it was asked: these have waited no longer than until now.
    void worker_runs(pool_worker_number worker, std::uint64_t started, time_point now);
    // Whether an answer of the worker to this attempt is still to come, which concerns nobody.
    [[nodiscard]] bool is_withdrawn(pool_worker_number worker, pool_task_number task,
                                    unsigned attempt) const noexcept;
    // Its loop has made progress.
    void worker_beat(pool_worker_number worker, time_point now);

    void recycle(pool_worker_number worker, time_point now);
    void recycle_all(time_point now);
    void resize(unsigned min_workers, unsigned max_workers, time_point now);
    // Tasks that wait for room are over (stopped); the others are run until drain_by. Then they are
    // cancelled (stopped), and what lives at kill_by is killed. A second call may only bring
    // either forward.
    void stop(time_point drain_by, time_point kill_by, time_point now);
    // Until the next tick() what is told is noted, and nothing else follows from it: no time is
    // judged, and no task sent. For all that has come while nobody listened, in whatever order:
    // else the first of it would judge those whose own comes later.
    void hold() noexcept { held_ = true; }
    [[nodiscard]] bool is_held() const noexcept { return held_; }
    void tick(time_point now);

    // When the next tick is due.
    [[nodiscard]] std::optional<time_point> next() const;
    // The same; max() for never. Asked for each task, for which an optional is too slow: the
    // processor waits for its two halves to be written before it reads them as one.
    [[nodiscard]] time_point first_due() const noexcept;
    // What follows from the last call, in order.
    [[nodiscard]] std::span<const pool_output> outputs() const noexcept { return outputs_; }

    [[nodiscard]] std::size_t waiting() const noexcept { return waiting_.size(); }
    [[nodiscard]] std::size_t queued() const noexcept { return queued_; }
    [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_; }
    [[nodiscard]] std::size_t running() const noexcept { return running_; }
    // Not over, or withdrawn from a worker that has not answered.
    [[nodiscard]] std::size_t unfinished() const noexcept { return tasks_.size(); }
    // Since the beginning.
    [[nodiscard]] std::uint64_t submitted() const noexcept
    {
        return tasks_.last_number() - refused_;
    }
    // Workers that have ended by themselves, could not be started, or were not ready in time.
    [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }
    // Workers that get tasks.
    [[nodiscard]] unsigned ready() const noexcept { return ready_; }
    [[nodiscard]] unsigned alive() const noexcept { return alive_; }
    [[nodiscard]] unsigned min_workers() const noexcept { return how_.min_workers; }
    [[nodiscard]] unsigned max_workers() const noexcept { return how_.max_workers; }
    [[nodiscard]] census workers(time_point now) const;
    [[nodiscard]] bool finished() const noexcept { return finished_; }

    // Which of the promises does not hold; empty when all do. For tests: looks at everything.
    [[nodiscard]] std::string_view broken_promise() const;

private:
    enum class phase : std::uint8_t { starting, ready, draining, retired, stopping, killing };

    struct worker {
        pool_worker_number number = 0;  // 0: there is none
        phase stands = phase::starting;
        bool recycle = false;  // is to be replaced
        bool overdue = false;  // was not ready in time
        bool was_ready = false;
        bool alone = false;                  // has a task that runs alone
        time_point due = time_point::max();  // of its phase: ready by, SIGTERM at, SIGKILL at
        time_point ready_since{};
        time_point recycle_at = time_point::max();
        time_point idle_since{};
        time_point beat{};  // its loop's last progress
        std::uint64_t jobs_left = 0;
        std::uint64_t delivered = 0;
        std::uint64_t ended = 0;
        std::uint64_t least_started = 0;  // the last of those that have ended, and so had begun
        std::uint64_t known_begun = 0;    // the last one, as it has said
        pool_task_list tasks{};           // in the order of delivery
        pool_place next_to_run = no_place;
        unsigned running = 0;
        unsigned withdrawn = 0;  // of these
        unsigned in_flight = 0;
    };
    struct slot {
        worker main{};
        // Main's successor until that is ready, then main's predecessor until that has ended.
        worker extra{};
        unsigned failures = 0;  // in a row
        time_point start_at = time_point::min();
        bool serving = false;  // is among those that serving_ counts
        bool ready = false;    // is among those that ready_ counts
    };
    struct closing {
        time_point drain_by;
        time_point kill_by;
        bool drained = false;
        bool killed = false;
    };

    static bool serves(const worker& one) noexcept
    {
        return one.number != 0 && (one.stands == phase::starting || one.stands == phase::ready);
    }
    static bool is_forced(const worker& one) noexcept
    {
        return one.stands == phase::stopping || one.stands == phase::killing;
    }

    // What workers come to takes no memory from here on, but for what their tasks come to.
    void grow(std::size_t slots);
    // Each input is one of these: begin(), what is special to it, settle().
    void begin() noexcept { outputs_.clear(); }
    void settle(time_point now);
    void on_time(time_point now);
    [[nodiscard]] bool is_due(time_point now) const;

    // pool_fsm.cpp: tasks.
    void enqueue(pool_place place);
    void dequeue(pool_place place);
    pool_queue& queue_of(const pool_task& task);
    void admit_waiting();
    void dispatch(time_point now);
    bool dispatch_alone(time_point now);
    bool dispatch_one(time_point now);
    bool dispatch_home(time_point now);
    [[nodiscard]] std::size_t pick_slot();
    [[nodiscard]] pool_place home_of(std::uint64_t key) const noexcept;
    [[nodiscard]] bool may_prefetch() const noexcept;
    void move_homes();
    void deliver(pool_place place, std::size_t which, time_point now);
    void run(pool_place place, worker& at, time_point now);
    void take_from(worker& at, pool_place place, time_point now);
    void run_next(worker& at, time_point now);
    void hurry_withdrawn(worker& at, time_point now);
    [[nodiscard]] bool may_wait_still(const pool_task& task);
    void ask(pool_place place, pool_outcome verdict, time_point now);
    void after_death(pool_place place, bool begun, bool suspected, time_point now);
    void complete(pool_place place, pool_outcome outcome, time_point now);
    void tell_end(const pool_task& task, pool_outcome outcome, bool has_run, time_point now);
    void on_task_due(pool_place place, time_point now);
    void arm(pool_place place);
    [[nodiscard]] time_point due_of(const pool_task& task);
    [[nodiscard]] worker& worker_of(const pool_task& task);

    // pool_workers.cpp: workers.
    void reconcile(time_point now);
    void start_missing(time_point now);
    void start_worker(std::size_t which, worker& one, time_point now);
    void leave_too_many(time_point now);
    void recycle_next(time_point now);
    void make_room_for_alone(time_point now);
    void close_if_done(time_point now);
    [[nodiscard]] unsigned desired() const;
    [[nodiscard]] unsigned demand() const noexcept;
    [[nodiscard]] bool fresh_one_comes() const noexcept;

    [[nodiscard]] worker* find(pool_worker_number number, std::size_t& which);
    void on_end(std::size_t which, worker& one, std::uint64_t begun_by, std::uint64_t touched,
                time_point now);
    void learn_from(slot& at, const worker& one, bool begun, time_point now);
    [[nodiscard]] duration delay_after(unsigned failures);
    void leave(std::size_t which, worker& one, time_point now);
    void retire(std::size_t which, worker& one, time_point now);
    void terminate(std::size_t which, worker& one, time_point now);
    void kill(std::size_t which, worker& one, time_point now);
    void became_idle(std::size_t which, worker& one, time_point now);
    void on_slot_due(std::size_t which, time_point now);
    void on_due_of(std::size_t which, worker& one, time_point now);
    void on_closing_time(time_point now);
    void mark_recycle(std::size_t which, time_point now);
    void touch(std::size_t which, time_point now);
    void arm_slot(std::size_t which, time_point now);
    [[nodiscard]] time_point due_of(const worker& one) const;
    [[nodiscard]] double jitter();

    [[nodiscard]] std::string_view broken_promise_of_tasks() const;
    [[nodiscard]] std::string_view broken_promise_of_slots() const;
    [[nodiscard]] std::string_view broken_promise_of(const worker& one) const;

    setup how_;
    std::mt19937_64 random_;

    pool_tasks tasks_{};
    pool_queue queue_{};               // with sticky keys: what has no home
    pool_queue alone_{};               // has a strike
    pool_queue waiting_{};             // not admitted
    std::vector<pool_queue> homes_{};  // with sticky keys: one for each slot
    std::size_t queued_ = 0;           // in all of these, but waiting_
    std::size_t in_flight_ = 0;
    std::size_t running_ = 0;
    std::vector<pool_place> moved_{};  // of move_homes(): kept for its memory
    pool_deadlines task_dues_{};

    std::vector<slot> slots_{};
    pool_loads loads_;
    pool_index workers_{};  // number -> slot
    pool_deadlines slot_dues_{};
    pool_worker_number last_worker_ = 0;
    std::uint64_t lost_ = 0;
    std::uint64_t refused_ = 0;
    std::size_t turn_ = 0;  // of round robin: who was last
    unsigned serving_ = 0;  // slots whose main is starting or ready
    unsigned ready_ = 0;    // slots whose main is ready
    unsigned alive_ = 0;    // workers of any phase
    std::size_t replacing_ = no_slot;
    bool recycle_wanted_ = false;  // somebody may be marked
    bool homes_moved_ = false;     // the slots that are ready are others than move_homes() has seen

    std::optional<closing> closing_{};
    bool started_ = false;
    bool finished_ = false;
    bool held_ = false;
    std::vector<pool_output> outputs_{};

    static constexpr std::size_t no_slot = SIZE_MAX;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
