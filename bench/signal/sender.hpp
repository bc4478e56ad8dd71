// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_SIGNAL_SENDER_HPP
#define PROCYARD_BENCH_SIGNAL_SENDER_HPP

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <vector>

#include "../support/round.hpp"

namespace bench {

/// The signal that is measured.
[[nodiscard]] int measured_signal() noexcept;

/// A process that sends this one signals, one after the other, each when the last one has been
/// answered and whoever waits for the next has had the time to fall asleep.
///
///     latency signals= sleep_us=   p50_us and p99_us, from just before kill(2) to answer()
class signal_sender {
public:
    explicit signal_sender(const round_options& options);
    signal_sender(const signal_sender&) = delete;
    signal_sender& operator=(const signal_sender&) = delete;
    ~signal_sender();

    [[nodiscard]] std::size_t count() const noexcept { return count_; }
    /// Begins. Whoever is measured waits already, or is about to.
    void start();
    /// The signal has arrived where it is used. False: it was the last one.
    bool answer();
    void report() const;

private:
    struct shared {
        std::atomic<double> sent_us{0};
        std::atomic<std::size_t> answered{0};
    };
    [[noreturn]] void send(pid_t to) const;

    std::size_t count_;
    double sleep_us_;
    shared* shared_;
    pid_t sender_ = -1;
    std::vector<double> latencies_;
};

}  // namespace bench

#endif
