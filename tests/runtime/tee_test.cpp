// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/stage.hpp>

#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>
#include <doctest/doctest.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "pipeline_run_fixture.hpp"
#include "temporary_directory.hpp"

using namespace procyard_test::pipes;
using namespace std::chrono_literals;
using fixture = procyard_test::pipeline_run_fixture;

TEST_SUITE("tee")
{
    TEST_CASE_FIXTURE(fixture, "gives every byte to the targets and to the next stage")
    {
        const procyard_test::temporary_directory directory;
        const auto path = directory.path() / "copy";
        const auto text = numbers(200'000);
        std::string called;
        int lines = 0;
        const auto targets = run_output()
                                 .to_file(path)
                                 .to_callback([&](std::string_view bytes) { called += bytes; })
                                 .each_line([&](std::string_view) { ++lines; });
        auto options = run_options().std_in(run_input::view(text));
        SUBCASE("between programs")
        {
            (*this)(command("cat") | tee(targets) | command("cat"), options);
            CHECK(got.result().status.stages[1].name == "tee");
            CHECK(got.result().status.stages[1].bytes_in == text.size());
            CHECK(got.result().status.stages[1].bytes_out == text.size());
        }
        SUBCASE("first")
        {
            (*this)(tee(targets, "log") | command("cat"), options);
            CHECK(got.result().status.stages[0].name == "log");
        }
        SUBCASE("last")
        {
            (*this)(command("cat") | tee(targets), options);
        }
        SUBCASE("alone")
        {
            (*this)(tee(targets), options);
        }
        CHECK(got.result().success());
        CHECK((got.result().std_out.data == text));
        CHECK((directory.read("copy") == text));
        CHECK((called == text));
        CHECK(lines == 200'000);
    }

    TEST_CASE_FIXTURE(fixture, "a target that fails leaves the others alone and fails the stage")
    {
        std::string called;
        auto targets = run_output();
        SUBCASE("a full device")
        {
            targets.to_file("/dev/full");
        }
        SUBCASE("a callback that throws")
        {
            targets.to_callback([](std::string_view) {
                throw boost::system::system_error(ENOSPC, boost::system::system_category());
            });
        }
        targets.to_callback([&](std::string_view bytes) { called += bytes; });
        auto& result = (*this)(seq(100'000) | tee(targets) | command("cat"));
        CHECK((result.std_out.data == numbers(100'000)));
        CHECK((called == numbers(100'000)));
        CHECK(result.status.failing() == 1);
        CHECK(result.status.stages[1].error == boost::system::errc::no_space_on_device);
        CHECK(result.error() == boost::system::errc::no_space_on_device);
    }

    TEST_CASE_FIXTURE(fixture, "a target that cannot be opened fails the stage")
    {
        auto& result =
            (*this)(seq(3) | tee(run_output().to_file("/nonexistent/file")) | command("cat"));
        CHECK(result.std_out.data == "1\n2\n3\n");
        CHECK(result.error() == boost::system::errc::no_such_file_or_directory);
    }

    TEST_CASE_FIXTURE(fixture, "ends when the next stage has had enough, and is forgiven (case 65)")
    {
        std::size_t seen_bytes = 0;
        auto p = command("yes")
            | tee(run_output().to_callback([&](std::string_view b) { seen_bytes += b.size(); }))
            | command("head", {"-n", "1"});
        auto& result = (*this)(p);
        CHECK(result.success());
        CHECK(result.std_out.data == "y\n");
        CHECK(seen_bytes >= 2);
        CHECK(result.status.stages[1].end() == stage_end::broken_pipe);
        CHECK_FALSE((*this)(p.policy(pipefail::strict)).success());
    }

    TEST_CASE_FIXTURE(fixture,
                      "a target that takes its time slows the pipeline, and can be stopped")
    {
        auto gate = make_pipe(ctx.get_executor());
        int calls = 0;
        const auto slow = [&](std::string_view) -> awaitable<void> {
            ++calls;
            co_await gate.reader.async_wait_readable(use_awaitable);  // once open, always
        };
        start(seq(1'000'000) | tee(run_output().to_coroutine(slow)) | command("cat"),
              run_options().deadline(1h));
        procyard_test::run_until(ctx, [&] { return calls == 1; });
        while (ctx.poll() > 0) { }
        CHECK(calls == 1);
        CHECK_FALSE(got.done());
        SUBCASE("it lets go")
        {
            error_code ec;
            gate.writer.try_write_some(asio::buffer("x", 1), ec);
            auto& result = finish();
            CHECK(result.success());
            CHECK((result.std_out.data == numbers(1'000'000)));
        }
        SUBCASE("the deadline comes")
        {
            fire_next_timer();
            auto& result = finish();
            CHECK(result.reason == run_reason::deadline);
            CHECK(result.status.stages[1].error == asio::error::operation_aborted);
        }
        SUBCASE("it is cancelled")
        {
            signal.emit(asio::cancellation_type::terminal);
            CHECK(finish().status.stages[1].error == asio::error::operation_aborted);
            CHECK(got.error() == asio::error::operation_aborted);
        }
    }

    TEST_CASE_FIXTURE(fixture, "that waits for its input can be stopped")
    {
        start(helper({"--mode=pause"}) | tee(run_output().to_callback([](std::string_view) { })),
              run_options().std_out(tap()));
        wait_for("ready");
        signal.emit(asio::cancellation_type::terminal);
        auto& result = finish();
        CHECK(result.reason == run_reason::cancelled);
        CHECK((result.status.stages[1].error == asio::error::operation_aborted
               || result.status.stages[1].end() == stage_end::success));  // its input ends, too
    }

    TEST_CASE_FIXTURE(fixture, "goes down with its io_context")
    {
        const auto alive = std::make_shared<int>(0);
        for (const int turns : {0, 1, 2, 4, 8, 16, 32}) {
            asio::io_context context;
            const auto hold = [alive](std::string_view) -> awaitable<void> { co_return; };
            async_run(command("yes") | tee(run_output().to_coroutine(hold)) | command("cat"),
                      context.get_executor(), run_options().std_out(run_output().capture()),
                      [alive](error_code, const pipeline_result&) { FAIL("must not run"); });
            for (int i = 0; i < turns; ++i)
                context.run_one_for(procyard_test::deadlock_guard);
        }
        CHECK(alive.use_count() == 1);
    }

    TEST_CASE_FIXTURE(fixture, "one description can be run any number of times")
    {
        std::string called;
        const auto p = seq(3)
            | tee(run_output().to_callback([&](std::string_view bytes) { called += bytes; }))
            | command("cat");
        CHECK((*this)(p).success());
        CHECK((*this)(p).success());
        CHECK(called == "1\n2\n3\n1\n2\n3\n");
    }
}
