// SPDX-License-Identifier: BSL-1.0
#include <cerrno>

#include "command_access.hpp"
#include "pipeline_access.hpp"
#include "plan_builder.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using kind = stdio_access::kind;

// Why the stage's connection `number`, 0 or 1, cannot be made; null when it can.
const char* complaint(const pipeline_access::part& part, int number, bool between_stages)
{
    const auto what = stdio_access::what(command_access::standard(part.what)[number]);
    const bool input = number == 0;
    if (between_stages && what != kind::inherit) {
        return input ? "standard input is the pipe from the stage before"
                     : "standard output is the pipe to the next stage";
    }
    const bool of_a_process =
        what == kind::to_stdout || what == kind::to_stderr || what == kind::terminal;
    if (part.is_coroutine && of_a_process)
        return input ? "standard input of a coroutine" : "standard output of a coroutine";
    return nullptr;
}

spawn_failure check_stage(const std::vector<pipeline_access::part>& stages, std::size_t index)
{
    const auto& part = stages[index];
    const auto refused = [&](const char* why) {
        return make_failure(part.what, spawn_step::options, EINVAL, why);
    };
    if (part.is_coroutine && !part.body)
        return refused("the function is empty");
    if (const auto* why = complaint(part, 0, index > 0))
        return refused(why);
    if (const auto* why = complaint(part, 1, index + 1 < stages.size()))
        return refused(why);
    return part.is_coroutine ? spawn_failure{} : check(part.what);
}

}  // namespace

spawn_failure check(const pipeline& what)
{
    const auto& stages = pipeline_access::stages(what);
    if (stages.empty())
        return make_failure(command(""), spawn_step::options, EINVAL, "a pipeline without stages");
    for (std::size_t i = 0; i < stages.size(); ++i) {
        if (auto failure = check_stage(stages, i)) {
            failure.stage = i;
            return failure;
        }
    }
    return {};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
