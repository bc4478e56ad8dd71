// SPDX-License-Identifier: BSL-1.0
#include "tree_sweep.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "feature_off.hpp"
#include "procyard_test.hpp"
#include "skip.hpp"
#include "sweep_fixture.hpp"
#include "test_process.hpp"

using namespace procyard::detail;
using procyard_test::descriptor_check;
using procyard_test::subreaper_guard;
using procyard_test::test_process;
using procyard_test::wait_ready;
using placement = test_process::placement;
using namespace procyard_test::sweeps;

namespace {

bool is_stopped(pid_t pid)
{
    const auto record = read_stat(pid);
    return record && record->state == 'T';
}

// A stop takes effect when the process gets a processor; there is no event to wait for.
void wait_until_stopped(pid_t pid)
{
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!is_stopped(pid)) {
        REQUIRE(std::chrono::steady_clock::now() < limit);
        ::sched_yield();
    }
}

bool contains(const std::vector<pid_t>& pids, pid_t pid)
{
    return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

}  // namespace

TEST_SUITE("tree_sweep")
{
    TEST_CASE("kills the leader and its group")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"family", "4"});
            leader.expect("ready", 5);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            CHECK_FALSE(tree.empty());
            const auto result = tree.kill();
            CHECK_FALSE(result.error);
            CHECK(result.settled);
            CHECK(result.members == 5);
            leader.read_to_end();
            CHECK(leader.reap() == SIGKILL);
            tree.leader_reaped();
            wait_until_empty(tree);
            CHECK(tree.members().empty());
        });
        CHECK(procyard_test::children() == 0);
    }

    TEST_CASE("kills a descendant that moved to a session of its own, and its children")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"setsid"});
            const auto members = leader.expect("member", 3);
            REQUIRE(members.size() == 2);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            CHECK(tree.kill().members == 3);
            leader.read_to_end();
            CHECK(leader.reap() == SIGKILL);
            tree.leader_reaped();
            wait_until_empty(tree);
            for (const auto pid : members)
                CHECK(is_gone(pid));
        });
    }

    TEST_CASE("a shell's pipeline and background jobs are gone too")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader(
                {"shell",
                 "sleep 1000 | sleep 1000 & (sleep 1000 &) ; exec 2>/dev/null; set -m; "
                 "sleep 1000 & echo ready $$; wait"});
            leader.expect("ready", 1);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            (void)tree.kill();
            leader.read_to_end();
            CHECK(leader.reap() == SIGKILL);
            tree.leader_reaped();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("the end of the leader is not the end of the tree")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"orphans", "3", "7"});
            const auto members = leader.expect("member", 3);
            CHECK(leader.reap() == 7);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            tree.leader_reaped();
            REQUIRE_FALSE(tree.empty());
            for (const auto pid : members)
                CHECK(contains(tree.members(), pid));
            CHECK(tree.kill().members == 3);
            leader.read_to_end();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("a tree that ends by itself becomes empty member by member")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"orphans", "3"});
            const auto members = leader.expect("member", 3);
            CHECK(leader.reap() == 0);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            tree.leader_reaped();
            for (const auto pid : members) {
                CHECK_FALSE(tree.empty());
                ::kill(pid, SIGKILL);
            }
            leader.read_to_end();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("suspended members are killed like the others")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"stopped", "3"});
            leader.expect("member", 4);
            ::kill(leader.pid(), SIGSTOP);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            CHECK(tree.kill().members == 4);
            leader.read_to_end();
            leader.reap();
            tree.leader_reaped();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("a family that forks and exits without end is caught")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"runaway", "50000"});
            leader.expect("ready", 2);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            CHECK(tree.kill().settled);
            CHECK(leader.read_to_end() == "");  // it never came to its last generation
            leader.reap();
            tree.leader_reaped();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("a parent that keeps forking children into sessions of their own is caught")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"breeder", "300"});
            leader.expect("ready", 1);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            const auto result = tree.kill();
            CHECK(result.settled);
            leader.read_to_end();
            leader.reap();
            tree.leader_reaped();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("a tree of 200 processes")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"family", "200"});
            leader.expect("member", 201);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            CHECK(tree.kill().members == 201);
            leader.read_to_end();
            leader.reap();
            tree.leader_reaped();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("a child in the host's group is killed without the host")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"family", "2"}, {.where = placement::host_group});
            leader.expect("member", 3);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            CHECK(tree.kill().members == 3);
            leader.read_to_end();
            leader.reap();
            tree.leader_reaped();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("every member gets a signal, those outside the leader's group too")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"setsid"});
            leader.expect("member", 3);
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            CHECK_FALSE(tree.signal(SIGTERM));
            leader.read_to_end();
            CHECK(leader.reap() == SIGTERM);
            tree.leader_reaped();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("a signal reaches the group after its leader was reaped")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"orphans", "2"});
            leader.expect("member", 2);
            leader.reap();
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            tree.leader_reaped();
            CHECK_FALSE(tree.signal(SIGTERM));
            leader.read_to_end();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("a request reaches an orphan in the group once, whenever it is found")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"orphan-listener"});
            const auto orphan = leader.expect("member", 2).front();
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            CHECK_FALSE(tree.ask(SIGTERM));
            CHECK(leader.reap() == SIGTERM);
            tree.leader_reaped();
            CHECK_FALSE(tree.empty());
            ::kill(orphan, SIGWINCH);
            CHECK(leader.expect("term", 2).size() == 1);  // the other one is "end"
            leader.read_to_end();
            wait_until_empty(tree);
        });
    }

    TEST_CASE("suspend stops everybody and resume wakes them")
    {
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"setsid"});
            auto members = leader.expect("member", 3);
            members.push_back(leader.pid());
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            CHECK_FALSE(tree.suspend());
            for (const auto pid : members)
                wait_until_stopped(pid);
            CHECK_FALSE(tree.resume());
            for (const auto pid : members)
                CHECK_FALSE(is_stopped(pid));
            (void)tree.kill();
            leader.read_to_end();
        });
    }

    TEST_CASE("a kill that finds nobody, or nobody any more, is no error")
    {
        tree_sweep never_attached;
        CHECK(never_attached.empty());
        CHECK(never_attached.kill().members == 0);
        CHECK_FALSE(never_attached.signal(SIGTERM));

        test_process leader({"exit", "3"});
        CHECK(leader.reap() == 3);
        tree_sweep tree;
        attach(tree, leader.pid(), leader.pidfd());
        tree.leader_reaped();
        CHECK_FALSE(tree.kill().error);
        CHECK(tree.empty());
        CHECK_FALSE(tree.signal(SIGTERM));
        CHECK_FALSE(tree.suspend());
        CHECK_FALSE(tree.resume());
        CHECK(tree.kill().members == 0);
    }

    TEST_CASE("a leader that is dead but not reaped is not alive")
    {
        test_process leader({"exit", "0"});
        wait_ready(leader.pidfd(), POLLIN);
        tree_sweep tree;
        attach(tree, leader.pid(), leader.pidfd());
        CHECK(tree.empty());
        CHECK(leader.reap() == 0);  // its status was left for its owner
        tree.leader_reaped();
        CHECK(tree.empty());
    }

    TEST_CASE("the members of a job-control session are found after its leader has gone")
    {
        test_process leader(
            {"shell", "exec 2>/dev/null; set -m; sleep 1000 & sleep 1000 & echo ready $$"},
            {.where = placement::own_session});
        leader.expect("ready", 1);
        tree_sweep tree;
        attach(tree, leader.pid(), leader.pidfd());
        leader.reap();
        tree.leader_reaped();
        CHECK_FALSE(tree.empty());
        CHECK(tree.kill().members == 2);
        leader.read_to_end();
        wait_until_empty(tree);
    }

    TEST_CASE("whoever gets the leader's number next is left alone")
    {
        const subreaper_guard subreaper;  // to reap the follower ourselves
        if (::geteuid() != 0) {
            procyard_test::skip("only root may choose the number of a process");
            return;
        }
        const descriptor_check descriptors;
        on_each_kernel([](auto pidfd_of) {
            test_process leader({"orphans", "1"});
            const auto follower = leader.expect("member", 1).front();
            leader.reap();
            tree_sweep tree;
            attach(tree, leader.pid(), pidfd_of(leader));
            tree.leader_reaped();
            CHECK_FALSE(tree.empty());
            ::kill(follower, SIGKILL);
            leader.read_to_end();
            REQUIRE(::waitpid(follower, nullptr, 0) == follower);

            test_process first({"pause"}, {.with_pid = leader.pid()});
            test_process second({"pause"}, {.with_pid = follower});
            REQUIRE(first.pid() == leader.pid());
            REQUIRE(second.pid() == follower);
            first.expect("ready", 1);
            second.expect("ready", 1);

            CHECK_FALSE(tree.signal(SIGTERM));
            CHECK_FALSE(tree.suspend());
            CHECK(tree.kill().error == procyard::error_code());
            CHECK(tree.empty());
            for (const auto* const stranger : {&first, &second}) {
                CHECK_FALSE(is_gone(stranger->pid()));
                CHECK_FALSE(is_stopped(stranger->pid()));
            }
        });
    }

    TEST_CASE("a tree larger than the number of descriptors is killed, and the host keeps some")
    {
        const descriptor_check descriptors;
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
        test_process leader({"family", "100"});
        leader.expect("member", 101);
        {
            tree_sweep tree;
            attach(tree, leader.pid(), leader.pidfd());
            rlimit few = before;
            few.rlim_cur = procyard_test::open_descriptors() + 60;
            REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
            CHECK(tree.kill().members == 101);
            std::vector<procyard::unique_fd> host;
            for (int i = 0; i < 20; ++i) {
                host.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                CHECK(host.back());
            }
            host.clear();
            leader.read_to_end();
            leader.reap();
            tree.leader_reaped();
            wait_until_empty(tree);
        }
        ::setrlimit(RLIMIT_NOFILE, &before);
    }

    TEST_CASE("without a descriptor left it says so, kills the group, and does not say empty")
    {
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
        test_process leader({"orphans", "2"});
        leader.expect("member", 2);
        tree_sweep tree;
        attach(tree, leader.pid(), leader.pidfd());
        leader.reap();
        rlimit none = before;
        none.rlim_cur = 0;
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
        tree.leader_reaped();
        const bool was_empty = tree.empty();
        const auto result = tree.kill();
        ::setrlimit(RLIMIT_NOFILE, &before);
        CHECK_FALSE(was_empty);
        CHECK(result.error == procyard::make_errno(EMFILE));
        CHECK_FALSE(result.settled);
        if (has(kernel().pidfd_group_signal))
            leader.read_to_end();
        (void)tree.kill();
        leader.read_to_end();
        wait_until_empty(tree);
    }

    TEST_CASE("strangers are left alone")
    {
        // A bystander in this process's group, and one that has a group and a family of its own.
        test_process near({"family", "1"}, {.where = placement::host_group});
        test_process far({"family", "1"});
        auto strangers = near.expect("member", 2);
        strangers.push_back(far.expect("member", 2).front());
        strangers.push_back(near.pid());
        strangers.push_back(far.pid());
        {
            test_process leader({"setsid"});
            leader.expect("member", 3);
            tree_sweep tree;
            attach(tree, leader.pid(), leader.pidfd());
            CHECK_FALSE(tree.suspend());
            for (const auto pid : strangers)
                CHECK_FALSE(is_stopped(pid));
            (void)tree.kill();
            leader.read_to_end();
            leader.reap();
            tree.leader_reaped();
            wait_until_empty(tree);
        }
        for (const auto pid : strangers)
            CHECK_FALSE(is_gone(pid));
        for (auto* const one : {&near, &far}) {
            tree_sweep tree;
            attach(tree, one->pid(), one->pidfd());
            (void)tree.kill();
            one->read_to_end();
        }
    }
}
