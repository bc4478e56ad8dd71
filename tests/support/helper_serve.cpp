// SPDX-License-Identifier: BSL-1.0
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>

#include "helper.hpp"

namespace {

constexpr int listener = 3;

bool listener_was_given()
{
    const char* const count = std::getenv("LISTEN_FDS");
    return count != nullptr && std::string_view(count) == "1";
}

// Reads a line, and answers it with its own pid.
void serve_one(int connection)
{
    char byte = 0;
    while (::read(connection, &byte, 1) == 1 && byte != '\n') { }
    const auto answer = std::to_string(::getpid()) + '\n';
    if (::send(connection, answer.data(), answer.size(), MSG_NOSIGNAL) < 0)
        ::_exit(91);
    ::shutdown(connection, SHUT_WR);
    // Until the client has gone: a close before that could take the answer away from it.
    while (::read(connection, &byte, 1) == 1) { }
    ::close(connection);
}

// serve: answers each line of a connection to the socket it was given with its pid. On SIGTERM it
// takes no more connections and ends; those that wait are the next one's.
int mode_serve(const helper_arguments&)
{
    if (!listener_was_given())
        return 90;
    ::fcntl(listener, F_SETFL, ::fcntl(listener, F_GETFL) | O_NONBLOCK);
    sigset_t term;
    ::sigemptyset(&term);
    ::sigaddset(&term, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &term, nullptr);
    const int asked = ::signalfd(-1, &term, SFD_CLOEXEC);
    helper_report("ready");
    for (;;) {
        pollfd wait[] = {{listener, POLLIN, 0}, {asked, POLLIN, 0}};
        if (::poll(wait, 2, -1) < 0 && errno != EINTR)
            return 92;
        if (wait[1].revents != 0)
            return 0;
        // EAGAIN: the other incarnation took it.
        const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (connection >= 0)
            serve_one(connection);
    }
}

// Holds the file as long as anybody has the descriptor. Who does not get it says so in FILE.twice.
void take_lock(const helper_arguments& args)
{
    const auto& file = args.at(0);
    const int lock = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (::flock(lock, LOCK_EX | LOCK_NB) == 0)
        return;
    const int told = ::open((file + ".twice").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ::close(told);
    ::_exit(89);
}

// exclusive FILE: holds the file, says "ready", waits for a signal.
int mode_exclusive(const helper_arguments& args)
{
    take_lock(args);
    helper_report("ready");
    helper_pause();
}

// exclusive-exit FILE: holds the file for a moment.
int mode_exclusive_exit(const helper_arguments& args)
{
    take_lock(args);
    return 1;
}

// exclusive-daemon FILE: holds the file together with a daemon, in a session of its own.
int mode_exclusive_daemon(const helper_arguments& args)
{
    take_lock(args);
    const auto pid = ::fork();
    if (pid == 0) {
        ::setsid();
        if (::fork() == 0)
            helper_pause();
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    helper_report("ready");
    helper_pause();
}

constexpr helper_mode modes[] = {
    {"exclusive", mode_exclusive},
    {"exclusive-exit", mode_exclusive_exit},
    {"exclusive-daemon", mode_exclusive_daemon},
    {"serve", mode_serve},
};

}  // namespace

std::span<const helper_mode> serve_modes()
{
    return modes;
}
