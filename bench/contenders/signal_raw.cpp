// SPDX-License-Identifier: BSL-1.0
//
// A signalfd and an epoll set, by hand: what the kernel takes.

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <unistd.h>

#include "../signal/sender.hpp"

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, bench::measured_signal());
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
    const int fd = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    bench::require(fd != -1 && ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");

    bench::signal_sender sender(options);
    sender.start();
    do {
        bench::require(::epoll_wait(epoll, &event, 1, -1) == 1, "epoll_wait");
        signalfd_siginfo info;
        bench::require(::read(fd, &info, sizeof info) == sizeof info, "read");
    } while (sender.answer());
    sender.report();
}
