// SPDX-License-Identifier: BSL-1.0
// A shutdown that is requested by signals.
#include <procyard/runtime/shutdown.hpp>

#include <signal.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <memory>

#include "../signals/disposition.hpp"
#include "forked.hpp"
#include "procyard_test.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

// The coordinator's context, with the actions that a program has and doctest has not.
struct fixture {
    disposition_guard interrupt{SIGINT};
    disposition_guard terminate{SIGTERM};
    disposition_guard hang_up{SIGHUP};
    asio::io_context ctx;
};

bool is_handled(int number)
{
    return !is_handled_by(disposition_of(number), SIG_DFL);
}

}  // namespace

TEST_SUITE("shutdown_coordinator::on_signals")
{
    TEST_CASE_FIXTURE(fixture, "a signal is the request, and its number the reason")
    {
        shutdown_coordinator stop(ctx.get_executor());
        stop.on_signals({SIGINT, SIGTERM});
        outcome<error_code, shutdown_report> ended;
        stop.async_wait(ended.handler());
        ctx.poll();
        CHECK_FALSE(stop.requested());
        ::raise(SIGTERM);
        run(ctx);
        CHECK(ended.result().reason
              == cancellation_reason{.cause = cancellation_cause::signal, .signal = SIGTERM});
        CHECK(ended.result().exit_code() == 0);
        CHECK(stop.token().reason()->signal == SIGTERM);
    }

    TEST_CASE_FIXTURE(fixture,
                      "the signals are let go of when it is over, or the coordinator destroyed")
    {
        {
            shutdown_coordinator stop(ctx.get_executor());
            stop.on_signals({SIGTERM});
            ctx.poll();
            CHECK(is_handled(SIGTERM));
            stop.request();
            run(ctx);
            CHECK_FALSE(is_handled(SIGTERM));
        }
        {
            shutdown_coordinator stop(ctx.get_executor());
            stop.on_signals({SIGTERM});
            ctx.restart();
            ctx.poll();
            CHECK(is_handled(SIGTERM));
        }
        run(ctx);
        CHECK_FALSE(is_handled(SIGTERM));
    }

    TEST_CASE_FIXTURE(
        fixture, "a second signal ends the process, however the event loop is stuck (complaint 7)")
    {
        const int ended = in_fork([] {
            asio::io_context mine;
            shutdown_coordinator stop(mine.get_executor());
            stop.on_signals({SIGINT, SIGTERM});
            stop.on(shutdown_phase::announce, "stuck", []() -> asio::awaitable<void> {
                ::raise(SIGINT);
                for (volatile bool stuck = true; stuck;) { }
                co_return;
            });
            asio::post(mine, [] { ::raise(SIGTERM); });
            mine.run();
            return 0;
        });
        CHECK(ended == -SIGINT);
    }

    TEST_CASE_FIXTURE(fixture, "told to tell all of them, a second signal is one more request")
    {
        shutdown_coordinator stop(ctx.get_executor());
        signal_set_options options;
        options.second = second_signal::is_told;
        stop.on_signals({SIGTERM}, options);
        auto work = std::make_unique<shutdown_work>(stop.hold("work"));
        outcome<error_code, shutdown_report> ended;
        stop.async_wait(ended.handler());
        ::raise(SIGTERM);
        run_until(ctx, [&] { return stop.requested(); });
        ::raise(SIGTERM);
        ctx.poll();
        CHECK_FALSE(ended.done());
        work.reset();
        run(ctx);
        CHECK(ended.result().clean());
    }

    TEST_CASE_FIXTURE(fixture, "a signal that cannot be waited for is refused")
    {
        shutdown_coordinator stop(ctx.get_executor());
        CHECK_THROWS_AS(stop.on_signals({SIGKILL}), boost::system::system_error);
    }
}

TEST_SUITE("shutdown_coordinator::reload_on")
{
    TEST_CASE_FIXTURE(fixture, "each SIGHUP reloads, until the shutdown is requested")
    {
        shutdown_coordinator stop(ctx.get_executor());
        int reloads = 0;
        stop.reload_on(SIGHUP);
        stop.on_reload("configuration", [&]() -> asio::awaitable<void> {
            ++reloads;
            co_return;
        });
        outcome<error_code, shutdown_report> ended;
        stop.async_wait(ended.handler());
        for (int n = 1; n <= 2; ++n) {
            ::raise(SIGHUP);
            run_until(ctx, [&] { return reloads == n; });
        }
        stop.request();
        run(ctx);
        CHECK(ended.done());
        CHECK(reloads == 2);
    }
}

TEST_SUITE("die_of_signal")
{
    TEST_CASE("the process dies of it, though it is blocked and has a handler")
    {
        CHECK(in_fork([]() -> int {
                  ::signal(SIGTERM, SIG_IGN);
                  sigset_t blocked;
                  ::sigemptyset(&blocked);
                  ::sigaddset(&blocked, SIGTERM);
                  ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
                  die_of_signal(SIGTERM);
              })
              == -SIGTERM);
    }

    TEST_CASE("one whose default is to be ignored becomes an exit code")
    {
        CHECK(in_fork([]() -> int { die_of_signal(SIGCHLD); }) == 128 + SIGCHLD);
    }
}
