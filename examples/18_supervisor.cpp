// SPDX-License-Identifier: BSL-1.0
// A supervisor with a database, a server that needs it and crashes now and then, and a coroutine.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <iostream>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;

// Until somebody cancels it.
asio::awaitable<void> count(service_context me)
{
    asio::steady_timer never(me.get_executor(), asio::steady_timer::time_point::max());
    me.ready();
    co_await never.async_wait(asio::use_awaitable);
}

asio::awaitable<void> watch_over()
{
    // [services]
    auto database = service("database", command::shell("echo open; exec tail -f /dev/null"))
                        .ready_when(readiness::line_with("open"))
                        .start_timeout(10s);
    auto server = service("server", command::shell("echo 'no more memory' >&2; kill -ABRT $$"))
                      .depends_on({"database"})
                      .backoff({.first = 1ms, .cap = 5s})
                      .stop_grace(2s);
    auto counter = service("counter", count).ready_when(readiness::told());
    // [services]

    // [supervisor]
    supervisor_options options;
    options.intensity = {.restarts = 3, .window = 60s};
    options.stop_budget = 5s;
    options.on_event = [](const service_event& event) { std::cout << event << '\n'; };
    supervisor all(co_await asio::this_coro::executor, options);
    all.add(database);
    all.add(server);
    all.add(counter);
    all.start();
    const auto result = co_await all.async_wait(asio::use_awaitable);
    if (result.failed)
        std::cout << "given up: " << result.culprit << '\n';
    // [supervisor]
}

int main()
{
    try {
        asio::io_context context;
        asio::co_spawn(context, watch_over(), [](const std::exception_ptr& error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
