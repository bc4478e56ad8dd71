// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <memory>

#include "operation_contract.hpp"
#include "pipeline_fixture.hpp"

using namespace procyard_test::pipes;
using procyard_test::outcome;
using type = asio::cancellation_type;

namespace {

/// `helper | coroutine | helper`, none of which ends by itself.
pipeline three_that_stay()
{
    return (helper({"--mode=pause"}) | stage("pause", pause_for_ever) | helper({"--mode=pause"}))
        .std_out(stdio::null());
}

/// A stop whose ladder changes nothing; it ends when the stages are ended otherwise.
struct patient_stop {
    explicit patient_stop(asio::io_context& ctx)
        : running(
              spawn((helper({"--mode=until-eof"}) | stage(copy_all) | helper({"--mode=until-eof"}))
                        .std_in(stdio::pipe())
                        .std_out(stdio::null()),
                    ctx.get_executor()))
    {
    }
    void start(auto&& token)
    {
        running.async_stop(stop_ladder{}.signal(SIGCONT, std::chrono::hours(1)),
                           std::forward<decltype(token)>(token));
    }
    void satisfy() { running.std_in().close(); }

    running_pipeline running;
};

stop_result stop(asio::io_context& ctx, running_pipeline& running, stop_ladder ladder)
{
    outcome<error_code, stop_result> got;
    running.async_stop(std::move(ladder), got.handler());
    procyard_test::run_until(ctx, [&] { return got.done(); });
    CHECK_FALSE(got.error());
    return got.result();
}

}  // namespace

TEST_SUITE("running_pipeline::async_stop")
{
    TEST_CASE("one ladder reaches every tree and every coroutine (case 54)")
    {
        asio::io_context ctx;
        auto running = spawn(three_that_stay(), ctx.get_executor());
        const auto result = stop(ctx, running, stop_ladder::terminate());
        CHECK(result.tree_empty);
        CHECK_FALSE(result.forced());
        CHECK(result.status == exit_status::signaled(SIGTERM));
        CHECK(result.tree != tree_mechanism::none);
        const auto stages = wait(ctx, running).stages;
        CHECK(stages[0].status == exit_status::signaled(SIGTERM));
        CHECK(stages[1].error == asio::error::operation_aborted);
        CHECK(stages[2].status == exit_status::signaled(SIGTERM));
    }

    TEST_CASE("who ignores the first rung gets the next, on the ladder's clock (case 54)")
    {
        asio::io_context ctx;
        auto running = spawn((helper({"--mode=ignore-term"}) | stage(copy_all) | command("cat"))
                                 .std_out(stdio::pipe()),
                             ctx.get_executor());
        CHECK(read_line(ctx, running.std_out()).starts_with("ready "));
        auto clock = std::make_shared<manual_clock>();
        auto ladder = stop_ladder::terminate(std::chrono::hours(1));
        ladder.clock = clock;
        outcome<error_code, stop_result> got;
        running.async_stop(ladder, got.handler());
        procyard_test::run_until(
            ctx, [&] { return running.children()[2].try_wait() && clock->pending() > 0; });
        CHECK_FALSE(got.done());
        CHECK_FALSE(running.children()[0].try_wait());
        clock->advance(std::chrono::hours(1));
        procyard_test::run_until(ctx, [&] { return got.done(); });
        CHECK(got.result().forced());
        CHECK(got.result().tree_empty);
        const auto stages = wait(ctx, running).stages;
        CHECK(stages[0].status == exit_status::signaled(SIGKILL));
        CHECK(stages[2].status == exit_status::signaled(SIGTERM));
    }

    TEST_CASE("closing the input ends a chain of filters by itself")
    {
        asio::io_context ctx;
        auto running = spawn((command("cat") | stage(copy_all) | command("cat"))
                                 .std_in(stdio::pipe())
                                 .std_out(stdio::null()),
                             ctx.get_executor());
        const auto result = stop(ctx, running, stop_ladder::end_of_input());
        CHECK(result.taken.size() == 1);
        CHECK(result.status.success());
        CHECK(wait(ctx, running).success());
    }

    TEST_CASE("takes descendants along that outlived their stage (case 59)")
    {
        asio::io_context ctx;
        auto running =
            spawn((helper({"--mode=family", "2"}) | stage(pause_for_ever)).std_out(stdio::null()),
                  ctx.get_executor());
        CHECK(stop(ctx, running, stop_ladder::kill()).tree_empty);
        CHECK(wait(ctx, running).stages[0].status == exit_status::signaled(SIGKILL));
    }

    TEST_CASE("of what has ended takes no rung and completes in a later turn")
    {
        asio::io_context ctx;
        auto running = spawn(command("true") | command("true"), ctx.get_executor());
        CHECK(wait(ctx, running).success());
        outcome<error_code, stop_result> got;
        running.async_stop(stop_ladder::kill(), got.handler());
        CHECK_FALSE(got.done());
        procyard_test::run(ctx);
        CHECK(got.result().taken.empty());
        CHECK(got.result().tree_empty);
        CHECK(got.result().status.success());
    }

    TEST_CASE("waits until everything has ended")
    {
        procyard_test::check_success_after_a_wait<patient_stop>();
    }

    TEST_CASE("cancelled, it leaves the ladder, and another can be tried")
    {
        for (const auto each : {type::terminal, type::partial, type::total}) {
            procyard_test::check_cancellation<patient_stop>(each, false);
            procyard_test::check_cancellation<patient_stop>(each, true);
        }
    }

    TEST_CASE("survives the handle")
    {
        asio::io_context ctx;
        auto one = std::make_unique<patient_stop>(ctx);
        outcome<error_code, stop_result> got;
        one->start(got.handler());
        ctx.poll();
        one.reset();
        procyard_test::run(ctx);
        CHECK_FALSE(got.error());
        CHECK(got.result().tree_empty);
    }

    TEST_CASE("runs its handler on the handler's executor")
    {
        procyard_test::check_other_executor<patient_stop>();
    }

    TEST_CASE("goes down with its io_context without a call")
    {
        procyard_test::check_context_destruction<patient_stop>(false);
        procyard_test::check_context_destruction<patient_stop>(true);
    }
}

