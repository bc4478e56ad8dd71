// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PIPELINE_VERDICT_HPP
#define PROCYARD_RUNTIME_SRC_PIPELINE_VERDICT_HPP

#include <boost/system/errc.hpp>

#include <signal.h>

#include <cstddef>
#include <optional>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/pipeline_status.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// How a process' end counts in a pipeline.
//
// Whether a SIGPIPE really came from the neighbour is not knowable here: nobody but the two
// programs holds the pipe, and the order in which two exits are seen is not the order in which they
// happened. It need not be known, either: a neighbour that left for a bad reason has failed itself.
[[nodiscard]] inline stage_end end_of(const exit_status& status) noexcept
{
    if (status.success())
        return stage_end::success;
    constexpr int shell_sigpipe = 128 + SIGPIPE;
    const bool cut_off = status.signal() == SIGPIPE || status.code() == shell_sigpipe;
    return cut_off ? stage_end::broken_pipe : stage_end::failed;
}

// How a coroutine's end counts.
[[nodiscard]] inline stage_end end_of(bool threw, const error_code& error) noexcept
{
    if (!threw)
        return stage_end::success;
    return error == boost::system::errc::broken_pipe ? stage_end::broken_pipe : stage_end::failed;
}

// The stage to blame; none when the pipeline is a success. `end_at(i)` says how stage i of `count`,
// at least one, ended.
template <class EndAt>
[[nodiscard]] std::optional<std::size_t> failing_stage(std::size_t count, EndAt end_at,
                                                       pipefail policy) noexcept
{
    const auto first = [&](stage_end which) -> std::optional<std::size_t> {
        for (std::size_t i = 0; i < count; ++i) {
            if (end_at(i) == which)
                return i;
        }
        return std::nullopt;
    };
    const auto last = [&]() -> std::optional<std::size_t> {
        if (end_at(count - 1) == stage_end::success)
            return std::nullopt;
        return count - 1;
    };
    if (policy == pipefail::last)
        return last();
    if (const auto failed = first(stage_end::failed))
        return failed;
    // The last stage's reader is no stage: nobody here had enough of it.
    return policy == pipefail::strict ? first(stage_end::broken_pipe) : last();
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
