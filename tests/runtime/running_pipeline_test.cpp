// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <procyard/runtime/spawn.hpp>

#include "operation_contract.hpp"
#include "pipeline_fixture.hpp"

using namespace procyard_test::pipes;

namespace {

/// A wait for a pipeline that ends when its input does.
struct wait_for_pipeline {
    explicit wait_for_pipeline(asio::io_context& ctx)
        : running(spawn((helper({"--mode=until-eof"}) | stage(copy_all))
                            .std_in(stdio::pipe())
                            .std_out(stdio::null()),
                        ctx.get_executor()))
    {
    }
    void start(auto&& token) { running.async_wait(std::forward<decltype(token)>(token)); }
    void satisfy() { running.std_in().close(); }

    running_pipeline running;
};

}  // namespace

TEST_SUITE("running_pipeline::async_wait")
{
    using operation = wait_for_pipeline;
    using type = asio::cancellation_type;

    TEST_CASE("completes when every stage has ended, in a later turn")
    {
        procyard_test::check_success<operation>();
        procyard_test::check_success_after_a_wait<operation>();
    }

    TEST_CASE("of a pipeline that has ended completes at once, and the answer stays (case 43)")
    {
        asio::io_context ctx;
        auto running = spawn(command("true") | stage(nothing), ctx.get_executor());
        for (int i = 0; i < 3; ++i)
            CHECK(wait(ctx, running).success());
    }

    TEST_CASE("any number of waits get the same answer (case 43)")
    {
        asio::io_context ctx;
        wait_for_pipeline one(ctx);
        procyard_test::outcome<error_code, pipeline_status> got[3];
        for (auto& each : got)
            one.start(each.handler());
        one.satisfy();
        procyard_test::run(ctx);
        for (auto& each : got) {
            CHECK_FALSE(each.error());
            CHECK(each.result().success());
            CHECK(each.result().stages.size() == 2);
        }
    }

    TEST_CASE("cancelled, the wait ends and the pipeline goes on")
    {
        for (const auto each : {type::terminal, type::partial, type::total}) {
            procyard_test::check_cancellation<operation>(each, false);
            procyard_test::check_cancellation<operation>(each, true);
        }
    }

    TEST_CASE("survives the handle: the drop kills the stages and cancels the coroutines (case 61)")
    {
        for (const bool waiting : {false, true}) {
            asio::io_context ctx;
            auto one = std::make_unique<wait_for_pipeline>(ctx);
            procyard_test::outcome<error_code, pipeline_status> got;
            one->start(got.handler());
            if (waiting)
                ctx.poll();
            one.reset();
            procyard_test::run(ctx);
            CHECK_FALSE(got.error());
            const auto& stages = got.result().stages;
            // Its input ended an instant before the kill.
            CHECK(
                (stages[0].status == exit_status::signaled(SIGKILL) || stages[0].status.success()));
            CHECK(procyard_test::children() == 0);
        }
    }

    TEST_CASE("runs its handler on the handler's executor")
    {
        procyard_test::check_other_executor<operation>();
    }

    TEST_CASE("goes down with its io_context without a call")
    {
        procyard_test::check_context_destruction<operation>(false);
        procyard_test::check_context_destruction<operation>(true);
    }

    TEST_CASE("goes down with an io_context that is destroyed before the handle")
    {
        bool called = false;
        auto alive = std::make_shared<int>(0);
        {
            running_pipeline orphan;
            asio::io_context ctx;
            orphan = spawn((command("true") | stage(generate_for_ever) | command("cat"))
                               .std_out(stdio::null()),
                           ctx.get_executor());
            orphan.async_wait(
                [alive, &called](error_code, const pipeline_status&) { called = true; });
            ctx.poll();
            orphan = {};
        }
        CHECK_FALSE(called);
        CHECK(alive.use_count() == 1);
    }
}

