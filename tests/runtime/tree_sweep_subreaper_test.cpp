// SPDX-License-Identifier: BSL-1.0
#include "tree_sweep.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>

#include <string>
#include <utility>
#include <vector>

#include "procyard_test.hpp"
#include "sweep_fixture.hpp"
#include "test_process.hpp"

using namespace procyard_test::sweeps;
using procyard_test::subreaper_guard;
using procyard_test::test_process;

TEST_SUITE("tree_sweep as a subreaper")
{
    const std::string marker = "PROCYARD_TREE=outer:this-tree";

    TEST_CASE("a double-forked daemon is found, killed and reaped")
    {
        const subreaper_guard subreaper;
        for (const auto* const mode : {"daemon", "daemon-orphan"}) {
            on_each_kernel([&](auto pidfd_of) {
                test_process leader({mode}, {.environment = {marker}});
                const auto members = leader.expect("member", mode == std::string("daemon") ? 2 : 1);
                REQUIRE(members.size() == 1);
                tree_sweep tree({"this-tree", {}});
                attach(tree, leader.pid(), pidfd_of(leader));
                if (mode == std::string("daemon-orphan")) {
                    leader.reap();
                    tree.leader_reaped();
                    CHECK_FALSE(tree.empty());
                }
                CHECK_FALSE(tree.kill().error);
                leader.read_to_end();
                if (mode == std::string("daemon")) {
                    leader.reap();
                    tree.leader_reaped();
                }
                wait_until_empty(tree);
                CHECK_FALSE(read_stat(members.front()));  // not even a zombie
                CHECK(procyard_test::children() == 0);
            });
        }
    }

    TEST_CASE("a daemon that has ended before anybody asked leaves no zombie, if it was seen alive")
    {
        const subreaper_guard subreaper;
        test_process leader({"daemon-orphan"}, {.environment = {marker}});
        const auto daemon = leader.expect("member", 1).front();
        tree_sweep tree({"this-tree", {}});
        attach(tree, leader.pid(), leader.pidfd());
        leader.reap();
        tree.leader_reaped();  // here
        ::kill(daemon, SIGKILL);
        leader.read_to_end();
        wait_until_empty(tree);
        CHECK(procyard_test::children() == 0);
    }

    TEST_CASE("orphans of the group leave no zombie behind")
    {
        const subreaper_guard subreaper;
        on_each_kernel([&](auto pidfd_of) {
            test_process leader({"runaway", "200"}, {.environment = {marker}});
            leader.expect("ready", 2);
            tree_sweep tree({"this-tree", {}});
            attach(tree, leader.pid(), pidfd_of(leader));
            (void)tree.kill();
            leader.read_to_end();
            leader.reap();
            tree.leader_reaped();
            wait_until_empty(tree);
            CHECK(procyard_test::children() == 0);
        });
    }

    TEST_CASE("orphans of another tree, and children somebody else reaps, are left alone")
    {
        const subreaper_guard subreaper;
        test_process other({"daemon-orphan"}, {.environment = {"PROCYARD_TREE=other-tree"}});
        const auto daemon = other.expect("member", 1).front();
        test_process sibling({"pause"}, {.environment = {marker}});
        sibling.expect("ready", 1);

        test_process leader({"daemon"}, {.environment = {marker}});
        leader.expect("member", 2);
        tree_sweep tree({"this-tree", [&](pid_t pid) { return pid == sibling.pid(); }});
        attach(tree, leader.pid(), leader.pidfd());
        (void)tree.kill();
        leader.read_to_end();
        leader.reap();
        tree.leader_reaped();
        wait_until_empty(tree);
        CHECK_FALSE(is_gone(daemon));
        CHECK_FALSE(is_gone(sibling.pid()));

        tree_sweep the_other({"other-tree", {}});
        attach(the_other, other.pid(), other.pidfd());
        other.reap();
        the_other.leader_reaped();
        (void)the_other.kill();
        other.read_to_end();
        wait_until_empty(the_other);
    }

    TEST_CASE("who is found after a request is asked, until it is withdrawn")
    {
        const subreaper_guard subreaper;
        test_process leader({"daemon-orphan"}, {.environment = {marker}});
        const auto daemon = leader.expect("member", 1).front();
        // One that is not hidden, so that it is not all over when the leader is reaped.
        test_process another({"daemon-orphan"}, {.environment = {marker}});
        const auto seen = another.expect("member", 1).front();
        another.reap();
        bool hidden = true;
        tree_sweep tree({"this-tree", [&](pid_t pid) { return hidden && pid == daemon; }});
        attach(tree, leader.pid(), leader.pidfd());
        leader.reap();
        tree.leader_reaped();
        SUBCASE("it stands")
        {
            CHECK_FALSE(tree.ask(SIGTERM));
            hidden = false;
        }
        SUBCASE("it was withdrawn")
        {
            // Stopped, so that the SIGCONT of a request would be seen at once.
            CHECK(::kill(daemon, SIGSTOP) == 0);
            int status = 0;
            REQUIRE(::waitpid(daemon, &status, WUNTRACED) == daemon);
            CHECK_FALSE(tree.ask(SIGTERM));
            CHECK_FALSE(tree.ask(0));
            wait_until_dead(seen);
            hidden = false;
            CHECK_FALSE(tree.empty());
            CHECK(tree.members() == std::vector{daemon});
            CHECK(read_stat(daemon)->state == 'T');
            CHECK_FALSE(tree.kill().error);
        }
        wait_until_empty(tree);
        CHECK(procyard_test::children() == 0);
    }

    TEST_CASE("an orphan that ends while it is asked leaves its heir to another look")
    {
        const subreaper_guard subreaper;
        test_process leader({"heir"}, {.environment = {marker}});
        const auto orphan = leader.expect("member", 1).front();
        bool asked = false;
        const auto asked_for = [&](pid_t pid) {
            if (pid == orphan && !std::exchange(asked, true)) {
                ::kill(orphan, SIGUSR1);
                leader.expect("heir", 1);
                wait_until_dead(orphan);
            }
            return false;
        };
        tree_sweep tree({"this-tree", asked_for});
        attach(tree, leader.pid(), leader.pidfd());
        leader.reap();
        tree.leader_reaped();
        CHECK(asked);
        CHECK_FALSE(tree.empty());
        CHECK_FALSE(tree.kill().error);
        leader.read_to_end();
        wait_until_empty(tree);
        // Nothing said any more whose this one was.
        int status = 0;
        CHECK(::waitpid(orphan, &status, 0) == orphan);
        CHECK(procyard_test::children() == 0);
    }

    TEST_CASE("a daemon whose first thread has ended is known by its other threads")
    {
        const subreaper_guard subreaper;
        test_process leader({"daemon-thread"}, {.environment = {marker}});
        const auto daemon = leader.expect("member", 1).front();
        // The other thread may have been quicker than the end of the first.
        while (read_stat(daemon)->state != 'Z')
            ::sched_yield();
        leader.reap();
        tree_sweep tree({"this-tree", {}});
        attach(tree, leader.pid(), leader.pidfd());
        tree.leader_reaped();
        CHECK_FALSE(tree.empty());
        CHECK(tree.members() == std::vector{daemon});
        CHECK_FALSE(tree.kill().error);
        wait_until_empty(tree);
        CHECK(procyard_test::children() == 0);
    }

    // In the middle of an exec a process has the new program's memory and no environment yet.
    TEST_CASE("a daemon that replaces its program again and again is never taken for a stranger")
    {
        const subreaper_guard subreaper;
        test_process leader({"exec-daemon"}, {.environment = {marker}});
        const auto daemon = leader.expect("member", 1).front();
        leader.reap();
        for (int look = 0; look < 1500; ++look) {
            INFO("look ", look);
            tree_sweep tree({"this-tree", {}});
            attach(tree, leader.pid(), -1);
            tree.leader_reaped(false);
            REQUIRE_FALSE(tree.empty());
        }
        tree_sweep tree({"this-tree", {}});
        attach(tree, leader.pid(), -1);
        tree.leader_reaped(false);
        SUBCASE("SIGTERM reaches it")
        {
            CHECK_FALSE(tree.signal(SIGTERM));
        }
        SUBCASE("SIGKILL reaches it")
        {
            CHECK_FALSE(tree.kill().error);
        }
        wait_until_empty(tree);
        CHECK(is_gone(daemon));
        CHECK(procyard_test::children() == 0);
    }
}
