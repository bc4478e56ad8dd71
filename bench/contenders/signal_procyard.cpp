// SPDX-License-Identifier: BSL-1.0
//
// signal_set in a coroutine, by a handler or by a signalfd: mechanism=sigaction|signalfd.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <procyard/signals/block_signals.hpp>
#include <procyard/signals/signal_set.hpp>

#include "../signal/sender.hpp"

namespace asio = boost::asio;

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    if (options.text("mechanism", "signalfd") == "signalfd")
        procyard::block_signals({bench::measured_signal()});
    asio::io_context context(1);
    procyard::signal_set signals(context.get_executor(), {bench::measured_signal()});
    bench::signal_sender sender(options);
    asio::co_spawn(
        context,
        [&]() -> asio::awaitable<void> {
            sender.start();
            do
                (void)co_await signals.async_wait();
            while (sender.answer());
        },
        asio::detached);
    context.run();
    sender.report();
}
