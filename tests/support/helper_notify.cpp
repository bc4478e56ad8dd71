// SPDX-License-Identifier: BSL-1.0
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "helper.hpp"

namespace {

int connect_to_supervisor()
{
    const char* const name = std::getenv("NOTIFY_SOCKET");
    if (name == nullptr)
        ::_exit(95);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string_view text(name);
    std::memcpy(address.sun_path, text.data(), std::min(text.size(), sizeof address.sun_path));
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0';
    const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size());
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0)
        ::_exit(94);
    return fd;
}

void say(int fd, std::string_view message)
{
    if (::send(fd, message.data(), message.size(), MSG_NOSIGNAL) < 0)
        ::_exit(93);
}

// Passes a descriptor along.
void say_with(int fd, std::string text, int passed)
{
    iovec vector{text.data(), text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    auto* const part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(part), &passed, sizeof(int));
    if (::sendmsg(fd, &header, MSG_NOSIGNAL) < 0)
        ::_exit(91);
}

// Passes the writing end of a pipe, and waits until nobody has it any more.
void wait_for_barrier(int fd)
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        ::_exit(92);
    say_with(fd, "BARRIER=1", ends[1]);
    ::close(ends[1]);
    char byte = 0;
    if (::read(ends[0], &byte, 1) != 0)
        ::_exit(90);
    ::close(ends[0]);
}

int say_all(const helper_arguments& args)
{
    const int fd = connect_to_supervisor();
    for (const auto& message : args)
        say(fd, message);
    return fd;
}

// notify MESSAGE…: says each to its supervisor, then waits for a signal.
int mode_notify(const helper_arguments& args)
{
    say_all(args);
    helper_pause();
}

// notify-and-exit MESSAGE…: says each, and ends at once with 3.
int mode_notify_and_exit(const helper_arguments& args)
{
    say_all(args);
    return 3;
}

// notify-by-child MESSAGE…: a child says each, waits for the barrier and ends; then "done".
int mode_notify_by_child(const helper_arguments& args)
{
    const auto pid = ::fork();
    if (pid == 0) {
        wait_for_barrier(say_all(args));
        ::_exit(0);
    }
    int status = -1;
    ::waitpid(pid, &status, 0);
    helper_report(status == 0 ? "done" : "failed");
    helper_pause();
}

// notify-store [!|?|^]NAME…: stores an event under each name; with ! a pipe that has hung up,
// with ? one that is not to be polled, with ^ one that hangs up when this process ends. Says
// READY=1, and as STATUS= what it was given, and waits for a signal.
int mode_notify_store(const helper_arguments& args)
{
    const char* const given = std::getenv("LISTEN_FDS");
    const char* const names = std::getenv("LISTEN_FDNAMES");
    const int fd = connect_to_supervisor();
    for (const auto& arg : args) {
        int ends[2];
        const bool is_pipe = arg.find_first_of("!?^") == 0;
        if (is_pipe ? ::pipe2(ends, O_CLOEXEC) != 0 : (ends[1] = ::eventfd(0, EFD_CLOEXEC)) == -1)
            ::_exit(92);
        if (is_pipe && arg[0] != '^')
            ::close(ends[0]);
        say_with(fd,
                 (arg.starts_with('?') ? "FDSTORE=1\nFDPOLL=0\nFDNAME=" : "FDSTORE=1\nFDNAME=")
                     + arg.substr(is_pipe ? 1 : 0),
                 ends[1]);
    }
    std::string status = "STATUS=";
    status += given == nullptr ? "0" : given;
    status += ' ';
    status += names == nullptr ? "" : names;
    // Each of them has to be open; and what hangs up with us has done so with the one before us.
    const bool hangs_up = !args.empty() && args[0].starts_with('^');
    for (int i = 0; i < (given == nullptr ? 0 : std::atoi(given)); ++i) {
        status += ::fcntl(3 + i, F_GETFD) == -1 ? " closed" : "";
        pollfd one{3 + i, 0, 0};
        const bool hung_up = ::poll(&one, 1, 0) == 1 && (one.revents & POLLERR) != 0;
        status += hangs_up && !hung_up ? " another" : "";
    }
    say(fd, status + "\nREADY=1");
    helper_pause();
}

constexpr helper_mode modes[] = {
    {"notify", mode_notify},
    {"notify-and-exit", mode_notify_and_exit},
    {"notify-by-child", mode_notify_by_child},
    {"notify-store", mode_notify_store},
};

}  // namespace

std::span<const helper_mode> notify_modes()
{
    return modes;
}
