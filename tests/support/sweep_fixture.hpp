// SPDX-License-Identifier: BSL-1.0
// What the tests of tree_sweep share: a sweep of real processes, on each kernel that may be there.
#ifndef PROCYARD_TESTS_SUPPORT_SWEEP_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_SWEEP_FIXTURE_HPP

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "feature_off.hpp"
#include "kernel_features.hpp"
#include "proc_fs.hpp"
#include "procyard_test.hpp"
#include "test_process.hpp"
#include "tree_sweep.hpp"

namespace procyard_test {

namespace sweeps {

using namespace procyard::detail;
using kernel_flag = kernel_features::flag kernel_features::*;

/// Waits as the library's user does: for the member that `empty` names, then asks again.
inline void wait_until_empty(tree_sweep& tree)
{
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!tree.empty()) {
        REQUIRE(std::chrono::steady_clock::now() < limit);
        if (const int fd = tree.wait_descriptor(); fd >= 0)
            wait_ready(fd, POLLIN);
        else
            ::sched_yield();
    }
}

/// Of a child of ours, which stays a zombie.
inline void wait_until_dead(pid_t pid)
{
    siginfo_t ended{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) == 0);
}

inline void attach(tree_sweep& tree, pid_t pid, int pidfd)
{
    tree.attach(pid, pidfd, ::getsid(pid) == pid);
}

inline bool is_gone(pid_t pid)
{
    const auto record = read_stat(pid);
    return !record || is_dead(*record);
}

struct kernel_face {
    std::string name;
    std::vector<kernel_flag> without;
};

inline const kernel_face faces[] = {
    {"this kernel", {}},
    {"no group signal by pidfd (before 6.9)", {&kernel_features::pidfd_group_signal}},
    {"no children file", {&kernel_features::proc_children}},
    {"no pidfd", {&kernel_features::pidfd, &kernel_features::pidfd_group_signal}},
    {"none of them",
     {&kernel_features::pidfd, &kernel_features::pidfd_group_signal,
      &kernel_features::proc_children}},
};

/// Runs `body(pidfd_of)` once per face of the kernel.
template <class Body>
void on_each_kernel(Body body)
{
    for (const auto& face : faces) {
        INFO("kernel: ", face.name);
        std::vector<std::unique_ptr<feature_off>> off;
        bool has_pidfd = true;
        for (const auto flag : face.without) {
            off.push_back(std::make_unique<feature_off>(flag));
            has_pidfd = has_pidfd && flag != &kernel_features::pidfd;
        }
        body([has_pidfd](const test_process& p) { return has_pidfd ? p.pidfd() : -1; });
    }
}

}  // namespace sweeps

}  // namespace procyard_test

#endif
