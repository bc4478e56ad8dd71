// SPDX-License-Identifier: BSL-1.0
// Questions to a child over a socket, with deadlines. The child is this program again.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

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

// [child]
asio::awaitable<void> serve()
{
    auto executor = co_await asio::this_coro::executor;
    unix_stream::socket input(executor, unix_stream(), STDIN_FILENO);
    responder<unix_stream::socket, division, std::int64_t> requests(std::move(input));
    std::vector<call<division, std::int64_t>> unanswered;
    for (;;) {
        error_code ec;
        auto c = co_await requests.async_next(asio::redirect_error(asio::use_awaitable, ec));
        if (ec)
            co_return;  // eof: the parent has gone
        const auto [dividend, divisor] = c.request();
        if (divisor == 0)
            c.fail(by_zero, "nothing can be divided by nothing");
        else if (dividend < 0)
            unanswered.push_back(std::move(c));  // some take longer than others
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
    std::cout << "1 / 0: " << failure.text << '\n';

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
        asio::co_spawn(context, is_child ? serve() : ask(argv[0]), [](std::exception_ptr error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
