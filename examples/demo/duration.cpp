// SPDX-License-Identifier: BSL-1.0
#include "duration.hpp"

#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <stdexcept>

namespace demo {

namespace {

constexpr double longest = 366.0 * 86400;

std::invalid_argument refusal(std::string_view text, std::string_view why)
{
    return std::invalid_argument(fmt::format("\"{}\" is {}", text, why));
}

std::optional<double> seconds_per(std::string_view unit)
{
    if (unit.empty() || unit == "s")
        return 1;
    if (unit == "us")
        return 1e-6;
    if (unit == "ms")
        return 0.001;
    if (unit == "m")
        return 60;
    if (unit == "h")
        return 3600;
    return std::nullopt;
}

}  // namespace

std::chrono::nanoseconds parse_duration(std::string_view text)
{
    double number = 0;
    const auto* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, number, std::chars_format::fixed);
    const auto unit = seconds_per({parsed.ptr, static_cast<std::size_t>(end - parsed.ptr)});
    if (parsed.ec == std::errc::invalid_argument || !unit || !(number >= 0))
        throw refusal(text, "no duration");
    if (parsed.ec == std::errc::result_out_of_range || number * *unit > longest)
        throw refusal(text, "more than 366 days");
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(number * *unit));
}

std::string format_duration(std::chrono::nanoseconds duration)
{
    const double seconds = std::chrono::duration<double>(duration).count();
    if (seconds < 0.9995)
        return fmt::format("{:.0f} ms", seconds * 1000);
    if (seconds < 99.95)
        return fmt::format("{:.1f} s", seconds);
    return format_clock(std::chrono::round<std::chrono::seconds>(duration));
}

std::string format_clock(std::chrono::seconds duration)
{
    const auto s = duration.count();
    if (s >= 3600)
        return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    return fmt::format("{}:{:02}", s / 60, s % 60);
}

std::string format_bytes(double bytes)
{
    constexpr const char* units[] = {"B", "KB", "MB", "GB", "TB"};
    std::size_t unit = 0;
    while (bytes >= 999.5 && unit + 1 < std::size(units)) {
        bytes /= 1000;
        ++unit;
    }
    return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, units[unit]);
}

}  // namespace demo
