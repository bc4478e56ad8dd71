// SPDX-License-Identifier: BSL-1.0
// Jobs for a worker that crashes on some of them: what it had is done by the next worker, and a job
// that kills each of them ends as a dead letter. The worker is this program again.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <utility>

#include <procyard/ipc/work_queue.hpp>
#include <procyard/runtime.hpp>
#include <procyard/runtime/inherited.hpp>

namespace asio = boost::asio;
using namespace procyard;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

struct job {
    std::string text;
};

// [worker]
asio::awaitable<void> work()
{
    auto jobs = inherited<work_source<job>>(co_await asio::this_coro::executor, "jobs");
    for (;;) {
        error_code ec;
        auto item = co_await jobs.async_take(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            co_return;
        if (ec)
            throw boost::system::system_error(ec, "jobs");
        const std::string& text = item.value().text;
        if (text == "poison" || (text == "bad luck" && item.attempt() == 1))
            std::abort();
        std::cout << text << ": done, attempt " << item.attempt() << std::endl;
        item.acknowledge();  // without it, the item goes back at the end of the scope
    }
}
// [worker]

// [owner]
// Sees to it that there is a worker until the queue is closed.
asio::awaitable<void> supervise(work_queue<job>& queue, std::string program)
{
    auto executor = co_await asio::this_coro::executor;
    asio::steady_timer pause(executor);
    for (auto delay = 10ms;; delay = std::min(2 * delay, 5000ms)) {
        command what(program, {"worker"});
        what.pass(queue.consumer(), "jobs");
        child worker = spawn(what, executor);
        const auto status = co_await worker.async_wait(asio::use_awaitable);
        std::cout << "a worker: " << status << std::endl;
        if (status.success())
            co_return;
        pause.expires_after(delay);  // longer and longer: the next one may fail at once, too
        co_await pause.async_wait(asio::use_awaitable);
    }
}

asio::awaitable<void> finish(work_queue<job>& queue)
{
    co_await queue.async_drain(asio::use_awaitable);
    auto dead = co_await queue.async_dead_letter(asio::use_awaitable);
    std::cout << dead.value.text << ": given up after " << dead.attempts << " attempts\n";
    queue.close();  // the worker hears of it, and ends
}

asio::awaitable<void> own(std::string program)
{
    work_queue<job> queue(co_await asio::this_coro::executor, {.max_attempts = 2});
    for (const char* text : {"one", "bad luck", "poison", "two"}) {
        job j{text};
        co_await queue.async_push(std::move(j), asio::use_awaitable);
    }
    co_await (supervise(queue, std::move(program)) && finish(queue));
}
// [owner]

int main(int argc, char** argv)
{
    try {
        asio::io_context context;
        const bool is_worker = argc > 1 && argv[1] == std::string("worker");
        asio::co_spawn(context, is_worker ? work() : own(argv[0]), [](std::exception_ptr error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
