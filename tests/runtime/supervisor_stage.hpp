// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_RUNTIME_SUPERVISOR_STAGE_HPP
#define PROCYARD_TESTS_RUNTIME_SUPERVISOR_STAGE_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "supervisor_fsm.hpp"

namespace procyard_test {

using supervisor_machine = procyard::detail::supervisor_fsm;
using supervisor_service = supervisor_machine::service_setup;

inline supervisor_service plain()
{
    supervisor_service how;
    how.backoff.first = std::chrono::nanoseconds(0);
    how.backoff.jitter = 0;
    return how;
}

inline supervisor_service after(std::vector<std::size_t> others, supervisor_service how = plain())
{
    how.depends_on = std::move(others);
    return how;
}

// Plays the world: what it is told to do is written down as text, for comparison.
class supervisor_stage {
public:
    using kind = procyard::detail::supervisor_input::kind;

    explicit supervisor_stage(const supervisor_machine::setup& what = {}) : fsm(what, 1) { }

    // Returns what is to be done: "start 0.1", i.e. service 0, generation 1.
    std::string tell(kind what, std::size_t service = 0, std::uint64_t generation = 0)
    {
        return note(fsm.resume({what, service, generation}, now));
    }

    // News of the incarnation that serves.
    std::string of(kind what, std::size_t service)
    {
        return tell(what, service, fsm.generation(service));
    }

    std::string tick(std::chrono::nanoseconds passed)
    {
        now += passed;
        return tell(kind::tick);
    }

    std::string note(const supervisor_machine::step& step)
    {
        std::string text;
        for (const auto& one : step.outputs) {
            const char* const names[] = {"start", "stop", "kill", "finished", "hurry"};
            text += text.empty() ? "" : ", ";
            text += names[static_cast<std::size_t>(one.what)];
            if (one.what == procyard::detail::supervisor_output::kind::finished)
                text += one.failed ? " failed" : "";
            else
                text += ' ' + std::to_string(one.service) + '.' + std::to_string(one.generation);
        }
        for (const auto& one : step.transitions) {
            CHECK_MESSAGE(one.sequence == ++told, "a gap in the events");
            if (one.to == procyard::service_state::backoff)
                delays.push_back(one.delay);
            history.push_back(std::to_string(one.service) + ' ' + std::string(to_string(one.to))
                              + ": " + std::string(to_string(one.cause)));
        }
        CHECK(fsm.broken_promise() == "");
        return text;
    }

    std::string states() const
    {
        std::string text;
        for (std::size_t i = 0; i < fsm.size(); ++i)
            text += (i == 0 ? "" : ", ") + std::string(to_string(fsm.state(i)));
        return text;
    }

    // All of them, one after the other.
    void start_all()
    {
        tell(kind::start);
        for (std::size_t i = 0; i < fsm.size(); ++i)
            of(kind::ready, i);
        history.clear();
    }

    supervisor_machine fsm;
    supervisor_machine::time_point now{};
    std::uint64_t told = 0;
    std::vector<std::chrono::nanoseconds> delays;
    std::vector<std::string> history;
};

inline supervisor_machine::setup with(procyard::restart_strategy strategy, unsigned restarts = 1000)
{
    supervisor_machine::setup what;
    what.strategy = strategy;
    what.intensity = {restarts, std::chrono::seconds(60)};
    return what;
}

}  // namespace procyard_test

#endif
