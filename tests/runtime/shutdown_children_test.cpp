// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/shutdown.hpp>

#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "operation_contract.hpp"
#include "shutdown_fixture.hpp"
#include "spawning.hpp"

#include <procyard/runtime/run.hpp>

using namespace procyard;
using namespace procyard_test;
using namespace std::chrono_literals;
using phase = shutdown_phase;
using fixture = shutdown_fixture;
using log_type = std::vector<std::string>;

TEST_SUITE("shutdown_coordinator::add_child")
{
    TEST_CASE("the child alone is asked: what it has started is its own to end")
    {
        asio::io_context ctx;
        shutdown_coordinator stop(ctx.get_executor());
        // Asked by its own parent, the grandchild ends with 7; by ours, which is not its business,
        // with 9. What it leaves behind is told afterwards: begun before the traps, as a shell that
        // was forked with one loses a signal that comes before its exec.
        auto nested = spawn(
            command::shell("(sleep 1000 & trap 'exit 7' WINCH; trap 'exit 9' TERM; echo ready;"
                           " while :; do wait; done) &\n"
                           "trap \"kill -WINCH $!; wait $!; echo ended with \\$?; exit\" TERM\n"
                           "echo ready; while :; do wait; done")
                .std_out(stdio::pipe()),
            ctx.get_executor());
        stop.add_child("nested", nested);
        std::string said;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                for (;;) {
                    std::string more(64, '\0');
                    auto [ec, n] = co_await nested.std_out().async_read_some(
                        asio::buffer(more), asio::as_tuple(asio::use_awaitable));
                    if (ec)
                        co_return;
                    said.append(more, 0, n);
                    if (said == "ready\nready\n")
                        stop.request();
                }
            },
            asio::detached);
        outcome<error_code, shutdown_report> ended;
        stop.async_wait(ended.handler());
        run(ctx);
        CHECK(said == "ready\nready\nended with 7\n");
        INFO(ended.result());
        CHECK(ended.result().clean());
    }

    TEST_CASE("a child that is given up is killed there and then, and named")
    {
        fixture f;
        auto stubborn =
            spawn(command::shell("trap '' TERM; echo ready; while :; do sleep 1000; done")
                      .std_out(stdio::pipe()),
                  f.ctx.get_executor());
        f.stop.add_child("stubborn", stubborn);
        outcome<error_code, exit_status> gone;
        stubborn.async_wait(gone.handler());
        char byte = 0;
        outcome<error_code, std::size_t> told;
        stubborn.std_out().async_read_some(asio::buffer(&byte, 1), told.handler());
        run_until(f.ctx, [&] { return told.done(); });
        f.stop.request();
        f.poll();
        CHECK_FALSE(f.ended.done());
        // Its ladder's times are those of a clock that stands still from now on.
        shutdown_request hurry;
        hurry.budget = 0s;
        f.stop.request(hurry);
        run_until(f.ctx, [&] { return f.ended.done() && gone.done(); });
        CHECK(gone.result().signal() == SIGKILL);
        REQUIRE(f.report().leftovers.size() == 1);
        CHECK(f.report().leftovers.front().name.text == "stubborn");
    }

    TEST_CASE("children are stopped in reverse order, each before the next (complaint 21)")
    {
        asio::io_context ctx;
        shutdown_coordinator stop(ctx.get_executor());
        log_type log;
        std::vector<child> children;
        for (const char* name : {"database", "cache", "front"}) {
            children.push_back(spawn(command("sleep").arg("1000"), ctx.get_executor()));
            stop.add_child(name, children.back());
            children.back().async_wait([&, name](error_code, const exit_status& status) {
                const int number = status.signal().value_or(0);
                log.push_back(std::string(name) + ' ' + std::to_string(number));
            });
        }
        stop.on(phase::flush, "flush", [&]() -> asio::awaitable<void> {
            log.emplace_back("flush");
            co_return;
        });
        outcome<error_code, shutdown_report> ended;
        stop.async_wait(ended.handler());
        stop.request();
        run(ctx);
        CHECK(log == log_type{"front 15", "cache 15", "database 15", "flush"});
        CHECK(ended.result().clean());
    }

    TEST_CASE("a child that ignores SIGTERM is killed within its share, and named")
    {
        fixture f;
        auto stubborn =
            spawn(command::shell("trap '' TERM; echo ready; while :; do sleep 1000; done")
                      .std_out(stdio::pipe()),
                  f.ctx.get_executor());
        f.stop.add_child("stubborn", stubborn);
        char byte = 0;
        outcome<error_code, std::size_t> told;
        stubborn.std_out().async_read_some(asio::buffer(&byte, 1), told.handler());
        run_until(f.ctx, [&] { return told.done(); });
        f.stop.request();
        f.poll();
        CHECK_FALSE(f.ended.done());
        // Nothing has taken any of the 10 s, of which two thirds are the phase's. After four fifths
        // of these its tree is asked, after nine tenths it is killed: no time passes after that.
        move_until(f.ctx, *f.clock, f.clock->now() + 6001ms, [&] { return f.ended.done(); });
        REQUIRE(stubborn.try_wait());
        CHECK(stubborn.try_wait()->signal() == SIGKILL);
        REQUIRE(f.report().leftovers.size() == 1);
        CHECK(f.report().leftovers.front().name.text == "stubborn");
        CHECK(f.report().leftovers.front().what == shutdown_leftover::kind::child);
        CHECK(f.report().duration() >= 5990ms);
        CHECK(f.report().duration() <= 6000ms);
    }

    TEST_CASE("a child that has ended needs nothing")
    {
        asio::io_context ctx;
        shutdown_coordinator stop(ctx.get_executor());
        auto gone = spawn(command("true"), ctx.get_executor());
        stop.add_child("gone", gone);
        run(ctx);
        outcome<error_code, shutdown_report> ended;
        stop.async_wait(ended.handler());
        stop.request();
        run(ctx);
        CHECK(ended.result().clean());
    }
}

