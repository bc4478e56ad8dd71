// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run_result.hpp>

#include <boost/asio/error.hpp>
#include <doctest/doctest.h>

#include <array>
#include <string>
#include <string_view>

#include <procyard/runtime/pipeline_result.hpp>

using namespace procyard;

namespace {

struct cause {
    run_reason reason;
    error_code error;
    std::string_view name;
};

/// Each cause is called the same as a reason, as a condition and in the text.
const std::array<cause, 6> causes{{
    {run_reason::deadline, make_run_error(run_errc::deadline), "deadline"},
    {run_reason::idle, make_run_error(run_errc::idle), "idle"},
    {run_reason::output_limit, make_run_error(run_errc::output_limit), "output limit"},
    {run_reason::cancelled, boost::asio::error::operation_aborted, "cancelled"},
    {run_reason::sink_failed, make_run_error(run_errc::sink_failed), "sink failed"},
    {run_reason::input_failed, make_run_error(run_errc::input_failed), "input failed"},
}};

/// A run and a pipeline of one stage, of the same program that ended with 0.
run_result run_of_true()
{
    run_result result;
    result.status = exit_status::exited(0);
    return result;
}

pipeline_result pipeline_of_true()
{
    pipeline_result result;
    result.status.stages.emplace_back().name = "true";
    result.status.stages[0].status = exit_status::exited(0);
    return result;
}

}  // namespace

TEST_SUITE("run_result")
{
    TEST_CASE("a run and a pipeline that were ended say the same of it")
    {
        for (const auto& each : causes) {
            CAPTURE(each.name);
            CHECK(to_string(each.reason) == each.name);
            auto run = run_of_true();
            auto pipe = pipeline_of_true();
            run.reason = pipe.reason = each.reason;
            CHECK_FALSE(run.success());
            CHECK_FALSE(pipe.success());
            CHECK(run.error() == each.error);
            CHECK(pipe.error() == each.error);
            CHECK(run.to_string() == std::string(each.name) + ": exit 0");
            CHECK(pipe.to_string() == std::string(each.name) + ": the stage succeeded");
        }
    }

    TEST_CASE("what is not complete is told behind the status, the outputs before the input")
    {
        const error_code lost = make_error_code(boost::system::errc::io_error);
        auto run = run_of_true();
        auto pipe = pipeline_of_true();
        run.std_out.data = pipe.std_out.data = "abc";
        run.std_out.bytes_seen = pipe.std_out.bytes_seen = 5;
        run.std_out.truncated = pipe.std_out.truncated = true;
        run.std_err.long_lines = pipe.status.stages[0].std_err.long_lines = 1;
        run.input.error = pipe.input.error = lost;
        CHECK(run.error() == run_errc::output_limit);
        CHECK(pipe.error() == run_errc::output_limit);
        CHECK(run.to_string()
              == "exit 0; stdout truncated (3 of 5 bytes); stderr cut in 1 long line; stdin: "
                  + lost.message());
        CHECK(
            pipe.to_string()
            == "the stage succeeded; stdout truncated (3 of 5 bytes); stderr of \"true\" cut in 1 "
               "long line; stdin: "
                + lost.message());
    }

    TEST_CASE("where nothing was started, only why is told")
    {
        auto run = run_of_true();
        auto pipe = pipeline_of_true();
        run.failure.code = make_spawn_error(spawn_step::exec, ENOENT);
        run.failure.step = spawn_step::exec;
        run.failure.program = "nope";
        pipe.failure = run.failure;
        run.reason = pipe.reason = run_reason::cancelled;
        CHECK_FALSE(run.success());
        CHECK_FALSE(pipe.success());
        CHECK(run.error() == boost::system::errc::no_such_file_or_directory);
        CHECK(pipe.error() == boost::system::errc::no_such_file_or_directory);
        CHECK(run.to_string() == R"(spawn "nope": exec: No such file or directory)");
        CHECK(pipe.to_string() == run.to_string());
    }

    TEST_CASE("an output's loss is the error only when the program itself was a success")
    {
        auto run = run_of_true();
        auto pipe = pipeline_of_true();
        run.std_err.held_by_descendant = true;
        pipe.status.stages[0].std_err.held_by_descendant = true;
        CHECK(run.error() == run_errc::held_by_descendant);
        CHECK(pipe.error() == run_errc::held_by_descendant);
        run.status = pipe.status.stages[0].status = exit_status::exited(3);
        CHECK(run.error() == run_errc::exit_nonzero);
        CHECK(pipe.error() == run_errc::exit_nonzero);
    }
}
