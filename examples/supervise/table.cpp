// SPDX-License-Identifier: BSL-1.0
#include "table.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>

namespace supervise {

namespace {

constexpr std::size_t columns = 7;
using row = std::array<std::string, columns>;

// The text of a process may contain anything; on a terminal that is not shown.
std::string printable(std::string text)
{
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c >= 0 && (c < ' ' || c == '\x7f'); }, ' ');
    return text;
}

row row_of(const procyard::service_snapshot& one, procyard::timer_clock::time_point now)
{
    return {one.name,
            std::string(to_string(one.state)),
            one.pid > 0 ? std::to_string(one.pid) : "-",
            age_of(now - one.since),
            std::to_string(one.restarts),
            std::to_string(one.lines_lost),
            printable(one.status_text.empty() && one.last_death ? one.last_death->to_string()
                                                                : one.status_text)};
}

}  // namespace

std::string printable(std::string text)
{
    for (auto& c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < ' ' && c != '\t') || byte == 0x7f)
            c = '?';
    }
    return text;
}

std::string age_of(std::chrono::nanoseconds time)
{
    using namespace std::chrono;
    const auto seconds = duration_cast<std::chrono::seconds>(time).count();
    if (seconds < 120)
        return std::to_string(seconds) + " s";
    if (seconds < 2 * 3600)
        return std::to_string(seconds / 60) + " m";
    if (seconds < 48 * 3600)
        return std::to_string(seconds / 3600) + " h";
    return std::to_string(seconds / 86400) + " d";
}

std::string table_of(const std::vector<procyard::service_snapshot>& all,
                     procyard::timer_clock::time_point now)
{
    std::vector<row> rows{{"service", "state", "pid", "for", "restarts", "lost", "says"}};
    for (const auto& one : all)
        rows.push_back(row_of(one, now));
    std::array<std::size_t, columns> widths{};
    for (const auto& one : rows) {
        for (std::size_t i = 0; i < columns; ++i)
            widths[i] = std::max(widths[i], one[i].size());
    }
    std::string text;
    for (const auto& one : rows) {
        std::string line;
        for (std::size_t i = 0; i < columns; ++i)
            line += one[i] + std::string(widths[i] - one[i].size() + 2, ' ');
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + '\n';
    }
    return text;
}

}  // namespace supervise
