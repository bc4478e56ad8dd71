// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline_result.hpp>

#include <algorithm>
#include <ostream>

#include "run_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

error_code error_of(const stage_result& stage) noexcept
{
    if (stage.kind == stage_kind::process)
        return make_run_error(stage.status);
    return stage.error ? stage.error : make_run_error(run_errc::threw);
}

}  // namespace

bool pipeline_result::success() const noexcept
{
    return !failure && reason == run_reason::exited && status.success() && std_out.complete()
        && std::all_of(status.stages.begin(), status.stages.end(),
                       [](const stage_result& stage) { return stage.std_err.complete(); });
}

error_code pipeline_result::error() const noexcept
{
    if (failure)
        return failure.code;
    if (const auto ec = detail::error_of(reason))
        return ec;
    if (const auto failing = status.failing())
        return error_of(status.stages[*failing]);
    if (const auto ec = detail::error_of(std_out))
        return ec;
    for (const auto& stage : status.stages) {
        if (const auto ec = detail::error_of(stage.std_err))
            return ec;
    }
    return {};
}

std::string pipeline_result::to_string() const
{
    if (failure)
        return failure.to_string();
    std::string text;
    if (reason != run_reason::exited) {
        text += procyard::to_string(reason);
        text += ": ";
    }
    text += status.to_string();
    detail::describe(text, "stdout", std_out);
    for (const auto& stage : status.stages)
        detail::describe(text, "stderr of \"" + stage.name + '"', stage.std_err);
    if (input.error)
        text += "; stdin: " + input.error.message();
    return text;
}

std::ostream& operator<<(std::ostream& out, const pipeline_result& result)
{
    return out << result.to_string();
}

PROCYARD_NAMESPACE_END
