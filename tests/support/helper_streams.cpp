// SPDX-License-Identifier: BSL-1.0
//
// Modes that write, read, obey and hold streams, for the tests of async_run.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "helper.hpp"

namespace {

int ready_and_pause()
{
    helper_report("ready");
    helper_pause();
}

/// Writes all of it, or leaves.
void write_all(int fd, std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n <= 0)
            ::_exit(99);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
}

// flood OUT ERR CODE: writes OUT and ERR bytes ("0123456789" again and again) to its outputs, in
// turn, a pipe's worth at a time; exits.
int mode_flood(const helper_arguments& args)
{
    std::string pattern;
    while (pattern.size() < 40960)
        pattern += "0123456789";
    std::size_t left[] = {static_cast<std::size_t>(helper_number(args, 0, 0)),
                          static_cast<std::size_t>(helper_number(args, 1, 0))};
    while (left[0] > 0 || left[1] > 0) {
        for (const int which : {0, 1}) {
            const auto n = left[which] < pattern.size() ? left[which] : pattern.size();
            write_all(which + 1, std::string_view(pattern).substr(0, n));
            left[which] -= n;
        }
    }
    return helper_number(args, 2, 0);
}

// copy-twice: what it reads it writes to both outputs.
int mode_copy_twice(const helper_arguments&)
{
    char buffer[65536];
    ssize_t n = 0;
    while ((n = ::read(STDIN_FILENO, buffer, sizeof buffer)) > 0) {
        write_all(STDOUT_FILENO, std::string_view(buffer, static_cast<std::size_t>(n)));
        write_all(STDERR_FILENO, std::string_view(buffer, static_cast<std::size_t>(n)));
    }
    return 0;
}

// alternate COUNT: "o0", "e0", "o1", "e1", … to stdout and stderr in turn.
int mode_alternate(const helper_arguments& args)
{
    for (int i = 0; i < helper_number(args, 0, 1); ++i) {
        write_all(STDOUT_FILENO, "o" + std::to_string(i) + ' ');
        write_all(STDERR_FILENO, "e" + std::to_string(i) + ' ');
    }
    return 0;
}

// flood-for-ever: says "ready" and writes until it is stopped.
int mode_flood_for_ever(const helper_arguments&)
{
    helper_report("ready");
    const std::string text(65536, 'x');
    for (;;)
        write_all(STDOUT_FILENO, text);
}

// obey CODE: says "ready"; SIGTERM and SIGINT make it exit with CODE.
int obedience = 0;
int mode_obey(const helper_arguments& args)
{
    obedience = helper_number(args, 0, 0);
    for (const int signal_number : {SIGTERM, SIGINT})
        ::signal(signal_number, [](int) { ::_exit(obedience); });
    return ready_and_pause();
}

// stop-self: obeys SIGTERM by exiting with 7, but suspends itself after "ready".
int mode_stop_self(const helper_arguments&)
{
    ::signal(SIGTERM, [](int) { ::_exit(7); });
    helper_report("ready");
    ::raise(SIGSTOP);
    helper_pause();
}

// deaf: closes its input, says "ready", pauses.
int mode_deaf(const helper_arguments&)
{
    ::close(STDIN_FILENO);
    return ready_and_pause();
}

// leave-holder STREAMS CODE: says "member" from a descendant that keeps only the given ones of
// stdin, stdout and stderr ("0", "12", …) and pauses; the leader exits.
int mode_leave_holder(const helper_arguments& args)
{
    const std::string kept = args.empty() ? "1" : args[0];
    int ready[2];
    if (::pipe2(ready, O_CLOEXEC) == -1)
        return 96;
    const pid_t pid = ::fork();
    if (pid == -1)
        return 98;
    if (pid == 0) {
        helper_report("member");
        for (const int fd : {0, 1, 2}) {
            if (kept.find(static_cast<char>('0' + fd)) == std::string::npos)
                ::close(fd);
        }
        write_all(ready[1], "x");
        ::close(ready[1]);
        helper_pause();
    }
    ::close(ready[1]);
    char byte = 0;
    while (::read(ready[0], &byte, 1) == -1 && errno == EINTR) { }
    return helper_number(args, 1, 0);
}

constexpr helper_mode modes[] = {
    {"flood", mode_flood},         {"copy-twice", mode_copy_twice},
    {"alternate", mode_alternate}, {"flood-for-ever", mode_flood_for_ever},
    {"obey", mode_obey},           {"stop-self", mode_stop_self},
    {"deaf", mode_deaf},           {"leave-holder", mode_leave_holder},
};

}  // namespace

std::span<const helper_mode> stream_modes()
{
    return modes;
}
