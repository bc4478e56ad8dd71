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

std::string_view clipped(std::string_view line, std::size_t characters)
{
    std::size_t at = 0;
    for (; at < line.size(); ++at) {
        const bool begins = (static_cast<unsigned char>(line[at]) & 0xc0U) != 0x80U;
        if (begins && characters-- == 0)
            break;
    }
    return line.substr(0, at);
}

std::string screen_of(std::string_view table, const std::deque<std::string>& events,
                      terminal_size size)
{
    std::string text;
    std::size_t room = std::max<std::size_t>(size.lines, 1) - 1;  // the cursor has one
    const auto add = [&](std::string_view line) {
        text += clipped(line, size.columns);
        text += '\n';
        --room;
    };
    while (!table.empty() && room > 0) {
        const auto line = table.substr(0, table.find('\n'));
        table.remove_prefix(std::min(line.size() + 1, table.size()));
        add(line);
    }
    if (room == 0)
        return text;
    add("");
    for (auto at = events.size() - std::min(room, events.size()); at < events.size(); ++at)
        add(events[at]);
    return text;
}

}  // namespace supervise
