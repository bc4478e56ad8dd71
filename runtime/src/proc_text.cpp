// SPDX-License-Identifier: BSL-1.0
#include "proc_text.hpp"

#include <algorithm>
#include <charconv>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::string_view white_space = " \t\r\n";

/// Takes the next token off the front of `text`; empty at its end.
std::string_view next_token(std::string_view& text, std::string_view separators) noexcept
{
    const auto begin = std::min(text.find_first_not_of(separators), text.size());
    const auto end = std::min(text.find_first_of(separators, begin), text.size());
    const auto token = text.substr(begin, end - begin);
    text.remove_prefix(end);
    return token;
}

/// Takes the next line off the front of `text`.
std::string_view next_line(std::string_view& text) noexcept
{
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return line;
}

template <class Number>
bool parse_number(std::string_view text, Number& number) noexcept
{
    const auto* const end = text.data() + text.size();
    const auto result = std::from_chars(text.data(), end, number);
    return !text.empty() && result.ec == std::errc{} && result.ptr == end;
}

bool all_digits(std::string_view text) noexcept
{
    return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

/// The kernel writes space, tab, newline and backslash of a path as three octal digits.
std::string unescape_octal(std::string_view text)
{
    const auto digit = [&](std::size_t i) { return text[i] >= '0' && text[i] <= '7'; };
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size() && digit(i + 1) && digit(i + 2)
            && digit(i + 3)) {
            plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8
                                       + (text[i + 3] - '0'));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

}  // namespace

std::optional<process_record> parse_stat(std::string_view text) noexcept
{
    const auto open = text.find(" (");
    const auto close = text.rfind(") ");
    if (open == text.npos || close == text.npos || close < open)
        return std::nullopt;

    process_record record;
    if (!parse_number(text.substr(0, open), record.pid) || record.pid <= 0)
        return std::nullopt;

    // proc(5) counts the fields from 1, the pid; the state behind the name is field 3.
    auto rest = text.substr(close + 2);
    const auto state = next_token(rest, white_space);
    if (state.size() != 1)
        return std::nullopt;
    record.state = state.front();
    for (int field = 4; field <= 22; ++field) {
        const auto token = next_token(rest, white_space);
        bool good = !token.empty();
        switch (field) {
        case 4: good = parse_number(token, record.parent); break;
        case 5: good = parse_number(token, record.group); break;
        case 6: good = parse_number(token, record.session); break;
        case 20: good = parse_number(token, record.thread_count); break;
        case 22: good = parse_number(token, record.start_ticks); break;
        default: break;
        }
        if (!good)
            return std::nullopt;
    }
    // What only some kernels tell.
    for (int field = 23; field <= 51; ++field) {
        const auto token = next_token(rest, white_space);
        switch (field) {
        case 26: (void)parse_number(token, record.code_begin); break;
        case 50: (void)parse_number(token, record.environment_begin); break;
        case 51: (void)parse_number(token, record.environment_end); break;
        default: break;
        }
    }
    return record;
}

bool is_at_rest(char state) noexcept
{
    return std::string_view("TtZXx").find(state) != std::string_view::npos;
}

bool is_dead(const process_record& record) noexcept
{
    // A process whose first thread has ended shows Z although its other threads run on.
    return record.state == 'X' || record.state == 'x'
        || (record.state == 'Z' && record.thread_count <= 1);
}

void parse_pids(std::string_view text, std::vector<pid_t>& pids)
{
    for (auto token = next_token(text, white_space); !token.empty();
         token = next_token(text, white_space)) {
        if (const auto pid = parse_pid(token))
            pids.push_back(*pid);
    }
}

std::optional<pid_t> parse_pid(std::string_view text) noexcept
{
    pid_t pid = 0;
    if (!all_digits(text) || !parse_number(text, pid) || pid <= 0)
        return std::nullopt;
    return pid;
}

bool has_tree_marker(std::string_view environment, std::string_view id) noexcept
{
    if (id.empty())
        return false;
    while (!environment.empty()) {
        const auto end = std::min(environment.find('\0'), environment.size());
        auto entry = environment.substr(0, end);
        environment.remove_prefix(std::min(end + 1, environment.size()));
        if (entry.substr(0, tree_marker_name.size()) != tree_marker_name
            || entry.substr(tree_marker_name.size(), 1) != "=")
            continue;
        entry.remove_prefix(tree_marker_name.size() + 1);
        for (auto token = next_token(entry, ":"); !token.empty(); token = next_token(entry, ":")) {
            if (token == id)
                return true;
        }
    }
    return false;
}

std::optional<std::uint64_t> parse_keyed(std::string_view text, std::string_view key) noexcept
{
    while (!text.empty()) {
        auto line = next_line(text);
        if (next_token(line, white_space) != key)
            continue;
        std::uint64_t value = 0;
        if (parse_number(next_token(line, white_space), value))
            return value;
        return std::nullopt;
    }
    return std::nullopt;
}

std::optional<std::uint64_t> parse_count(std::string_view text) noexcept
{
    std::uint64_t value = 0;
    if (!parse_number(next_token(text, white_space), value))
        return std::nullopt;
    return value;
}

std::optional<std::string> parse_own_cgroup(std::string_view text)
{
    constexpr std::string_view v2 = "0::";
    constexpr std::string_view deleted = " (deleted)";
    while (!text.empty()) {
        auto line = next_line(text);
        if (line.substr(0, v2.size()) != v2)
            continue;
        line.remove_prefix(v2.size());
        // A cgroup may be called so without being deleted; one that we do not use is no loss.
        const bool gone =
            line.size() >= deleted.size() && line.substr(line.size() - deleted.size()) == deleted;
        if (gone || line.empty() || line.front() != '/')
            return std::nullopt;
        return std::string(line);
    }
    return std::nullopt;
}

std::vector<cgroup_mount> parse_cgroup_mounts(std::string_view text)
{
    // 36 35 98:0 /root /mount/point options [optional…] - type source super-options
    std::vector<cgroup_mount> mounts;
    while (!text.empty()) {
        auto line = next_line(text);
        const auto separator = line.find(" - ");
        if (separator == line.npos)
            continue;
        auto type = line.substr(separator + 3);
        if (next_token(type, " ") != "cgroup2")
            continue;
        for (int skipped = 0; skipped < 3; ++skipped)
            (void)next_token(line, " ");
        cgroup_mount mount;
        mount.root = unescape_octal(next_token(line, " "));
        mount.point = unescape_octal(next_token(line, " "));
        if (!mount.root.empty() && !mount.point.empty())
            mounts.push_back(std::move(mount));
    }
    return mounts;
}

std::optional<std::string> directory_of(const cgroup_mount& mount, std::string_view path)
{
    // ".." stands for what lies above a cgroup namespace's root: visible in the text, but not
    // reachable through this mount.
    if (path.substr(0, 3) == "/.." || mount.root.substr(0, 3) == "/..")
        return std::nullopt;
    std::string_view below = path;
    if (mount.root != "/") {
        if (path.substr(0, mount.root.size()) != mount.root)
            return std::nullopt;
        below.remove_prefix(mount.root.size());
        if (!below.empty() && below.front() != '/')
            return std::nullopt;
    }
    if (below == "/")
        below = {};
    return mount.point + std::string(below);
}

bool is_leaf_name(std::string_view name) noexcept
{
    constexpr std::string_view prefix = "procyard-";
    if (name.substr(0, prefix.size()) != prefix)
        return false;
    name.remove_prefix(prefix.size());
    const auto dash = name.find('-');
    return dash != name.npos && all_digits(name.substr(0, dash))
        && all_digits(name.substr(dash + 1));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
