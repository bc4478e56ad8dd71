// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SUPERVISION_TURN_HPP
#define PROCYARD_RUNTIME_SRC_SUPERVISION_TURN_HPP

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "supervisor_fsm.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a supervisor and the groups in it are to hear, in the order in which it came. One for all of
// them: with a queue each, an observer that is told of a member, and asks the supervisor for
// something, would be called again inside its own call.
struct supervision_turn {
    struct input {
        std::weak_ptr<supervisor_core> whose;
        supervisor_input what;
    };
    std::deque<input> waiting{};
    bool taken = false;
};

// What is known of a service for as long as its supervisor knows it. A member of a group is the
// same one however often the group is started, though each time another machine decides about it.
struct service_history {
    // The last number of an incarnation.
    std::shared_ptr<std::uint64_t> generations = std::make_shared<std::uint64_t>(0);
    std::uint64_t restarts = 0;
    std::shared_ptr<const death_report> last_death{};
    // Where it stood when its group ended, and what its log had lost by then.
    service_state state = service_state::configured;
    std::uint64_t generation = 0;
    timer_clock::time_point since{};
    std::uint64_t lines_lost = 0;
    // Where it stood when its group ended in an incarnation that did not serve: should that take
    // over all the same, within the group around it.
    struct standing {
        std::uint64_t within = 0;  // the number of the incarnation; 0: none
        service_state state = service_state::configured;
        std::uint64_t generation = 0;
        timer_clock::time_point since{};
    };
    standing aside{};
    // Of a group.
    std::map<std::string, std::shared_ptr<service_history>, std::less<>> members{};

    [[nodiscard]] const std::shared_ptr<service_history>& member(const std::string& name)
    {
        auto& found = members[name];
        if (!found)
            found = std::make_shared<service_history>();
        return found;
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
