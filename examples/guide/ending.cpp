// SPDX-License-Identifier: BSL-1.0
// docs/processes.md: waiting, and what becomes of a child that nobody waits for.
#include <signal.h>

#include "guide.hpp"

namespace {

asio::awaitable<void> waiting()
{
    auto executor = co_await asio::this_coro::executor;
    // [wait]
    child c = spawn(command::shell("kill -9 $$"), executor);
    exit_status first = co_await c.async_wait();
    exit_status again = co_await c.async_wait();  // any number of times: the child is reaped once
    expect(first == again && c.try_wait() == first, "everybody gets the same answer");

    std::cout << first << '\n';  // killed by SIGKILL
    expect(!first.success() && first.signal() == SIGKILL && !first.code(), "a signal is no code");
    expect(first.shell_code() == 137, "what a shell would say");
    expect(first.usage().max_rss_bytes > 0, "what it used is part of the status");
    // [wait]
}

asio::awaitable<void> with_a_time_limit()
{
    auto executor = co_await asio::this_coro::executor;
    // [limit]
    using namespace asio::experimental::awaitable_operators;
    child c = spawn(command("sleep").arg("1000"), executor);
    asio::steady_timer timer(executor, 50ms);
    auto first =
        co_await (c.async_wait(asio::use_awaitable) || timer.async_wait(asio::use_awaitable));
    expect(first.index() == 1, "the timer was first");
    // Only the waiting was cancelled. The child still runs, until somebody stops it.
    expect(!c.try_wait(), "still running");
    // [limit]
    c.kill();
    co_await c.async_wait();
}

asio::awaitable<void> dropping()
{
    auto executor = co_await asio::this_coro::executor;
    // [drop]
    {
        child a = spawn(command("sleep").arg("1000"), executor);
        child b = spawn(command("sleep").arg("1000"), executor);
        b.on_drop(drop_policy::terminate_then_kill(2s));
    }  // a's tree gets SIGKILL, b's SIGTERM; nothing waits here, the event loop reaps both

    child daemon = spawn(command("true"), executor);
    pid_t pid = daemon.detach();  // lives on, and keeps no loop running
    // [drop]
    expect(pid > 0 && !daemon, "detached");
}

asio::awaitable<void> co_main()
{
    co_await waiting();
    co_await with_a_time_limit();
    co_await dropping();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
