// SPDX-License-Identifier: BSL-1.0
// Starts a program, reads what it says, waits for its end. Then a program that does not exist.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <iostream>
#include <string>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;

// [hello]
asio::awaitable<void> hello()
{
    auto executor = co_await asio::this_coro::executor;
    child uname = spawn(command("uname").arg("-sr").std_out(stdio::pipe()), executor);

    std::string text;
    error_code ec;
    co_await asio::async_read(uname.std_out(), asio::dynamic_buffer(text),
                              asio::redirect_error(asio::use_awaitable, ec));
    if (ec != asio::error::eof)
        throw boost::system::system_error(ec, "reading from uname");

    exit_status status = co_await uname.async_wait();
    std::cout << text << "uname: " << status << '\n';
}
// [hello]

// [error]
asio::awaitable<void> no_such_program()
{
    auto executor = co_await asio::this_coro::executor;
    try {
        child nobody = spawn(command("no-such-program"), executor);
        co_await nobody.async_wait();
    } catch (const spawn_error& error) {
        // what() is the whole sentence; the parts are there too.
        std::cout << error.what() << '\n';
        if (error.code() == boost::system::errc::no_such_file_or_directory
            && error.failure().step == spawn_step::lookup)
            std::cout << "(it is in no directory of PATH)\n";
    }
}
// [error]

asio::awaitable<void> co_main()
{
    co_await hello();
    co_await no_such_program();
}

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
