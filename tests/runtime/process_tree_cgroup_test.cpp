// SPDX-License-Identifier: BSL-1.0
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>
#include <signal.h>

#include <filesystem>

#include "cgroup_main.hpp"
#include "feature_off.hpp"
#include "process_tree.hpp"
#include "procyard_test.hpp"
#include "test_process.hpp"
#include "tree_wait.hpp"

namespace fs = std::filesystem;
namespace asio = boost::asio;
using namespace procyard::detail;
using procyard::error_code;
using procyard::tree_mechanism;
using procyard::tree_mode;
using procyard_test::descriptor_check;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::test_process;

namespace {

std::shared_ptr<process_tree> make_tree(tree_mode mode = tree_mode::cgroup)
{
    auto tree = std::make_shared<process_tree>();
    REQUIRE_FALSE(tree->prepare({.mode = mode, .cgroup_parent = test_cgroup()}));
    REQUIRE(tree->mechanism() == tree_mechanism::cgroup);
    return tree;
}

test_process start_in(process_tree& tree, std::vector<std::string> mode)
{
    error_code ec;
    const auto procs = tree.open_cgroup_procs(ec);
    REQUIRE_FALSE(ec);
    test_process leader(std::move(mode), {.cgroup_procs = procs.get()});
    tree.attach(leader.pid(), leader.pidfd());
    return leader;
}

std::size_t leaf_count()
{
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(test_cgroup()))
        count += entry.is_directory() ? 1 : 0;
    return count;
}

struct nothing_left {
    descriptor_check descriptors;
    ~nothing_left() { CHECK(leaf_count() == 0); }
};

}  // namespace

TEST_SUITE("process_tree in a cgroup")
{
    TEST_CASE("a parent that was named gives a cgroup, in automatic mode too")
    {
        const nothing_left check;
        for (const auto mode : {tree_mode::automatic, tree_mode::cgroup}) {
            const auto tree = make_tree(mode);
            CHECK(tree->cgroup_directory() >= 0);
            CHECK_FALSE(tree->why_no_cgroup());
            CHECK_FALSE(tree->needs_own_group());
            CHECK(tree->marker("outer") == "");
            CHECK_FALSE(tree->fall_back());  // it was asked for by name
            CHECK(leaf_count() == 1);
        }
    }

    TEST_CASE("becomes empty when the last member ends, and then there is no cgroup any more")
    {
        const nothing_left check;
        for (const bool old_kernel : {false, true}) {
            INFO("without cgroup.kill: ", old_kernel);
            std::optional<feature_off> off;
            if (old_kernel)
                off.emplace(&kernel_features::cgroup_kill);
            asio::io_context ctx;
            const auto tree = make_tree();
            auto leader = start_in(*tree, {"daemon-orphan", "3"});
            leader.expect("member", 1);
            outcome<error_code> done;
            outcome<error_code> also;
            start_tree_wait(ctx.get_executor(), tree, done.handler());
            start_tree_wait(ctx.get_executor(), tree, also.handler());
            CHECK(leader.reap() == 3);
            tree->leader_reaped();
            ctx.poll();
            CHECK_FALSE(done.done());
            CHECK(tree->members().size() == 1);
            CHECK_FALSE(tree->kill().error);
            run(ctx);
            CHECK_FALSE(done.error());
            CHECK_FALSE(also.error());
            CHECK(leaf_count() == 0);
            CHECK(tree->empty());
            REQUIRE(tree->usage().cpu_time);  // kept from before the removal
            CHECK_FALSE(tree->signal(SIGTERM));
            CHECK_FALSE(tree->kill().error);
        }
    }

    // The kernel tells of a change no sooner than 10 ms after the one before, and not at all of a
    // cgroup that is removed meanwhile.
    TEST_CASE("who waits hears of an end that somebody else has found, and cleared away, before")
    {
        const nothing_left check;
        asio::io_context ctx;
        const auto tree = make_tree();
        auto leader = start_in(*tree, {"pause"});
        leader.expect("ready", 1);
        outcome<error_code> done;
        outcome<error_code> also;
        asio::cancellation_signal signal;
        outcome<error_code> cancelled;
        start_tree_wait(ctx.get_executor(), tree, done.handler());
        start_tree_wait(ctx.get_executor(), tree, also.handler());
        start_tree_wait(ctx.get_executor(), tree,
                        asio::bind_cancellation_slot(signal.slot(), cancelled.handler()));
        ctx.poll();
        signal.emit(asio::cancellation_type::terminal);
        CHECK_FALSE(tree->kill().error);
        CHECK(leader.reap() == SIGKILL);
        tree->leader_reaped();
        CHECK(tree->empty());
        CHECK(leaf_count() == 0);
        run(ctx);
        CHECK_FALSE(done.error());
        CHECK_FALSE(also.error());
        CHECK(cancelled.error() == asio::error::operation_aborted);
    }

    TEST_CASE("is suspended, resumed and signalled as a whole")
    {
        const nothing_left check;
        asio::io_context ctx;
        const auto tree = make_tree();
        auto leader = start_in(*tree, {"setsid"});
        leader.expect("member", 3);
        CHECK_FALSE(tree->suspend());
        CHECK_FALSE(tree->resume());
        CHECK_FALSE(tree->signal(SIGTERM));
        outcome<error_code> done;
        start_tree_wait(ctx.get_executor(), tree, done.handler());
        CHECK(leader.reap() == SIGTERM);
        tree->leader_reaped();
        run(ctx);
        CHECK_FALSE(done.error());
        leader.read_to_end();
    }

    TEST_CASE("a cancelled wait leaves it as it is")
    {
        const nothing_left check;
        asio::io_context ctx;
        const auto tree = make_tree();
        auto leader = start_in(*tree, {"pause"});
        leader.expect("ready", 1);
        asio::cancellation_signal signal;
        outcome<error_code> done;
        start_tree_wait(ctx.get_executor(), tree,
                        asio::bind_cancellation_slot(signal.slot(), done.handler()));
        ctx.poll();
        signal.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(done.error() == asio::error::operation_aborted);
        CHECK_FALSE(tree->empty());
        CHECK_FALSE(tree->kill().error);
        leader.reap();
        CHECK(tree->empty());
    }

    TEST_CASE("many trees one after the other leave nothing behind")
    {
        const nothing_left check;
        asio::io_context ctx;
        for (int round = 0; round < 100; ++round) {
            const auto tree = make_tree();
            auto leader = start_in(*tree, {"family", "2"});
            leader.expect("ready", 1);
            (void)tree->kill();
            leader.reap();
            tree->leader_reaped();
            outcome<error_code> done;
            start_tree_wait(ctx.get_executor(), tree, done.handler());
            run(ctx);
            REQUIRE_FALSE(done.error());
            REQUIRE(leaf_count() == 0);
        }
    }
}
