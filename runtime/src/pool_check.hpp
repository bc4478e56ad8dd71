// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_CHECK_HPP
#define PROCYARD_RUNTIME_SRC_POOL_CHECK_HPP

#include <chrono>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/pool_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// How often a worker that has a task with a heartbeat shows that its loop turns; and how often the
// pool looks, at most.
inline constexpr std::chrono::milliseconds pool_beat(5);
// A beat is seen two of these after it is due; as much again is for a machine that is busy.
inline constexpr auto least_heartbeat = 4 * pool_beat;

// The first thing that is wrong, as `max_workers is 0; 1 to 4096`; empty if nothing is. Whether a
// processor of the affinity is there only the system can say.
[[nodiscard]] std::string problem_of(const pool_options& options);
[[nodiscard]] std::string problem_of(const submit_options& options);
// For resize() as well.
[[nodiscard]] std::string problem_of_workers(unsigned min, unsigned max);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
