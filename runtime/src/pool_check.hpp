// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_CHECK_HPP
#define PROCYARD_RUNTIME_SRC_POOL_CHECK_HPP

#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/pool_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The first thing that is wrong, as `max_workers is 0; 1 to 4096`; empty if nothing is. Whether a
// processor of the affinity is there only the system can say.
[[nodiscard]] std::string problem_of(const pool_options& options);
[[nodiscard]] std::string problem_of(const submit_options& options);
// For resize() as well.
[[nodiscard]] std::string problem_of_workers(unsigned min, unsigned max);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
