// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_POOL_METRICS_HPP
#define PROCYARD_RUNTIME_POOL_METRICS_HPP

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/pool_error.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How many times were how long: a count for each power of two of nanoseconds, from 1 ns to what a
/// duration can hold. Nothing is allocated, and to add one is a few instructions.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT pool_histogram {
    static constexpr std::size_t buckets = 64;

    /// Those of less than upper_bound(i), and not less than upper_bound(i - 1).
    std::array<std::uint64_t, buckets> counts{};
    std::chrono::nanoseconds sum{};
    std::chrono::nanoseconds longest{};

    /// One that is less than 0 counts as 0.
    void add(std::chrono::nanoseconds time) noexcept;

    /// 2^i ns; `max()` for the last.
    /// @pre `bucket < buckets`
    [[nodiscard]] static std::chrono::nanoseconds upper_bound(std::size_t bucket) noexcept;
    [[nodiscard]] std::uint64_t count() const noexcept;
    /// 0 if there is none.
    [[nodiscard]] std::chrono::nanoseconds mean() const noexcept;
    /// The time that the given part of all does not exceed, as exactly as the buckets are: within
    /// one the times are taken to be spread evenly. Never more than `longest`; 0 if there is none.
    /// @pre `0 <= part <= 1`
    [[nodiscard]] std::chrono::nanoseconds quantile(double part) const noexcept;

    friend bool operator==(const pool_histogram&, const pool_histogram&) = default;
};

/// What the workers of a pool have counted under one of the names in `pool_options::counters`.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct pool_counter {
    std::string name{};
    /// Of all workers that are and were.
    std::uint64_t value = 0;

    friend bool operator==(const pool_counter&, const pool_counter&) = default;
};

/// What a pool does, and has done since it was made. A plain struct: pass it on to what collects
/// metrics.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
/// @par Example         @snippet examples/20_pool_metrics.cpp collect
struct PROCYARD_RUNTIME_EXPORT pool_metrics {
    // Tasks that are not over.
    /// Submissions that wait for room in the queue.
    std::uint64_t waiting = 0;
    /// In the queue.
    std::uint64_t queued = 0;
    /// Sent to a worker, and not begun.
    std::uint64_t prefetched = 0;
    std::uint64_t running = 0;

    // Tasks, in all.
    std::uint64_t submitted = 0;
    /// How many have ended with each outcome; see ended().
    std::array<std::uint64_t, pool_outcomes> outcomes{};
    /// Times that a task has cost its worker and was put aside to run again.
    std::uint64_t strikes = 0;
    /// From the submission to when it ran the last time, of tasks that are over; of one that never
    /// ran, until it was over.
    pool_histogram wait{};
    /// How long they ran the last time, of those that ran.
    pool_histogram run{};

    // Workers that live.
    std::uint64_t starting = 0;
    std::uint64_t idle = 0;
    std::uint64_t busy = 0;
    /// Those that end, or are to end when they have done.
    std::uint64_t leaving = 0;
    /// Slots that wait after a failure until they may start a worker again.
    std::uint64_t cooling = 0;

    // Workers, in all.
    std::uint64_t workers_started = 0;
    /// Of these, those that were started where one had been before.
    std::uint64_t restarts = 0;
    /// They have ended by themselves, could not be started, or were not ready in time.
    std::uint64_t workers_lost = 0;
    /// They were sent SIGTERM.
    std::uint64_t workers_terminated = 0;
    /// They were sent SIGKILL.
    std::uint64_t workers_killed = 0;

    /// How long tasks have run, all together.
    std::chrono::nanoseconds busy_time{};
    /// How long tasks could have run: for each worker that was ready, and each task that it runs at
    /// once.
    std::chrono::nanoseconds ready_time{};

    /// As in `pool_options::counters`.
    std::vector<pool_counter> counters{};

    [[nodiscard]] std::uint64_t ended(pool_outcome what) const noexcept
    {
        return outcomes[static_cast<std::size_t>(what)];
    }
    /// The part of the workers' time that was used, from 0 to 1: since `earlier`, which are the
    /// metrics of the same pool at an earlier time, or since the pool was made.
    [[nodiscard]] double utilisation(const pool_metrics& earlier) const noexcept;
    [[nodiscard]] double utilisation() const noexcept;
};

PROCYARD_NAMESPACE_END

#endif
