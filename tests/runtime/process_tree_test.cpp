// SPDX-License-Identifier: BSL-1.0
#include "process_tree.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include <doctest/doctest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <thread>

#include <procyard/ipc/syscall.hpp>

#include "feature_off.hpp"
#include "proc_fs.hpp"
#include "procyard_test.hpp"
#include "test_process.hpp"
#include "tree_wait.hpp"

using namespace procyard::detail;
namespace asio = boost::asio;
using procyard::error_code;
using procyard::make_errno;
using procyard::tree_mechanism;
using procyard::tree_mode;
using procyard_test::descriptor_check;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::run_until;
using procyard_test::subreaper_guard;
using procyard_test::test_process;
using procyard_test::wait_ready;

namespace {

std::shared_ptr<process_tree> make_tree(tree_mode mode)
{
    auto tree = std::make_shared<process_tree>();
    REQUIRE_FALSE(tree->prepare({.mode = mode}));
    return tree;
}

std::shared_ptr<process_tree> make_tree(tree_mode mode, const test_process& leader)
{
    auto tree = make_tree(mode);
    tree->attach(leader.pid(), leader.pidfd());
    return tree;
}

void reap(test_process& leader, process_tree& tree)
{
    leader.reap();
    tree.leader_reaped();
}

}  // namespace

TEST_SUITE("process_tree")
{
    TEST_CASE("automatic takes a cgroup only where one is ours to give, and else says why not")
    {
        process_tree tree;
        REQUIRE_FALSE(tree.prepare({}));
        if (tree.why_no_cgroup()) {
            CHECK(tree.mechanism() == tree_mechanism::process_group);
            CHECK(tree.cgroup_directory() == -1);
            CHECK(tree.needs_own_group());
            CHECK_FALSE(tree.fall_back());
        } else {
            CHECK(tree.mechanism() == tree_mechanism::cgroup);
            CHECK(tree.cgroup_directory() >= 0);
        }
    }

    TEST_CASE("what was asked for by name is had or refused")
    {
        for (const auto mode : {tree_mode::automatic, tree_mode::cgroup}) {
            process_tree no_cgroup;
            CHECK(no_cgroup.prepare({.mode = mode, .cgroup_parent = "/proc"})
                  == make_errno(EINVAL));
            process_tree nowhere;
            CHECK(nowhere.prepare({.mode = mode, .cgroup_parent = "/no such directory"})
                  == make_errno(ENOENT));
        }
        CHECK(make_tree(tree_mode::process_group)->mechanism() == tree_mechanism::process_group);
        CHECK(make_tree(tree_mode::none)->mechanism() == tree_mechanism::none);
        CHECK_FALSE(make_tree(tree_mode::none)->needs_own_group());
    }

    TEST_CASE("the tree of a subreaper makes one of us, each time that we are none")
    {
        const subreaper_guard restore;
        const auto is_subreaper = [] {
            int is_one = 0;
            REQUIRE(::prctl(PR_GET_CHILD_SUBREAPER, &is_one, 0UL, 0UL, 0UL) == 0);
            return is_one != 0;
        };
        for (int turn = 0; turn < 2; ++turn) {
            REQUIRE(::prctl(PR_SET_CHILD_SUBREAPER, 0UL, 0UL, 0UL, 0UL) == 0);
            REQUIRE_FALSE(is_subreaper());
            const auto one = make_tree(tree_mode::subreaper);
            CHECK(is_subreaper());
            const auto two = make_tree(tree_mode::subreaper);
            CHECK(is_subreaper());
        }
    }

    TEST_CASE("only a subreaper marks the child, and the marks of nested trees add up")
    {
        const subreaper_guard restore;
        CHECK(make_tree(tree_mode::process_group)->marker("") == "");
        CHECK(make_tree(tree_mode::process_group)->marker("outer") == "");
        const auto one = make_tree(tree_mode::subreaper);
        const auto two = make_tree(tree_mode::subreaper);
        CHECK(one->marker("") != "");
        CHECK(one->marker("") != two->marker(""));
        CHECK(two->marker(one->marker("")) == one->marker("") + ':' + two->marker(""));
        const auto nested = "PROCYARD_TREE=" + two->marker(one->marker(""));
        CHECK(has_tree_marker(nested, one->marker("")));
        CHECK(has_tree_marker(nested, two->marker("")));
    }

    TEST_CASE("a tree that was never used is empty, and every order to it succeeds")
    {
        for (const auto mode : {tree_mode::automatic, tree_mode::process_group, tree_mode::none}) {
            const auto tree = make_tree(mode);
            CHECK(tree->empty());
            CHECK_FALSE(tree->signal(SIGTERM));
            CHECK_FALSE(tree->suspend());
            CHECK_FALSE(tree->resume());
            CHECK_FALSE(tree->kill().error);
            CHECK(tree->members().empty());
        }
    }

    TEST_CASE("a child that ends alone ends its tree with one system call and no descriptor")
    {
        test_process leader({"exit", "0"});
        const descriptor_check descriptors;
        const auto tree = make_tree(tree_mode::process_group, leader);
        reap(leader, *tree);
        CHECK(tree->empty());
        CHECK(tree->members().empty());
        CHECK_FALSE(tree->kill().error);
    }

    TEST_CASE("without a mechanism the child alone is signalled, and alone counts")
    {
        test_process leader({"family", "1"});
        const auto follower = leader.expect("member", 2).front();
        const auto tree = make_tree(tree_mode::none, leader);
        CHECK(tree->members() == std::vector{leader.pid()});
        CHECK_FALSE(tree->suspend());
        CHECK_FALSE(tree->resume());
        CHECK_FALSE(tree->empty());
        CHECK(tree->kill().members == 1);
        wait_ready(leader.pidfd(), POLLIN);
        CHECK(tree->empty());
        reap(leader, *tree);
        CHECK(tree->empty());
        CHECK(::kill(follower, 0) == 0);
        ::kill(follower, SIGKILL);
        leader.read_to_end();
    }

    TEST_CASE("a child that leads no group is killed with its descendants")
    {
        test_process leader({"family", "2"}, {.where = test_process::placement::host_group});
        leader.expect("member", 3);
        const auto tree = make_tree(tree_mode::process_group, leader);
        CHECK(tree->kill().members == 3);
        leader.read_to_end();
        reap(leader, *tree);
    }

    TEST_CASE("the marker of a subreaper's tree finds its daemon")
    {
        const subreaper_guard restore;
        const auto tree = make_tree(tree_mode::subreaper);
        test_process leader({"daemon-orphan"},
                            {.environment = {"PROCYARD_TREE=" + tree->marker("outer")}});
        tree->attach(leader.pid(), leader.pidfd());
        leader.expect("member", 1);
        reap(leader, *tree);
        CHECK_FALSE(tree->empty());
        CHECK(tree->kill().members == 1);
        leader.read_to_end();
        asio::io_context ctx;
        outcome<error_code> done;
        start_tree_wait(ctx.get_executor(), tree, done.handler());
        run(ctx);
        CHECK_FALSE(done.error());
        CHECK(procyard_test::children() == 0);
    }
}

