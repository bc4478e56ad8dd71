// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_SPIN_BUDGET_HPP
#define PROCYARD_IPC_DETAIL_SPIN_BUDGET_HPP

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Whether to look at a ring again and again before going to sleep: where that has been worth it.
///
/// A spin that succeeds saves a system call, a wake-up and the peer's ring (15 µs together); one
/// that fails has cost all that it took. So successes and failures are weighed against each other:
/// as long as one wait in five ends by spinning, every wait tries. When none has for a while, only
/// one wait in 32 does, or a peer that has become quick would never be noticed.
///
/// Rejected: a budget that is doubled and halved, as Linux does for virtual processors
/// (`halt_poll_ns`). Two sides that spin for each other have to do so at the same time, and with
/// short budgets they did not find back to it.
class spin_budget {
public:
    using duration = std::chrono::nanoseconds;

    explicit spin_budget(duration most) noexcept : most_(most) { }

    [[nodiscard]] bool is_none() const noexcept { return most_.count() == 0; }
    /// What the next wait may take.
    [[nodiscard]] duration next() noexcept
    {
        if (score_ > 0)
            return most_;
        return ++skipped_ % retry_after == 0 ? most_ : duration(0);
    }
    void has_succeeded() noexcept { score_ = std::min(most_score, score_ + success); }
    void has_failed() noexcept { score_ = std::max(0, score_ - failure); }

    static constexpr int success = 4;
    static constexpr int failure = 1;
    static constexpr int most_score = 16;
    static constexpr std::uint32_t retry_after = 32;

private:
    duration most_;
    int score_ = most_score;
    std::uint32_t skipped_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
