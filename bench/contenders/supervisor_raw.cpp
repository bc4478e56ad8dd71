// SPDX-License-Identifier: BSL-1.0
//
// Children with a pidfd each in one epoll set, and one that ends is spawned again: what the kernel
// takes. It knows no orders, no delays, no output, and no descendants.

#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../support/round.hpp"

namespace {

struct child {
    pid_t pid = -1;
    int pidfd = -1;
};

class tree {
public:
    explicit tree(const bench::round_options& options)
        : program_(options.text("program")),
          children_(static_cast<std::size_t>(options.number("count", 2000))),
          epoll_(::epoll_create1(EPOLL_CLOEXEC))
    {
        bench::require(epoll_ != -1, "epoll_create1");
    }
    tree(const tree&) = delete;
    tree& operator=(const tree&) = delete;
    // The one that was spawned last may not have asked yet to die with this process.
    ~tree()
    {
        for (const auto& one : children_) {
            if (one.pid > 0 && ::kill(one.pid, SIGKILL) == 0)
                ::waitpid(one.pid, nullptr, 0);
        }
    }

    double start()
    {
        const double from = bench::now_us();
        for (std::size_t i = 0; i < children_.size(); ++i)
            spawn(i);
        return (bench::now_us() - from) / static_cast<double>(children_.size());
    }

    double kill_one(std::size_t which)
    {
        const double from = bench::now_us();
        bench::require(::kill(children_[which].pid, SIGKILL) == 0, "kill");
        epoll_event event{};
        bench::require(::epoll_wait(epoll_, &event, 1, -1) == 1, "epoll_wait");
        bench::require(event.data.u64 == which, "the one that was killed");
        bench::require(::waitpid(children_[which].pid, nullptr, 0) > 0, "waitpid");
        // By close() alone it would stay in the set as long as a child has not closed its copy,
        // and that is a moment longer than until posix_spawn() returns.
        bench::require(::epoll_ctl(epoll_, EPOLL_CTL_DEL, children_[which].pidfd, nullptr) == 0,
                       "epoll_ctl");
        ::close(children_[which].pidfd);
        spawn(which);
        return bench::now_us() - from;
    }

private:
    void spawn(std::size_t which)
    {
        char* const argv[] = {program_.data(), nullptr};
        auto& one = children_[which];
        bench::require(::posix_spawn(&one.pid, argv[0], nullptr, nullptr, argv, environ) == 0,
                       "posix_spawn");
        one.pidfd = static_cast<int>(::syscall(SYS_pidfd_open, one.pid, 0));
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = which;
        bench::require(::epoll_ctl(epoll_, EPOLL_CTL_ADD, one.pidfd, &event) == 0, "epoll_ctl");
    }

    std::string program_;
    std::vector<child> children_;
    int epoll_;
};

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    bench::hold_descriptors(0);  // raises the limit
    bench::pin_to(0);
    tree all(options);
    const double up_us = all.start();
    const auto kills = static_cast<std::size_t>(options.number("kills", 100));
    const auto count = static_cast<std::size_t>(options.number("count", 2000));
    std::vector<double> restarts_us;
    for (std::size_t i = 0; i < kills; ++i)
        restarts_us.push_back(all.kill_one(i * 7 % count));
    std::sort(restarts_us.begin(), restarts_us.end());
    const auto at = [&](double part) {
        return restarts_us[static_cast<std::size_t>(part
                                                    * static_cast<double>(restarts_us.size() - 1))];
    };
    bench::report({{"up_us", up_us}, {"p50_us", at(0.5)}, {"p99_us", at(0.99)}});
}
