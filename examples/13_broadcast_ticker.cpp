// SPDX-License-Identifier: BSL-1.0
// One process sends prices, and others receive all of them through the same memory: one that the
// ticker waits for, one that comes to it too late and learns what it has lost, and one that wants
// the last three only. The children are this program again.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <cstdint>
#include <exception>
#include <iostream>
#include <string>
#include <utility>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/runtime.hpp>
#include <procyard/runtime/inherited.hpp>

namespace asio = boost::asio;
using namespace procyard;

struct tick {
    std::uint64_t number;
    double price;
};
constexpr std::uint64_t ticks_sent = 10'000;

// [child]
asio::awaitable<void> follow(std::string name)
{
    auto executor = co_await asio::this_coro::executor;
    auto ticks = inherited<subscriber<tick>>(executor, "ticks");
    std::uint64_t received = 0;
    double sum = 0;
    for (;;) {
        error_code ec;
        tick t = co_await ticks.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            break;
        if (ec == channel_errc::lapped)  // and goes on with the oldest that is still there
            std::cout << name << ": too slow, " << ticks.lost() << " ticks lost\n";
        else if (ec)
            throw boost::system::system_error(ec, name);
        else
            sum += t.price, ++received;
    }
    const double mean = received == 0 ? 0 : sum / static_cast<double>(received);
    std::cout << name << ": " << received << " received, " << ticks.lost() << " lost, mean "
              << static_cast<int>(mean) << '\n';
}
// [child]

child start(const asio::any_io_executor& executor, const std::string& program, std::string name,
            unopened<subscriber<tick>> ticks)
{
    command what(program, {"child", std::move(name)});
    what.pass(std::move(ticks), "ticks");
    return spawn(what, executor);
}

// [ticker]
asio::awaitable<void> send_prices(std::string program)
{
    auto executor = co_await asio::this_coro::executor;
    broadcaster<tick> prices(executor, {.capacity_messages = 256});
    auto books = prices.subscribe({.when_slow = slow_reader::holds_back});
    auto chart = prices.subscribe();  // from now on, but nobody opens it in time
    child ledger = start(executor, program, "ledger", std::move(books));

    for (std::uint64_t n = 1; n <= ticks_sent; ++n) {
        tick t{n, 100.0 + static_cast<double>(n % 7)};
        if (!prices.try_send(t))  // the ledger is behind
            co_await prices.async_send(t, asio::use_awaitable);
    }
    auto last_three = prices.subscribe({.history = 3});
    prices.close();  // what is there can still be received

    co_await ledger.async_wait(asio::use_awaitable);
    child late = start(executor, program, "chart", std::move(chart));
    co_await late.async_wait(asio::use_awaitable);
    child newcomer = start(executor, program, "newcomer", std::move(last_three));
    co_await newcomer.async_wait(asio::use_awaitable);
}
// [ticker]

int main(int argc, char** argv)
{
    try {
        asio::io_context context;
        const bool is_child = argc > 2 && argv[1] == std::string("child");
        asio::co_spawn(context, is_child ? follow(argv[2]) : send_prices(argv[0]),
                       [](std::exception_ptr error) {
                           if (error)
                               std::rethrow_exception(error);
                       });
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
