// SPDX-License-Identifier: BSL-1.0
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/runtime/exit_status.hpp>

#include "command_access.hpp"
#include "manager_text.hpp"
#include "passed_end.hpp"
#include "plan_builder.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

using access = command_access;
using stdio_kind = stdio_access::kind;

// Each doubles the pause, from 1 ms on: a minute in all. With many more a thread would be gone for
// good.
constexpr unsigned most_text_busy_retries = 16;

bool has_nul(std::string_view text) noexcept
{
    return text.find('\0') != std::string_view::npos;
}

bool is_option(spawn_step step) noexcept
{
    switch (step) {
    case spawn_step::none:
    case spawn_step::program:
    case spawn_step::arguments:
    case spawn_step::environment:
    case spawn_step::options:
    case spawn_step::lookup:
    case spawn_step::pipe:
    case spawn_step::open_file:
    case spawn_step::terminal:
    case spawn_step::guardian:
    case spawn_step::clone:
    case spawn_step::signals:
    case spawn_step::descriptors:
    case spawn_step::exec: return false;
    case spawn_step::tree:
    case spawn_step::session:
    case spawn_step::process_group:
    case spawn_step::cgroup:
    case spawn_step::controlling_terminal:
    case spawn_step::namespaces:
    case spawn_step::umask:
    case spawn_step::nice:
    case spawn_step::scheduler:
    case spawn_step::cpu_affinity:
    case spawn_step::limit:
    case spawn_step::working_directory:
    case spawn_step::capabilities:
    case spawn_step::supplementary_groups:
    case spawn_step::group:
    case spawn_step::user:
    case spawn_step::no_new_privileges:
    case spawn_step::parent_death_signal: return true;
    }
    return false;
}

/// Collects the first complaint.
class checker {
public:
    explicit checker(const command& what) noexcept : what_(what) { }

    void refuse(spawn_step step, std::string operand, int error_number = EINVAL)
    {
        if (!failure_)
            failure_ = make_failure(what_, step, error_number, std::move(operand));
    }

    // The words are put together only when it is bad: a spawn makes some seventy such checks.
    template <class... Words>
    void refuse_if(bool bad, spawn_step step, const Words&... words)
    {
        if (!bad)
            return;
        std::string operand;
        (operand.append(words), ...);
        refuse(step, std::move(operand));
    }

    spawn_failure run()
    {
        check_texts();
        check_descriptors();
        check_numbers();
        check_optional();
        return std::move(failure_);
    }

private:
    void check_texts()
    {
        refuse_if(what_.program().empty(), spawn_step::program, "the name is empty");
        refuse_if(has_nul(what_.program()), spawn_step::program, "NUL in the name");
        for (std::size_t i = 0; i < what_.arguments().size(); ++i) {
            if (has_nul(what_.arguments()[i]))
                refuse(spawn_step::arguments, "NUL in argument " + std::to_string(i + 1));
        }
        refuse_if(access::arg0(what_) && has_nul(*access::arg0(what_)), spawn_step::arguments,
                  "NUL in argument 0");
        for (const auto& [name, value] : access::environment(what_)) {
            refuse_if(name.empty(), spawn_step::environment, "a name is empty");
            refuse_if(name.find('=') != std::string::npos, spawn_step::environment,
                      "'=' in the name ", name);
            if (has_nul(name) || (value && has_nul(*value)))
                refuse(spawn_step::environment, "NUL in " + name.substr(0, name.find('\0')));
        }
        refuse_if(has_nul(access::working_directory(what_).native()), spawn_step::working_directory,
                  "NUL in the path");
        refuse_if(has_nul(access::cgroup(what_).native())
                      || has_nul(access::cgroup_parent(what_).native()),
                  spawn_step::cgroup, "NUL in the path");
    }

