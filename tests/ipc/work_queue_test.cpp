// SPDX-License-Identifier: BSL-1.0
// Items, leases and answers, all in one process: who gets what, and what comes of it.
#include <procyard/ipc/work_queue.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "work_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::leased;
using procyard::return_reason;
using procyard::sender;
using procyard::work_queue;
using procyard::work_queue_options;
using procyard::work_source;
using procyard_test::outcome;
using procyard_test::run_with;
using namespace std::chrono_literals;
namespace {

const error_code aborted = asio::error::operation_aborted;

// An item that has been handed out by a queue in another context.
leased<int> taken(asio::io_context& there, work_queue<int>& queue, work_source<int>& consumer)
{
    error_code ec;
    leased<int> item;
    CHECK_FALSE(consumer.try_take(item, ec));
    CHECK(queue.try_push(1, ec));
    there.restart();
    there.poll();
    REQUIRE(consumer.try_take(item, ec));
    return item;
}

}  // namespace

TEST_SUITE("work_queue: items")
{
    TEST_CASE("what is pushed is taken, acknowledged and gone")
    {
        asio::io_context ctx;
        work_queue<std::string> queue(ctx.get_executor());
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<std::string> consumer(ctx.get_executor(), queue.consumer());
            for (int i = 0; i < 50; ++i) {
                auto text = std::to_string(i);
                co_await queue.async_push(text, asio::use_awaitable);
                auto item = co_await consumer.async_take(asio::use_awaitable);
                CHECK(item.value() == text);
                CHECK(item.attempt() == 1);
                CHECK(item.id() == static_cast<std::uint64_t>(i + 1));
                CHECK(item.deadline() > std::chrono::steady_clock::now());
                CHECK(item.acknowledge());
                CHECK_FALSE(item);
                error_code ec;
                CHECK_FALSE(item.acknowledge(ec));
                CHECK(ec == asio::error::bad_descriptor);
            }
            co_await queue.async_drain(asio::use_awaitable);
            const auto statistics = queue.statistics();
            CHECK(statistics.done == 50);
            CHECK(statistics.returned == 0);
            CHECK(statistics.leased == 0);
            CHECK(statistics.consumers == 1);
        });
    }

    TEST_CASE("what is acknowledged and waited for is done when that is over")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor());
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            for (std::uint64_t n = 1; n <= 20; ++n) {
                co_await queue.async_push(static_cast<int>(n), asio::use_awaitable);
                auto item = co_await consumer.async_take(asio::use_awaitable);
                co_await item.async_acknowledge(asio::use_awaitable);
                CHECK_FALSE(item);
                CHECK(queue.statistics().done == n);
            }
            // Not started: not said, and the item goes back.
            co_await queue.async_push(0, asio::use_awaitable);
            auto item = co_await consumer.async_take(asio::use_awaitable);
            (void)item.async_acknowledge();
            auto again = co_await consumer.async_take(asio::use_awaitable);
            CHECK(again.attempt() == 2);
        });
    }

    TEST_CASE("an acknowledgement that may have been heard too late is told as that")
    {
        asio::io_context ctx;
        asio::io_context there;
        work_queue<int> queue(there.get_executor(), {.lease = 200ms});
        work_source<int> consumer(ctx.get_executor(), queue.consumer());
        auto item = taken(there, queue, consumer);
        const auto deadline = item.deadline();
        outcome<error_code> late;
        item.async_acknowledge(late.handler());
        while (std::chrono::steady_clock::now() < deadline) { }
        there.restart();
        there.poll();
        procyard_test::run_until(ctx, [&] { return late.done(); });
        CHECK(late.error() == boost::system::errc::timed_out);
    }

    TEST_CASE("an acknowledgement that the queue has not heard when it ends is an error")
    {
        asio::io_context ctx;
        asio::io_context there;
        std::optional<work_queue<int>> queue(std::in_place, there.get_executor());
        work_source<int> consumer(ctx.get_executor(), queue->consumer());
        auto item = taken(there, *queue, consumer);
        outcome<error_code> got;
        item.async_acknowledge(got.handler());
        queue.reset();
        procyard_test::run_until(ctx, [&] { return got.done(); });
        CHECK(got.error() == channel_errc::closed);
    }

    TEST_CASE("rejected, or dropped: somebody gets it again; then it is a dead letter")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(), {.max_attempts = 3});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            co_await queue.async_push(5, asio::use_awaitable);
            {
                auto first = co_await consumer.async_take(asio::use_awaitable);
                CHECK(first.reject());
            }
            {
                auto second = co_await consumer.async_take(asio::use_awaitable);
                CHECK(second.attempt() == 2);
            }
            {
                auto third = co_await consumer.async_take(asio::use_awaitable);
                CHECK(third.attempt() == 3);
                CHECK(third.value() == 5);
            }
            const auto dead = co_await queue.async_dead_letter(asio::use_awaitable);
            CHECK(dead.value == 5);
            CHECK(dead.attempts == 3);
            CHECK(dead.reason == return_reason::rejected);
            CHECK(queue.statistics().dead == 0);
            CHECK(queue.statistics().returned == 3);
        });
    }

    TEST_CASE("dropped, and the policy says it is done")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor());
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            consumer.when_dropped(procyard::lease_policy::acknowledge);
            co_await queue.async_push(5, asio::use_awaitable);
            {
                auto item = co_await consumer.async_take(asio::use_awaitable);
                auto moved = std::move(item);
                CHECK(moved.value() == 5);
            }
            co_await queue.async_drain(asio::use_awaitable);
            CHECK(queue.statistics().done == 1);
        });
    }

    TEST_CASE("full: a push waits until something is done; a dead letter takes room")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(), {.capacity = 2, .max_attempts = 1});
        error_code ec;
        CHECK(queue.try_push(1, ec));
        CHECK(queue.try_push(2, ec));
        CHECK_FALSE(queue.try_push(3, ec));
        CHECK(ec == asio::error::would_block);
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            outcome<error_code> pushed;
            queue.async_push(3, pushed.handler());
            auto item = co_await consumer.async_take(asio::use_awaitable);
            CHECK(item.reject());
            auto next = co_await consumer.async_take(asio::use_awaitable);
            CHECK(next.value() == 2);
            CHECK_FALSE(pushed.done());
            CHECK((co_await queue.async_dead_letter(asio::use_awaitable)).value == 1);
            CHECK(next.acknowledge());
            auto last = co_await consumer.async_take(asio::use_awaitable);
            CHECK(pushed.done());
            CHECK(last.value() == 3);
        });
    }

    TEST_CASE("overrun: another consumer gets it, and the late answer is refused")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(), {.lease = 1ms, .max_attempts = 0});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> slow(ctx.get_executor(), queue.consumer());
            work_source<int> other(ctx.get_executor(), queue.consumer());
            co_await queue.async_push(5, asio::use_awaitable);
            auto late = co_await slow.async_take(asio::use_awaitable);
            // Comes when the first lease is over; it may be overrun itself, and come once more.
            auto again = co_await other.async_take(asio::use_awaitable);
            CHECK(again.value() == 5);
            CHECK(again.attempt() >= 2);
            error_code ec;
            CHECK_FALSE(late.acknowledge(ec));
            CHECK(ec == boost::system::errc::timed_out);
        });
        CHECK(queue.statistics().done == 0);
        CHECK(queue.statistics().returned >= 1);
    }

    TEST_CASE("answered in time, and heard after it: it counts")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(), {.lease = 5ms, .max_attempts = 0});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            co_await queue.async_push(5, asio::use_awaitable);
            for (bool is_in_time = false; !is_in_time;) {
                auto item = co_await consumer.async_take(asio::use_awaitable);
                // Until the queue listens again.
                for (int turns = 0; turns < 5; ++turns)
                    co_await asio::post(ctx, asio::use_awaitable);
                is_in_time = item.acknowledge();
                // In one turn with that: the queue's owner is busy until the lease is over.
                while (is_in_time && std::chrono::steady_clock::now() <= item.deadline()) { }
            }
            const auto returned = queue.statistics().returned;
            error_code ec;
            CHECK(queue.try_push(6, ec));  // it looks before it has heard the doorbell
            co_await asio::post(ctx, asio::use_awaitable);
            CHECK(queue.statistics().done == 1);
            CHECK(queue.statistics().returned == returned);
            CHECK(queue.statistics().late == 0);
        });
    }

    TEST_CASE("acknowledged, then closed, before the queue has heard of either: it counts")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(), {.lease = std::chrono::nanoseconds::max()});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            std::optional<work_source<int>> consumer(std::in_place, ctx.get_executor(),
                                                     queue.consumer());
            consumer->prefetch(1);
            co_await queue.async_push(1, asio::use_awaitable);
            auto item = co_await consumer->async_take(asio::use_awaitable);
            for (int turns = 0; turns < 5; ++turns)
                co_await asio::post(ctx, asio::use_awaitable);
            CHECK(item.acknowledge());
            consumer.reset();
            error_code ec;
            CHECK(queue.try_push(2, ec));  // for which it had asked
            co_await asio::post(ctx, asio::use_awaitable);
            work_source<int> other(ctx.get_executor(), queue.consumer());
            auto next = co_await other.async_take(asio::use_awaitable);
            CHECK(next.value() == 2);
            CHECK(next.attempt() == 1);
            CHECK(next.acknowledge());
            co_await queue.async_drain(asio::use_awaitable);
            CHECK(queue.statistics().done == 2);
            CHECK(queue.statistics().returned == 0);
        });
    }

    TEST_CASE("a consumer that closes gives back what it has; its answers before that count")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor());
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            std::optional<work_source<int>> first(std::in_place, ctx.get_executor(),
                                                  queue.consumer());
            work_source<int> second(ctx.get_executor(), queue.consumer());
            co_await queue.async_push(1, asio::use_awaitable);
            co_await queue.async_push(2, asio::use_awaitable);
            auto done = co_await first->async_take(asio::use_awaitable);
            auto kept = co_await first->async_take(asio::use_awaitable);
            CHECK(done.acknowledge());
            first.reset();
            auto again = co_await second.async_take(asio::use_awaitable);
            CHECK(again.value() == 2);
            CHECK(again.attempt() == 2);
            error_code ec;
            CHECK_FALSE(kept.acknowledge(ec));
            CHECK(ec == asio::error::bad_descriptor);
            CHECK(again.acknowledge());
            co_await queue.async_drain(asio::use_awaitable);
            CHECK(queue.statistics().done == 2);
        });
    }

    TEST_CASE("one that takes long holds up nobody else")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor());
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> slow(ctx.get_executor(), queue.consumer());
            work_source<int> quick(ctx.get_executor(), queue.consumer());
            for (int i = 0; i < 100; ++i)
                co_await queue.async_push(i, asio::use_awaitable);
            auto held = co_await slow.async_take(asio::use_awaitable);
            for (int i = 1; i < 100; ++i) {
                auto item = co_await quick.async_take(asio::use_awaitable);
                CHECK(item.value() == i);
                CHECK(item.acknowledge());
            }
        });
    }

    TEST_CASE("a cancelled take has taken nothing: what comes is the next one's")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor());
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            asio::cancellation_signal signal;
            outcome<error_code, leased<int>> cancelled;
            consumer.async_take(asio::bind_cancellation_slot(signal.slot(), cancelled.handler()));
            co_await asio::post(ctx, asio::use_awaitable);
            co_await asio::post(ctx, asio::use_awaitable);
            co_await queue.async_push(1, asio::use_awaitable);
            signal.emit(asio::cancellation_type::total);
            auto item = co_await consumer.async_take(asio::use_awaitable);
            CHECK(cancelled.error() == aborted);
            CHECK(item.value() == 1);
            CHECK(item.attempt() == 1);
        });
    }

    TEST_CASE("an item that nobody takes at its consumer comes back when its lease is over")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(), {.lease = 1ms, .max_attempts = 0});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> idle(ctx.get_executor(), queue.consumer());
            leased<int> none;
            error_code ec;
            CHECK_FALSE(idle.try_take(none, ec));  // it has asked, and never looks again
            CHECK(ec == asio::error::would_block);
            co_await queue.async_push(1, asio::use_awaitable);
            work_source<int> other(ctx.get_executor(), queue.consumer());
            auto item = co_await other.async_take(asio::use_awaitable);
            CHECK(item.value() == 1);
            CHECK(item.attempt() >= 2);
        });
    }

    TEST_CASE("ahead: so many come before they are taken, and not more than a consumer may have")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(), {.leases_per_consumer = 4});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            consumer.prefetch(3);
            for (int i = 0; i < 10; ++i)
                co_await queue.async_push(i, asio::use_awaitable);
            std::vector<leased<int>> held;
            for (int i = 0; i < 4; ++i)
                held.push_back(co_await consumer.async_take(asio::use_awaitable));
            CHECK(queue.statistics().leased == 4);
            error_code ec;
            (void)co_await consumer.async_take(asio::redirect_error(asio::use_awaitable, ec));
            CHECK(ec == boost::system::errc::no_buffer_space);
            CHECK(held[2].acknowledge());
            auto next = co_await consumer.async_take(asio::use_awaitable);
            CHECK(next.value() == 4);
        });
    }
}

