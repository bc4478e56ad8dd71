// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_CHECK_HPP
#define PROCYARD_RUNTIME_SRC_POOL_CHECK_HPP

#include <chrono>
#include <string>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/pool_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// How often a worker that has a task with a heartbeat shows that its loop turns; and how often the
// pool looks, at most.
inline constexpr std::chrono::milliseconds pool_beat(5);
// A beat is seen two of these after it is due; as much again is for a machine that is busy.
inline constexpr auto least_heartbeat = 4 * pool_beat;

// The first thing that is wrong, as `max_workers is 0; 1 to 4096`; empty if nothing is. Whether a
// processor of the affinity is there only the system can say: problem_of_affinity().
[[nodiscard]] std::string problem_of(const pool_options& options);
[[nodiscard]] std::string problem_of(const submit_options& options);
// The kernel leaves out, without a word, what a worker may not have, as long as one is left. Not
// looked at in a worker that runs: it may have chosen fewer itself by then.
[[nodiscard]] std::string problem_of_affinity(const std::vector<std::vector<unsigned>>& affinity,
                                              const command& program);
// For resize() as well.
[[nodiscard]] std::string problem_of_workers(unsigned min, unsigned max);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
