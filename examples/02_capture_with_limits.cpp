// SPDX-License-Identifier: BSL-1.0
// Runs programs and keeps what they write, but not all of it and not for ever.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;

// [output]
asio::awaitable<void> only_the_output()
{
    auto executor = co_await asio::this_coro::executor;
    std::string kernel = co_await async_output(command("uname").arg("-s"), executor);
    std::cout << "a kernel of the kind " << kernel;

    // Whatever is not a success is an error.
    auto [ec, text] = co_await async_output(command::shell("echo so far; exit 3"), executor,
                                            asio::as_tuple(asio::deferred));
    if (ec == run_errc::exit_nonzero)
        std::cout << ec.message() << ", after it had said: " << text;
}
// [output]

asio::awaitable<void> only_the_status_or_the_lines()
{
    auto executor = co_await asio::this_coro::executor;
    // [status]
    exit_status status = co_await async_status(command("test").arg("-d").arg("/"), executor);
    std::cout << "the root is a directory: " << status << '\n';
    // [status]
    // [lines]
    auto lines = co_await async_lines(command("seq").arg("3"), executor);
    std::cout << lines.size() << " lines, the last one is " << lines.back() << '\n';
    // [lines]
}

// [capture]
asio::awaitable<void> everything_with_limits()
{
    auto executor = co_await asio::this_coro::executor;
    auto options = run_options()
                       .std_in("3\n1\n2\n")
                       .std_out(run_output().capture({.limit_bytes = 10}))
                       .deadline(5s);
    command talker = command::shell("sort; seq 1000000; echo done >&2");

    run_result result = co_await async_run(talker, executor, options);
    std::cout << "kept " << result.std_out.data.size() << " bytes of " << result.std_out.bytes_seen
              << (result.std_out.truncated ? " (truncated)" : "")
              << ", stderr: " << result.std_err.data << result << '\n';
}
// [capture]

// [deadline]
asio::awaitable<void> not_for_ever()
{
    auto executor = co_await asio::this_coro::executor;
    auto options = run_options().deadline(100ms).ladder(stop_ladder::polite(1s));

    // The shell's child belongs to the tree, and is stopped with it.
    run_result result =
        co_await async_run(command::shell("echo begun; sleep 1000"), executor, options);
    std::cout << result << ", and had said: " << result.std_out.data;
}
// [deadline]

asio::awaitable<void> co_main()
{
    co_await only_the_output();
    co_await only_the_status_or_the_lines();
    co_await everything_with_limits();
    co_await not_for_ever();
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
