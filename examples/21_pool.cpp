// SPDX-License-Identifier: BSL-1.0
// Squares of 5,000 numbers, by four workers that die of some of these.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <vector>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;

constexpr std::uint64_t numbers = 5000;

std::uint64_t square(const std::uint64_t& n, pool_job& me)
{
    if (n % 250 == 249 && me.attempt() == 1)
        ::raise(SIGKILL);  // the end of this worker: another one does it
    return n * n;
}

asio::awaitable<void> square_all()
{
    pool_options options;
    options.min_workers = options.max_workers = 4;
    options.backoff.first = 1ms;
    process_pool<std::uint64_t, std::uint64_t> pool(co_await asio::this_coro::executor, "square",
                                                    options);
    co_await pool.async_start(asio::use_awaitable);

    submit_options how;
    how.idempotent = true;  // a square is the same whoever works it out
    std::vector<pool_task<std::uint64_t>> tasks;
    for (std::uint64_t n = 0; n < numbers; ++n)
        tasks.push_back(co_await pool.async_submit(n, how, asio::use_awaitable));
    std::uint64_t sum = 0;
    for (auto& task : tasks)
        sum += co_await task.async_result(asio::use_awaitable);
    std::cout << "the sum of " << numbers << " squares: " << sum << '\n';

    const auto now = pool.metrics();
    std::cout << now.ended(pool_outcome::done) << " done, "
              << (now.workers_lost > 0 ? "some" : "no") << " workers lost\n";
    co_await pool.async_stop(5s, asio::use_awaitable);
}

int main()
{
    worker_entries entries;
    entries.add<std::uint64_t, std::uint64_t>("square", square);
    if (const auto code = entries.run_if_worker())
        return *code;

    asio::io_context context;
    int code = 0;
    asio::co_spawn(context, square_all(), [&](const std::exception_ptr& error) {
        try {
            if (error)
                std::rethrow_exception(error);
        } catch (const std::exception& e) {
            std::cerr << e.what() << '\n';
            code = 1;
        }
    });
    context.run();
    return code;
}
