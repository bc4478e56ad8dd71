// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline_status.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <initializer_list>
#include <stdexcept>
#include <vector>

#include "pipeline_verdict.hpp"

using namespace procyard;

namespace {

using stage_index = std::optional<std::size_t>;
constexpr auto ok = stage_end::success;
constexpr auto cut = stage_end::broken_pipe;
constexpr auto bad = stage_end::failed;
constexpr pipefail policies[] = {pipefail::forgive_broken_pipe, pipefail::strict, pipefail::last};

stage_index blame(std::initializer_list<stage_end> script, pipefail policy)
{
    const std::vector<stage_end> ends(script);
    return detail::failing_stage(ends.size(), [&](std::size_t i) { return ends[i]; }, policy);
}

stage_result process(std::string name, exit_status status)
{
    return {.name = std::move(name), .status = status};
}

stage_result coroutine(std::string name, std::exception_ptr thrown = nullptr, error_code ec = {})
{
    return {.name = std::move(name),
            .kind = stage_kind::coroutine,
            .exception = std::move(thrown),
            .error = ec};
}

}  // namespace

TEST_SUITE("pipeline_verdict")
{
    TEST_CASE("a pipeline of successes succeeds by every policy")
    {
        for (const auto policy : policies) {
            CHECK(blame({ok}, policy) == stage_index());
            CHECK(blame({ok, ok, ok}, policy) == stage_index());
        }
    }

    TEST_CASE("a stage whose reader left is forgiven, and strictly not (case 65)")
    {
        CHECK(blame({cut, ok}, pipefail::forgive_broken_pipe) == stage_index());
        CHECK(blame({cut, cut, ok}, pipefail::forgive_broken_pipe) == stage_index());
        CHECK(blame({ok, cut, ok}, pipefail::last) == stage_index());
        CHECK(blame({ok, cut, ok}, pipefail::strict) == stage_index(1));
    }

    TEST_CASE("nobody reads from the last stage, so its broken pipe is a failure")
    {
        for (const auto policy : policies) {
            CHECK(blame({cut}, policy) == stage_index(0));
            CHECK(blame({ok, cut}, policy) == stage_index(1));
        }
    }

    TEST_CASE("the first that failed is to blame, before those it cut off or starved")
    {
        CHECK(blame({cut, bad, bad}, pipefail::forgive_broken_pipe) == stage_index(1));
        CHECK(blame({cut, bad, ok}, pipefail::strict) == stage_index(1));
        CHECK(blame({bad, ok, cut}, pipefail::strict) == stage_index(0));
        CHECK(blame({ok, bad, cut}, pipefail::forgive_broken_pipe) == stage_index(1));
    }

    TEST_CASE("the policy `last` looks at the last stage alone, as sh does")
    {
        CHECK(blame({bad, bad, ok}, pipefail::last) == stage_index());
        CHECK(blame({ok, ok, bad}, pipefail::last) == stage_index(2));
    }

    TEST_CASE("how an end of a process counts")
    {
        CHECK(detail::end_of(exit_status::exited(0)) == ok);
        CHECK(detail::end_of(exit_status::exited(1)) == bad);
        CHECK(detail::end_of(exit_status::exited(141)) == cut);
        CHECK(detail::end_of(exit_status::exited(SIGPIPE)) == bad);
        CHECK(detail::end_of(exit_status::signaled(SIGPIPE)) == cut);
        CHECK(detail::end_of(exit_status::signaled(SIGKILL)) == bad);
        CHECK(detail::end_of(exit_status::unknown()) == bad);
    }

    TEST_CASE("how an end of a coroutine counts")
    {
        CHECK(detail::end_of(false, {}) == ok);
        CHECK(detail::end_of(true, {}) == bad);
        CHECK(detail::end_of(true, asio::error::broken_pipe) == cut);
        CHECK(detail::end_of(true, asio::error::eof) == bad);
    }
}

TEST_SUITE("pipeline_status")
{
    TEST_CASE("names the failing stage with what happened to it")
    {
        pipeline_status status;
        status.stages = {process("yes", exit_status::signaled(SIGPIPE)),
                         process("grep", exit_status::exited(2)),
                         process("sort", exit_status::exited(0))};
        CHECK_FALSE(status.success());
        CHECK(status.failing() == stage_index(1));
        CHECK(status.to_string() == R"(stage 2 of 3, "grep": exit 2)");
        status.policy = pipefail::last;
        CHECK(status.success());
    }

    TEST_CASE("says what was forgiven")
    {
        pipeline_status status;
        status.stages = {process("yes", exit_status::signaled(SIGPIPE)),
                         process("head", exit_status::exited(0))};
        CHECK(status.success());
        CHECK(status.to_string()
              == R"(success, in spite of stage 1 of 2, "yes": killed by SIGPIPE)");
        status.policy = pipefail::strict;
        CHECK(status.to_string() == R"(stage 1 of 2, "yes": killed by SIGPIPE)");
    }

    TEST_CASE("says that all went well")
    {
        pipeline_status status;
        status.stages = {process("true", exit_status::exited(0))};
        CHECK(status.to_string() == "the stage succeeded");
        status.stages.push_back(coroutine("count"));
        CHECK(status.to_string() == "all 2 stages succeeded");
    }

    TEST_CASE("a coroutine's exception is told by its code, else by its text")
    {
        const boost::system::system_error refused(asio::error::connection_refused);
        const error_code code = refused.code();
        CHECK(coroutine("c").to_string() == "done");
        CHECK(coroutine("c", std::make_exception_ptr(refused), code).to_string() == code.message());
        CHECK(coroutine("c", std::make_exception_ptr(std::runtime_error("no luck"))).to_string()
              == "no luck");
        CHECK(coroutine("c", std::make_exception_ptr(7)).to_string()
              == "an exception of an unknown type");
        CHECK(coroutine("c", std::make_exception_ptr(7)).end() == stage_end::failed);
    }
}
