// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_COMMAND_ACCESS_HPP
#define PROCYARD_RUNTIME_SRC_COMMAND_ACCESS_HPP

#include <optional>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/stdio.hpp>

PROCYARD_NAMESPACE_BEGIN
namespace detail {

// The library's view of what users only describe.
struct stdio_access {
    using kind = stdio::kind;
    static kind what(const stdio& s) noexcept { return s.kind_; }
    static mode_t mode(const stdio& s) noexcept { return s.mode_; }
    static int number(const stdio& s) noexcept
    {
        return s.kind_ == kind::owned ? s.owned_->get() : s.number_;
    }
    static window_size window(const stdio& s) noexcept { return s.window_; }
    static std::size_t capacity_bytes(const stdio& s) noexcept { return s.capacity_bytes_; }
    static const std::filesystem::path& path(const stdio& s) noexcept { return s.path_; }
};

struct command_access {
    // The first descriptor on a pseudo-terminal of ours. Such a child leads a session that the
    // terminal controls: without one nobody gets SIGWINCH, ^C or the hang-up.
    static std::optional<int> terminal_number(const command& c) noexcept
    {
        for (int number = 0; number < 3; ++number)
            if (stdio_access::what(c.standard_[number]) == stdio_access::kind::terminal)
                return number;
        for (const auto& [number, connection] : c.descriptors_)
            if (stdio_access::what(connection) == stdio_access::kind::terminal)
                return number;
        return std::nullopt;
    }

    static const auto& arg0(const command& c) noexcept { return c.arg0_; }
    static bool env_clear(const command& c) noexcept { return c.env_clear_; }
    static const auto& environment(const command& c) noexcept { return c.environment_; }
    static const auto& working_directory(const command& c) noexcept { return c.working_directory_; }
    static const auto& standard(const command& c) noexcept { return c.standard_; }
    static const auto& descriptors(const command& c) noexcept { return c.descriptors_; }
    static const auto& listen_descriptors(const command& c) noexcept
    {
        return c.listen_descriptors_;
    }
    static const auto& passed(const command& c) noexcept { return c.passed_; }
    static tree_mode tree(const command& c) noexcept { return c.tree_; }
    static const auto& cgroup_parent(const command& c) noexcept { return c.cgroup_parent_; }
    static const auto& cgroup(const command& c) noexcept { return c.cgroup_; }
    static const auto& process_group(const command& c) noexcept { return c.process_group_; }
    static bool new_session(const command& c) noexcept
    {
        return c.new_session_ || terminal_number(c).has_value();
    }
    static std::optional<int> controlling_terminal(const command& c) noexcept
    {
        return c.controlling_terminal_ ? c.controlling_terminal_ : terminal_number(c);
    }
    static const auto& namespaces(const command& c) noexcept { return c.namespaces_; }
    static const auto& umask(const command& c) noexcept { return c.umask_; }
    static const auto& nice(const command& c) noexcept { return c.nice_; }
    static const auto& scheduler(const command& c) noexcept { return c.scheduler_; }
    static const auto& cpu_affinity(const command& c) noexcept { return c.cpu_affinity_; }
    static const auto& limits(const command& c) noexcept { return c.limits_; }
    static const auto& user(const command& c) noexcept { return c.user_; }
    static const auto& group(const command& c) noexcept { return c.group_; }
    static const auto& supplementary_groups(const command& c) noexcept
    {
        return c.supplementary_groups_;
    }
    static bool no_new_privileges(const command& c) noexcept { return c.no_new_privileges_; }
    static const auto& keep_capabilities(const command& c) noexcept { return c.keep_capabilities_; }
    static int parent_death_signal(const command& c) noexcept { return c.parent_death_signal_; }
    static const auto& guarded_by(const command& c) noexcept { return c.guarded_by_; }
    static void remove_guardian(command& c) noexcept { c.guarded_by_.reset(); }
    static const auto& signal_mask(const command& c) noexcept { return c.signal_mask_; }
    static const auto& ignored_signals(const command& c) noexcept { return c.ignored_signals_; }
    static bool inherit_signals(const command& c) noexcept { return c.inherit_signals_; }
    static const drop_policy& on_drop(const command& c) noexcept { return c.on_drop_; }
    static unsigned text_busy_retries(const command& c) noexcept { return c.text_busy_retries_; }
    static bool is_optional(const command& c, spawn_step step) noexcept
    {
        return (c.optional_steps_ >> static_cast<unsigned>(step) & 1U) != 0;
    }
};

/// The command's connection of the child's descriptor 0, 1 or 2.
[[nodiscard]] inline bool has_terminal(const command& c) noexcept
{
    for (const auto& s : command_access::standard(c)) {
        if (stdio_access::what(s) == stdio_access::kind::terminal)
            return true;
    }
    return false;
}

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
