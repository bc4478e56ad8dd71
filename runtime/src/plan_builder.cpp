// SPDX-License-Identifier: BSL-1.0
#include "plan_builder.hpp"

#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include <procyard/runtime/exit_status.hpp>

#include "command_access.hpp"
#include "manager_text.hpp"
#include "passed_end.hpp"
#include "proc_text.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

using access = command_access;

// glibc's own default has no /usr/local; shells and services do.
constexpr std::string_view default_path = "/usr/local/bin:/usr/bin:/bin";

/// Adds steps in the order in which they must be taken; every decision about that order is here.
class step_list {
public:
    step_list(const command& what, const plan_context& context, spawn_plan& plan) noexcept
        : what_(what),
          context_(context),
          plan_(plan)
    {
    }

    void add_all()
    {
        // All signals are still blocked: resetting the handlers first makes it safe to unblock them
        // at the end.
        add({.step = spawn_step::signals, .data = &plan_.signals});
        add_guardian();
        add_place();
        add({.step = spawn_step::descriptors, .data = &plan_.descriptors});
        if (const auto number = access::controlling_terminal(what_))
            add({.step = spawn_step::controlling_terminal, .a = *number});
        if (!plan_.id_maps.empty())
            add({.step = spawn_step::namespaces, .data = plan_.id_maps.data()});
        add_attributes();
        if (!plan_.directory.empty())
            add({.step = spawn_step::working_directory, .data = plan_.directory.c_str()});
        add_identity();
        if (plan_.own_id.digits != nullptr)
            add({.step = spawn_step::environment, .data = &plan_.own_id});
        add_last();
    }

private:
    void add(child_op op)
    {
        op.optional = access::is_optional(what_, op.step);
        plan_.ops.push_back(op);
    }

    // Before the table of descriptors, too. A guardian knows nobody else who is between the clone
    // and the exec: he has no mark yet, and his parent says nothing before the exec.
    void add_guardian()
    {
        if (context_.guardian_book < 0)
            return;
        const bool sees_parent = (plan_.namespaces & CLONE_NEWPID) == 0;
        add({.step = spawn_step::guardian,
             .a = context_.guardian_book,
             .b = context_.place_in_book,
             .c = sees_parent ? context_.process : 0});
    }

    void add_place()
    {
        // A write into the parent's descriptor: before the child has a table of its own, in which
        // the number would be closed.
        if (context_.cgroup_procs >= 0)
            add({.step = spawn_step::cgroup, .a = context_.cgroup_procs});
        if (access::new_session(what_))
            add({.step = spawn_step::session});  // makes a group as well
        else if (access::process_group(what_))
            add({.step = spawn_step::process_group, .a = *access::process_group(what_)});
        else if (context_.lead_group)
            add({.step = spawn_step::process_group, .a = 0});
    }

    void add_attributes()
    {
        if (const auto& mask = access::umask(what_))
            add({.step = spawn_step::umask, .a = *mask});
        // Raising a limit or a priority needs the parent's privileges: before the change of user.
        if (const auto& increment = access::nice(what_))
            add({.step = spawn_step::nice, .a = *increment});
        if (const auto& s = access::scheduler(what_))
            add({.step = spawn_step::scheduler, .a = s->policy, .b = s->priority});
        if (!plan_.cpu_mask.empty()) {
            add({.step = spawn_step::cpu_affinity,
                 .data = plan_.cpu_mask.data(),
                 .size = plan_.cpu_mask.size() * sizeof(unsigned long)});
        }
        for (const auto& limit : access::limits(what_)) {
            add({.step = spawn_step::limit,
                 .a = limit.resource,
                 .b = static_cast<std::int64_t>(limit.soft),
                 .c = static_cast<std::int64_t>(limit.hard)});
        }
    }

    // Groups, then group, then user: after the user is changed, the right to change groups is gone.
    void add_identity()
    {
        const auto& user = access::user(what_);
        const auto& keep = access::keep_capabilities(what_);
        std::int64_t kept = 0;
        if (keep) {
            for (const int capability : *keep)
                kept |= static_cast<std::int64_t>(std::uint64_t{1} << capability);
            add({.step = spawn_step::capabilities, .b = kept, .c = user && kept != 0 ? 1 : 0});
        }
        const auto& groups = access::supplementary_groups(what_);
        if (groups) {
            add({.step = spawn_step::supplementary_groups,
                 .data = groups->data(),
                 .size = groups->size()});
        }
        if (const auto& group = access::group(what_))
            add({.step = spawn_step::group, .a = *group});
        if (user) {
            // Without groups of its own the user has none, at least not root's. In a new user
            // namespace groups cannot be changed: that was the price of its map.
            const bool in_namespace = (plan_.namespaces & CLONE_NEWUSER) != 0;
            add({.step = spawn_step::user, .a = *user, .b = groups || in_namespace ? 0 : 1});
        }
        if (keep)
            add({.step = spawn_step::capabilities, .a = 1, .b = kept});
    }

