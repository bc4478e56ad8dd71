// SPDX-License-Identifier: BSL-1.0
#include "stop_budget.hpp"

#include <string>

#include <procyard/runtime/shutdown.hpp>

#include "command_access.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void set_stop_budget(command& what, std::chrono::nanoseconds budget,
                     std::optional<timer_clock::time_point> deadline)
{
    what.env(stop_budget_variable, std::to_string(budget.count()));
    if (deadline)
        what.env(stop_deadline_variable, std::to_string(deadline->time_since_epoch().count()));
    else
        what.env_remove(stop_deadline_variable);  // this program's own parent's is not theirs
}

void tell_grace(command& what, std::chrono::nanoseconds grace)
{
    const auto is_free = [&](const char* name) {
        return !command_access::environment(what).contains(name);
    };
    if (is_free(stop_budget_variable)) {
        if (grace == std::chrono::nanoseconds::max())
            what.env_remove(stop_budget_variable);
        else
            what.env(stop_budget_variable, std::to_string((grace - grace / 10).count()));
    }
    if (is_free(stop_deadline_variable))
        what.env_remove(stop_deadline_variable);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
