// SPDX-License-Identifier: BSL-1.0
// What a coroutine does in a pipeline, wherever it stands.
#include <procyard/runtime/pipeline.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "pipeline_fixture.hpp"

using namespace procyard_test::pipes;

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