TEST_SUITE("a request to a process_tree")
{
    TEST_CASE("stands until the last that has asked has gone")
    {
        const subreaper_guard restore;
        pid_t hidden = -1;
        process_tree tree;
        REQUIRE_FALSE(tree.prepare({.mode = tree_mode::subreaper,
                                    .spoken_for = [&hidden](pid_t pid) { return pid == hidden; }}));
        test_process leader({"daemon-orphan"},
                            {.environment = {"PROCYARD_TREE=" + tree.marker("")}});
        tree.attach(leader.pid(), leader.pidfd());
        const auto daemon = leader.expect("member", 1).front();
        // One that is not hidden, so that it is not all over when the leader is reaped.
        test_process another({"daemon-orphan"},
                             {.environment = {"PROCYARD_TREE=" + tree.marker("")}});
        const auto seen = another.expect("member", 1).front();
        another.reap();
        hidden = daemon;
        reap(leader, tree);
        tree.add_asker();
        CHECK_FALSE(tree.ask(SIGTERM));
        siginfo_t ended{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(seen), &ended, WEXITED | WNOWAIT) == 0);
        tree.add_asker();
        tree.remove_asker();
        hidden = -1;
        // Found now, and asked: it has no other reason to end. It may be dead before this returns.
        (void)tree.empty();
        leader.read_to_end();
        while (!tree.empty())
            ::sched_yield();
        tree.remove_asker();
        CHECK_FALSE(procyard::detail::read_stat(daemon));
    }
}

