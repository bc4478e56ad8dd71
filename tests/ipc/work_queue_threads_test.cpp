// SPDX-License-Identifier: BSL-1.0
// A fan-in and a work queue whose other ends are in other threads, with an io_context each.
#include <procyard/ipc/fan_in.hpp>
#include <procyard/ipc/work_queue.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <atomic>
#include <cstddef>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::fan_in;
using procyard::make_channel;
using procyard::sender;
using procyard::unopened;
using procyard::work_queue;
using procyard::work_source;

namespace {

constexpr procyard::channel_options few{.capacity_messages = 8};
constexpr int many = 3000;

}  // namespace

TEST_SUITE("fan_in threads")
{
    TEST_CASE("senders in three threads that come and go: each in order, nothing lost (case 11)")
    {
        asio::io_context ctx;
        fan_in<int> from(ctx.get_executor(), {.ends_with_last_source = true});
        std::vector<std::thread> threads;
        std::vector<int> next(4, 0);
        for (int i = 0; i < 3; ++i) {
            auto ends = make_channel<int>(few);
            from.add(std::move(ends.receiver));
            threads.emplace_back([end = std::move(ends.sender)]() mutable {
                asio::io_context there;
                sender<int> s(there.get_executor(), std::move(end));
                procyard_test::run_coroutine(there, [&]() -> asio::awaitable<void> {
                    for (int n = 0; n < many; ++n) {
                        if (n % 5 == 0 || !s.try_send(n))
                            co_await s.async_send(n, asio::use_awaitable);
                    }
                });
            });
        }
        int ends = 0;
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (error_code ec;;) {
                const auto got =
                    co_await from.async_receive(asio::redirect_error(asio::use_awaitable, ec));
                if (ec)
                    co_return;
                if (got.ended)
                    ++ends;
                else
                    CHECK(got.message == next[static_cast<std::size_t>(got.source)]++);
            }
        });
        for (auto& thread : threads)
            thread.join();
        CHECK(ends == 3);
        CHECK(next == std::vector<int>{0, many, many, many});
    }
}

TEST_SUITE("work_queue threads")
{
    TEST_CASE("consumers in two threads: each item is done once")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(), {.capacity = 64});
        std::vector<std::thread> threads;
        std::vector<std::atomic<int>> times(many);
        for (std::size_t i = 0; i < 2; ++i) {
            threads.emplace_back([&times, i, end = queue.consumer()]() mutable {
                asio::io_context there;
                work_source<int> source(there.get_executor(), std::move(end));
                source.prefetch(2 * i);
                procyard_test::run_coroutine(there, [&]() -> asio::awaitable<void> {
                    for (error_code ec;;) {
                        auto item = co_await source.async_take(
                            asio::redirect_error(asio::use_awaitable, ec));
                        if (ec)
                            co_return;
                        if (item.attempt() == 1 && item.value() % 10 == 0)
                            continue;  // dropped: somebody gets it again
                        ++times[static_cast<std::size_t>(item.value())];
                        item.acknowledge();
                    }
                });
            });
        }
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (int n = 0; n < many; ++n)
                co_await queue.async_push(n, asio::use_awaitable);
            queue.close();
        });
        for (auto& thread : threads)
            thread.join();
        for (const auto& each : times)
            CHECK(each == 1);
        CHECK(queue.statistics().done == many);
        CHECK(queue.statistics().returned == many / 10);
    }
}
