// SPDX-License-Identifier: BSL-1.0
// A service that owns its process blocks its signals first, and reads them. It sends itself what
// others would.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>

#include <signal.h>
#include <unistd.h>

#include <exception>
#include <iostream>

#include <procyard/signals.hpp>

namespace asio = boost::asio;
using namespace procyard;

// [serve]
asio::awaitable<void> serve()
{
    auto executor = co_await asio::this_coro::executor;
    signal_set reload(executor, {SIGHUP});
    signal_set stop(executor, {SIGINT, SIGTERM});
    std::cout << "by " << stop.mechanism() << '\n';

    sigqueue(getpid(), SIGHUP, {.sival_int = 7});
    const signal_info why = co_await reload.async_wait();
    std::cout << "reload " << why.value.sival_int << ", from myself: " << std::boolalpha
              << (why.sender_pid == getpid()) << '\n';

    kill(getpid(), SIGTERM);
    std::cout << "stop: signal " << (co_await stop.async_wait()).number << '\n';
}
// [serve]

int main()
{
    try {
        // [block]
        block_signals({SIGHUP, SIGINT, SIGTERM});  // before any thread is started
        // [block]
        asio::io_context context;
        asio::co_spawn(context, serve(), [](std::exception_ptr error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
