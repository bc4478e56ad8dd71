// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/command.hpp>

#include <algorithm>

#include "guardian_core.hpp"
#include "passed_end.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

// A word as a POSIX shell reads it back.
std::string quoted(const std::string& word)
{
    constexpr std::string_view plain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+@%^";
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos)
        return word;
    std::string text = "'";
    for (const char c : word) {
        if (c == '\'')
            text += "'\\''";
        else
            text += c;
    }
    return text + '\'';
}

}  // namespace

command command::shell(std::string script)
{
    return command("/bin/sh", {"-c", std::move(script)});
}

command& command::arg(std::string argument)
{
    arguments_.push_back(std::move(argument));
    return *this;
}

command& command::args(std::initializer_list<std::string_view> arguments)
{
    arguments_.insert(arguments_.end(), arguments.begin(), arguments.end());
    return *this;
}

command& command::args(const std::vector<std::string>& arguments)
{
    arguments_.insert(arguments_.end(), arguments.begin(), arguments.end());
    return *this;
}

command& command::arg0(std::string name)
{
    arg0_ = std::move(name);
    return *this;
}

command& command::env(std::string name, std::string value)
{
    environment_.insert_or_assign(std::move(name), std::move(value));
    return *this;
}

command& command::env_remove(std::string name)
{
    environment_.insert_or_assign(std::move(name), std::nullopt);
    return *this;
}

command& command::env_clear()
{
    env_clear_ = true;
    environment_.clear();
    return *this;
}

command& command::working_directory(std::filesystem::path directory)
{
    working_directory_ = std::move(directory);
    return *this;
}

command& command::std_in(stdio source)
{
    standard_[0] = std::move(source);
    return *this;
}

command& command::std_out(stdio target)
{
    standard_[1] = std::move(target);
    return *this;
}

command& command::std_err(stdio target)
{
    standard_[2] = std::move(target);
    return *this;
}

command& command::terminal(window_size size)
{
    for (auto& s : standard_)
        s = stdio::terminal(size);
    return *this;
}

command& command::descriptor(int number, stdio connection)
{
    descriptors_.insert_or_assign(number, std::move(connection));
    return *this;
}

command& command::listen_descriptor(stdio connection, std::string name)
{
    listen_descriptors_.push_back({std::move(connection), std::move(name)});
    return *this;
}

command& command::tree(tree_mode mode)
{
    tree_ = mode;
    return *this;
}

command& command::cgroup_parent(std::filesystem::path directory)
{
    cgroup_parent_ = std::move(directory);
    return *this;
}

command& command::cgroup(std::filesystem::path directory)
{
    cgroup_ = std::move(directory);
    return *this;
}

command& command::process_group(pid_t id)
{
    process_group_ = id;
    return *this;
}

command& command::new_session()
{
    new_session_ = true;
    return *this;
}

command& command::controlling_terminal(int number)
{
    controlling_terminal_ = number;
    return new_session();
}

command& command::namespaces(const namespace_options& options)
{
    namespaces_ = options;
    return *this;
}

command& command::umask(mode_t mask)
{
    umask_ = mask;
    return *this;
}

command& command::nice(int increment)
{
    nice_ = increment;
    return *this;
}

command& command::scheduler(int policy, int priority)
{
    scheduler_ = scheduling{policy, priority};
    return *this;
}

command& command::cpu_affinity(std::vector<unsigned> cpus)
{
    cpu_affinity_ = std::move(cpus);
    return *this;
}

command& command::limit(int resource, rlim_t soft, rlim_t hard)
{
    limits_.push_back({resource, soft, hard});
    return *this;
}

command& command::user(uid_t id)
{
    user_ = id;
    return *this;
}

command& command::group(gid_t id)
{
    group_ = id;
    return *this;
}

command& command::supplementary_groups(std::vector<gid_t> ids)
{
    supplementary_groups_ = std::move(ids);
    return *this;
}

command& command::no_new_privileges()
{
    no_new_privileges_ = true;
    return *this;
}

command& command::drop_capabilities(std::vector<int> keep)
{
    keep_capabilities_ = std::move(keep);
    return *this;
}

command& command::parent_death_signal(int signal_number)
{
    parent_death_signal_ = signal_number;
    return *this;
}

command& command::guarded_by(const guardian& by)
{
    guarded_by_ = detail::guardian_access::core(by);
    return *this;
}

command& command::signal_mask(const sigset_t& blocked)
{
    signal_mask_ = blocked;
    return *this;
}

command& command::ignore_signal(int signal_number)
{
    ignored_signals_.push_back(signal_number);
    return *this;
}

command& command::pass_end(unique_fd socket, const channel_options& options, std::string name)
{
    passed_.push_back(
        std::make_shared<detail::passed_end>(std::move(name), std::move(socket), options));
    return *this;
}

command& command::inherit_signals()
{
    inherit_signals_ = true;
    return *this;
}

command& command::on_drop(drop_policy policy)
{
    on_drop_ = policy;
    return *this;
}

command& command::text_busy_retries(unsigned count)
{
    text_busy_retries_ = count;
    return *this;
}

command& command::optional(spawn_step step)
{
    optional_steps_ |= std::uint64_t{1} << static_cast<unsigned>(step);
    return *this;
}

std::string command::to_string() const
{
    std::string text = quoted(program_);
    for (const auto& argument : arguments_)
        text += ' ' + quoted(argument);
    return text;
}

PROCYARD_NAMESPACE_END
