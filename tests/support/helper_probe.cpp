// SPDX-License-Identifier: BSL-1.0
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "helper.hpp"

namespace {

void write_all(int fd, std::string_view text)
{
    while (!text.empty()) {
        const auto n = ::write(fd, text.data(), text.size());
        if (n == -1)
            ::_exit(96);
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

// descriptors FD: writes a line "NUMBER TARGET" for each open descriptor to FD (1 by default);
// " nonblocking" follows where that is so. Walks over the numbers, since a directory would be a
// descriptor too.
int mode_descriptors(const helper_arguments& args)
{
    std::string lines;
    for (int fd = 0; fd < 10'000; ++fd) {
        const int flags = ::fcntl(fd, F_GETFL);
        if (flags == -1)
            continue;
        char target[512];
        const auto n =
            ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target);
        lines += std::to_string(fd) + ' ' + std::string(target, n > 0 ? std::size_t(n) : 0)
            + ((flags & O_NONBLOCK) != 0 ? " nonblocking\n" : "\n");
    }
    write_all(helper_number(args, 0, 1), lines);
    return 0;
}

std::string own_cpus()
{
    std::string list;
    cpu_set_t cpus;
    if (::sched_getaffinity(0, sizeof cpus, &cpus) != 0)
        return "?";
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &cpus))
            list += (list.empty() ? "" : ",") + std::to_string(cpu);
    }
    return list;
}

// attributes: a line "NAME VALUE" for each thing a process is or has.
int mode_attributes(const helper_arguments&)
{
    std::string lines;
    const auto add = [&](const char* name, const std::string& value) {
        lines += std::string(name) + ' ' + value + '\n';
    };
    const mode_t mask = ::umask(0);
    char octal[16];
    std::snprintf(octal, sizeof octal, "%o", static_cast<unsigned>(mask));
    sched_param parameter{};
    ::sched_getparam(0, &parameter);
    int death = 0;
    ::prctl(PR_GET_PDEATHSIG, &death);
    char directory[4096] = "?";
    const int terminal = ::open("/dev/tty", O_RDWR | O_CLOEXEC);
    add("pid", std::to_string(::getpid()));
    add("pgid", std::to_string(::getpgrp()));
    add("sid", std::to_string(::getsid(0)));
    add("umask", octal);
    add("nice", std::to_string(::getpriority(PRIO_PROCESS, 0)));
    add("policy", std::to_string(::sched_getscheduler(0)));
    add("priority", std::to_string(parameter.sched_priority));
    add("cpus", own_cpus());
    add("no_new_privs", std::to_string(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
    add("pdeathsig", std::to_string(death));
    add("cwd", ::getcwd(directory, sizeof directory) != nullptr ? directory : "?");
    add("tty", terminal == -1 ? "0" : "1");
    write_all(STDOUT_FILENO, lines);
    return 0;
}

// raise SIGNAL: dies of it.
int mode_raise(const helper_arguments& args)
{
    ::raise(helper_number(args, 0, SIGABRT));
    return 95;
}

// burn MILLISECONDS MEGABYTES: uses that much CPU time and memory.
int mode_burn(const helper_arguments& args)
{
    std::vector<char> memory(static_cast<std::size_t>(helper_number(args, 1, 1)) << 20, 'x');
    timespec used{};
    unsigned long sum = 0;
    do {
        for (const char c : memory)
            sum += static_cast<unsigned char>(c);
        ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    } while (used.tv_sec * 1000 + used.tv_nsec / 1'000'000 < helper_number(args, 0, 1));
    return sum == 0 ? 95 : 0;
}

// catch SIGNAL…: blocks these and SIGTERM, says "ready", then the number of each that comes; leaves
// with SIGTERM.
int mode_catch(const helper_arguments& args)
{
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGTERM);
    for (std::size_t i = 0; i < args.size(); ++i)
        ::sigaddset(&set, helper_number(args, i, SIGTERM));
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    helper_report("ready");
    for (;;) {
        int number = 0;
        if (::sigwait(&set, &number) != 0)
            return 95;
        helper_report(std::to_string(number));
        if (number == SIGTERM)
            return 0;
    }
}

std::string size_of_terminal(int fd)
{
    winsize size{};
    ::ioctl(fd, TIOCGWINSZ, &size);
    return "size " + std::to_string(size.ws_row) + ' ' + std::to_string(size.ws_col) + '\n';
}

// terminal: on its standard output, "is T T T" (whether 0, 1 and 2 are terminals), "leads S F"
// (whether it leads its session, and is in its terminal's foreground), "size ROWS COLUMNS", and the
// size again after each SIGWINCH, until its standard input ends.
int mode_terminal(const helper_arguments&)
{
    sigset_t window_change;
    ::sigemptyset(&window_change);
    ::sigaddset(&window_change, SIGWINCH);
    ::sigprocmask(SIG_BLOCK, &window_change, nullptr);
    const int changes = ::signalfd(-1, &window_change, SFD_CLOEXEC);
    const int terminal = ::open("/dev/tty", O_RDWR | O_CLOEXEC);
    const auto yes = [](bool b) { return b ? " 1" : " 0"; };
    write_all(STDOUT_FILENO,
              std::string("is") + yes(::isatty(0) != 0) + yes(::isatty(1) != 0)
                  + yes(::isatty(2) != 0) + "\nleads" + yes(::getsid(0) == ::getpid())
                  + yes(terminal != -1 && ::tcgetpgrp(terminal) == ::getpgrp()) + '\n'
                  + size_of_terminal(terminal));
    for (;;) {
        pollfd ready[] = {{.fd = 0, .events = POLLIN, .revents = 0},
                          {.fd = changes, .events = POLLIN, .revents = 0}};
        if (::poll(ready, 2, -1) == -1)
            return 95;
        char buffer[512];
        if (ready[0].revents != 0 && ::read(0, buffer, sizeof buffer) <= 0)
            return 0;
        if (ready[1].revents != 0 && ::read(changes, buffer, sizeof buffer) > 0)
            write_all(STDOUT_FILENO, size_of_terminal(terminal));
    }
}

// trace PID: traces that process, says "ready" (or "refused"), and lets it go at the end of its
// input.
int mode_trace(const helper_arguments& args)
{
    const bool traced = ::ptrace(PTRACE_SEIZE, helper_number(args, 0, 0), nullptr, nullptr) == 0;
    helper_report(traced ? "ready" : "refused");
    char byte = 0;
    while (::read(STDIN_FILENO, &byte, 1) > 0) { }
    return 0;
}

constexpr helper_mode modes[] = {
    {"descriptors", mode_descriptors},
    {"attributes", mode_attributes},
    {"raise", mode_raise},
    {"burn", mode_burn},
    {"catch", mode_catch},
    {"terminal", mode_terminal},
    {"trace", mode_trace},
};

}  // namespace

std::span<const helper_mode> probe_modes()
{
    return modes;
}
