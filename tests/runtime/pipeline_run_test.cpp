// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline.hpp>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <future>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pipeline_run_fixture.hpp"
#include "temporary_directory.hpp"

using namespace procyard_test::pipes;
using namespace std::chrono_literals;
using fixture = procyard_test::pipeline_run_fixture;

namespace {

constexpr asio::cancellation_type types[] = {asio::cancellation_type::terminal,
                                             asio::cancellation_type::partial,
                                             asio::cancellation_type::total};

}  // namespace

TEST_SUITE("async_run(pipeline)")
{
    TEST_CASE_FIXTURE(fixture, "success: runs all stages to their end and tells everything")
    {
        auto& result = (*this)(command("cat") | stage("copy", copy_all) | command("tac"),
                               run_options().std_in("1\n2\n3\n"));
        CHECK_FALSE(got.error());
        CHECK(result.success());
        CHECK_FALSE(result.error());
        CHECK(result.to_string() == "all 3 stages succeeded");
        CHECK(result.std_out.data == "3\n2\n1\n");
        CHECK(result.input.bytes_fed == 6);
        CHECK(result.reason == run_reason::exited);
        CHECK_FALSE(result.stop);
        const auto& stages = result.status.stages;
        REQUIRE(stages.size() == 3);
        CHECK(stages[0].name == "cat");
        CHECK(stages[0].bytes_in == 6);
        CHECK(stages[1].bytes_in == 6);
        CHECK(stages[1].bytes_out == 6);
        CHECK(stages[2].bytes_out == 6);
        CHECK(stages[2].status.usage().max_rss_bytes > 0);
        CHECK(stages[0].reason == run_reason::exited);
        CHECK(result.times.spawn > 0ns);
    }

    TEST_CASE_FIXTURE(fixture, "10 MB from memory through programs and a coroutine (case 30)")
    {
        const auto text = numbers(1'600'000);
        auto& result = (*this)(command("tac") | stage(copy_all) | command("tac"),
                               run_options().std_in(run_input::view(text)));
        CHECK(result.success());
        CHECK((result.std_out.data == text));
        CHECK(result.input.bytes_fed == text.size());
    }

    TEST_CASE_FIXTURE(fixture, "every standard error is captured by itself, with a limit (case 36)")
    {
        const auto talk = [](const char* text) {
            return command::shell(std::string("cat; echo ") + text + " >&2");
        };
        auto& result = (*this)(talk("first") | stage(copy_all) | talk("a longer one"),
                               run_options().std_err(run_output().capture({.limit_bytes = 8})));
        CHECK(result.status.stages[0].std_err.data == "first\n");
        CHECK(result.status.stages[2].std_err.data == "a longer");
        CHECK(result.status.stages[2].std_err.truncated);
        CHECK_FALSE(result.success());
        CHECK(result.error() == run_errc::output_limit);
        CHECK(result.to_string()
              == "all 3 stages succeeded; stderr of \"/bin/sh\" truncated (8 of 13 bytes)");
    }

    TEST_CASE_FIXTURE(fixture, "merged, it goes down the pipe (case 40)")
    {
        auto& result = (*this)(command::shell("echo 1; echo 2 >&2; echo 3") | command("cat"),
                               run_options().std_err(run_output::merge()));
        CHECK(result.std_out.data == "1\n2\n3\n");
    }

    TEST_CASE_FIXTURE(fixture, "a file that all write their standard error to has it all")
    {
        procyard_test::temporary_directory directory;
        directory.write("log", "old\n");
        const auto talk = command::shell("cat; echo line >&2");
        auto& result =
            (*this)(talk | talk | talk,
                    run_options().std_err(run_output().to_file(directory.path() / "log")));
        CHECK(result.success());
        CHECK(directory.read("log") == "line\nline\nline\n");
    }

    TEST_CASE_FIXTURE(fixture, "both ends may be files, which this process does not touch")
    {
        procyard_test::temporary_directory directory;
        const auto in = directory.write("in", "b\na\n");
        auto& result = (*this)(
            (command("sort") | command("cat")).std_out(stdio::write_file(directory.path() / "out")),
            run_options().std_in(run_input::file(in)));
        CHECK(result.success());
        CHECK(directory.read("out") == "a\nb\n");
        CHECK(result.std_out.bytes_seen == 0);
    }

    TEST_CASE_FIXTURE(fixture, "the input may be a coroutine, the output go to several sinks")
    {
        procyard_test::temporary_directory directory;
        const auto next = [n = 0]() mutable -> awaitable<std::optional<std::string>> {
            if (n == 3)
                co_return std::nullopt;
            co_return std::to_string(++n) + '\n';
        };
        std::vector<std::string> lines;
        auto& result = (*this)(
            stage(copy_all) | command("cat"),
            run_options()
                .std_in(run_input::generator(next))
                .std_out(run_output()
                             .capture()
                             .to_file(directory.path() / "copy")
                             .each_line([&](std::string_view line) { lines.emplace_back(line); })));
        CHECK(result.success());
        CHECK(result.std_out.data == "1\n2\n3\n");
        CHECK(directory.read("copy") == "1\n2\n3\n");
        CHECK(lines == std::vector<std::string>{"1", "2", "3"});
    }

    TEST_CASE_FIXTURE(fixture, "the input may be a stream, the output a stream's")
    {
        auto in = make_pipe(ctx.get_executor());
        auto out = make_pipe(ctx.get_executor());
        const auto text = numbers(20'000);
        asio::async_write(in.writer, asio::buffer(text),
                          [&](error_code, std::size_t) { in.writer.close(); });
        std::string seen_there;
        procyard_test::outcome<error_code, std::size_t> end;
        asio::async_read(out.reader, asio::dynamic_buffer(seen_there), end.handler());
        auto& result = (*this)(command("cat") | stage(copy_all) | command("cat"),
                               run_options()
                                   .std_in(run_input::stream(std::move(in.reader)))
                                   .std_out(run_output().to_stream(std::move(out.writer))));
        CHECK(result.success());
        CHECK(result.input.bytes_fed == text.size());
        CHECK(end.error() == asio::error::eof);
        CHECK((seen_there == text));
    }

    TEST_CASE_FIXTURE(fixture, "the programs' usage and the times are told")
    {
        auto& result =
            (*this)(seq(100'000) | command("sort", {"-n"}) | command("tail", {"-n", "1"}));
        CHECK(result.std_out.data == "100000\n");
        CHECK(result.times.total == 0ns);  // the clock stands
        for (const auto& each : result.status.stages) {
            CHECK(each.status.usage().max_rss_bytes > 0);
            CHECK(each.wall > 0ns);
            CHECK_FALSE(each.info.path.empty());
        }
    }

    TEST_CASE_FIXTURE(fixture, "a coroutine at an end is fed and drained as a program is")
    {
        auto& result = (*this)(stage(copy_all), run_options().std_in("hello"));
        CHECK(result.std_out.data == "hello");
        CHECK(result.to_string() == "the stage succeeded");
    }

    TEST_CASE_FIXTURE(fixture, "the failing stage is named and gives the error")
    {
        CHECK((*this)(command("true") | command::shell("exit 3") | command("true")).error()
              == run_errc::exit_nonzero);
        CHECK(got.result().to_string() == R"(stage 2 of 3, "/bin/sh": exit 3)");
        const auto fail = [](pipe_reader, pipe_writer) -> awaitable<void> {
            throw std::runtime_error("no luck");
            co_return;
        };
        CHECK((*this)(command("yes") | stage("fail", fail)).error() == run_errc::threw);
        CHECK(got.result().to_string() == R"(stage 2 of 2, "fail": no luck)");
    }

    TEST_CASE_FIXTURE(fixture, "the policy is the pipeline's (case 65)")
    {
        const auto p = command("yes") | command("head", {"-n", "1"});
        CHECK((*this)(p).success());
        CHECK(got.result().std_out.data == "y\n");
        auto strict = p;
        strict.policy(pipefail::strict);
        CHECK((*this)(strict).error() == run_errc::killed_by_signal);
        CHECK(got.result().status.failing() == 0);
        auto last = command("false") | command("true");
        CHECK((*this)(last.policy(pipefail::last)).success());
        CHECK_FALSE((*this)(command("false") | command("true")).success());
    }

    TEST_CASE_FIXTURE(fixture, "immediate error: what is refused, and what cannot be started")
    {
        CHECK((*this)(pipeline()).failure.step == spawn_step::options);
        CHECK(got.error() == boost::system::errc::invalid_argument);
        CHECK_FALSE(got.result().success());

        const auto children = procyard_test::children();
        for (const bool off_loop : {false, true}) {
            auto& result =
                (*this)(command("procyard-no-such-program") | stage(copy_all) | command("cat"),
                        run_options().spawn_off_loop(off_loop));
            CHECK(got.error() == boost::system::errc::no_such_file_or_directory);
            CHECK(result.failure.stage == 0);
            CHECK(result.error() == got.error());
            CHECK(result.to_string().starts_with(R"(stage 1: spawn "procyard-no-such-program")"));
            CHECK(procyard_test::children() == children);
        }
    }

    TEST_CASE_FIXTURE(fixture, "starts off the loop")
    {
        auto& result = (*this)(command("echo", {"hi"}) | stage(copy_all) | command("cat"),
                               run_options().spawn_off_loop());
        CHECK(result.std_out.data == "hi\n");
    }

    TEST_CASE_FIXTURE(fixture, "cancelled before the first turn: nothing is started")
    {
        for (const auto type : types) {
            start(helper({"--mode=pause"}) | helper({"--mode=pause"}));
            signal.emit(type);
            auto& result = finish();
            CHECK(got.error() == asio::error::operation_aborted);
            CHECK(result.reason == run_reason::cancelled);
            CHECK(result.status.stages.empty());
        }
    }

    TEST_CASE_FIXTURE(fixture, "destroyed while pending: the context takes all along")
    {
        auto alive = std::make_shared<int>(0);
        for (const int turns : {0, 1, 2, 4, 8, 16}) {
            asio::io_context context;
            const auto hold = [alive](pipe_reader in, pipe_writer out) {
                return copy_all(std::move(in), std::move(out));
            };
            async_run(command("cat") | stage(hold) | command("cat"), context.get_executor(),
                      run_options().std_in(numbers(100'000)).deadline(1h).clock(clock),
                      [alive](error_code, const pipeline_result&) { FAIL("must not run"); });
            for (int i = 0; i < turns; ++i)
                context.run_one_for(procyard_test::deadlock_guard);
        }
        CHECK(alive.use_count() == 1);
    }

    TEST_CASE_FIXTURE(fixture, "the handler runs on its own executor")
    {
        asio::io_context other;
        async_run(command("true") | stage(copy_all), ctx.get_executor(), {},
                  asio::bind_executor(other.get_executor(), got.handler()));
        procyard_test::run(ctx);
        CHECK_FALSE(got.done());
        procyard_test::run(other);
        CHECK(got.result().success());
    }

    TEST_CASE("works with coroutines, futures and the default token")
    {
        asio::io_context ctx;
        const auto p = command("echo", {"x"}) | stage(copy_all);
        auto future = async_run(p, ctx.get_executor(), asio::use_future);
        auto later = asio::co_spawn(
            ctx,
            [](pipeline what) -> awaitable<std::string> {
                auto result = co_await async_run(what, co_await asio::this_coro::executor);
                co_return std::move(result.std_out.data);
            }(p),
            asio::use_future);
        procyard_test::run(ctx);
        CHECK(future.get().std_out.data == "x\n");
        CHECK(later.get() == "x\n");
    }

    TEST_CASE("serves many runs at once on a pool of threads")
    {
        asio::io_context ctx;
        const auto text = numbers(20'000);
        procyard_test::outcome<error_code, pipeline_result> got[8];
        for (auto& each : got) {
            async_run(command("cat") | stage(copy_all) | stage(copy_all) | command("cat"),
                      ctx.get_executor(), run_options().std_in(run_input::view(text)),
                      each.handler());
        }
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i)
            threads.emplace_back([&] { ctx.run_for(procyard_test::deadlock_guard); });
        for (auto& each : threads)
            each.join();
        for (auto& each : got) {
            CHECK(each.result().success());
            CHECK((each.result().std_out.data == text));
        }
    }
}