TEST_SUITE("start_tree_wait")
{
    TEST_CASE("completes when the last member has ended, and not with the leader")
    {
        const descriptor_check descriptors;
        asio::io_context ctx;
        test_process leader({"orphans", "3"});
        const auto members = leader.expect("member", 3);
        const auto tree = make_tree(tree_mode::process_group, leader);
        outcome<error_code> done;
        start_tree_wait(ctx.get_executor(), tree, done.handler());
        reap(leader, *tree);
        for (const auto pid : members) {
            // As many turns as there are now: one wait is always left.
            ctx.poll();
            CHECK_FALSE(done.done());
            ::kill(pid, SIGKILL);
        }
        run(ctx);
        CHECK_FALSE(done.error());
        CHECK(tree->empty());
    }

    TEST_CASE("an empty tree completes, but not inside the call")
    {
        asio::io_context ctx;
        outcome<error_code> done;
        start_tree_wait(ctx.get_executor(), make_tree(tree_mode::process_group), done.handler());
        CHECK_FALSE(done.done());
        run(ctx);
        CHECK_FALSE(done.error());
        CHECK(done.count == 1);
    }

    TEST_CASE("any number of waiters see the same end")
    {
        asio::io_context ctx;
        test_process leader({"family", "2"});
        leader.expect("member", 3);
        const auto tree = make_tree(tree_mode::process_group, leader);
        outcome<error_code> first;
        outcome<error_code> second;
        start_tree_wait(ctx.get_executor(), tree, first.handler());
        start_tree_wait(ctx.get_executor(), tree, second.handler());
        ctx.poll();
        (void)tree->kill();
        reap(leader, *tree);
        run(ctx);
        CHECK_FALSE(first.error());
        CHECK_FALSE(second.error());
    }

    TEST_CASE("can be cancelled before and during the wait, and leaves the tree as it is")
    {
        for (const bool before : {true, false}) {
            INFO("before the first turn: ", before);
            for (const auto type :
                 {asio::cancellation_type::terminal, asio::cancellation_type::partial,
                  asio::cancellation_type::total}) {
                const descriptor_check descriptors;
                asio::io_context ctx;
                test_process leader({"pause"});
                leader.expect("ready", 1);
                const auto tree = make_tree(tree_mode::process_group, leader);
                asio::cancellation_signal signal;
                outcome<error_code> done;
                start_tree_wait(ctx.get_executor(), tree,
                                asio::bind_cancellation_slot(signal.slot(), done.handler()));
                if (!before)
                    ctx.poll();
                signal.emit(type);
                CHECK_FALSE(done.done());
                run(ctx);
                CHECK(done.error() == asio::error::operation_aborted);
                signal.emit(type);  // too late
                CHECK(done.count == 1);
                CHECK_FALSE(tree->empty());
                (void)tree->kill();
                reap(leader, *tree);
            }
        }
    }

    TEST_CASE("can be cancelled from another thread than the context's")
    {
        for (int round = 0; round < 50; ++round) {
            asio::io_context ctx;
            test_process leader({"pause"});
            leader.expect("ready", 1);
            const auto tree = make_tree(tree_mode::process_group, leader);
            asio::cancellation_signal signal;
            outcome<error_code> done;
            start_tree_wait(ctx.get_executor(), tree,
                            asio::bind_cancellation_slot(signal.slot(), done.handler()));
            std::thread other([&] { signal.emit(asio::cancellation_type::terminal); });
            run(ctx);
            other.join();
            CHECK(done.error() == asio::error::operation_aborted);
            (void)tree->kill();
            reap(leader, *tree);
        }
    }

    TEST_CASE("goes down with the context, uncalled")
    {
        const descriptor_check descriptors;
        test_process leader({"pause"});
        leader.expect("ready", 1);
        const auto tree = make_tree(tree_mode::process_group, leader);
        outcome<error_code> done;
        for (const bool armed : {false, true}) {
            asio::io_context ctx;
            start_tree_wait(ctx.get_executor(), tree, done.handler());
            if (armed)
                ctx.poll();
        }
        CHECK_FALSE(done.done());
        CHECK(tree.use_count() == 1);
        (void)tree->kill();
        reap(leader, *tree);
    }

    TEST_CASE("calls the handler on its own executor")
    {
        asio::io_context ctx;
        asio::thread_pool pool(1);
        test_process leader({"pause"});
        leader.expect("ready", 1);
        const auto tree = make_tree(tree_mode::process_group, leader);
        std::promise<std::thread::id> where;
        start_tree_wait(ctx.get_executor(), tree,
                        asio::bind_executor(pool.get_executor(), [&](const error_code&) {
                            where.set_value(std::this_thread::get_id());
                        }));
        (void)tree->kill();
        reap(leader, *tree);
        run(ctx);
        CHECK(where.get_future().get() != std::this_thread::get_id());
        pool.join();
    }

    TEST_CASE("works where no descriptor can tell")
    {
        const feature_off no_pidfd(&kernel_features::pidfd);
        const feature_off no_group_signal(&kernel_features::pidfd_group_signal);
        asio::io_context ctx;
        test_process leader({"orphans", "2"});
        const auto members = leader.expect("member", 2);
        const auto tree = make_tree(tree_mode::process_group);
        tree->attach(leader.pid(), -1);
        outcome<error_code> done;
        start_tree_wait(ctx.get_executor(), tree, done.handler());
        reap(leader, *tree);
        ctx.poll();
        CHECK_FALSE(done.done());
        (void)tree->kill();
        run(ctx);
        CHECK_FALSE(done.error());
    }

    TEST_CASE("200 members that end one by one")
    {
        const descriptor_check descriptors;
        asio::io_context ctx;
        test_process leader({"family", "200"});
        leader.expect("member", 201);
        const auto tree = make_tree(tree_mode::process_group, leader);
        outcome<error_code> done;
        start_tree_wait(ctx.get_executor(), tree, done.handler());
        ctx.poll();
        CHECK_FALSE(tree->signal(SIGTERM));
        run_until(ctx, [&] { return done.done() || tree->members().size() < 50; });
        reap(leader, *tree);
        run(ctx);
        CHECK_FALSE(done.error());
    }
}
