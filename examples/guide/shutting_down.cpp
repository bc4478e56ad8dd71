// SPDX-License-Identifier: BSL-1.0
// docs/shutdown.md: tokens, groups, and how a program ends.
#include <signal.h>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "guide.hpp"

namespace {

asio::awaitable<void> tokens()
{
    auto executor = co_await asio::this_coro::executor;
    // [token]
    cancellation_source program;
    cancellation_source session(program.token());  // a child: ends with the program, or before
    cancellation_token token = session.token();

    std::jthread elsewhere(
        [&] { program.request_cancel({.cause = cancellation_cause::deadline}); });
    auto reason = co_await token.async_wait(executor);  // hears in this executor
    expect(reason.cause == cancellation_cause::deadline, "the parent's reason");
    expect(token.cancelled(), "and it stays so: one acquire load");
    // [token]
}

// [bound]
asio::awaitable<void> tick(cancellation_token token)
{
    asio::steady_timer timer(co_await asio::this_coro::executor);
    for (;;) {
        timer.expires_after(1h);
        auto [ec] =
            co_await timer.async_wait(bind_token(token, asio::as_tuple(asio::use_awaitable)));
        if (ec)  // operation_aborted: from whatever thread it was cancelled
            co_return;
    }
}

asio::awaitable<void> supervise(cancellation_token token)
{
    // A whole coroutine that knows nothing of tokens.
    asio::steady_timer timer(co_await asio::this_coro::executor, 1h);
    try {
        co_await run_under(token, timer.async_wait(asio::use_awaitable));
    } catch (const boost::system::system_error& error) {
        expect(error.code() == asio::error::operation_aborted, "it was cancelled");
    }
}
// [bound]

asio::awaitable<void> bound()
{
    cancellation_source source;
    const std::jthread elsewhere([&] { source.request_cancel(); });
    co_await tick(source.token());
    co_await supervise(source.token());
}

asio::awaitable<int> fetch(int number)
{
    if (number == 3)
        throw std::runtime_error("number 3 cannot be had");
    co_return number;
}

asio::awaitable<void> groups()
{
    auto executor = co_await asio::this_coro::executor;
    // [group]
    task_group_options options;
    options.limit = 2;  // more than two at a time: async_spawn waits
    task_group group(executor, options);
    int sum = 0;
    std::string failed;
    try {
        for (int number = 0; number < 10; ++number)
            co_await group.async_spawn("fetch", [&sum, number]() -> asio::awaitable<void> {
                sum += co_await fetch(number);
            });
    } catch (const boost::system::system_error&) {
        // a task has failed, and none begins any more
    }
    try {
        co_await group.async_join();  // nothing of the group runs any more when this returns
    } catch (const std::runtime_error& error) {
        failed = error.what();
    }
    expect(failed == "number 3 cannot be had", "the first failure; the others were cancelled");
    // [group]
    expect(sum >= 0, "what was done before");
}

asio::awaitable<void> coordinated()
{
    auto executor = co_await asio::this_coro::executor;
    std::vector<std::string> said;
    // [coordinator]
    shutdown_options options;
    options.budget = 20s;  // for everything, children included
    shutdown_coordinator stop(executor, options.heed_parent());
    stop.on_signals({SIGINT, SIGTERM});  // a second one ends the process at once

    stop.on(shutdown_phase::announce, "health check", [&]() -> asio::awaitable<void> {
        said.push_back("not ready any more");
        co_return;
    });
    stop.tasks().spawn("ticker", tick(stop.token()));  // runs until everything is cancelled
    stop.on(shutdown_phase::flush, "telemetry", [&](shutdown_step step) -> asio::awaitable<void> {
        expect(step.remaining() > 0s, "its share of what is left");
        said.push_back("flushed");
        co_return;
    });

    auto work = stop.hold("GET /");  // a request that comes in: the drain waits for it
    ::raise(SIGTERM);                // plays the service manager
    co_await stop.token(shutdown_phase::close_intake).async_wait(executor);
    work.release();

    auto report = co_await stop.async_wait();
    expect(report.reason.signal == SIGTERM && report.clean(), "nothing was left behind");
    expect(report.exit_code() == 0, "so main() returns 0");
    // [coordinator]
    expect(said.size() == 2, "both handlers ran");
}

asio::awaitable<void> with_children()
{
    auto executor = co_await asio::this_coro::executor;
    // [children]
    shutdown_coordinator stop(executor);
    auto start = [&](const char* name) {
        command what("sleep");
        what.arg("1000");
        stop.hand_down(what);  // how long it may take to stop, in its environment
        child started = spawn(what, executor);
        stop.add_child(name, started);
        return started;
    };
    child database = start("database");
    child front = start("front end");

    stop.request();
    auto report = co_await stop.async_wait();
    expect(report.clean(), "the front end was stopped first, then the database");
    // [children]
    expect(database.try_wait().has_value() && front.try_wait().has_value(), "both have ended");
}

asio::awaitable<void> with_targets()
{
    auto executor = co_await asio::this_coro::executor;
    // [targets]
    supervisor services(executor);
    services.add(service("web", command("sleep").arg("1000")));
    services.start();
    process_pool<std::string, std::uint64_t> pool(executor, "length");
    co_await pool.async_start(asio::use_awaitable);

    shutdown_coordinator stop(executor);
    stop.add_pool("lengths", pool);  // stopped last, since the services may need it
    stop.add_supervisor("services", services);
    stop.request();
    auto report = co_await stop.async_wait();
    expect(report.clean(), "no service is left, and no task was cut off");
    // [targets]
}

asio::awaitable<void> reloading()
{
    auto executor = co_await asio::this_coro::executor;
    int reloads = 0;
    // [reload]
    shutdown_coordinator stop(executor);
    stop.reload_on(SIGHUP);
    stop.on_reload("configuration", [&]() -> asio::awaitable<void> {
        ++reloads;  // read the file again; never two at a time
        stop.request();
        co_return;
    });
    // [reload]
    asio::post(executor, [] { ::raise(SIGHUP); });
    co_await stop.async_wait();
    expect(reloads == 1, "once");
}

asio::awaitable<void> co_main()
{
    co_await tokens();
    co_await bound();
    co_await groups();
    co_await coordinated();
    co_await with_children();
    co_await with_targets();
    co_await reloading();
}

}  // namespace

int main()
{
    worker_entries entries;
    entries.add<std::string, std::uint64_t>("length",
                                            [](const std::string& text) { return text.size(); });
    if (const auto code = entries.run_if_worker())
        return *code;
    return run_main(co_main());
}