TEST_SUITE("running_pipeline::signal_tree")
{
    TEST_CASE("reaches every program's tree, and no coroutine")
    {
        asio::io_context ctx;
        auto running = spawn(three_that_stay(), ctx.get_executor());
        error_code ec = asio::error::eof;
        running.signal_tree(SIGTERM, ec);
        CHECK_FALSE(ec);
        procyard_test::run_until(ctx, [&] {
            return running.children()[0].try_wait() && running.children()[2].try_wait();
        });
        outcome<error_code, pipeline_status> got;
        running.async_wait(got.handler());
        ctx.poll();
        CHECK_FALSE(got.done());  // the coroutine stays
        CHECK(stop(ctx, running, stop_ladder::kill()).tree_empty);
        procyard_test::run_until(ctx, [&] { return got.done(); });
        CHECK(got.result().stages[0].status == exit_status::signaled(SIGTERM));
        CHECK(got.result().stages[1].error == asio::error::operation_aborted);
        CHECK(got.result().stages[2].status == exit_status::signaled(SIGTERM));
    }

    TEST_CASE("tells the first error")
    {
        asio::io_context ctx;
        auto running = spawn(three_that_stay(), ctx.get_executor());
        error_code ec;
        running.signal_tree(9999, ec);
        CHECK(ec == boost::system::errc::invalid_argument);
    }
}

TEST_SUITE("async_spawn(pipeline)")
{
    using result = outcome<error_code, running_pipeline>;

    TEST_CASE("starts the stages from the spawner thread, in a later turn")
    {
        asio::io_context ctx;
        result got;
        async_spawn((seq(3) | stage(copy_all) | command("tac")).std_out(stdio::pipe()),
                    ctx.get_executor(), got.handler());
        CHECK_FALSE(got.done());
        procyard_test::run_until(ctx, [&] { return got.done(); });
        CHECK_FALSE(got.error());
        CHECK(read_all(ctx, got.result().std_out()) == "3\n2\n1\n");
        CHECK(wait(ctx, got.result()).success());
    }

    TEST_CASE("a failure comes when what was started is killed and reaped (case 65)")
    {
        asio::io_context ctx;
        const auto children = procyard_test::children();
        result got;
        spawn_failure failure;
        async_spawn(command("procyard-no-such-program") | command("cat") | stage(copy_all),
                    ctx.get_executor(), failure, [&](error_code ec, running_pipeline made) {
                        CHECK(procyard_test::children() == children);
                        got.handler()(ec, std::move(made));
                    });
        procyard_test::run_until(ctx, [&] { return got.done(); });
        CHECK(step_of(got.error()) == spawn_step::lookup);
        CHECK_FALSE(got.result());
        CHECK(failure.stage == 0);
        CHECK(failure.program == "procyard-no-such-program");
    }

    TEST_CASE("what is refused is refused in a later turn")
    {
        asio::io_context ctx;
        result got;
        async_spawn(pipeline(), ctx.get_executor(), got.handler());
        CHECK_FALSE(got.done());
        procyard_test::run(ctx);
        CHECK(got.error() == boost::system::errc::invalid_argument);
    }

    TEST_CASE("cancelled before or while it works, it leaves no process (case 62)")
    {
        for (const bool waiting : {false, true}) {
            asio::io_context ctx;
            const auto children = procyard_test::children();
            asio::cancellation_signal signal;
            result got;
            async_spawn(three_that_stay(), ctx.get_executor(),
                        asio::bind_cancellation_slot(signal.slot(), got.handler()));
            if (waiting)
                ctx.poll();
            signal.emit(type::terminal);
            procyard_test::run_until(ctx, [&] { return got.done(); });
            // While it works, the cancellation may come when all is done.
            if (!waiting)
                CHECK(got.error() == asio::error::operation_aborted);
            got.result() = {};
            procyard_test::run(ctx);
            CHECK(procyard_test::children() == children);
        }
    }

    TEST_CASE("runs its handler on the handler's executor")
    {
        asio::io_context ctx;
        asio::io_context other;
        result got;
        async_spawn(command("true") | command("true"), ctx.get_executor(),
                    asio::bind_executor(other.get_executor(), got.handler()));
        procyard_test::run(ctx);
        CHECK_FALSE(got.done());
        procyard_test::run(other);
        CHECK_FALSE(got.error());
        CHECK(wait(ctx, got.result()).success());
    }

    TEST_CASE("goes down with its io_context without a call")
    {
        for (const bool waiting : {false, true}) {
            auto alive = std::make_shared<int>(0);
            bool called = false;
            {
                asio::io_context ctx;
                async_spawn(three_that_stay(), ctx.get_executor(),
                            [alive, &called](error_code, running_pipeline) { called = true; });
                if (waiting)
                    ctx.poll_one();
            }
            CHECK_FALSE(called);
            CHECK(alive.use_count() == 1);
        }
    }
}
