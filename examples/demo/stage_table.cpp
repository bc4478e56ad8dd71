// SPDX-License-Identifier: BSL-1.0
#include "stage_table.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <string>

#include "duration.hpp"

namespace demo {

namespace {

using procyard::stage_kind;
using procyard::stage_result;

constexpr auto layout = "{:<8} {:<18} {:>8} {:>9} {:>9} {:>9} {:>8}\n";

// The library counts where a coroutine stands on one side of the pipe; elsewhere the kernel does.
std::string bytes(std::optional<std::uint64_t> counted, const stage_result& stage,
                  const stage_monitor& monitor, std::uint64_t process_io::* which)
{
    if (!counted)
        if (const auto io = monitor.io(stage.name))
            counted = (*io).*which;
    return counted ? format_bytes(static_cast<double>(*counted)) : "-";
}

std::string row(const stage_result& stage, const stage_monitor& monitor)
{
    const auto& usage = stage.status.usage();
    const bool process = stage.kind == stage_kind::process;
    return fmt::format(layout, process ? stage.name : '[' + stage.name + ']', stage.to_string(),
                       process ? format_duration(usage.user_time + usage.system_time) : "-",
                       process ? format_bytes(static_cast<double>(usage.max_rss_bytes)) : "-",
                       bytes(stage.bytes_in, stage, monitor, &process_io::bytes_read),
                       bytes(stage.bytes_out, stage, monitor, &process_io::bytes_written),
                       format_duration(stage.wall));
}

}  // namespace

std::string stage_table(const procyard::pipeline_status& status, const stage_monitor& monitor)
{
    auto text = fmt::format(layout, "stage", "end", "CPU", "max RSS", "read", "written", "wall");
    for (const auto& stage : status.stages)
        text += row(stage, monitor);
    return text;
}

}  // namespace demo