TEST_SUITE("work_queue: ending")
{
    TEST_CASE("close: no more is taken in, what is there is dealt with, then everybody hears")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(), {.max_attempts = 1});
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            sender<int> producer(ctx.get_executor(), queue.producer());
            co_await queue.async_push(1, asio::use_awaitable);
            co_await queue.async_push(2, asio::use_awaitable);
            queue.close();
            CHECK_FALSE(queue.is_open());
            error_code ec;
            CHECK_FALSE(queue.try_push(3, ec));
            CHECK(ec == channel_errc::closed);
            CHECK_FALSE(producer.try_send(3, ec));
            CHECK(ec == channel_errc::closed);
            (void)queue.consumer(ec);
            CHECK(ec == channel_errc::closed);
            auto first = co_await consumer.async_take(asio::use_awaitable);
            auto second = co_await consumer.async_take(asio::use_awaitable);
            CHECK(first.acknowledge());
            CHECK(second.reject());
            (void)co_await consumer.async_take(asio::redirect_error(asio::use_awaitable, ec));
            CHECK(ec == channel_errc::closed);
            CHECK((co_await queue.async_dead_letter(asio::use_awaitable)).value == 2);
            (void)co_await queue.async_dead_letter(asio::redirect_error(asio::use_awaitable, ec));
            CHECK(ec == channel_errc::closed);
        });
    }

    TEST_CASE("destroyed: consumers and producers hear of it, and nothing is left")
    {
        const procyard_test::descriptor_check no_leak;
        asio::io_context ctx;
        std::optional<work_queue<int>> queue(std::in_place, ctx.get_executor());
        work_source<int> consumer(ctx.get_executor(), queue->consumer());
        sender<int> producer(ctx.get_executor(), queue->producer());
        const auto never_opened = queue->consumer();
        outcome<error_code, leased<int>> taken;
        consumer.async_take(taken.handler());
        ctx.poll();
        queue.reset();
        procyard_test::run(ctx);
        CHECK(taken.error() == channel_errc::closed);
        error_code ec;
        CHECK_FALSE(producer.try_send(1, ec));
        CHECK(ec == channel_errc::closed);
    }

    TEST_CASE("a consumer's end that nobody opens is one that has gone; opened twice it is refused")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor());
        error_code ec;
        auto end = queue.consumer();
        procyard::unopened<work_source<int>> twin(
            procyard::unique_fd(::fcntl(end.native_handle(), F_DUPFD_CLOEXEC, 0)), end.options());
        const work_source<int> opened(ctx.get_executor(), std::move(end), ec);
        CHECK_FALSE(ec);
        const work_source<int> again(ctx.get_executor(), std::move(twin), ec);
        CHECK(ec == channel_errc::already_taken);
        CHECK_FALSE(again.is_open());
        {
            const auto dropped = queue.consumer();
        }
        CHECK(queue.statistics().consumers == 2);
        ctx.restart();
        procyard_test::run_until(ctx, [&] { return queue.statistics().consumers == 1; });
    }

    TEST_CASE("options that make no sense, and an end of another type, are refused")
    {
        asio::io_context ctx;
        for (const auto& bad :
             {work_queue_options{.capacity = 0}, work_queue_options{.lease = 0ns},
              work_queue_options{.lease = -1s}, work_queue_options{.leases_per_consumer = 0},
              work_queue_options{.leases_per_consumer = 5000}}) {
            error_code ec;
            const work_queue<int> queue(ctx.get_executor(), bad, ec);
            CHECK(ec == boost::system::errc::invalid_argument);
            CHECK_FALSE(queue.is_open());
        }
        work_queue<int> queue(ctx.get_executor());
        auto end = queue.consumer();
        procyard::unopened<work_source<double>> wrong(std::move(end).take(), end.options());
        work_source<double> opened(ctx.get_executor(), std::move(wrong));
        outcome<error_code, leased<double>> taken;
        opened.async_take(taken.handler());
        procyard_test::run_until(ctx, [&] { return taken.done(); });
        CHECK(taken.error() == channel_errc::other_type);
        auto channel = procyard::make_channel<int>();
        error_code ec;
        const work_source<int> none(
            ctx.get_executor(),
            procyard::unopened<work_source<int>>(std::move(channel.receiver).take(), {}), ec);
        CHECK(ec);
    }
}
