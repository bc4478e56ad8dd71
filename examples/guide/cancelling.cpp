// SPDX-License-Identifier: BSL-1.0
// docs/cancellation.md: what a cancelled operation does, and what is left of it.
#include <signal.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/signal_set.hpp>

#include <sstream>
#include <string_view>

#include "guide.hpp"

namespace {

using namespace asio::experimental::awaitable_operators;

asio::awaitable<void> by_a_signal()
{
    auto executor = co_await asio::this_coro::executor;
    // [signal]
    asio::cancellation_signal stop;
    auto cancel = [&](std::string_view) { stop.emit(asio::cancellation_type::terminal); };
    auto options = run_options().std_out(run_output().capture().each_line(cancel));

    auto [ec, result] = co_await async_run(
        command::shell("echo ready; exec sleep 1000"), executor, options,
        asio::bind_cancellation_slot(stop.slot(), asio::as_tuple(asio::use_awaitable)));
    expect(ec == asio::error::operation_aborted, "cancelled; without as_tuple it is thrown");
    expect(result.reason == run_reason::cancelled, "the result is there none the less");
    expect(result.status.signal() == SIGTERM, "the ladder has run, and the program is reaped");
    expect(result.std_out.data == "ready\n", "what it had said is kept");
    // [signal]
}

asio::awaitable<void> harder()
{
    auto executor = co_await asio::this_coro::executor;
    // [harder]
    asio::cancellation_signal stop;
    auto cancel = [&](std::string_view) { stop.emit(asio::cancellation_type::terminal); };
    auto options =
        run_options().ladder(stop_ladder::polite(1h)).std_out(run_output().each_line(cancel));
    // `ready` cancels: SIGTERM, and an hour to think about it. `no` cancels again: SIGKILL.
    command stubborn =
        command::shell("trap 'echo no' TERM; echo ready; while :; do sleep 1000 & wait; done");

    auto [ec, result] = co_await async_run(
        stubborn, executor, options,
        asio::bind_cancellation_slot(stop.slot(), asio::as_tuple(asio::use_awaitable)));
    expect(result.status.signal() == SIGKILL && result.stop->forced(), "not an hour later");
    // [harder]
    expect(ec == asio::error::operation_aborted, "cancelled");
}

asio::awaitable<void> a_race()
{
    auto executor = co_await asio::this_coro::executor;
    // [race]
    asio::steady_timer timer(executor, 50ms);
    auto first = co_await (async_run(command("sleep").arg("1000"), executor, asio::use_awaitable)
                           || timer.async_wait(asio::use_awaitable));
    expect(first.index() == 1, "the timer won. The sleep was stopped, and is reaped by now");
    // [race]
    std::ostringstream living;
    dump(executor, living);
    expect(living.str().find("sleep") == std::string::npos, "nobody lives");
}

asio::awaitable<void> both_results()
{
    auto executor = co_await asio::this_coro::executor;
    // [both]
    asio::steady_timer timer(executor, 50ms);
    auto race = asio::experimental::make_parallel_group(
        async_run(command::shell("echo begun; exec sleep 1000"), executor, asio::deferred),
        timer.async_wait(asio::deferred));
    auto [order, run_ec, result, timer_ec] =
        co_await race.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
    expect(order[0] == 1 && !timer_ec, "the timer was first");
    expect(run_ec == asio::error::operation_aborted, "the run was cancelled,");
    expect(result.reason == run_reason::cancelled, "and its result is here, too");
    // [both]
}

asio::awaitable<void> a_failure_wins_no_race()
{
    auto executor = co_await asio::this_coro::executor;
    // [failed]
    asio::steady_timer timer(executor, 50ms);
    auto first = co_await (async_output(command("false"), executor, asio::use_awaitable)
                           || timer.async_wait(asio::use_awaitable));
    expect(first.index() == 1, "`false` failed at once, and still the timer was waited for");
    // [failed]
}

asio::awaitable<void> by_control_c()
{
    auto executor = co_await asio::this_coro::executor;
    // [interrupt]
    asio::signal_set signals(executor, SIGINT, SIGTERM);
    command long_job = command::shell("kill -INT $PPID; exec sleep 1000");  // plays the terminal
    auto ended = co_await (async_run(long_job, executor, asio::use_awaitable)
                           || signals.async_wait(asio::use_awaitable));
    if (ended.index() == 1)
        std::cout << "interrupted; the job and all it has started are gone\n";
    // [interrupt]
    expect(ended.index() == 1, "the signal came");
}

asio::awaitable<void> co_main()
{
    co_await by_a_signal();
    co_await harder();
    co_await a_race();
    co_await both_results();
    co_await a_failure_wins_no_race();
    co_await by_control_c();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
