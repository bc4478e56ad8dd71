// SPDX-License-Identifier: BSL-1.0
#include "raw.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

#include <linux/close_range.h>
#include <sched.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD static_cast<idtype_t>(3)  // glibc before 2.36
#endif

namespace bench {
namespace {

struct child_plan {
    char* const* argv;
    int std_in;
    int std_out;
    bool own_table;
    bool promises;
};

// What Procyard's child owes the program: no handler and no ignored signal of the parent, an empty
// mask, a process group. As cheap as it can be, on system calls; a failure is nobody's to hear.
void keep_promises()
{
    constexpr int last_standard_signal = 31;
    constexpr std::size_t kernel_sigset_bytes = 8;
    const std::array<std::uint64_t, 4> default_action{};  // the kernel's struct sigaction
    for (int number = 1; number <= last_standard_signal; ++number)
        if (number != SIGKILL && number != SIGSTOP)
            ::syscall(SYS_rt_sigaction, number, default_action.data(), nullptr,
                      kernel_sigset_bytes);
    ::setpgid(0, 0);
    const std::uint64_t none = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, kernel_sigset_bytes);
}

int run_child(void* argument)
{
    const auto& plan = *static_cast<const child_plan*>(argument);
    // The kernel copies a descriptor table only up to the last number it is going to keep: this is
    // why the shared table costs nothing, and why the descriptors to keep must have low numbers.
    if (plan.own_table && ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_UNSHARE) == -1)
        ::_exit(126);
    if (plan.promises)
        keep_promises();
    if (plan.std_in != -1)
        ::dup2(plan.std_in, STDIN_FILENO);
    if (plan.std_out != -1)
        ::dup2(plan.std_out, STDOUT_FILENO);
    ::execve(plan.argv[0], plan.argv, environ);
    ::_exit(127);
}

