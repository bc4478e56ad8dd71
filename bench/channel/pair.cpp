// SPDX-License-Identifier: BSL-1.0
#include "pair.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {
namespace {

struct half {
    const char* name;
    pid_t pid;
    int pidfd;
    bool running = true;
};

using halves = std::array<half, 2>;

half watch(const char* name, pid_t pid)
{
    const auto pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    require(pidfd != -1, "pidfd_open");
    return {name, pid, pidfd};
}

// Under SCHED_FIFO two processes that spin leave no processor to anybody of their own priority, and
// the deadline would never come.
void stay_above()
{
    sched_param priority{};
    if (::sched_getscheduler(0) != SCHED_FIFO || ::sched_getparam(0, &priority) != 0)
        return;
    ++priority.sched_priority;
    require(::sched_setscheduler(0, SCHED_FIFO, &priority) == 0, "sched_setscheduler");
}

// Only when neither runs any more, and with the priority of everybody: the kernel takes a dead
// process out of /proc by trying again for as long as somebody else has a look at it there, and
// under SCHED_FIFO that somebody might not run again.
void reap(const halves& both)
{
    const sched_param none{};
    (void)::sched_setscheduler(0, SCHED_OTHER, &none);
    for (const half& h : both) {
        require(::waitpid(h.pid, nullptr, 0) == h.pid, "waitpid");
        ::close(h.pidfd);
    }
}

[[noreturn]] void fail(const halves& both, const std::string& what)
{
    for (const half& h : both)
        if (h.running)
            (void)::kill(h.pid, SIGKILL);
    std::fprintf(stderr, "%s\n", what.c_str());
    reap(both);
    std::exit(1);
}

void expect_success(const half& ended, const halves& both)
{
    siginfo_t info{};
    require(::waitid(P_PID, static_cast<id_t>(ended.pid), &info, WEXITED | WNOWAIT) == 0, "waitid");
    const std::string name = std::string("the ") + ended.name + " process ";
    if (info.si_code != CLD_EXITED)
        fail(both, name + "was killed by signal " + std::to_string(info.si_status));
    if (info.si_status != 0)
        fail(both, name + "left with " + std::to_string(info.si_status));
}

void wait_for(halves both, long deadline_seconds)
{
    const double until_us = now_us() + static_cast<double>(deadline_seconds) * 1e6;
    while (both[0].running || both[1].running) {
        std::array<pollfd, 2> looks{};
        for (std::size_t i = 0; i < both.size(); ++i)
            looks[i] = {both[i].running ? both[i].pidfd : -1, POLLIN, 0};
        const auto left_ms = static_cast<int>((until_us - now_us()) / 1e3);
        const int ended = left_ms <= 0 ? 0 : ::poll(looks.data(), looks.size(), left_ms);
        if (ended == -1 && errno == EINTR)
            continue;
        if (ended <= 0)
            fail(both, "hangs: " + std::to_string(deadline_seconds) + " s");
        for (std::size_t i = 0; i < both.size(); ++i)
            if (looks[i].revents != 0) {
                both[i].running = false;
                expect_success(both[i], both);
            }
    }
    reap(both);
}

}  // namespace

process_pair::process_pair(const round_options& options)
    : processors_(options.number("processors", 2)),
      deadline_seconds_(options.number("deadline", 20))
{
    require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, meeting_.data()) == 0,
            "socketpair");
}

pid_t process_pair::start(side which, const std::function<void()>& work)
{
    const pid_t supervisor = ::getpid();
    const pid_t pid = ::fork();
    require(pid != -1, "fork");
    if (pid != 0)
        return pid;
    // The driver kills the supervisor when its own patience ends.
    require(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "PR_SET_PDEATHSIG");
    if (::getppid() != supervisor)
        std::_Exit(1);
    side_ = which;
    ::close(meeting_[1 - which]);
    pin_to(processors_ == 1 ? 0 : static_cast<long>(which));
    work();
    std::exit(0);
}

void process_pair::run(const std::function<void()>& first, const std::function<void()>& second)
{
    const half one = watch("first", start(first_side, first));
    const half two = watch("second", start(second_side, second));
    for (const int end : meeting_)
        ::close(end);
    stay_above();
    wait_for({one, two}, deadline_seconds_);
}

void process_pair::meet()
{
    char byte = 0;
    require(::send(meeting_[side_], &byte, 1, MSG_NOSIGNAL) == 1, "the other process is gone");
    const auto n = ::recv(meeting_[side_], &byte, 1, 0);
    if (n == 0)
        errno = 0;
    require(n == 1, "the other process is gone");
}

void* share_memory(std::size_t bytes)
{
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    require(memory != MAP_FAILED, "mmap of what the two processes share");
    return memory;
}

}  // namespace bench
