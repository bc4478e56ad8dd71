// SPDX-License-Identifier: BSL-1.0
// Two children feed two channels, which are raced in a loop, with a deadline. Nothing is lost: the
// receive that does not win has taken no message. The children are this program again.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/channel_error.hpp>
#include <procyard/runtime.hpp>
#include <procyard/runtime/inherited.hpp>

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;

struct reading {
    std::uint64_t number;
    double celsius;
};
constexpr std::uint64_t readings_each = 1000;

// [child]
asio::awaitable<void> measure()
{
    auto executor = co_await asio::this_coro::executor;
    auto readings = inherited<sender<reading>>(executor, "readings");
    for (std::uint64_t i = 1; i <= readings_each; ++i) {
        reading r{i, 20.0 + static_cast<double>(i % 10)};
        co_await readings.async_send(r, asio::use_awaitable);
    }
}  // the sender closes; what is in the channel can still be received
// [child]

struct sensor {
    receiver<reading> readings;
    child process;
    std::uint64_t last = 0;

    sensor(const asio::any_io_executor& executor, const std::string& program)
    {
        auto ends = make_channel<reading>({.capacity_messages = 16});
        command what(program, {"child"});
        what.pass(std::move(ends.sender), "readings");
        readings = receiver<reading>(executor, std::move(ends.receiver));
        process = spawn(what, executor);
    }

    void take(const reading& r)
    {
        if (r.number != ++last)
            throw std::logic_error("a reading is lost");
    }
};

// [race]
asio::awaitable<void> take_all(sensor& indoors, sensor& outdoors)
{
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer deadline(co_await asio::this_coro::executor, 10s);

    while (indoors.last + outdoors.last < 2 * readings_each) {
        auto first = co_await (indoors.readings.async_receive(asio::use_awaitable)
                               || outdoors.readings.async_receive(asio::use_awaitable)
                               || deadline.async_wait(asio::use_awaitable));
        if (first.index() == 0)
            indoors.take(std::get<0>(first));
        else if (first.index() == 1)
            outdoors.take(std::get<1>(first));
        else
            throw std::runtime_error("too late");
    }
    std::cout << indoors.last << " and " << outdoors.last << " readings, none lost\n";

    // An operation that fails does not win: both channels are closed, so it is the timer's turn.
    deadline.expires_after(1ms);
    auto after = co_await (indoors.readings.async_receive(asio::use_awaitable)
                           || outdoors.readings.async_receive(asio::use_awaitable)
                           || deadline.async_wait(asio::use_awaitable));
    std::cout << "after that " << (after.index() == 2 ? "nothing until the deadline" : "more")
              << '\n';
}

// What fails does not win, and is heard of when the others have failed, too. As a result it wins.
asio::awaitable<std::exception_ptr> failure_of(asio::awaitable<void> what)
try {
    co_await std::move(what);
    co_return nullptr;
} catch (...) {
    co_return std::current_exception();
}

// So a race does not hear that a sensor has died. This does.
asio::awaitable<void> until_it_dies(sensor& from)
{
    const error_code how = co_await from.readings.async_wait_closed(asio::use_awaitable);
    if (how == channel_errc::closed)  // it has sent all, and what it has sent is still there
        throw boost::system::system_error(how);  // does not win, either
}

asio::awaitable<void> follow(std::string program)
{
    using namespace asio::experimental::awaitable_operators;
    auto executor = co_await asio::this_coro::executor;
    sensor indoors(executor, program);
    sensor outdoors(executor, program);
    const auto first = co_await (failure_of(take_all(indoors, outdoors)) || until_it_dies(indoors)
                                 || until_it_dies(outdoors));
    if (first.index() != 0)
        throw std::runtime_error("a sensor has died");
    if (const auto failure = std::get<0>(first))
        std::rethrow_exception(failure);
    co_await indoors.process.async_wait(asio::use_awaitable);
    co_await outdoors.process.async_wait(asio::use_awaitable);
}
// [race]

int main(int argc, char** argv)
{
    try {
        asio::io_context context;
        const bool is_child = argc > 1 && argv[1] == std::string("child");
        asio::co_spawn(context, is_child ? measure() : follow(argv[0]),
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
