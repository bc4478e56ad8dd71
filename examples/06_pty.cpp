// SPDX-License-Identifier: BSL-1.0
// Runs a program on a pseudo-terminal: it believes that a user sits there, and is told when the
// window changes its size.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <exception>
#include <iostream>
#include <string>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;

// [pty]
constexpr auto script = R"sh(
    stty -echo                           # what we type is not to come back
    size() { set -- $(stty size); echo "$1 rows and $2 columns"; }
    trap 'resized="resized to"' WINCH
    test -t 0 && test -t 1 && test -t 2 && echo "a terminal of $(size)"
    read -r word || read -r word         # the signal may end the first
    echo "$resized $(size); $word"
)sh";

asio::awaitable<std::string> read_line(child& from, std::string& buffer)
{
    // A terminal ends its lines with \r\n.
    auto n = co_await asio::async_read_until(from.std_out(), asio::dynamic_buffer(buffer), "\r\n",
                                             asio::use_awaitable);
    std::string line = buffer.substr(0, n - 2);
    buffer.erase(0, n);
    co_return line;
}

asio::awaitable<void> co_main()
{
    auto executor = co_await asio::this_coro::executor;
    child shell = spawn(command::shell(script).terminal({.rows = 30, .columns = 100}), executor);

    std::string buffer;
    std::cout << co_await read_line(shell, buffer) << '\n';

    error_code ec;
    shell.resize_terminal({.rows = 50, .columns = 132}, ec);
    if (ec)
        throw boost::system::system_error(ec, "resize_terminal");

    // Typed at the terminal: its line discipline turns \r into \n.
    co_await asio::async_write(shell.std_in(), asio::buffer("hello\r", 6), asio::use_awaitable);
    std::cout << co_await read_line(shell, buffer) << '\n';
    std::cout << co_await shell.async_wait() << '\n';
}
// [pty]

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
