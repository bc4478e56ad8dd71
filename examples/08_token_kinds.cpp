// SPDX-License-Identifier: BSL-1.0
// One operation, four ways to be told of its end: every function that begins with async_ takes any
// of Asio's completion tokens as its last argument.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <chrono>
#include <exception>
#include <future>
#include <iostream>
#include <string>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;

// [coroutine]
asio::awaitable<void> co_main()
{
    auto executor = co_await asio::this_coro::executor;
    // No token: what is returned can be awaited once, and throws the error.
    const std::string text = co_await async_output(command("echo").arg("one"), executor);
    std::cout << "coroutine: " << text;

    // Whichever is first; the other is cancelled. A cancelled run has stopped its child by then.
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer second(executor, std::chrono::milliseconds(100));
    auto first = co_await (async_status(command("sleep").arg("1000"), executor, asio::use_awaitable)
                           || second.async_wait(asio::use_awaitable));
    std::cout << "race: " << (first.index() == 1 ? "the timer won\n" : "the child won\n");
}
// [coroutine]

int main()
{
    try {
        asio::io_context context;
        asio::co_spawn(context, co_main(), [](std::exception_ptr error) {
            if (error)
                std::rethrow_exception(error);
        });

        // [callback]
        async_output(command("echo").arg("two"), context.get_executor(),
                     [](error_code ec, std::string text) {
                         std::cout << "callback: " << (ec ? ec.message() : text);
                     });
        // [callback]

        // [future]
        std::future<std::string> text =
            async_output(command("echo").arg("three"), context.get_executor(), asio::use_future);
        context.run();
        std::cout << "future: " << text.get();
        // [future]

        // [deferred]
        auto operation = async_status(command("false"), context.get_executor(), asio::deferred);
        // Nothing has happened yet. Called, it starts, and completes as the token says.
        std::move(operation)(
            [](error_code, exit_status how) { std::cout << "deferred: " << how << '\n'; });
        context.restart();
        context.run();
        // [deferred]
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
