// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_POOL_OPTIONS_HPP
#define PROCYARD_RUNTIME_POOL_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unopened.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/pool_error.hpp>
#include <procyard/runtime/supervision.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Which worker of a pool gets a task.
enum class pool_balance : std::uint8_t {
    /// The one that has the fewest; the first of equal ones, so that the others become idle.
    least_loaded,
    /// Each in turn that has room.
    round_robin,
    /// The same one for the same `submit_options::key`, as long as the same workers are ready, also
    /// when it is busy and others are not. A worker that becomes ready takes its part of the keys
    /// of all, one that goes leaves its own to the others. Those of a key are begun in the order of
    /// priority, then of submission, as long as it does not move. A key that moves may run in both
    /// for a while: this is for caches, and excludes nobody.
    sticky_key,
};

[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(pool_balance what) noexcept;

/// Where in a distributed trace something happens, as W3C Trace Context and Baggage say it. Passed
/// on as it is; empty: none.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct trace_context {
    std::string traceparent{};
    std::string tracestate{};
    std::string baggage{};

    [[nodiscard]] bool empty() const noexcept
    {
        return traceparent.empty() && tracestate.empty() && baggage.empty();
    }
    friend bool operator==(const trace_context&, const trace_context&) = default;
};

/// A part of a pool's life that a tracer may make a span of: a worker from its start until nothing
/// of it lives, or a task from its submission to its end.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct pool_span {
    /// Of the task; 0 for a worker's span.
    std::uint64_t task = 0;
    /// The worker; of a task the one that has had it last, 0 if none.
    std::uint64_t worker = 0;
    /// What `begin` has returned, or the submission's.
    trace_context trace{};
    /// Of a task that has ended.
    pool_outcome outcome = pool_outcome::done;
};

/// Hears where spans begin and end, on the pool's executor. Must not throw, and not use the pool.
/// Each that begins ends, be it by the pool's destructor; but for a context that goes first.
struct pool_span_hooks {
    /// Returns the context that the worker or the handler is to be told; without it, that of the
    /// submission is passed on, and workers are told none.
    std::function<trace_context(const pool_span&)> begin{};
    std::function<void(const pool_span&)> end{};
};

/// How a process pool behaves.
/// @par Thread safety   A value; distinct objects: safe, though copies share the clock. Shared
///                      objects: unsafe.
struct pool_options {
    /// So many workers are kept, with or without work. 0: none while there is no work. At most
    /// `max_workers`.
    unsigned min_workers = 1;
    /// So many are started when there is work for them: 1 to 4,096. While one is replaced there is
    /// one more.
    unsigned max_workers = 1;
    /// So many tasks a worker runs at once: 1 to 1,024. More than 1 is of use to handlers that are
    /// coroutines.
    unsigned tasks_per_worker = 1;
    /// So many further tasks wait in the worker's own channel, so that it has the next one without
    /// asking: 0 to 1,024. They are sent when there are more tasks than workers, and are nobody's
    /// fault when the worker dies before it has begun them. One that is cancelled, or has waited
    /// for too long, is over at once, whatever its worker is busy with; but one that is not in the
    /// worker's channel yet, since a request is longer than that, only when it is.
    unsigned prefetch = 1;
    /// So many tasks wait in the pool. A submission that finds as many waits until there is room.
    /// At least 1.
    std::size_t high_water = 1024;
    pool_balance balance = pool_balance::least_loaded;

    /// A worker that has had nothing to do for so long ends, if there are more than `min_workers`.
    /// `max()`: never.
    std::chrono::nanoseconds idle_timeout = std::chrono::seconds(60);
    /// A worker that is not ready after so long, its warm-up included, is stopped, and has failed.
    /// `max()`: it may take as long as it likes.
    std::chrono::nanoseconds start_timeout = std::chrono::seconds(30);
    /// How long a worker that was told to cancel a task, or to end, has until it gets SIGTERM.
    std::chrono::nanoseconds ask_grace = std::chrono::seconds(1);
    /// How long from SIGTERM to SIGKILL.
    std::chrono::nanoseconds term_grace = std::chrono::seconds(1);

