// SPDX-License-Identifier: BSL-1.0
//
// asio::signal_set in a coroutine.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "../signal/sender.hpp"

namespace asio = boost::asio;

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    asio::io_context context(1);
    asio::signal_set signals(context, bench::measured_signal());
    bench::signal_sender sender(options);
    asio::co_spawn(
        context,
        [&]() -> asio::awaitable<void> {
            sender.start();
            do
                co_await signals.async_wait(asio::use_awaitable);
            while (sender.answer());
        },
        asio::detached);
    context.run();
    sender.report();
}
