// SPDX-License-Identifier: BSL-1.0
// A notifier and its watchdog in a program of several threads.
#include <procyard/runtime/service_notifier.hpp>

#include <doctest/doctest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "fake_manager.hpp"
#include "procyard_test.hpp"

using namespace procyard;
using namespace procyard_test;
using namespace std::chrono_literals;

namespace {

service_manager manager_at(const fake_manager& there)
{
    service_manager manager;
    manager.socket = there.address();
    manager.watchdog = 10s;
    return manager;
}

}  // namespace

TEST_SUITE("service_notifier")
{
    TEST_CASE("any thread may try, beside the operations: each notice arrives whole, and once")
    {
        constexpr int threads = 4;
        constexpr int each = 500;
        fake_manager manager;
        asio::io_context ctx;
        service_notifier notifier(ctx.get_executor(), manager_at(manager));
        std::atomic<int> sent{0};
        std::vector<std::thread> all;
        for (int t = 0; t < threads; ++t) {
            all.emplace_back([&] {
                for (int i = 0; i < each;) {
                    error_code ec;
                    notifier.try_notify(service_notice().status("0123456789"), ec);
                    if (ec == asio::error::would_block) {
                        std::this_thread::yield();
                        continue;
                    }
                    ++i;
                    sent += ec ? 0 : 1;
                }
            });
        }
        int told = 0;
        int wanted = 0;
        int received = 0;
        int broken = 0;
        while (received < threads * each + 50) {
            if (wanted < 50) {
                ++wanted;
                notifier.async_notify(service_notice().status("0123456789"),
                                      [&](const error_code& ec) { told += ec ? 0 : 1; });
            }
            ctx.restart();
            ctx.poll();
            while (const auto one = manager.receive()) {
                ++received;
                broken += one->text == "STATUS=0123456789\n" ? 0 : 1;
            }
        }
        for (auto& one : all)
            one.join();
        run(ctx);
        CHECK(sent == threads * each);
        CHECK(told == 50);
        CHECK(broken == 0);
        CHECK(manager.text() == "nothing");
    }
}

TEST_SUITE("async_feed_watchdog")
{
    TEST_CASE("loops of other threads give their proof, and any thread may cancel")
    {
        constexpr std::size_t others = 3;
        fake_manager manager;
        const auto clock = std::make_shared<manual_clock>();
        asio::io_context ctx;
        std::array<asio::io_context, others> loops;
        std::vector<asio::executor_work_guard<asio::io_context::executor_type>> guards;
        std::vector<std::thread> threads;
        watchdog_options options;
        options.clock = clock;
        for (auto& one : loops) {
            options.loops.emplace_back(one.get_executor());
            guards.emplace_back(one.get_executor());
            threads.emplace_back([&one] { one.run(); });
        }
        service_notifier notifier(ctx.get_executor(), manager_at(manager));
        asio::cancellation_signal stop;
        outcome<error_code> over;
        notifier.async_feed_watchdog(options,
                                     asio::bind_cancellation_slot(stop.slot(), over.handler()));
        for (int beat = 0; beat < 20; ++beat) {
            std::string heard = "nothing";
            run_until(ctx, [&] {
                if (heard == "nothing")
                    heard = manager.text();
                if (heard == "nothing" && clock->pending() == 1)
                    clock->advance(1250ms);
                return heard != "nothing" && clock->pending() == 1;
            });
            CHECK(heard == "WATCHDOG=1\n");
            clock->advance(5s);
        }
        // From a loop that is not the notifier's.
        asio::post(loops[0], [&] { stop.emit(asio::cancellation_type::terminal); });
        run_until(ctx, [&] { return over.done(); });
        CHECK(over.error() == asio::error::operation_aborted);
        guards.clear();
        for (auto& one : threads)
            one.join();
    }

    TEST_CASE("its strand, the user's and the notifier's end are never in each other's way")
    {
        constexpr int rounds = 50;
        fake_manager manager;
        auto there = manager_at(manager);
        there.watchdog = 100us;
        asio::io_context ctx(2);
        auto work = asio::make_work_guard(ctx);
        std::array<std::thread, 2> threads;
        for (auto& one : threads)
            one = std::thread([&] { ctx.run(); });
        const auto strand = asio::make_strand(ctx);  // of all that the user does
        int begun = 0;
        int over = 0;
        const auto done = [&] {
            ++begun;
            return asio::bind_executor(strand, [&](const error_code&) { ++over; });
        };
        const auto user = [&]() -> asio::awaitable<void> {
            for (int i = 0; i < rounds; ++i) {
                service_notifier notifier(ctx.get_executor(), there);
                notifier.async_feed_watchdog(done());
                notifier.async_barrier(done());
                // Until the watchdog is in full swing.
                for (std::size_t heard = 0; heard < 10; heard += manager.drain()) {
                    notifier.async_notify(service_notice().ready(), done());
                    co_await asio::post(strand, asio::use_awaitable);
                }
            }
        };
        outcome<std::exception_ptr> ended;
        asio::co_spawn(strand, user(), ended.handler());
        work.reset();
        for (auto& one : threads)
            one.join();
        CHECK(ended.done());
        CHECK(over == begun);
    }
}