    void add_last()
    {
        if (access::no_new_privileges(what_))
            add({.step = spawn_step::no_new_privileges});
        // The kernel forgets the parent-death signal when the credentials change: after them.
        if (const int number = access::parent_death_signal(what_); number != 0) {
            const bool sees_parent = (plan_.namespaces & CLONE_NEWPID) == 0;
            add({.step = spawn_step::parent_death_signal,
                 .a = number,
                 .b = sees_parent ? context_.parent : 0});
        }
        // From here on a pending signal ends the child; it is the child's own death then, as after
        // the exec.
        add({.step = spawn_step::signals, .a = 1, .data = &plan_.signal_mask});
        add({.step = spawn_step::exec, .data = &plan_.exec});
    }

    const command& what_;
    const plan_context& context_;
    spawn_plan& plan_;
};

std::uint64_t to_kernel_mask(const sigset_t& set) noexcept
{
    std::uint64_t mask = 0;
    for (int number = 1; number <= 64; ++number) {
        if (::sigismember(&set, number) == 1)
            mask |= std::uint64_t{1} << (number - 1);
    }
    return mask;
}

std::uint64_t namespace_flags(const namespace_options& n) noexcept
{
    const auto flag = [](bool wanted, unsigned long bit) { return wanted ? bit : 0UL; };
    return flag(n.user, CLONE_NEWUSER) | flag(n.pid, CLONE_NEWPID) | flag(n.mount, CLONE_NEWNS)
        | flag(n.network, CLONE_NEWNET) | flag(n.ipc, CLONE_NEWIPC) | flag(n.uts, CLONE_NEWUTS)
        | flag(n.cgroup, CLONE_NEWCGROUP);
}

std::string_view name_of(const char* entry) noexcept
{
    const char* const end = std::strchr(entry, '=');
    return {entry, end == nullptr ? std::strlen(entry) : static_cast<std::size_t>(end - entry)};
}

// One number for both: who is older than the second refuses what it does not know.
unsigned policies_of(const channel_options& options) noexcept
{
    return static_cast<unsigned>(options.full)
        + when_full_count * static_cast<unsigned>(options.huge_pages);
}

// "", if nothing is passed.
std::string channels_entry(const command& what)
{
    std::string entry;
    passed_numbers numbers(what);
    for (const auto& end : access::passed(what)) {
        entry += entry.empty() ? std::string(channels_variable) + '=' : std::string(1, ';');
        entry += end->name() + '=' + std::to_string(numbers.next()) + ':'
            + std::to_string(end->inode()) + ':' + std::to_string(end->options().capacity_messages)
            + ':' + std::to_string(end->options().capacity_bytes)
            + (end->options().across_users ? ":1:" : ":0:")
            + std::to_string(policies_of(end->options())) + ':'
            + std::to_string(end->options().max_message_bytes) + ':'
            + std::string(end->options().name.view());
        if (const auto bytes = end->options().max_peer_bytes;
            bytes != channel_options().max_peer_bytes)
            entry +=
                ';' + end->name() + '=' + std::string(peer_bytes_field) + std::to_string(bytes);
    }
    return entry;
}

// The variables of socket activation, the last one with room for the id that the child has.
void add_activation(const command& what, spawn_plan& plan)
{
    const auto& given = access::listen_descriptors(what);
    std::string names;
    for (const auto& one : given)
        names.append(names.empty() ? "" : ":").append(one.name);
    const auto add = [&plan](const char* name, const std::string& value) -> std::string& {
        auto& entry = plan.variables.emplace_back(name);
        plan.envp.push_back((entry += '=' + value).c_str());
        return entry;
    };
    add(listen_count_variable, std::to_string(given.size()));
    add(listen_names_variable, names);
    constexpr std::size_t longest_id = 20;  // and its NUL, which a string has
    auto& pid = add(listen_pid_variable, std::string(longest_id, '\0'));
    plan.own_id = {pid.data() + pid.size() - longest_id, longest_id + 1};
}

