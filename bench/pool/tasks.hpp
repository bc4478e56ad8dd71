// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_POOL_TASKS_HPP
#define PROCYARD_BENCH_POOL_TASKS_HPP

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../channel/message.hpp"

namespace bench {

/// A request and its response: 64 bytes.
using pool_message = message<64>;

/// What a worker does with one: next to nothing.
inline pool_message answer_to(const pool_message& request)
{
    pool_message response = request;
    response.set_number(request.number() + 1);
    return response;
}

/// The tasks of a round: as many at once as the row says, until its time is over.
///
///     tasks workers= window= spin_us= seconds=
///         ns per task; one at a time: p50_us and p99_us of each
///
/// `window` is of each worker: those that it works on and those that wait there.
class task_round {
public:
    explicit task_round(const round_options& options);

    [[nodiscard]] std::size_t workers() const noexcept { return workers_; }
    [[nodiscard]] std::size_t window() const noexcept { return window_; }
    /// How long an end that finds nothing looks again before it sleeps, where that can be had.
    [[nodiscard]] long spin_us() const noexcept { return spin_us_; }

    /// Everybody is ready: the clock starts.
    void start();
    /// Whether there is another one to be submitted.
    [[nodiscard]] bool more();
    /// The next one.
    [[nodiscard]] pool_message next();
    /// One is done.
    void take(const pool_message& response);
    /// Whether all that were submitted are done, and no more are to come.
    [[nodiscard]] bool ended() const noexcept { return over_ && done_ == submitted_; }

    void report();

private:
    std::size_t workers_;
    std::size_t window_;
    long spin_us_;
    double seconds_;
    double until_us_ = 0;
    double started_us_ = 0;
    double submitted_us_ = 0;  // one at a time: when the last one was
    std::uint64_t submitted_ = 0;
    std::uint64_t done_ = 0;
    std::uint64_t numbers_ = 0;  // sum of those submitted, less those that are done
    bool over_ = false;
    std::vector<float> trips_us_{};
};

}  // namespace bench

#endif