    void check_connection(int number, const stdio& s)
    {
        const auto kind = stdio_access::what(s);
        const auto name = std::to_string(number);
        refuse_if((kind == stdio_kind::to_stdout && number == 1)
                      || (kind == stdio_kind::to_stderr && number == 2),
                  spawn_step::descriptors, name, " cannot be merged into itself");
        if ((kind == stdio_kind::owned || kind == stdio_kind::borrowed)
            && stdio_access::number(s) < 0)
            refuse(spawn_step::descriptors, name + " is connected to no descriptor", EBADF);
        // Here and not when its turn comes: by then another connection may have emptied a file.
        if (kind == stdio_kind::borrowed && stdio_access::number(s) >= 0
            && ::fcntl(stdio_access::number(s), F_GETFD) == -1)
            refuse(spawn_step::descriptors, std::to_string(stdio_access::number(s)), EBADF);
        refuse_if(kind == stdio_kind::read_file && (number == 1 || number == 2),
                  spawn_step::descriptors, name,
                  " is written, and cannot be connected to a file opened for reading");
        refuse_if((kind == stdio_kind::write_file || kind == stdio_kind::append_file)
                      && number == 0,
                  spawn_step::descriptors,
                  "0 is read, and cannot be connected to a file opened for writing");
        if (has_nul(stdio_access::path(s).native()))
            refuse(spawn_step::open_file, "NUL in the path");
        if (number > 2) {
            refuse_if(kind == stdio_kind::pipe || kind == stdio_kind::socket
                          || kind == stdio_kind::terminal || kind == stdio_kind::inherit,
                      spawn_step::descriptors, name,
                      " needs a file or a descriptor: only 0, 1 and 2 have streams of their own");
        }
    }

    void check_passed()
    {
        std::set<std::string_view> names;
        for (const auto& end : access::passed(what_)) {
            refuse_if(!is_channel_name(end->name()), spawn_step::descriptors, "channel ",
                      end->name(), " has a name of other than letters, digits, '_', '-' and '.'");
            refuse_if(!names.insert(end->name()).second, spawn_step::descriptors,
                      "two channels are called ", end->name());
            if (end->inode() == 0)
                refuse(spawn_step::descriptors, "channel " + end->name() + " is no end", EBADF);
            if (!end->is_there())
                refuse(spawn_step::descriptors,
                       "channel " + end->name() + " has been passed to another child", EBADF);
        }
    }

    void check_activation()
    {
        const auto& given = access::listen_descriptors(what_);
        int number = first_activation_descriptor;
        for (const auto& one : given) {
            const auto kind = stdio_access::what(one.connection);
            refuse_if(!is_descriptor_name(one.name), spawn_step::descriptors,
                      "listen descriptor \"", one.name,
                      "\" has a name of other than 1 to 255 printable characters but ':'");
            refuse_if(kind != stdio_kind::owned && kind != stdio_kind::borrowed,
                      spawn_step::descriptors, "listen descriptor ", one.name,
                      " is neither owned nor borrowed");
            refuse_if(access::descriptors(what_).contains(number), spawn_step::descriptors,
                      std::to_string(number), " is the number of listen descriptor ", one.name,
                      ", and cannot be connected otherwise");
            check_connection(number++, one.connection);
        }
    }

    void check_descriptors()
    {
        const auto& standard = access::standard(what_);
        for (int number = 0; number < 3; ++number)
            check_connection(number, standard[number]);
        refuse_if(stdio_access::what(standard[1]) == stdio_kind::to_stderr
                      && stdio_access::what(standard[2]) == stdio_kind::to_stdout,
                  spawn_step::descriptors, "1 and 2 are merged into each other");

        check_passed();
        check_activation();
        if (access::descriptors(what_).empty())
            return;
        rlimit limit{};
        ::getrlimit(RLIMIT_NOFILE, &limit);
        for (const auto& [number, connection] : access::descriptors(what_)) {
            const auto name = std::to_string(number);
            refuse_if(number < 0, spawn_step::descriptors, name, " is no descriptor number");
            refuse_if(number >= 0 && number < 3, spawn_step::descriptors, name,
                      " has a function of its own (std_in, std_out, std_err)");
            if (number >= 3 && static_cast<rlim_t>(number) >= limit.rlim_cur)
                refuse(spawn_step::descriptors, name + " is above the limit on open files", EBADF);
            check_connection(number, connection);
        }
    }

