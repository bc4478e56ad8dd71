// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <stdexcept>
#include <thread>

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

awaitable<void> nothing(pipe_reader, pipe_writer)
{
    co_return;
}

awaitable<void> generate_for_ever(pipe_reader, pipe_writer out)
{
    const std::string text(4096, 'x');
    for (;;)
        co_await asio::async_write(out, asio::buffer(text), use_awaitable);
}

/// Starts, waits, and returns what became of it.
pipeline_status run_to_end(const pipeline& p)
{
    asio::io_context ctx;
    auto running = spawn(p, ctx.get_executor());
    return wait(ctx, running);
}

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

TEST_SUITE("coroutine stage")
{
    TEST_CASE("first: what it writes is the next stage's input")
    {
        asio::io_context ctx;
        const auto generate = [](pipe_reader in, pipe_writer out) -> awaitable<void> {
            char byte = 0;
            const auto [ec, n] =
                co_await in.async_read_some(asio::buffer(&byte, 1), as_tuple(use_awaitable));
            CHECK(ec == asio::error::eof);  // there is nothing to inherit
            CHECK(n == 0);
            co_await asio::async_write(out, asio::buffer(numbers(200'000)), use_awaitable);
        };
        auto running = spawn(
            (stage("generate", generate) | command("tac") | command("tac")).std_out(stdio::pipe()),
            ctx.get_executor());
        const auto got = read_all(ctx, running.std_out());
        CHECK((got == numbers(200'000)));
        CHECK(wait(ctx, running).to_string() == "all 3 stages succeeded");
    }

    TEST_CASE("middle: it reads one neighbour's output and writes the other's input")
    {
        asio::io_context ctx;
        auto running =
            spawn((seq(200'000) | stage(copy_all) | command("tac")).std_out(stdio::pipe()),
                  ctx.get_executor());
        const auto got = read_all(ctx, running.std_out());
        CHECK(got.starts_with("200000\n"));
        CHECK(got.size() == numbers(200'000).size());
        CHECK(wait(ctx, running).success());
    }

    TEST_CASE("last: it takes the output")
    {
        std::size_t lines = 0;
        const auto count = [&lines](pipe_reader in, pipe_writer) -> awaitable<void> {
            std::vector<char> buffer(4096);
            for (;;) {
                const auto [ec, n] =
                    co_await in.async_read_some(asio::buffer(buffer), as_tuple(use_awaitable));
                if (ec)
                    co_return;
                for (std::size_t i = 0; i < n; ++i)
                    lines += buffer[i] == '\n' ? 1 : 0;
            }
        };
        CHECK(run_to_end(seq(100'000) | stage("count", count)).success());
        CHECK(lines == 100'000);
    }

    TEST_CASE("both ends may be pipes of this process")
    {
        asio::io_context ctx;
        auto running = spawn(
            (stage(copy_all) | stage(copy_all)).std_in(stdio::pipe()).std_out(stdio::socket()),
            ctx.get_executor());
        error_code ec;
        CHECK(running.std_in().try_write_some(asio::buffer("hello", 5), ec) == 5);
        running.std_in().close();
        CHECK(read_all(ctx, running.std_out()) == "hello");
        CHECK(wait(ctx, running).success());
    }

    TEST_CASE("counts what goes through it, for its neighbours too")
    {
        asio::io_context ctx;
        auto running = spawn(
            (seq(1000) | stage(copy_all) | command("cat") | command("wc")).std_out(stdio::pipe()),
            ctx.get_executor());
        const auto output = read_all(ctx, running.std_out());
        const auto stages = wait(ctx, running).stages;
        const std::optional<std::uint64_t> bytes = numbers(1000).size();
        CHECK_FALSE(stages[0].bytes_in);
        CHECK(stages[0].bytes_out == bytes);
        CHECK(stages[1].bytes_in == bytes);
        CHECK(stages[1].bytes_out == bytes);
        CHECK(stages[2].bytes_in == bytes);
        CHECK_FALSE(stages[2].bytes_out);  // nobody stands between `cat` and `wc`
        CHECK_FALSE(stages[3].bytes_in);
        CHECK(stages[3].bytes_out == output.size());
    }

    TEST_CASE("what it throws is its result; its neighbours see the end and a broken pipe")
    {
        const auto fail = [](pipe_reader, pipe_writer) -> awaitable<void> {
            throw std::runtime_error("no luck");
            co_return;
        };
        const auto status = run_to_end(command("yes") | stage("fail", fail)
                                       | pipeline(command("cat")).std_out(stdio::null()));
        CHECK(status.stages[0].status == exit_status::signaled(SIGPIPE));
        CHECK(status.stages[2].status == exit_status::exited(0));
        CHECK(status.to_string() == R"(stage 2 of 3, "fail": no luck)");
        CHECK_THROWS_WITH_AS(std::rethrow_exception(status.stages[1].exception), "no luck",
                             std::runtime_error);
        CHECK_FALSE(status.stages[1].error);
    }

    TEST_CASE("a code that it throws is kept as one, and so is an exception before the first turn")
    {
        const auto refuse = [](pipe_reader, pipe_writer) -> awaitable<void> {
            throw boost::system::system_error(asio::error::connection_refused);
        };
        const auto status = run_to_end(stage("refuse", refuse));
        CHECK(status.stages[0].error == asio::error::connection_refused);
        CHECK(status.failing() == 0);
    }

    TEST_CASE("broken_pipe that escapes it counts as a SIGPIPE does (case 31)")
    {
        const pipeline p = stage("forever", generate_for_ever)
            | pipeline(command("head", {"-c", "1"})).std_out(stdio::null());
        auto status = run_to_end(p);
        CHECK(status.stages[0].end() == stage_end::broken_pipe);
        CHECK(status.success());
        status.policy = pipefail::strict;
        CHECK(status.failing() == 0);
    }

    TEST_CASE("one that never reads breaks the pipe of the stage before (case 31)")
    {
        const auto status = run_to_end(command("yes") | stage("deaf", nothing));
        CHECK(status.stages[0].status == exit_status::signaled(SIGPIPE));
        CHECK(status.success());
    }

    TEST_CASE("runs in a context of many threads")
    {
        asio::io_context ctx;
        auto running = spawn(
            (seq(100'000) | stage(copy_all) | stage(copy_all) | command("cat") | stage(copy_all))
                .std_out(stdio::pipe()),
            ctx.get_executor());
        std::string text;
        procyard_test::outcome<error_code, std::size_t> output;
        procyard_test::outcome<error_code, pipeline_status> end;
        asio::async_read(running.std_out(), asio::dynamic_buffer(text), output.handler());
        running.async_wait(end.handler());
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i)
            threads.emplace_back([&] { ctx.run_for(procyard_test::deadlock_guard); });
        for (auto& each : threads)
            each.join();
        CHECK((text == numbers(100'000)));
        CHECK(end.result().success());
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
