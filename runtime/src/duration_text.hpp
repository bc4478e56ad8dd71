// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_DURATION_TEXT_HPP
#define PROCYARD_RUNTIME_SRC_DURATION_TEXT_HPP

#include <array>
#include <chrono>
#include <cstdio>
#include <string>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// `0 s`, `850 us`, `12.5 ms`, `5 s`, `90.1 s`: three significant digits, no trailing zeros.
inline std::string to_text(std::chrono::nanoseconds duration)
{
    const auto count = static_cast<double>(duration.count());
    struct unit {
        double nanoseconds;
        const char* name;
    };
    constexpr std::array<unit, 3> units{{{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}}};
    std::array<char, 48> text{};
    for (const auto& one : units) {
        // 0.9995: what would print as 1000 of the smaller unit is 1 of this one
        if (count >= 0.9995 * one.nanoseconds) {
            const double value = count / one.nanoseconds;
            std::snprintf(text.data(), text.size(), value >= 1000 ? "%.0f %s" : "%.3g %s", value,
                          one.name);
            return text.data();
        }
    }
    return duration.count() <= 0 ? "0 s" : std::to_string(duration.count()) + " ns";
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
