// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline_result.hpp>

#include <ostream>

#include "run_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

error_code error_of(const pipeline_status& status) noexcept
{
    const auto failing = status.failing();
    if (!failing)
        return {};
    const auto& stage = status.stages[*failing];
    if (stage.kind == stage_kind::process)
        return make_run_error(stage.status);
    return stage.error ? stage.error : make_run_error(run_errc::threw);
}

constexpr auto each_output = [](const pipeline_result& result, auto visit) {
    visit(detail::told_output{"stdout", {}, result.std_out});
    for (const auto& stage : result.status.stages)
        visit(detail::told_output{"stderr", stage.name, stage.std_err});
};

}  // namespace

bool pipeline_result::success() const noexcept
{
    return detail::is_success(*this, each_output);
}

error_code pipeline_result::error() const noexcept
{
    return detail::error_of_run(*this, error_of(status), each_output);
}

std::string pipeline_result::to_string() const
{
    return detail::text_of(*this, each_output);
}

std::ostream& operator<<(std::ostream& out, const pipeline_result& result)
{
    return out << result.to_string();
}

PROCYARD_NAMESPACE_END