TEST_SUITE("shutdown_coordinator::hand_down")
{
    TEST_CASE("a child sees less than its parent's budget in its environment (case 54)")
    {
        asio::io_context ctx;
        shutdown_options options;
        options.budget = 3s;
        shutdown_coordinator stop(ctx.get_executor(), options);
        command what = command::shell("echo $PROCYARD_STOP_BUDGET_NS:$PROCYARD_STOP_DEADLINE_NS");
        stop.hand_down(what);
        outcome<error_code, std::string> before;
        async_output(what, ctx.get_executor(), before.handler());
        run(ctx);
        const auto given = std::strtoll(before.result().c_str(), nullptr, 10);
        CHECK(given > 0);
        CHECK(given < std::chrono::nanoseconds(3s).count());
        CHECK(before.result() == std::to_string(given) + ":\n");

        stop.request();
        stop.hand_down(what);
        outcome<error_code, std::string> during;
        async_output(what, ctx.get_executor(), during.handler());
        run(ctx);
        const auto colon = during.result().find(':');
        REQUIRE(colon != std::string::npos);
        const auto until = std::strtoll(during.result().c_str() + colon + 1, nullptr, 10);
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        CHECK(until <= (now + 3s).count());
        CHECK(until > 0);
    }

    TEST_CASE("a child of a shutdown is told of the shortest request, less the flush")
    {
        fixture f([](shutdown_options& o) { o.weights = {0, 0, 0, 0, 0, 4, 1}; });
        const auto given = [&] {
            command what = command::shell("echo $PROCYARD_STOP_DEADLINE_NS");
            f.stop.hand_down(what);
            asio::io_context ctx;
            outcome<error_code, std::string> said;
            async_output(what, ctx.get_executor(), said.handler());
            run(ctx);
            return timer_clock::time_point(std::chrono::nanoseconds(std::stoll(said.result())));
        };
        const auto now = f.clock->now();
        f.stop.request();  // of 10 s, of which the flush may have 2
        CHECK(given() == now + 8s);
        shutdown_request shorter;
        shorter.budget = 6s;
        f.stop.request(shorter);
        CHECK(given() == now + 4s);
        shorter.budget = 9s;
        f.stop.request(shorter);
        CHECK(given() == now + 4s);
        shorter.budget = 1s;  // shorter than what the flush would have: half of it
        f.stop.request(shorter);
        CHECK(given() == now + 500ms);
        f.run_out();
        CHECK(f.report().deadline == now + 1s);
    }

    TEST_CASE("what the environment says is heeded, if it is less")
    {
        const auto with = [](const char* budget, const char* deadline) {
            ::setenv(stop_budget_variable, budget, 1);
            ::setenv(stop_deadline_variable, deadline, 1);
            shutdown_options options;
            options.heed_parent();
            ::unsetenv(stop_budget_variable);
            ::unsetenv(stop_deadline_variable);
            return options;
        };
        CHECK(with("2000000000", "5000000000").budget == 2s);
        CHECK(with("2000000000", "5000000000").latest == timer_clock::time_point(5s));
        const shutdown_options untouched;
        CHECK(with("999000000000000", "").budget == untouched.budget);
        for (const char* nonsense : {"", "x", "-1", "5s", " 5", "99999999999999999999"}) {
            CHECK(with(nonsense, nonsense).budget == untouched.budget);
            CHECK(with(nonsense, nonsense).latest == untouched.latest);
        }
    }
}
