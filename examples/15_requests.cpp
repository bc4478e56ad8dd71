// SPDX-License-Identifier: BSL-1.0
// Questions to a child over a socket, with deadlines. The child is this program again.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <string>
#include <utility>

#include <procyard/ipc/caller.hpp>
#include <procyard/ipc/responder.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;

struct division {
    std::int64_t dividend;
    std::int64_t divisor;
};
constexpr int by_zero = 1;

void rethrow(const std::exception_ptr& error)
{
    if (error)
        std::rethrow_exception(error);
}

// [child]
// Some take longer than others. A call keeps its place until it is answered or destroyed: this one
// goes when nobody waits for it any more.
asio::awaitable<void> divide_slowly(call<division, std::int64_t> c)
{
    asio::steady_timer work(co_await asio::this_coro::executor, 1h);
    error_code ec;
    co_await work.async_wait(asio::bind_cancellation_slot(
        c.get_cancellation_slot(), asio::redirect_error(asio::use_awaitable, ec)));
    if (!ec)
        c.reply(c.request().dividend / c.request().divisor);
}

asio::awaitable<void> serve()
{
    auto executor = co_await asio::this_coro::executor;
    unix_stream::socket input(executor, unix_stream(), STDIN_FILENO);
    responder<unix_stream::socket, division, std::int64_t> requests(std::move(input));
    for (;;) {
        error_code ec;
        auto c = co_await requests.async_next(asio::redirect_error(asio::use_awaitable, ec));
        if (ec)
            co_return;  // eof: the parent has gone
        const auto [dividend, divisor] = c.request();
        if (divisor == 0)
            c.fail(by_zero, "nothing can be divided by nothing");
        else if (dividend < 0)
            asio::co_spawn(executor, divide_slowly(std::move(c)), rethrow);
        else
            c.reply(dividend / divisor);
    }
}
// [child]

// [parent]
asio::awaitable<void> ask(std::string program)
{
    auto executor = co_await asio::this_coro::executor;
    error_code ec;
    auto ends = make_raw_socket_pair(SOCK_STREAM, ec);
    if (ec)
        throw boost::system::system_error(ec, "a pair of sockets");
    command what(program, {"child"});
    what.std_in(stdio::descriptor(std::move(ends.second)));
    child worker = spawn(what, executor);
    unix_stream::socket socket(executor, unix_stream(), ends.first.release());
    caller<unix_stream::socket, division, std::int64_t> ask(std::move(socket));

    division easy{42, 6};
    std::cout << "42 / 6 = " << co_await ask.async_call(easy, asio::use_awaitable) << '\n';

    division hard{1, 0};
    call_failure failure;
    co_await ask.async_call(hard, {.deadline = 5s}, failure,
                            asio::redirect_error(asio::use_awaitable, ec));
    const bool is_told = ec.category() == remote_category();  // else it is about the connection
    std::cout << "1 / 0: " << (is_told ? failure.text : ec.message()) << '\n';

    division slow{-1, 2};
    co_await ask.async_call(slow, {.deadline = 10ms},
                            asio::redirect_error(asio::use_awaitable, ec));
    std::cout << "-1 / 2: " << ec.message() << '\n';

    ask.next_layer().close();
    std::cout << "the child: " << co_await worker.async_wait(asio::use_awaitable) << '\n';
}
// [parent]

int main(int argc, char** argv)
{
    try {
        asio::io_context context;
        const bool is_child = argc > 1 && argv[1] == std::string("child");
        asio::co_spawn(context, is_child ? serve() : ask(argv[0]), rethrow);
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
