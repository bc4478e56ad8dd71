// SPDX-License-Identifier: BSL-1.0
#include <procyard/signals/signal_info.hpp>
#include <procyard/signals/signal_options.hpp>

#include <ostream>

PROCYARD_NAMESPACE_BEGIN

std::string_view to_string(signal_mechanism mechanism) noexcept
{
    switch (mechanism) {
    case signal_mechanism::none: return "none";
    case signal_mechanism::sigaction: return "sigaction";
    case signal_mechanism::signalfd: return "signalfd";
    case signal_mechanism::mixed: return "mixed";
    }
    return "unknown signal mechanism";
}

std::ostream& operator<<(std::ostream& out, signal_mechanism mechanism)
{
    return out << to_string(mechanism);
}

std::ostream& operator<<(std::ostream& out, const signal_info& info)
{
    out << "signal " << info.number;
    if (info.count > 1)
        out << ", " << info.count << " times";
    if (info.sender_pid != 0)
        out << ", from " << info.sender_pid << " (user " << info.sender_uid << ')';
    if (info.overflowed)
        out << ", beyond the queue";
    return out;
}

PROCYARD_NAMESPACE_END
