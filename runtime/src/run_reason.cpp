// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run_reason.hpp>

#include <ostream>

PROCYARD_NAMESPACE_BEGIN

std::string_view to_string(run_reason reason) noexcept
{
    switch (reason) {
    case run_reason::exited: return "exited";
    case run_reason::deadline: return "deadline";
    case run_reason::idle: return "idle";
    case run_reason::output_limit: return "output limit";
    case run_reason::cancelled: return "cancelled";
    case run_reason::sink_failed: return "sink failed";
    case run_reason::input_failed: return "input failed";
    }
    return "?";
}

std::ostream& operator<<(std::ostream& out, run_reason reason)
{
    return out << to_string(reason);
}

PROCYARD_NAMESPACE_END
