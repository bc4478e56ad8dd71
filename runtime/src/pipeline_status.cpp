// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline_status.hpp>

#include <ostream>

#include "exception_text.hpp"
#include "pipeline_verdict.hpp"

PROCYARD_NAMESPACE_BEGIN

std::string_view to_string(pipefail policy) noexcept
{
    switch (policy) {
    case pipefail::forgive_broken_pipe: return "forgive broken pipe";
    case pipefail::strict: return "strict";
    case pipefail::last: return "last";
    }
    return "unknown";
}

std::string_view to_string(stage_end end) noexcept
{
    switch (end) {
    case stage_end::success: return "success";
    case stage_end::broken_pipe: return "broken pipe";
    case stage_end::failed: return "failed";
    }
    return "unknown";
}

stage_end stage_result::end() const noexcept
{
    return kind == stage_kind::process ? detail::end_of(status)
                                       : detail::end_of(exception != nullptr, error);
}

std::string stage_result::to_string() const
{
    if (kind == stage_kind::process)
        return status.to_string();
    if (exception == nullptr)
        return "done";
    return error ? error.message() : detail::exception_text(exception);
}

std::optional<std::size_t> pipeline_status::failing() const noexcept
{
    if (stages.empty())
        return std::nullopt;
    return detail::failing_stage(
        stages.size(), [this](std::size_t i) { return stages[i].end(); }, policy);
}

std::string pipeline_status::to_string() const
{
    const auto count = std::to_string(stages.size());
    const auto describe = [&](std::size_t index) {
        const auto& stage = stages[index];
        return "stage " + std::to_string(index + 1) + " of " + count + ", \"" + stage.name
            + "\": " + stage.to_string();
    };
    if (const auto blamed = failing())
        return describe(*blamed);
    for (std::size_t i = 0; i < stages.size(); ++i) {
        if (stages[i].end() != stage_end::success)
            return "success, in spite of " + describe(i);
    }
    return stages.size() == 1 ? "the stage succeeded" : "all " + count + " stages succeeded";
}

std::ostream& operator<<(std::ostream& out, const stage_result& result)
{
    return out << result.name << ": " << result.to_string();
}

std::ostream& operator<<(std::ostream& out, const pipeline_status& status)
{
    return out << status.to_string();
}

PROCYARD_NAMESPACE_END
