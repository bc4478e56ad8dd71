// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_CHANNEL_PAIR_HPP
#define PROCYARD_BENCH_CHANNEL_PAIR_HPP

#include <array>
#include <cstddef>
#include <functional>
#include <new>

#include "../support/round.hpp"

namespace bench {

/// The two processes of a round: the first, which measures, on the first processor, and the second
/// on the second (`processors=1`: both on the first).
///
/// Neither is the process the driver has started. That one waits for both, so that nothing in a
/// process that is measured (a thread, a signal handler) has to notice the death of the other, and
/// ends the round when one fails or when the deadline (`deadline=` seconds) passes.
class process_pair {
public:
    explicit process_pair(const round_options& options);

    /// Runs both and returns when both have left without an error.
    void run(const std::function<void()>& first, const std::function<void()>& second);

    /// Called by both: returns when the other has called it as often. Sleeps.
    void meet();

private:
    enum side : std::size_t { first_side, second_side };

    pid_t start(side which, const std::function<void()>& work);

    long processors_;
    long deadline_seconds_;
    std::array<int, 2> meeting_{-1, -1};
    side side_ = first_side;
};

/// Zeroed memory that processes forked later share.
[[nodiscard]] void* share_memory(std::size_t bytes);

/// A `T` in such memory. It lives as long as the process.
template <class T, class... Arguments>
[[nodiscard]] T& make_shared_object(Arguments&&... arguments)
{
    return *new (share_memory(sizeof(T))) T(std::forward<Arguments>(arguments)...);
}

/// What a loop that spins does between two looks.
inline void relax() noexcept
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace bench

#endif
