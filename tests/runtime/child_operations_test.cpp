// SPDX-License-Identifier: BSL-1.0
// The common contract of asynchronous operations, for those of child that concern its tree.
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/spawn.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <chrono>
#include <memory>
#include <utility>

#include "operation_contract.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

// A child that minds no SIGTERM: it goes when the test kills it.
template <tree_mode Mode>
struct child_operation {
    explicit child_operation(asio::io_context& ctx)
        : c(spawn(helper({"--mode=pause"}).std_out(stdio::null()).ignore_signal(SIGTERM).tree(Mode),
                  ctx.get_executor()))
    {
    }
    void satisfy() { c.kill(); }

    child c;
};

template <tree_mode Mode>
struct stop_child : child_operation<Mode> {
    using child_operation<Mode>::child_operation;
    template <class Token>
    void start(Token&& token)
    {
        auto ladder = stop_ladder::terminate(std::chrono::hours(1));
        ladder.clock = clock;
        this->c.async_stop(std::move(ladder), std::forward<Token>(token));
    }

    std::shared_ptr<manual_clock> clock = std::make_shared<manual_clock>();
};

template <tree_mode Mode>
struct wait_for_tree : child_operation<Mode> {
    using child_operation<Mode>::child_operation;
    template <class Token>
    void start(Token&& token)
    {
        this->c.async_wait_tree(std::forward<Token>(token));
    }
};

template <class Operation>
void check_cancellations(bool waiting)
{
    using type = asio::cancellation_type;
    for (const auto each : {type::terminal, type::partial, type::total})
        check_cancellation<Operation>(each, waiting);
}

// Neither operation can fail at once. What can be had at once is the success.
template <class Operation>
void check_immediate_success()
{
    asio::io_context ctx;
    Operation operation(ctx);
    operation.satisfy();
    CHECK(wait(ctx, operation.c) == exit_status::signaled(SIGKILL));
    ending got;
    operation.start(got.handler());
    CHECK_MESSAGE(got.count == 0, "completed inside the initiating function");
    run(ctx);
    CHECK(got.count == 1);
    CHECK_MESSAGE(!got.ec, got.ec.message());
}

// The drop kills the tree, which is what both operations are waiting for.
template <class Operation>
void check_drop(bool waiting)
{
    // A context that goes kills its children, and may leave them to whoever reaps next.
    const auto children_before = children();
    asio::io_context ctx;
    Operation operation(ctx);
    ending got;
    operation.start(got.handler());
    if (waiting)
        ctx.poll();
    operation.c = child();
    CHECK_MESSAGE(got.count == 0, "completed inside the destructor");
    run(ctx);
    CHECK(got.count == 1);
    CHECK_MESSAGE(!got.ec, got.ec.message());
    CHECK(children() == children_before);
}

}  // namespace

TEST_SUITE("child::async_stop")
{
    TEST_CASE_TEMPLATE("succeeds in a later turn, and waits until it can", Operation,
                       stop_child<tree_mode::subreaper>, stop_child<tree_mode::process_group>)
    {
        check_success<Operation>();
        check_success_after_a_wait<Operation>();
    }

    TEST_CASE_TEMPLATE("of a tree that is gone completes at once, but not inside the call",
                       Operation, stop_child<tree_mode::subreaper>,
                       stop_child<tree_mode::process_group>)
    {
        check_immediate_success<Operation>();
    }

    TEST_CASE_TEMPLATE("cancelled before its first turn, it has done nothing", Operation,
                       stop_child<tree_mode::subreaper>, stop_child<tree_mode::process_group>)
    {
        check_cancellations<Operation>(false);
    }

    TEST_CASE_TEMPLATE("cancelled while it waits, it leaves the tree to the next one", Operation,
                       stop_child<tree_mode::subreaper>, stop_child<tree_mode::process_group>)
    {
        check_cancellations<Operation>(true);
    }

    TEST_CASE_TEMPLATE("completes when its child object is dropped: the drop empties the tree",
                       Operation, stop_child<tree_mode::subreaper>,
                       stop_child<tree_mode::process_group>)
    {
        check_drop<Operation>(false);
        check_drop<Operation>(true);
    }

    TEST_CASE_TEMPLATE("runs its handler on the handler's executor", Operation,
                       stop_child<tree_mode::subreaper>, stop_child<tree_mode::process_group>)
    {
        check_other_executor<Operation>();
    }

    TEST_CASE_TEMPLATE("goes down with its io_context without a call", Operation,
                       stop_child<tree_mode::subreaper>, stop_child<tree_mode::process_group>)
    {
        check_context_destruction<Operation>(false);
        check_context_destruction<Operation>(true);
    }
}

TEST_SUITE("child::async_wait_tree")
{
    TEST_CASE_TEMPLATE("succeeds in a later turn, and waits until it can", Operation,
                       wait_for_tree<tree_mode::subreaper>, wait_for_tree<tree_mode::process_group>)
    {
        check_success<Operation>();
        check_success_after_a_wait<Operation>();
    }

    TEST_CASE_TEMPLATE("of a tree that is gone completes at once, but not inside the call",
                       Operation, wait_for_tree<tree_mode::subreaper>,
                       wait_for_tree<tree_mode::process_group>)
    {
        check_immediate_success<Operation>();
    }

    TEST_CASE_TEMPLATE("cancelled before its first turn, it has done nothing", Operation,
                       wait_for_tree<tree_mode::subreaper>, wait_for_tree<tree_mode::process_group>)
    {
        check_cancellations<Operation>(false);
    }

    TEST_CASE_TEMPLATE("cancelled while it waits, it leaves the tree to the next one", Operation,
                       wait_for_tree<tree_mode::subreaper>, wait_for_tree<tree_mode::process_group>)
    {
        check_cancellations<Operation>(true);
    }

    TEST_CASE_TEMPLATE("completes when its child object is dropped: the drop empties the tree",
                       Operation, wait_for_tree<tree_mode::subreaper>,
                       wait_for_tree<tree_mode::process_group>)
    {
        check_drop<Operation>(false);
        check_drop<Operation>(true);
    }

    TEST_CASE_TEMPLATE("runs its handler on the handler's executor", Operation,
                       wait_for_tree<tree_mode::subreaper>, wait_for_tree<tree_mode::process_group>)
    {
        check_other_executor<Operation>();
    }

    TEST_CASE_TEMPLATE("goes down with its io_context without a call", Operation,
                       wait_for_tree<tree_mode::subreaper>, wait_for_tree<tree_mode::process_group>)
    {
        check_context_destruction<Operation>(false);
        check_context_destruction<Operation>(true);
    }
}
