// SPDX-License-Identifier: BSL-1.0
#include "channel_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "../demo/duration.hpp"

namespace inspect {

namespace {

constexpr auto layout =
    "{:>7} {:<12.12} {:<14.14} {:<8} {:<16.16} {:>9} {:>9} {:>9} {:>9} {:>10} {:>8} {:>8} "
    "{:>8} {:>7} {:>7} {:<10} {}\n";

bool has_messages(const channel_row& row)
{
    return row.unit_bytes != 1;
}

std::string units(const channel_row& row, std::uint64_t n)
{
    return has_messages(row) ? std::to_string(n) : demo::format_bytes(static_cast<double>(n));
}

std::string_view state(const channel_row& row)
{
    if (row.closed)
        return "closed";
    if (!row.connected)
        return row.role == ring_role::writer ? "no readers" : "no peer yet";
    if (row.peer_closed)
        return "peer closed";
    if (!row.depth)
        return "inconsistent";
    return row.asleep ? "asleep" : row.peer_asleep ? "peer asleep" : "awake";
}

std::string joined(const std::vector<pid_t>& pids, std::string_view between)
{
    return fmt::format("{}", fmt::join(pids, between));
}

std::string rate(const channel_row& row, bool bytes)
{
    if (!row.units_per_second || (!bytes && !has_messages(row)))
        return "-";
    if (bytes)
        return demo::format_bytes(*row.units_per_second * static_cast<double>(row.unit_bytes));
    return fmt::format("{:.0f}", *row.units_per_second);
}

std::string_view role_name(ring_role role)
{
    switch (role) {
    case ring_role::producer: return "sender";
    case ring_role::consumer: return "receiver";
    case ring_role::writer: return "writer";
    case ring_role::reader: return "reader";
    }
    return "?";
}

// Names are printable ASCII by now: see printable().
std::string quoted(std::string_view text)
{
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            result += '\\';
        result += c;
    }
    return result + '"';
}

template <class Value>
std::string or_null(const std::optional<Value>& value)
{
    return value ? fmt::format("{}", *value) : "null";
}

std::string or_dash(const std::optional<std::uint64_t>& value)
{
    return value ? std::to_string(*value) : "-";
}

std::string object(const channel_row& row)
{
    const auto bytes = row.units_per_second
        ? std::optional(*row.units_per_second * static_cast<double>(row.unit_bytes))
        : std::nullopt;
    const auto messages = has_messages(row) ? row.units_per_second : std::nullopt;
    return fmt::format(
        R"({{"pid": {}, "program": {}, "name": {}, "role": "{}", "type": {}, "unit": "{}", )"
        R"("message_bytes": {}, "capacity": {}, "depth": {}, "deepest": {}, "position": {}, )"
        R"("messages_per_second": {}, "bytes_per_second": {}, "dropped": {}, "stalls": {}, )"
        R"("stalls_per_second": {}, "peer_stalls": {}, "rings": {}, "sleeps": {}, )"
        R"("peer_sleeps": {}, "state": "{}", "readers": {}, "peers": [{}]}})",
        row.pid, quoted(row.program), row.name.empty() ? "null" : quoted(row.name),
        role_name(row.role), row.type.empty() ? "null" : quoted(row.type),
        has_messages(row) ? "message" : "byte",
        has_messages(row) ? std::to_string(row.unit_bytes) : "null", row.capacity,
        or_null(row.depth), row.connected ? std::to_string(row.deepest) : "null", row.position,
        or_null(messages), or_null(bytes), row.dropped, or_null(row.counts.stalls),
        or_null(row.stalls_per_second), or_null(row.peer_counts.stalls), or_null(row.counts.rung),
        row.sleeps, row.connected ? std::to_string(row.peer_sleeps) : "null", state(row),
        row.role == ring_role::writer ? std::to_string(row.readers) : "null",
        joined(row.peers, ", "));
}

}  // namespace

std::string to_table(const std::vector<channel_row>& rows)
{
    auto text = fmt::format(layout, "PID", "PROGRAM", "NAME", "END", "TYPE", "DEPTH", "DEEPEST",
                            "CAPACITY", "MSG/S", "BYTES/S", "LOST", "STALLS", "STALLS/S", "RINGS",
                            "SLEEPS", "PEER", "STATE");
    for (const auto& row : rows)
        text += fmt::format(
            layout, row.pid, row.program, row.name.empty() ? "-" : row.name, role_name(row.role),
            row.type.empty() ? "-" : row.type, row.depth ? units(row, *row.depth) : "-",
            row.connected ? units(row, row.deepest) : "-", units(row, row.capacity),
            rate(row, false), rate(row, true), row.dropped, or_dash(row.counts.stalls),
            row.stalls_per_second ? fmt::format("{:.0f}", *row.stalls_per_second) : "-",
            or_dash(row.counts.rung), row.sleeps, row.peers.empty() ? "-" : joined(row.peers, ","),
            state(row));
    return text;
}

std::string to_json(const std::vector<channel_row>& rows)
{
    std::string text = "[";
    std::string_view between = "\n";
    for (const auto& row : rows) {
        text += between;
        text += object(row);
        between = ",\n";
    }
    return text + (rows.empty() ? "]\n" : "\n]\n");
}

}  // namespace inspect
