// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_ALLOCATIONS_HPP
#define PROCYARD_BENCH_ALLOCATIONS_HPP

#include "spawn_round.hpp"

namespace bench {

/// Calls of operator new, and of aligned_alloc as Asio makes them, by this process so far.
///
/// Counted by taking their place: linking allocations.cpp into a contender is what
/// turns the counting on, so a contender that is timed pays one increment for it.
[[nodiscard]] long allocations() noexcept;

/// For contenders with an allocator hook of their own.
void count_allocation() noexcept;

/// `allocations program= count=`: allocations of a spawn and of its wait, in a steady state.
void measure_allocations(const round_options& options, const spawner_factory& make);

}  // namespace bench

#endif
