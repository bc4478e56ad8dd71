// SPDX-License-Identifier: BSL-1.0
// Programs one behind the other, as in a shell, but with an answer from each of them.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>

#include <chrono>
#include <exception>
#include <iostream>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;

// [pipeline]
asio::awaitable<void> most_frequent()
{
    auto executor = co_await asio::this_coro::executor;
    pipeline words = command("tr", {"-s", " ", "\n"}) | command("sort") | command("uniq", {"-c"})
        | command("sort", {"-k1,1nr", "-k2"}) | command("head", {"-n", "2"});
    auto options = run_options().std_in("the cat and the dog and the bird").deadline(5s);

    // One deadline and one ladder for all of them.
    pipeline_result result = co_await async_run(words, executor, options);
    std::cout << words << ":\n" << result.std_out.data;
    for (const stage_result& stage : result.status.stages)
        std::cout << stage.name << ": " << stage.status << '\n';
}
// [pipeline]

// [broken]
asio::awaitable<void> who_is_to_blame()
{
    auto executor = co_await asio::this_coro::executor;
    // `yes` never ends by itself; SIGPIPE ends it when head has enough. Nothing went wrong.
    pipeline endless = command("yes") | command("head", {"-n", "1"});
    pipeline_result result = co_await async_run(endless, executor);
    std::cout << result << '\n';

    // Unless one wants to hear of it.
    endless.policy(pipefail::strict);
    result = co_await async_run(endless, executor);
    std::cout << result << '\n';

    // None of them runs when one of them cannot be started.
    pipeline impossible = command("yes") | command("no-such-program");
    try {
        co_await async_run(impossible, executor);
    } catch (const boost::system::system_error& error) {
        std::cout << error.code().message() << '\n';
    }
}
// [broken]

asio::awaitable<void> co_main()
{
    co_await most_frequent();
    co_await who_is_to_blame();
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