void build_environment(const command& what, const plan_context& context, spawn_plan& plan)
{
    const auto& changes = access::environment(what);
    const bool marked = !context.marker.empty();
    const bool passes = !access::passed(what).empty();
    const bool activates = !access::listen_descriptors(what).empty();
    if (changes.empty() && !access::env_clear(what) && !marked && !passes && !activates)
        return;  // the parent's own array is passed on: nothing to copy
    const auto is_ours = [marked, passes, activates](std::string_view name) {
        return (marked && name == tree_marker_name) || (passes && name == channels_variable)
            || (activates && is_activation_variable(name));
    };
    if (!access::env_clear(what)) {
        for (char** entry = context.environment; entry != nullptr && *entry != nullptr; ++entry) {
            const auto name = name_of(*entry);
            if (changes.find(name) == changes.end() && !is_ours(name))
                plan.envp.push_back(*entry);
        }
    }
    plan.variables.reserve(changes.size() + 5);  // none moves: they are pointed to
    for (const auto& [name, value] : changes) {
        if (value && !is_ours(name))
            plan.envp.push_back(plan.variables.emplace_back(name + '=' + *value).c_str());
    }
    if (marked) {
        auto& entry = plan.variables.emplace_back(tree_marker_name);
        plan.envp.push_back((entry += '=' + context.marker).c_str());
    }
    if (passes)
        plan.envp.push_back(plan.variables.emplace_back(channels_entry(what)).c_str());
    if (activates)
        add_activation(what, plan);
    plan.envp.push_back(nullptr);
}

std::string_view child_path(const command& what, const plan_context& context)
{
    const auto path = child_variable(what, context, "PATH");
    return path.data() == nullptr ? default_path : path;
}

spawn_failure resolve_program(const command& what, const plan_context& context, spawn_plan& plan)
{
    const auto& program = what.program();
    if (program.find('/') == std::string::npos) {
        const auto path = child_path(what, context);
        int error = 0;
        plan.path = find_program(program, path, error);
        if (plan.path.empty())
            return make_failure(what, spawn_step::lookup, error, std::string(path));
        return {};
    }
    if (program.front() != '/' && !access::working_directory(what).empty()) {
        // The child will be elsewhere when it executes it; the path means what it means here.
        std::error_code ec;
        const auto here = std::filesystem::current_path(ec);
        if (ec)
            return make_failure(what, spawn_step::lookup, ec.value(), ".");
        plan.path = (here / program).native();
    } else {
        plan.path = program;
    }
    return {};
}

}  // namespace

std::string_view child_variable(const command& what, const plan_context& context,
                                std::string_view name)
{
    const auto& changes = access::environment(what);
    if (const auto found = changes.find(name); found != changes.end())
        return found->second ? std::string_view(*found->second) : std::string_view();
    if (access::env_clear(what))
        return {};
    for (char** entry = context.environment; entry != nullptr && *entry != nullptr; ++entry) {
        const auto found = name_of(*entry);
        if (found == name && (*entry)[found.size()] == '=')
            return *entry + found.size() + 1;
    }
    return {};
}

std::string find_program(std::string_view program, std::string_view path, int& error_number)
{
    error_number = ENOENT;
    while (!path.empty()) {
        const auto end = std::min(path.find(':'), path.size());
        const auto directory = path.substr(0, end);
        path.remove_prefix(std::min(end + 1, path.size()));
        if (directory.empty() || directory.front() != '/')
            continue;  // the current directory by another name: a trap, not a place to look
        std::string candidate(directory);
        candidate += '/';
        candidate += program;
        struct stat status;
        if (::stat(candidate.c_str(), &status) != 0) {
            if (errno == EACCES)
                error_number = EACCES;
            continue;
        }
        if (!S_ISREG(status.st_mode))
            continue;
        if (::faccessat(AT_FDCWD, candidate.c_str(), X_OK, AT_EACCESS) == 0)
            return candidate;
        error_number = EACCES;
    }
    return {};
}

spawn_failure make_failure(const command& what, spawn_step step, int error_number,
                           std::string operand)
{
    spawn_failure failure;
    failure.code = make_spawn_error(step, error_number);
    failure.step = step;
    failure.program = what.program();
    failure.operand = std::move(operand);
    return failure;
}

