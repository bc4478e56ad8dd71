// SPDX-License-Identifier: BSL-1.0
// Stops a program that does not want to: politely first, then firmly, and all of its descendants.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;

// Waits until the script says that its trap is set.
asio::awaitable<child> start(std::string script)
{
    auto executor = co_await asio::this_coro::executor;
    child shell = spawn(command::shell(std::move(script)).std_out(stdio::pipe()), executor);
    std::string line;
    co_await asio::async_read_until(shell.std_out(), asio::dynamic_buffer(line), '\n',
                                    asio::use_awaitable);
    co_return shell;
}

// [stop]
asio::awaitable<void> co_main()
{
    // A program that cleans up when it is asked to.
    child polite = co_await start("trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done");
    stop_result result = co_await polite.async_stop(stop_ladder::polite(5s));
    std::cout << "polite:   " << result.status << "; " << result << '\n';

    // One that does not, with a child of its own. The ladder is over when both are gone.
    child stubborn = co_await start("trap '' TERM INT; sleep 1000 & echo ready; wait; wait");
    result = co_await stubborn.async_stop(stop_ladder{}.signal(SIGINT, 50ms).signal(SIGTERM, 50ms));
    std::cout << "stubborn: " << result.status << "; " << result << '\n';
    if (!result.tree_empty || !result.forced())
        throw std::logic_error("somebody was left, or went by himself");
}
// [stop]

int main()
{
    try {
        asio::io_context context;
        asio::co_spawn(context, co_main(), [](std::exception_ptr error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
