// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_RUN_ACCESS_HPP
#define PROCYARD_RUNTIME_SRC_RUN_ACCESS_HPP

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/run.hpp>
#include <procyard/runtime/run_input.hpp>
#include <procyard/runtime/run_output.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The library's view of what users only describe.
struct run_access {
    using output_kind = run_output::kind;

    static output_kind what(const run_output& output) noexcept { return output.kind_; }
    static const auto& sinks(const run_output& output) noexcept { return output.sinks_; }
    static auto& sinks(run_output& output) noexcept { return output.sinks_; }
    static const auto& source(const run_input& input) noexcept { return input.source_; }

    static auto& std_in(run_options& options) noexcept { return options.std_in_; }
    static auto& std_out(run_options& options) noexcept { return options.std_out_; }
    static auto& std_err(run_options& options) noexcept { return options.std_err_; }
    static auto& ladder(run_options& options) noexcept { return options.ladder_; }
    static auto& clock(run_options& options) noexcept { return options.clock_; }
    static const auto& deadline(const run_options& options) noexcept { return options.deadline_; }
    static const auto& idle_deadline(const run_options& options) noexcept
    {
        return options.idle_deadline_;
    }
    static auto drain_grace(const run_options& options) noexcept { return options.drain_grace_; }
    static auto descendants(const run_options& options) noexcept { return options.descendants_; }
    static auto on_sink_failure(const run_options& options) noexcept
    {
        return options.on_sink_failure_;
    }
    static bool spawn_off_loop(const run_options& options) noexcept
    {
        return options.spawn_off_loop_;
    }

    static bool is_automatic(const run_output& output) noexcept
    {
        return output.kind_ == output_kind::automatic;
    }
    static bool is_automatic(const run_input& input) noexcept
    {
        return std::holds_alternative<automatic_source>(input.source_);
    }

    static bool captures(const run_output& output) noexcept
    {
        for (const auto& sink : output.sinks_) {
            if (std::holds_alternative<capture_sink>(sink))
                return true;
        }
        return false;
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
