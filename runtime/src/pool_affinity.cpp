// SPDX-License-Identifier: BSL-1.0
// Whether the processors of a pool's workers are there for them.
#include <fcntl.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "command_access.hpp"
#include "pool_check.hpp"
#include "proc_fs.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr unsigned most_cpus = CPU_SETSIZE;
constexpr const char* effective_name = "cpuset.cpus.effective";

struct cpus {
    std::vector<bool> all = std::vector<bool>(most_cpus, false);
    std::string text{};  // as the kernel says it

    [[nodiscard]] bool has(unsigned cpu) const { return cpu < most_cpus && all[cpu]; }
};

std::optional<cpus> of_this_process()
{
    cpu_set_t ours;
    CPU_ZERO(&ours);
    if (::sched_getaffinity(0, sizeof ours, &ours) != 0)
        return std::nullopt;
    cpus made;
    for (unsigned cpu = 0; cpu < most_cpus; ++cpu)
        made.all[cpu] = CPU_ISSET(cpu, &ours);
    return made;
}

// `0-3,7`; nothing of what is no such list.
std::optional<cpus> parse_list(std::string_view text)
{
    cpus made;
    made.text = text = text.substr(0, text.find('\n'));
    while (!text.empty()) {
        auto part = text.substr(0, text.find(','));
        text.remove_prefix(std::min(part.size() + 1, text.size()));
        unsigned first = 0;
        auto [end, ec] = std::from_chars(part.data(), part.data() + part.size(), first);
        unsigned last = first;
        part.remove_prefix(static_cast<std::size_t>(end - part.data()));
        if (ec == std::errc() && part.starts_with('-')) {
            const auto range = std::from_chars(part.data() + 1, part.data() + part.size(), last);
            ec = range.ec;
            part.remove_prefix(static_cast<std::size_t>(range.ptr - part.data()));
        }
        if (ec != std::errc() || !part.empty() || last < first || last >= most_cpus)
            return std::nullopt;
        for (auto cpu = first; cpu <= last; ++cpu)
            made.all[cpu] = true;
    }
    return made.text.empty() ? std::nullopt : std::optional(made);
}

// Of the cgroup that the workers are in, or of the nearest above it that says so: the controller
// need not be there for each.
std::optional<cpus> of_cgroup(const command& program)
{
    const auto& joined = command_access::cgroup(program);
    auto at = joined.empty() ? command_access::cgroup_parent(program) : joined;
    for (; at.has_relative_path(); at = at.parent_path()) {
        std::string text;
        error_code ignored;
        if (!read_file(AT_FDCWD, (at / effective_name).c_str(), text, ignored))
            continue;
        auto found = parse_list(text);
        if (found)
            found->text = (at / effective_name).string() + ": " + found->text;
        return found;
    }
    return std::nullopt;
}

}  // namespace

std::string problem_of_affinity(const std::vector<std::vector<unsigned>>& affinity,
                                const command& program)
{
    if (affinity.empty())
        return {};
    const auto ours = of_this_process();
    const auto theirs = of_cgroup(program);
    for (std::size_t slot = 0; slot < affinity.size(); ++slot) {
        for (const auto cpu : affinity[slot]) {
            const auto which = "affinity of worker " + std::to_string(slot) + ": processor "
                + std::to_string(cpu) + " is not one that ";
            if (ours && !ours->has(cpu))
                return which + "this process may use";
            if (theirs && !theirs->has(cpu))
                return which + "its cgroup may use (" + theirs->text + ')';
        }
    }
    return {};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
