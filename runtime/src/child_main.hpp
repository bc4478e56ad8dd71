// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CHILD_MAIN_HPP
#define PROCYARD_RUNTIME_SRC_CHILD_MAIN_HPP

#include <procyard/ipc/config.hpp>

#include "child_plan.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// Carries the plan out in the new process. Comes back only by exec or exit; a failure is in the
/// plan.
[[noreturn]] void child_main(child_plan& plan) noexcept;

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
