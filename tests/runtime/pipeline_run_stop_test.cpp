// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline.hpp>

#include <boost/asio/this_coro.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <stdexcept>
#include <string>

#include <procyard/ipc/pipe.hpp>

#include "event_log.hpp"
#include "pipeline_run_fixture.hpp"

using namespace procyard_test::pipes;
using namespace std::chrono_literals;
using fixture = procyard_test::pipeline_run_fixture;

namespace {

/// A coroutine that refuses to be cancelled, and ends with its input.
awaitable<void> stubborn(pipe_reader in, pipe_writer out)
{
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await copy_all(std::move(in), std::move(out));
}

/// Says "ready" through all its stages and stays.
pipeline stays()
{
    return helper({"--mode=pause"}) | stage("copy", copy_all) | command("cat");
}

}  // namespace

TEST_SUITE("async_run(pipeline): what ends it early")
{
    TEST_CASE_FIXTURE(fixture, "a deadline for the whole, on the run's clock (case 37)")
    {
        start(stays(), run_options().deadline(1h).std_out(tap()));
        wait_for("ready");
        fire_next_timer();
        auto& result = finish();
        CHECK_FALSE(got.error());
        CHECK(result.reason == run_reason::deadline);
        CHECK(result.error() == run_errc::deadline);
        REQUIRE(result.stop);
        CHECK(result.stop->tree_empty);
        CHECK(result.std_out.data == seen);  // what came before is not lost
        for (const auto& each : result.status.stages)
            CHECK(each.reason == run_reason::deadline);
        CHECK(result.status.stages[1].error == asio::error::operation_aborted);
        CHECK(result.to_string()
              == "deadline: stage 1 of 3, \"" PROCYARD_TEST_HELPER "\": killed by SIGTERM");
    }

    TEST_CASE_FIXTURE(fixture, "stages that had ended by then keep their own reason")
    {
        const auto log = procyard_test::watch(ctx);
        start(command::shell("exit 4") | stage("pause", pause_for_ever) | helper({"--mode=pause"}),
              run_options().deadline(1h).std_out(tap()));
        wait_for("ready");
        procyard_test::run_until(ctx, [&] { return log->count("reaped: exit 4") == 1; });
        fire_next_timer();
        auto& result = finish();
        const auto& stages = result.status.stages;
        CHECK(stages[0].reason == run_reason::exited);
        CHECK(stages[0].status == exit_status::exited(4));
        CHECK(stages[1].reason == run_reason::deadline);
        CHECK(stages[2].reason == run_reason::deadline);
        CHECK_FALSE(result.success());
    }

    TEST_CASE_FIXTURE(fixture, "silence")
    {
        start(stays(), run_options().idle_deadline(1h).std_out(tap()));
        wait_for("ready");
        fire_next_timer();
        CHECK(finish().reason == run_reason::idle);
    }

    TEST_CASE_FIXTURE(fixture, "an output limit that stops (case 36)")
    {
        auto& result = (*this)(command("yes") | stage(copy_all) | command("cat"),
                               run_options().std_out(run_output().capture(
                                   {.limit_bytes = 1000, .on_limit = limit_policy::stop})));
        CHECK(result.reason == run_reason::output_limit);
        CHECK(result.std_out.data.size() == 1000);
        CHECK(result.std_out.truncated);
        REQUIRE(result.stop);
        CHECK(result.stop->tree_empty);
    }

    TEST_CASE_FIXTURE(fixture, "the limit of one stage's standard error (case 36)")
    {
        auto& result = (*this)(command::shell("yes >&2") | stage(copy_all) | command("cat"),
                               run_options().std_err(run_output().capture(
                                   {.limit_bytes = 1000, .on_limit = limit_policy::stop})));
        CHECK(result.reason == run_reason::output_limit);
        CHECK(result.status.stages[0].std_err.data.size() == 1000);
        CHECK(result.status.stages[0].std_err.truncated);
        CHECK(result.status.stages[2].std_err.complete());
    }

    TEST_CASE_FIXTURE(fixture, "a sink that fails and leaves no consumer (case 41)")
    {
        const auto refuse = [](std::string_view) { throw std::runtime_error("no room"); };
        const auto endless = command("yes") | stage(copy_all) | command("cat");
        auto& result = (*this)(endless, run_options().std_out(run_output().to_callback(refuse)));
        CHECK(result.reason == run_reason::sink_failed);
        CHECK(result.error() == run_errc::sink_failed);
        REQUIRE(result.stop);
        CHECK(result.stop->tree_empty);
        CHECK(result.std_out.sink_failures.size() == 1);
    }

    TEST_CASE_FIXTURE(fixture, "not for a sink that fails beside one that does not (case 41)")
    {
        const auto refuse = [](std::string_view) { throw std::runtime_error("no room"); };
        auto& result = (*this)(seq(1000) | stage(copy_all),
                               run_options().std_out(run_output().to_callback(refuse).capture()));
        CHECK(result.reason == run_reason::exited);
        CHECK(result.std_out.data == numbers(1000));
        CHECK_FALSE(result.success());
    }

    TEST_CASE_FIXTURE(fixture, "an input that fails")
    {
        const auto next = []() -> awaitable<std::optional<std::string>> {
            throw std::runtime_error("no more");
            co_return std::nullopt;
        };
        auto& result = (*this)(command("cat") | command("cat"),
                               run_options().std_in(run_input::generator(next)));
        CHECK(result.reason == run_reason::input_failed);
        REQUIRE(result.stop);
        CHECK(result.stop->tree_empty);
        CHECK(result.error() == run_errc::input_failed);
    }

    TEST_CASE_FIXTURE(fixture, "a cancellation: the ladder on all stages, then the reap (case 55)")
    {
        for (const auto type : {asio::cancellation_type::terminal, asio::cancellation_type::partial,
                                asio::cancellation_type::total}) {
            start(stays(), run_options().std_out(tap()));
            wait_for("ready");
            signal.emit(type);
            CHECK_MESSAGE(!got.done(), "completed inside emit()");
            auto& result = finish();
            CHECK(got.error() == asio::error::operation_aborted);
            CHECK(result.reason == run_reason::cancelled);
            CHECK(result.status.stages[0].status == exit_status::signaled(SIGTERM));
            CHECK(result.status.stages[2].status.is_signaled());
            CHECK(procyard_test::children() == 0);
        }
    }

    TEST_CASE_FIXTURE(fixture, "a second cancellation skips the graces")
    {
        start(helper({"--mode=ignore-term"}) | stage(copy_all) | command("cat"),
              run_options().std_out(tap()).ladder(stop_ladder::terminate(1h)));
        wait_for("ready");
        signal.emit(asio::cancellation_type::terminal);
        procyard_test::run_until(ctx, [&] { return clock->pending() > 0; });
        signal.emit(asio::cancellation_type::terminal);
        auto& result = finish();
        CHECK(result.status.stages[0].status == exit_status::signaled(SIGKILL));
        REQUIRE(result.stop);
        CHECK(result.stop->forced());
    }

    TEST_CASE_FIXTURE(fixture, "waits for a coroutine that refuses to be cancelled")
    {
        start(helper({"--mode=pause"}) | stage("stubborn", stubborn) | command("cat"),
              run_options().std_out(tap()));
        wait_for("ready");
        signal.emit(asio::cancellation_type::terminal);
        auto& result = finish();
        // It ended because its neighbour did, and not before.
        CHECK((result.status.stages[1].end() == stage_end::success
               || result.status.stages[1].end() == stage_end::broken_pipe));
    }

    TEST_CASE_FIXTURE(fixture,
                      "a descendant that holds the output delays it by the grace (case 57)")
    {
        start(command("true") | helper({"--mode=orphans", "1", "0"}),
              run_options().std_out(tap()).drain_grace(1h));
        wait_for("member");
        fire_next_timer();
        auto& result = finish();
        CHECK(result.reason == run_reason::exited);
        CHECK(result.std_out.held_by_descendant);
        CHECK_FALSE(result.success());
        CHECK_FALSE(result.status.stages[0].std_err.held_by_descendant);
        CHECK(result.status.stages[1].std_err.held_by_descendant);
        CHECK(result.to_string()
              == "all 2 stages succeeded; stdout held open by a descendant; "
                 "stderr of \"" PROCYARD_TEST_HELPER "\" held open by a descendant");
        const auto pid = std::stoi(seen.substr(seen.find(' ')));
        CHECK(::kill(pid, SIGKILL) == 0);  // it was left alone
    }

    TEST_CASE_FIXTURE(fixture, "descendants are stopped when that is asked for (case 59)")
    {
        auto& result = (*this)(command("true") | helper({"--mode=orphans", "2", "0"}),
                               run_options().descendants(descendant_policy::stop));
        CHECK(result.success());
        REQUIRE(result.stop);
        CHECK(result.stop->tree_empty);
    }

    TEST_CASE_FIXTURE(fixture, "cancelled at every turn: nothing is left (case 62)")
    {
        (*this)(command("true") | stage(copy_all));  // what a context makes once is made
        const auto descriptors = procyard_test::open_descriptor_list();
        for (const bool off_loop : {false, true}) {
            cancel_at_every_turn(off_loop, 400, [](unique_fd gate) {
                return command("cat") | stage(copy_all)
                    | command::shell("echo here; read x <&5; exec cat")
                          .descriptor(5, stdio::descriptor(std::move(gate)));
            });
        }
        CHECK(procyard_test::open_descriptor_list() == descriptors);
    }

    TEST_CASE_FIXTURE(fixture, "100 runs leave descriptors, children and threads flat (case 64)")
    {
        const auto once = [&](int i) {
            const std::size_t count = i % 10 == 0 ? 20 : 3;
            pipeline p = seq(50);
            for (std::size_t k = 1; k + 1 < count; ++k)
                p.append(k % 3 == 2 ? pipeline(stage(copy_all)) : pipeline(command("cat")));
            auto& result = (*this)(p | command("head", {"-n", "2"}));
            CHECK(result.std_out.data == "1\n2\n");
            CHECK(result.success());
        };
        once(0);
        const auto descriptors = procyard_test::open_descriptor_list();
        const auto children = procyard_test::children();
        const auto threads = procyard_test::threads();
        for (int i = 1; i <= 100; ++i)
            once(i);
        CHECK(procyard_test::open_descriptor_list() == descriptors);
        CHECK(procyard_test::children() == children);
        CHECK(procyard_test::threads() == threads);
    }
}
