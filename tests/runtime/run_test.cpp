// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <atomic>
#include <future>
#include <optional>
#include <thread>
#include <vector>

#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/observer.hpp>

#include "run_fixture.hpp"

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;
using procyard_test::mode;
using procyard_test::run_fixture;

namespace {

struct spawned_pids final : observer {
    void on_event(const child_event& event) noexcept override
    {
        if (event.what == child_event::kind::spawned)
            spawned.push_back(event.pid);
    }

    std::vector<pid_t> spawned;
};

}  // namespace

TEST_SUITE("async_run")
{
    TEST_CASE_FIXTURE(run_fixture, "success: runs a program to its end and tells everything")
    {
        auto& result = (*this)(command::shell("echo out; echo err >&2"));
        CHECK_FALSE(got.error());
        CHECK(result.success());
        CHECK_FALSE(result.error());
        CHECK(result.status == exit_status::exited(0));
        CHECK(result.reason == run_reason::exited);
        CHECK(result.std_out.data == "out\n");
        CHECK(result.std_out.bytes_seen == 4);
        CHECK(result.std_out.complete());
        CHECK(result.std_err.data == "err\n");
        CHECK(result.pid > 0);
        CHECK_FALSE(result.info.path.empty());
        CHECK(result.times.spawn > 0ns);
        CHECK_FALSE(result.stop);
        CHECK(result.usage().max_rss_bytes > 0);
        CHECK(result.to_string() == "exit 0");
        CHECK(clock->pending() == 0);
    }

    TEST_CASE_FIXTURE(run_fixture, "an exit code is a result, not an error")
    {
        auto& result = (*this)(mode({"exit", "3"}));
        CHECK_FALSE(got.error());
        CHECK_FALSE(result.success());
        CHECK(result.reason == run_reason::exited);
        CHECK(result.error() == run_errc::exit_nonzero);
        CHECK(result.error().message() == "exit 3");
    }

    TEST_CASE_FIXTURE(run_fixture, "a signal is a result, not an error")
    {
        auto& result = (*this)(command::shell("kill -9 $$"));
        CHECK_FALSE(got.error());
        CHECK(result.status == exit_status::signaled(SIGKILL));
        CHECK(result.error() == run_errc::killed_by_signal);
        CHECK(result.error().message() == "killed by SIGKILL");
    }

    TEST_CASE_FIXTURE(run_fixture,
                      "immediate error: a spawn that fails names its step, in a later turn")
    {
        SUBCASE("on the loop")
        {
            auto& result = (*this)(command("/nonexistent/program"));
            CHECK(got.error() == boost::system::errc::no_such_file_or_directory);
            CHECK(result.failure.step != spawn_step::none);
            CHECK(result.error() == got.error());
        }
        SUBCASE("off the loop")
        {
            auto& result = (*this)(command("/nonexistent/program"), run_options().spawn_off_loop());
            CHECK(got.error() == boost::system::errc::no_such_file_or_directory);
            CHECK(result.to_string().find("/nonexistent/program") != std::string::npos);
        }
        CHECK_FALSE(got.result().success());
    }

    TEST_CASE_FIXTURE(run_fixture, "can spawn off the loop")
    {
        auto& result = (*this)(command("echo", {"hi"}), run_options().spawn_off_loop());
        CHECK(result.success());
        CHECK(result.std_out.data == "hi\n");
    }

    TEST_CASE_FIXTURE(run_fixture, "cancelled before the first turn: nothing is spawned")
    {
        for (const auto type : {asio::cancellation_type::terminal, asio::cancellation_type::partial,
                                asio::cancellation_type::total}) {
            start(mode({"pause"}));
            signal.emit(type);
            auto& result = finish();
            CHECK(got.error() == asio::error::operation_aborted);
            CHECK(result.reason == run_reason::cancelled);
            CHECK(result.pid == 0);
        }
    }

    TEST_CASE_FIXTURE(run_fixture,
                      "cancelled on the way: climbs the ladder, completes after the reap")
    {
        for (const auto type : {asio::cancellation_type::terminal, asio::cancellation_type::partial,
                                asio::cancellation_type::total}) {
            start(mode({"pause"}), run_options().std_out(tap()));
            wait_for("ready");
            signal.emit(type);
            CHECK_MESSAGE(!got.done(), "completed inside emit()");
            auto& result = finish();
            CHECK(got.error() == asio::error::operation_aborted);
            CHECK(result.status == exit_status::signaled(SIGTERM));
            CHECK(result.reason == run_reason::cancelled);
            REQUIRE(result.stop);
            CHECK(result.stop->tree_empty);
            CHECK(result.std_out.data == seen);  // what came before is not lost
            CHECK(::kill(result.pid, 0) == -1);  // reaped
        }
    }

    TEST_CASE_FIXTURE(run_fixture,
                      "cancelled at every turn: no orphan, no zombie, no descriptor (case 62)")
    {
        (*this)(command("true"));  // what a context makes once is made
        const auto descriptors = procyard_test::open_descriptor_list();
        for (const bool off_loop : {false, true}) {
            cancel_at_every_turn(off_loop, 200, [](unique_fd gate) {
                return command::shell("echo one; read x <&5; read x; echo two")
                    .descriptor(5, stdio::descriptor(std::move(gate)));
            });
        }
        CHECK(procyard_test::children() == 0);
        CHECK(procyard_test::open_descriptor_list() == descriptors);
    }

    TEST_CASE("destroyed while pending: the context takes handler and child along")
    {
        const auto census = std::make_shared<spawned_pids>();
        for (const int turns : {0, 1, 2, 3, 5, 8}) {
            const auto token = std::make_shared<int>(0);
            std::string seen;
            {
                asio::io_context ctx;
                set_observer(ctx.get_executor(), census);
                run_options options;
                options.deadline(1h).idle_deadline(1h).clock(std::make_shared<manual_clock>());
                options.std_in(
                    run_input::generator([]() -> asio::awaitable<std::optional<std::string>> {
                        co_return std::string("x\n");
                    }));
                options.std_out(run_output().capture().to_coroutine(
                    [token](std::string_view) -> asio::awaitable<void> { co_return; }));
                async_run(command("cat"), ctx.get_executor(), options,
                          [token](error_code, const run_result&) { FAIL("must not run"); });
                for (int i = 0; i < turns; ++i)
                    ctx.run_one_for(procyard_test::deadlock_guard);
            }
            CHECK(token.use_count() == 1);
        }
        // Killed by the shutdown; nobody was left to reap them.
        for (const pid_t pid : census->spawned) {
            // The shutdown kills; it also reaps when the end comes soon enough.
            const pid_t reaped = ::waitpid(pid, nullptr, 0);
            CHECK((reaped == pid || (reaped == -1 && errno == ECHILD)));
        }
    }

    TEST_CASE_FIXTURE(run_fixture, "the handler runs on its own executor")
    {
        asio::io_context other;
        procyard_test::outcome<error_code, run_result> elsewhere;
        async_run(command("true"), ctx.get_executor(),
                  asio::bind_executor(other, elsewhere.handler()));
        other.poll();
        CHECK_MESSAGE(!other.stopped(), "the handler's executor has outstanding work");
        procyard_test::run(ctx);
        CHECK_FALSE(elsewhere.done());
        procyard_test::run(other);
        CHECK(elsewhere.result().success());
    }

    TEST_CASE("works with coroutines, futures and the default token")
    {
        asio::io_context ctx;
        auto future = async_run(command("true"), ctx.get_executor(), asio::use_future);
        auto task = asio::co_spawn(
            ctx,
            []() -> asio::awaitable<int> {
                const auto ex = co_await asio::this_coro::executor;
                const auto one = co_await async_run(command("true"), ex);
                const auto two =
                    co_await async_run(command("true"), ex, run_options().deadline(1h));
                const auto [ec, three] = co_await async_run(command("/nonexistent"), ex,
                                                            asio::as_tuple(asio::use_awaitable));
                co_return one.success() + two.success() + (ec ? 1 : 0);
            },
            asio::use_future);
        procyard_test::run(ctx);
        CHECK(future.get().success());
        CHECK(task.get() == 3);
    }

    TEST_CASE("serves many runs at once on a pool of threads")
    {
        asio::thread_pool pool(4);
        std::atomic<int> good = 0;
        for (int i = 0; i < 40; ++i) {
            async_run(mode({"copy-twice"}), pool.get_executor(),
                      run_options().std_in(std::string(100'000, 'x')),
                      [&](error_code ec, const run_result& result) {
                          good += !ec && result.success() && result.std_out.data.size() == 100'000
                              && result.std_err.data.size() == 100'000;
                      });
        }
        pool.join();
        CHECK(good == 40);
    }

    TEST_CASE_FIXTURE(run_fixture,
                      "many runs leave descriptors, children and threads flat (case 64)")
    {
        (*this)(command("true"));
        const auto descriptors = procyard_test::open_descriptor_list();
        const auto threads = procyard_test::threads();
        for (int i = 0; i < 200; ++i)
            CHECK((*this)(command("true")).success());
        CHECK(procyard_test::open_descriptor_list() == descriptors);
        CHECK(procyard_test::children() == 0);
        CHECK(procyard_test::threads() == threads);
    }
}