raw_child clone_child(child_plan& plan)
{
    constexpr std::size_t stack_bytes = 64 * 1024;
    static char* const stack = static_cast<char*>(
        ::mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    const int flags =
        CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD | (plan.own_table ? CLONE_FILES : 0);
    raw_child child;
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    // The parent's handlers must not run in the child, on the parent's memory.
    if (plan.promises)
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
    child.pid = ::clone(run_child, stack + stack_bytes, flags, &plan, &child.pidfd);
    if (plan.promises)
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return child;
}

pid_t posix_spawn_child(const child_plan& plan)
{
    posix_spawn_file_actions_t actions{};
    ::posix_spawn_file_actions_init(&actions);
    if (plan.std_in != -1)
        ::posix_spawn_file_actions_adddup2(&actions, plan.std_in, STDIN_FILENO);
    if (plan.std_out != -1)
        ::posix_spawn_file_actions_adddup2(&actions, plan.std_out, STDOUT_FILENO);
    pid_t pid = -1;
    const int error = ::posix_spawn(&pid, plan.argv[0], &actions, nullptr, plan.argv, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    errno = error;
    return error == 0 ? pid : -1;
}

void reap(int pidfd)
{
    siginfo_t info{};
    require(::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED) == 0, "waitid");
    require(info.si_code == CLD_KILLED || info.si_status == 0, "the child failed");
    ::close(pidfd);
}

// One child at a time: nothing is needed but to block on it.
class single_spawner final : public spawner {
public:
    single_spawner(raw_mechanism mechanism, std::string program)
        : mechanism_(mechanism),
          program_(std::move(program))
    {
    }

    pid_t start() override
    {
        const auto child = raw_spawn(mechanism_, {program_.data(), nullptr});
        pidfd_ = child.pidfd;
        return child.pid;
    }

    void run() override
    {
        while (pidfd_ != -1) {
            reap(std::exchange(pidfd_, -1));
            exited();
        }
    }

private:
    raw_mechanism mechanism_;
    std::string program_;
    int pidfd_ = -1;
};

// Many children: their pidfds in an epoll set.
class pidfd_spawner final : public spawner {
public:
    pidfd_spawner(raw_mechanism mechanism, std::string program, bool reap_in_order)
        : mechanism_(mechanism),
          program_(std::move(program)),
          reap_in_order_(reap_in_order),
          epoll_(::epoll_create1(EPOLL_CLOEXEC))
    {
        require(epoll_ != -1, "epoll_create1");
    }

    ~pidfd_spawner() override { ::close(epoll_); }

    pid_t start() override
    {
        const auto child = raw_spawn(mechanism_, {program_.data(), nullptr});
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = child.pidfd;
        require(::epoll_ctl(epoll_, EPOLL_CTL_ADD, child.pidfd, &event) == 0, "epoll_ctl");
        const auto at = static_cast<std::size_t>(child.pidfd);
        if (alive_.size() <= at)
            alive_.resize(at + 1);
        alive_[at] = true;
        ++alive_count_;
        return child.pid;
    }

    void run() override
    {
        // The shortest way to collect children that have all exited asks nobody which one is ready.
        for (std::size_t at = 0; reap_in_order_ && at < alive_.size(); ++at)
            if (alive_[at])
                collect(static_cast<int>(at));
        while (alive_count_ > 0)
            run_one();
    }

    void run_one() override
    {
        if (next_ready_ == ready_count_) {
            const int n = ::epoll_wait(epoll_, ready_.data(), static_cast<int>(ready_.size()), -1);
            require(n > 0, "epoll_wait");
            ready_count_ = static_cast<std::size_t>(n);
            next_ready_ = 0;
        }
        collect(ready_[next_ready_++].data.fd);
    }

private:
    void collect(int pidfd)
    {
        // Closing alone does not leave the set while a child that has not reached exec holds a copy
        // of the table.
        require(::epoll_ctl(epoll_, EPOLL_CTL_DEL, pidfd, nullptr) == 0, "epoll_ctl");
        reap(pidfd);
        alive_[static_cast<std::size_t>(pidfd)] = false;
        --alive_count_;
        exited();
    }

    raw_mechanism mechanism_;
    std::string program_;
    bool reap_in_order_;
    int epoll_;
    std::vector<bool> alive_;  // by descriptor number
    long alive_count_ = 0;
    std::array<epoll_event, 64> ready_{};
    std::size_t ready_count_ = 0;
    std::size_t next_ready_ = 0;
};

// Waits for any child: what a program around fork or posix_spawn does.
class any_child_spawner final : public spawner {
public:
    any_child_spawner(raw_mechanism mechanism, std::string program)
        : mechanism_(mechanism),
          program_(std::move(program))
    {
    }

    pid_t start() override
    {
        ++alive_;
        return raw_spawn(mechanism_, {program_.data(), nullptr}).pid;
    }

    void run() override
    {
        while (alive_ > 0) {
            int status = 0;
            // tidy: allow wait-any: the least one can do; all children here are this program's.
            require(::waitpid(-1, &status, 0) > 0, "waitpid");
            require(WIFSIGNALED(status) || status == 0, "the child failed");
            --alive_;
            exited();
        }
    }

private:
    raw_mechanism mechanism_;
    std::string program_;
    long alive_ = 0;
};

}  // namespace

raw_child raw_spawn(raw_mechanism mechanism, const std::vector<char*>& argv, int std_in,
                    int std_out)
{
    const bool promises = mechanism == raw_mechanism::promises;
    child_plan plan{argv.data(), std_in, std_out,
                    promises || mechanism == raw_mechanism::shared_table, promises};
    raw_child child;
    switch (mechanism) {
    case raw_mechanism::clone:
    case raw_mechanism::promises:
    case raw_mechanism::shared_table: child = clone_child(plan); break;
    case raw_mechanism::posix_spawn: child.pid = posix_spawn_child(plan); break;
    case raw_mechanism::fork:
        child.pid = ::fork();
        if (child.pid == 0)
            run_child(&plan);
        break;
    }
    require(child.pid > 0, "spawn");
    return child;
}

std::unique_ptr<spawner> make_raw_spawner(raw_mechanism mechanism, raw_wait wait,
                                          const std::string& program)
{
    if (mechanism == raw_mechanism::fork || mechanism == raw_mechanism::posix_spawn)
        return std::make_unique<any_child_spawner>(mechanism, program);
    if (wait == raw_wait::single)
        return std::make_unique<single_spawner>(mechanism, program);
    return std::make_unique<pidfd_spawner>(mechanism, program, wait == raw_wait::in_order);
}

}  // namespace bench