TEST_SUITE("pipeline failures")
{
    TEST_CASE("a middle stage that dies by SIGPIPE is forgiven, unless strictly (case 65)")
    {
        auto status = run_to_end(command("yes") | command("cat")
                                 | pipeline(command("head", {"-n", "1"})).std_out(stdio::null()));
        CHECK(status.stages[0].status == exit_status::signaled(SIGPIPE));
        CHECK(status.stages[1].status == exit_status::signaled(SIGPIPE));
        CHECK(status.success());
        status.policy = pipefail::strict;
        CHECK(status.to_string() == R"(stage 1 of 3, "yes": killed by SIGPIPE)");
        status.policy = pipefail::last;
        CHECK(status.success());
    }

    TEST_CASE("a shell's word for SIGPIPE is understood (case 65)")
    {
        const auto status = run_to_end(command::shell("yes; exit $?") | command("true"));
        CHECK(status.stages[0].status.code() == 128 + SIGPIPE);
        CHECK(status.success());
    }

    TEST_CASE("the failing stage is named, wherever it is")
    {
        const pipeline p =
            command("true") | command::shell("exit 3") | command("cat").arg("/dev/null");
        const auto status = run_to_end(p);
        CHECK(status.failing() == 1);
        CHECK(status.to_string() == R"(stage 2 of 3, "/bin/sh": exit 3)");
    }

    TEST_CASE("a stage that cannot be started takes the others along: nothing is left (case 65)")
    {
        const procyard_test::descriptor_check nothing_left;
        for (const std::size_t bad : {std::size_t{0}, std::size_t{1}, std::size_t{2}}) {
            asio::io_context ctx;
            {
                auto warm_up = spawn(command("true") | command("true"), ctx.get_executor());
                CHECK(wait(ctx, warm_up).success());
            }
            const auto before = procyard_test::open_descriptor_list();
            const auto children = procyard_test::children();
            pipeline p;
            for (std::size_t i = 0; i < 3; ++i)
                p.append(i == bad ? command("procyard-no-such-program") : command("cat"));
            p.std_in(stdio::pipe()).std_out(stdio::pipe());
            spawn_failure failure;
            CHECK_FALSE(spawn(p, ctx.get_executor(), failure));
            CHECK(failure.stage == bad);
            CHECK(failure.step == spawn_step::lookup);
            CHECK(failure.program == "procyard-no-such-program");
            CHECK(failure.code == boost::system::errc::no_such_file_or_directory);
            CHECK_THROWS_AS((void)spawn(p, ctx.get_executor()), spawn_error);
            procyard_test::run(ctx);
            CHECK(procyard_test::children() == children);
            CHECK(procyard_test::open_descriptor_list() == before);
        }
    }

    TEST_CASE("a consumer never sees the end of an input that was never made (case 65)")
    {
        // The right one says on its own error stream whether it saw the end.
        asio::io_context ctx;
        error_code ec;
        auto report = make_raw_pipe(ec);
        REQUIRE_FALSE(ec);
        pipe_reader reports(ctx.get_executor(), std::move(report.read_end));
        const pipeline p = command("procyard-no-such-program")
            | command::shell("cat; echo saw the end >&2")
                  .std_err(stdio::descriptor(std::move(report.write_end)));
        {
            const pipeline only = p;
            spawn_failure failure;
            CHECK_FALSE(spawn(only, ctx.get_executor(), failure));
        }
        procyard_test::run(ctx);
        char byte = 0;
        CHECK(reports.try_read_some(asio::buffer(&byte, 1), ec) == 0);
        CHECK(ec == asio::error::would_block);  // `p` still holds the writing end
    }

    TEST_CASE("a 100 pipelines leave no descriptor and no child (case 64)")
    {
        const procyard_test::descriptor_check nothing_left;
        asio::io_context ctx;
        const auto once = [&] {
            auto running = spawn(
                (command("yes") | stage(copy_all) | command("head", {"-n", "9"}) | stage(copy_all))
                    .std_out(stdio::pipe()),
                ctx.get_executor());
            CHECK(read_all(ctx, running.std_out()).size() == 18);
            CHECK(wait(ctx, running).success());
        };
        once();
        const auto before = procyard_test::open_descriptor_list();
        const auto children = procyard_test::children();
        for (int i = 0; i < 100; ++i)
            once();
        CHECK(procyard_test::open_descriptor_list() == before);
        CHECK(procyard_test::children() == children);
    }
}
