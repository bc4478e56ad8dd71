// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/spawn_error.hpp>

#include <array>
#include <ostream>
#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace {

constexpr std::size_t step_count = static_cast<std::size_t>(spawn_step::exec) + 1;

class step_category final : public boost::system::error_category {
public:
    constexpr explicit step_category(spawn_step step) noexcept : step_(step) { }

    [[nodiscard]] spawn_step step() const noexcept { return step_; }
    [[nodiscard]] const char* name() const noexcept override { return "procyard.spawn"; }
    [[nodiscard]] std::string message(int value) const override
    {
        return std::string(to_string(step_)) + ": "
            + boost::system::system_category().message(value);
    }
    // Comparable with errc, as the plain errno is.
    [[nodiscard]] boost::system::error_condition
    default_error_condition(int value) const noexcept override
    {
        return boost::system::system_category().default_error_condition(value);
    }

private:
    spawn_step step_;
};

template <std::size_t... Index>
const auto& make_categories(std::index_sequence<Index...>) noexcept
{
    static const std::array<step_category, sizeof...(Index)> all = {
        step_category(static_cast<spawn_step>(Index))...};
    return all;
}

const std::array<step_category, step_count>& categories() noexcept
{
    return make_categories(std::make_index_sequence<step_count>{});
}

}  // namespace

std::string_view to_string(spawn_step step) noexcept
{
    switch (step) {
    case spawn_step::none: return "spawn";
    case spawn_step::program: return "program";
    case spawn_step::arguments: return "arguments";
    case spawn_step::environment: return "environment";
    case spawn_step::options: return "options";
    case spawn_step::lookup: return "lookup";
    case spawn_step::pipe: return "pipe";
    case spawn_step::open_file: return "open file";
    case spawn_step::terminal: return "terminal";
    case spawn_step::guardian: return "guardian";
    case spawn_step::tree: return "tree";
    case spawn_step::clone: return "clone";
    case spawn_step::signals: return "signals";
    case spawn_step::session: return "session";
    case spawn_step::process_group: return "process group";
    case spawn_step::cgroup: return "cgroup";
    case spawn_step::descriptors: return "descriptors";
    case spawn_step::controlling_terminal: return "controlling terminal";
    case spawn_step::namespaces: return "namespaces";
    case spawn_step::umask: return "umask";
    case spawn_step::nice: return "nice";
    case spawn_step::scheduler: return "scheduler";
    case spawn_step::cpu_affinity: return "CPU affinity";
    case spawn_step::limit: return "limit";
    case spawn_step::working_directory: return "working directory";
    case spawn_step::capabilities: return "capabilities";
    case spawn_step::supplementary_groups: return "supplementary groups";
    case spawn_step::group: return "group";
    case spawn_step::user: return "user";
    case spawn_step::no_new_privileges: return "no new privileges";
    case spawn_step::parent_death_signal: return "parent death signal";
    case spawn_step::exec: return "exec";
    }
    return "spawn";
}

const boost::system::error_category& spawn_category(spawn_step step) noexcept
{
    return categories()[static_cast<std::size_t>(step)];
}

error_code make_spawn_error(spawn_step step, int error_number) noexcept
{
    return error_code(error_number, spawn_category(step));
}

spawn_step step_of(const error_code& ec) noexcept
{
    for (const auto& category : categories()) {
        if (&ec.category() == &category)
            return category.step();
    }
    return spawn_step::none;
}

std::string spawn_failure::to_string() const
{
    std::string text = stage ? "stage " + std::to_string(*stage + 1) + ": " : std::string();
    text += "spawn \"" + program + "\": ";
    text += procyard::to_string(step);
    if (!operand.empty())
        text += (step == spawn_step::lookup ? " in \"" : " \"") + operand + '"';
    return text + ": " + boost::system::system_category().message(code.value());
}

std::ostream& operator<<(std::ostream& out, const spawn_failure& failure)
{
    return out << failure.to_string();
}

spawn_error::spawn_error(spawn_failure failure)
    : system_error(failure.code),
      failure_(std::move(failure)),
      text_(failure_.to_string())
{
}

PROCYARD_NAMESPACE_END
