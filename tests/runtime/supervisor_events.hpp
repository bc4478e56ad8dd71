// SPDX-License-Identifier: BSL-1.0
// Whether what a supervisor has told of its services, and of the members of groups, hangs together.
#ifndef PROCYARD_TESTS_RUNTIME_SUPERVISOR_EVENTS_HPP
#define PROCYARD_TESTS_RUNTIME_SUPERVISOR_EVENTS_HPP

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <procyard/runtime/supervisor.hpp>

#include "supervisor_fixture.hpp"

namespace procyard_test {

inline procyard::supervisor_options patient()
{
    procyard::supervisor_options options;
    options.intensity = {.restarts = 5, .window = std::chrono::hours(1)};
    return options;
}

// Which event does not go on where the service's one before has ended; empty: none. Who was a
// replacement takes over when it becomes ready.
inline std::string gap_in(const std::vector<procyard::service_event>& events)
{
    std::map<std::string, procyard::service_state> stands;
    std::set<std::pair<std::string, std::uint64_t>> successors;
    for (const auto& event : events) {
        const std::pair which(event.service, event.generation);
        if (event.replacement) {
            successors.insert(which);
            continue;
        }
        const auto known = stands.find(event.service);
        const bool takes_over =
            successors.erase(which) > 0 && event.cause == procyard::service_cause::became_ready;
        if (!takes_over && known != stands.end() && known->second != event.from)
            return event.to_string();
        stands[event.service] = event.to;
    }
    return {};
}

// Who stands elsewhere than his last event that is not a replacement's says; empty: nobody.
inline std::string untold(supervised& f)
{
    std::string text;
    for (const auto& now : f.it().snapshot()) {
        const auto last = std::find_if(f.events.rbegin(), f.events.rend(), [&](const auto& event) {
            return event.service == now.name && !event.replacement;
        });
        if (last == f.events.rend() || last->to != now.state || last->generation > now.generation)
            text += now.name + '.' + std::to_string(now.generation) + " is "
                + std::string(to_string(now.state)) + '\n';
    }
    return text;
}

}  // namespace procyard_test

#endif
