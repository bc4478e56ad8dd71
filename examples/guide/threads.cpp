// SPDX-License-Identifier: BSL-1.0
// docs/threads.md: one event loop, several threads.
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_future.hpp>

#include <future>
#include <string_view>
#include <thread>
#include <vector>

#include "guide.hpp"

namespace {

// [strand]
// Runs in the strand it was started in. The child's streams use that strand as well, so nobody
// else touches them.
asio::awaitable<void> one_job(int number)
{
    auto executor = co_await asio::this_coro::executor;
    const auto text = std::to_string(number);
    child c = spawn(command("echo").arg(text).std_out(stdio::pipe()), executor);
    expect(co_await read_all(c.std_out()) == text + '\n', "its own answer");
    co_await c.async_wait();
}

void many_jobs()
{
    asio::io_context context;
    std::vector<std::future<void>> jobs;
    for (int number = 0; number < 8; ++number)
        jobs.push_back(
            asio::co_spawn(asio::make_strand(context), one_job(number), asio::use_future));
    {
        std::vector<std::jthread> threads;
        for (int n = 0; n < 3; ++n)
            threads.emplace_back([&] { context.run(); });
    }
    for (auto& job : jobs)
        job.get();
}
// [strand]

// [others]
void from_another_thread(asio::io_context& context)
{
    child sleeper = spawn(command("sleep").arg("1000"), context.get_executor());
    std::future<exit_status> status = sleeper.async_wait(asio::use_future);
    std::jthread loop([&] { context.run(); });

    sleeper.terminate();                // signals, async_wait and try_wait: from any thread
    std::cout << status.get() << '\n';  // killed by SIGTERM
}
// [others]

asio::awaitable<std::size_t> count_lines()
{
    auto executor = co_await asio::this_coro::executor;
    // [callback]
    std::size_t lines = 0;  // no lock: the callbacks of one run are never two at a time
    auto options =
        run_options().std_out(run_output().each_line([&](std::string_view) { ++lines; }));
    co_await async_run(command("seq").arg("1000"), executor, options);
    // [callback]
    co_return lines;
}

void on_two_threads()
{
    asio::io_context context;
    auto lines = asio::co_spawn(context, count_lines(), asio::use_future);
    {
        std::jthread other([&] { context.run(); });
        context.run();
    }
    expect(lines.get() == 1000, "every line once");
}

}  // namespace

int main()
{
    try {
        many_jobs();
        on_two_threads();
        asio::io_context context;
        from_another_thread(context);
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
