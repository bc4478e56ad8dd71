// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_STOP_BUDGET_HPP
#define PROCYARD_RUNTIME_SRC_STOP_BUDGET_HPP

#include <chrono>
#include <optional>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/command.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The one place that writes stop_budget_variable and stop_deadline_variable.

// Whatever the command says of them, and this process was told itself.
void set_stop_budget(command& what, std::chrono::nanoseconds budget,
                     std::optional<timer_clock::time_point> deadline);

// For a child that gets SIGTERM, and SIGKILL after `grace`: it is told nine tenths of that, so that
// it has ended by itself before. max(): none kills it, and it is told nothing, also not what this
// process was told. What the command says of a variable, be it that there is none, stays.
void tell_grace(command& what, std::chrono::nanoseconds grace);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