    /// A worker is replaced after so many tasks. 0: never.
    std::uint64_t recycle_after_jobs = 0;
    /// A worker is replaced when it has lived for so long. `max()`: never.
    std::chrono::nanoseconds recycle_after_age = std::chrono::nanoseconds::max();
    /// A worker that has more resident memory than this is replaced; looked at between tasks. 0:
    /// never.
    std::size_t recycle_above_bytes = 0;
    /// Tasks and age are more or less by up to this part, each time anew, so that workers that were
    /// started together are not replaced together. 0 to 1.
    double recycle_jitter = 0.1;

    /// How long to wait before a worker is started again that could not be started, was not ready
    /// in time, or has died without a task that it could be the fault of. `stable_after`, or a task
    /// that it has ended, begins with `first` again.
    restart_backoff backoff{};
    /// A task that is idempotent runs again when its worker dies, alone, in a fresh worker, until
    /// it has cost so many. At least 1. What workers die of before they have begun it has cost too
    /// many after 3, or after so many if it is idempotent and that is more.
    unsigned strikes = 3;

    /// The processors that each worker runs on: the first entry is for the first worker, and so
    /// on; more workers than entries begin with the first entry again. Empty: all. One that this
    /// process may not use, or the cgroup that the command names, is refused.
    std::vector<std::vector<unsigned>> affinity{};
    /// Names of counters that handlers add to (`pool_job::count`), 64 at most. What a worker has
    /// counted is kept when it dies.
    std::vector<std::string> counters{};
    /// The channels to and from each worker. `channels.spin` is both sides': how long the pool, and
    /// each worker, look again for the next message before they sleep. It holds up the executor of
    /// both meanwhile, and the pool's for one worker after the other, while others may have
    /// answered: for few workers with processors of their own, and tasks of microseconds.
    channel_options channels{};
    /// How much of the end of a worker's standard error is kept for the report of its death.
    std::size_t error_tail = 4096;
    pool_span_hooks spans{};
    /// Null: the machine's steady clock.
    std::shared_ptr<timer_clock> clock{};
    /// Of the jitter; 0: one that differs each time.
    std::uint64_t seed = 0;
};

/// How one task behaves.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct submit_options {
    /// Of the tasks that wait, those with the highest are first; of equal ones the oldest.
    int priority = 0;
    /// For `pool_balance::sticky_key`.
    std::uint64_t key = 0;
    /// How long it may wait until it is begun, from its submission; `pool_errc::queue_deadline`. 0
    /// or less: that is over already. The same for a task that a worker has and has not begun: sent
    /// ahead (`pool_options::prefetch`), or behind one that holds the worker's loop
    /// (`tasks_per_worker`).
    std::chrono::nanoseconds queue_deadline = std::chrono::nanoseconds::max();
    /// How long it may run: then it is cancelled as by `cancel()`, and its worker stopped if need
    /// be; `pool_errc::run_deadline`.
    std::chrono::nanoseconds run_deadline = std::chrono::nanoseconds::max();
    /// How long the loop of its worker may stand still while it runs: then the worker is stopped;
    /// `pool_errc::heartbeat_lost`. A handler that is no coroutine shows by `pool_job::heartbeat`
    /// that it gets on. At least 20 ms: it is shown and looked at every 5 ms.
    std::chrono::nanoseconds heartbeat = std::chrono::nanoseconds::max();
    /// It may be begun more than once. Else it fails when its worker dies, if it had been begun.
    bool idempotent = false;
    /// As `pool_options::strikes`, for this task. 0: the pool's.
    unsigned strikes = 0;
    /// Is told to the handler.
    trace_context trace{};
};

PROCYARD_NAMESPACE_END

#endif
