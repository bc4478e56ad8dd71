// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/stop.hpp>

#include <algorithm>
#include <ostream>

#include "duration_text.hpp"

PROCYARD_NAMESPACE_BEGIN

std::string to_string(const stop_step& step)
{
    const std::string whom = step.scope == stop_scope::tree ? " to the tree" : " to the child";
    switch (step.action) {
    case stop_action::close_stdin: return "close stdin";
    case stop_action::signal: return signal_name(step.signal) + whom;
    case stop_action::kill: return "SIGKILL" + whom;
    }
    return "?";
}

stop_ladder stop_ladder::polite(std::chrono::nanoseconds grace)
{
    return stop_ladder{}.close_stdin().signal(SIGTERM, grace);
}

stop_ladder stop_ladder::terminate(std::chrono::nanoseconds grace)
{
    return stop_ladder{}.signal(SIGTERM, grace);
}

stop_ladder stop_ladder::interrupt_first(std::chrono::nanoseconds patience,
                                         std::chrono::nanoseconds grace)
{
    return stop_ladder{}.signal(SIGINT, patience).signal(SIGTERM, grace);
}

stop_ladder stop_ladder::end_of_input(std::chrono::nanoseconds patience,
                                      std::chrono::nanoseconds grace)
{
    return stop_ladder{}.close_stdin(patience).signal(SIGTERM, grace);
}

stop_ladder stop_ladder::kill()
{
    return {};  // what every ladder ends with
}

stop_ladder& stop_ladder::close_stdin(std::chrono::nanoseconds grace)
{
    steps.push_back({.action = stop_action::close_stdin, .signal = 0, .grace = grace});
    return *this;
}

stop_ladder& stop_ladder::signal(int number, std::chrono::nanoseconds grace, stop_scope scope)
{
    steps.push_back(
        {.action = stop_action::signal, .signal = number, .scope = scope, .grace = grace});
    return *this;
}

bool stop_result::forced() const noexcept
{
    return std::any_of(taken.begin(), taken.end(), [](const stop_record& record) {
        return record.step.action == stop_action::kill
            || (record.step.action == stop_action::signal && record.step.signal == SIGKILL);
    });
}

std::string stop_result::to_string() const
{
    if (taken.empty())
        return tree_empty ? "nothing to stop" : "not started";
    std::string text;
    const stop_record* previous = nullptr;
    for (const auto& record : taken) {
        // A rung without a grace and the next one are one moment, though the clock went on.
        if (previous != nullptr && previous->step.grace == std::chrono::nanoseconds::zero())
            text += ", ";
        else if (previous != nullptr)
            text += "; after " + detail::to_text(record.at - started) + ' ';
        previous = &record;
        text += procyard::to_string(record.step);
        if (record.error)
            text += " (" + record.error.message() + ')';
    }
    text += tree_empty ? "; empty after " : "; given up after ";
    return text + detail::to_text(duration());
}

std::ostream& operator<<(std::ostream& out, const stop_result& result)
{
    return out << result.to_string();
}

PROCYARD_NAMESPACE_END