spawn_failure make_failure_of_exception(const command& what)
{
    int error_number = ENOTRECOVERABLE;
    std::string operand;
    try {
        throw;
    } catch (const std::bad_alloc&) {
        error_number = ENOMEM;
    } catch (const boost::system::system_error& error) {
        // The value is an errno: the library asks nobody but the kernel.
        error_number = error.code().value();
        operand = error.what();
    } catch (const std::exception& error) {
        operand = error.what();
    } catch (...) {
        operand = "an exception of an unknown type";
    }
    return make_failure(what, spawn_step::clone, error_number, std::move(operand));
}

spawn_failure build_plan(const command& what, const plan_context& context, spawn_plan& plan)
{
    if (auto failure = resolve_program(what, context, plan))
        return failure;
    build_environment(what, context, plan);

    plan.argv.push_back((access::arg0(what) ? *access::arg0(what) : what.program()).c_str());
    for (const auto& argument : what.arguments())
        plan.argv.push_back(argument.c_str());
    plan.argv.push_back(nullptr);

    plan.directory = access::working_directory(what).native();
    if (const auto& options = access::namespaces(what)) {
        plan.namespaces = namespace_flags(*options);
        if (options->user) {
            plan.id_maps = std::to_string(options->inside_uid) + ' ' + std::to_string(::geteuid())
                + " 1" + '\0' + std::to_string(options->inside_gid) + ' '
                + std::to_string(::getegid()) + " 1";
        }
    }
    if (const auto& cpus = access::cpu_affinity(what)) {
        for (const unsigned cpu : *cpus) {
            constexpr unsigned bits = sizeof(unsigned long) * CHAR_BIT;
            plan.cpu_mask.resize(std::max<std::size_t>(plan.cpu_mask.size(), cpu / bits + 1));
            plan.cpu_mask[cpu / bits] |= 1UL << cpu % bits;
        }
    }
    plan.signals.inherit = access::inherit_signals(what);
    plan.signals.ignore = access::ignored_signals(what).data();
    plan.signals.ignore_count = access::ignored_signals(what).size();
    if (const auto& mask = access::signal_mask(what))
        plan.signal_mask = to_kernel_mask(*mask);
    plan.descriptors.close_range = context.close_range;
    plan.exec.text_busy_retries = access::text_busy_retries(what);

    step_list(what, context, plan).add_all();
    if (plan.envp.empty())
        plan.exec.envp = context.environment;
    return {};
}

std::string spawn_plan::operand_of(const child_op& op) const
{
    switch (op.step) {
    case spawn_step::working_directory: return directory;
    case spawn_step::exec: return path == std::string_view(argv.front()) ? std::string() : path;
    case spawn_step::descriptors: return op.b < 0 ? std::string() : std::to_string(op.b);
    case spawn_step::process_group:
    case spawn_step::controlling_terminal:
    case spawn_step::nice:
    case spawn_step::limit:
    case spawn_step::group:
    case spawn_step::user:
    case spawn_step::scheduler: return std::to_string(op.a);
    case spawn_step::parent_death_signal: return signal_name(static_cast<int>(op.a));
    default: return {};  // steps that have no operand worth naming
    }
}

void spawn_plan::give_up_namespaces() noexcept
{
    bool has_groups = false;
    for (auto& op : ops) {
        has_groups = has_groups || op.step == spawn_step::supplementary_groups;
        if (op.step == spawn_step::user)
            op.b = has_groups ? 0 : 1;  // see add_identity
    }
    const auto maps = std::remove_if(ops.begin(), ops.end(), [](const child_op& op) {
        return op.step == spawn_step::namespaces;
    });
    ops.erase(maps, ops.end());
    namespaces = 0;
}

void spawn_plan::seal() noexcept
{
    exec.path = path.c_str();
    exec.argv = const_cast<char* const*>(argv.data());
    if (!envp.empty())
        exec.envp = const_cast<char* const*>(envp.data());
    descriptors.moves = moves.data();
    descriptors.move_count = moves.size();
    std::sort(keep.begin(), keep.end());
    descriptors.keep = keep.data();
    descriptors.keep_count = keep.size();
    child.ops = ops.data();
    child.op_count = ops.size();
    child.failed_op = -1;
}

}  // namespace detail
PROCYARD_NAMESPACE_END