    void check_numbers()
    {
        const auto bad_signal = [](int number) { return number < 1 || number > 64; };
        const int death = access::parent_death_signal(what_);
        refuse_if(death != 0 && bad_signal(death), spawn_step::parent_death_signal,
                  std::to_string(death));
        if (const auto& mask = access::umask(what_)) {
            char octal[16];
            std::snprintf(octal, sizeof octal, "%o", static_cast<unsigned>(*mask));
            refuse_if((*mask & ~mode_t{0777}) != 0, spawn_step::umask, octal);
        }
        for (const int number : access::ignored_signals(what_))
            refuse_if(bad_signal(number) || number == SIGKILL || number == SIGSTOP,
                      spawn_step::signals, "ignore ", signal_name(number));
        if (const auto& cpus = access::cpu_affinity(what_)) {
            refuse_if(cpus->empty(), spawn_step::cpu_affinity, "no CPU");
            constexpr unsigned most = 1U << 16;
            for (const unsigned cpu : *cpus)
                refuse_if(cpu >= most, spawn_step::cpu_affinity, std::to_string(cpu));
        }
        if (const auto& keep = access::keep_capabilities(what_)) {
            for (const int capability : *keep)
                refuse_if(capability < 0 || capability > 63, spawn_step::capabilities,
                          std::to_string(capability));
        }
        // The kernel takes -1 for "as it is".
        refuse_if(access::user(what_) == static_cast<uid_t>(-1), spawn_step::user, "-1");
        refuse_if(access::group(what_) == static_cast<gid_t>(-1), spawn_step::group, "-1");
        refuse_if(access::process_group(what_) && *access::process_group(what_) < 0,
                  spawn_step::process_group, "a negative id");
        refuse_if(access::process_group(what_) && access::new_session(what_),
                  spawn_step::process_group, "the leader of a new session leads a group already");
        refuse_if(access::process_group(what_) && *access::process_group(what_) != 0
                      && (access::tree(what_) == tree_mode::process_group
                          || access::tree(what_) == tree_mode::subreaper),
                  spawn_step::tree, "a member of another group cannot lead one");
        // A child is born in one place: in its tree's own cgroup it would not be in the named one,
        // and in the named one its tree would be empty.
        refuse_if(!access::cgroup(what_).empty()
                      && (access::tree(what_) == tree_mode::cgroup
                          || !access::cgroup_parent(what_).empty()),
                  spawn_step::cgroup, "a cgroup by name, and a tree in a cgroup of its own");
        if (const auto& own = access::namespaces(what_); own && !own->user) {
            refuse_if(own->inside_uid != 0, spawn_step::namespaces, "inside_uid without user");
            refuse_if(own->inside_gid != 0, spawn_step::namespaces, "inside_gid without user");
        }
        if (const auto retries = access::text_busy_retries(what_); retries > most_text_busy_retries)
            refuse(spawn_step::options,
                   "text_busy_retries " + std::to_string(retries) + ", at most "
                       + std::to_string(most_text_busy_retries));
        const auto terminal = access::controlling_terminal(what_);
        refuse_if(terminal && *terminal < 0, spawn_step::controlling_terminal, "a negative number");
    }

    // A child without its descriptors, or a success without a program, is not what anybody means by
    // "optional".
    void check_optional()
    {
        for (auto step = spawn_step::none; step <= spawn_step::exec;
             step = static_cast<spawn_step>(static_cast<int>(step) + 1)) {
            refuse_if(access::is_optional(what_, step) && !is_option(step), spawn_step::options,
                      to_string(step), " cannot be optional");
        }
    }

    const command& what_;
    spawn_failure failure_;
};

}  // namespace

spawn_failure check(const command& what)
{
    return checker(what).run();
}

}  // namespace detail
PROCYARD_NAMESPACE_END
