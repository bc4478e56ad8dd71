// SPDX-License-Identifier: BSL-1.0
//
// This program lets allocations fail: what becomes of lines when there is no memory for them.
#include "log_feed.hpp"

#include <doctest/doctest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "allocations.hpp"
#include "each_allocation.hpp"
#include "log_queue.hpp"
#include "output_lines.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::log_batch;
using procyard::service_output;
using procyard::detail::log_feed;
using procyard::detail::log_queue;
using procyard::detail::log_sink;
using procyard::detail::output_lines;
using procyard::detail::output_tail;

namespace {

constexpr std::uint64_t many = 400;

// In their order, each once.
struct received {
    void take(const log_batch& batch)
    {
        told += batch.lost;
        for (const auto& line : batch.lines) {
            // Without an allocation, which would be one that fails.
            std::uint64_t number = 0;
            std::from_chars(line.text.data(), line.text.data() + line.text.size(), number);
            in_order = in_order && number > last;
            last = number;
            ++lines;
        }
    }
    bool in_order = true;
    std::uint64_t told = 0;
    std::uint64_t lines = 0;
    std::uint64_t last = 0;
};

// Longer than what a string holds in itself.
std::string line_of(std::uint64_t number)
{
    return std::to_string(number) + std::string(100, ' ');
}

// Where an operation cannot be begun in a coroutine, for want of memory, Asio ends that coroutine
// without a completion, and lets the exception out of run().
void poll(asio::io_context& ctx)
{
    try {
        ctx.restart();
        ctx.poll();
    } catch (const std::bad_alloc&) {
        ctx.restart();
        ctx.poll();
    }
}

}  // namespace

TEST_SUITE("log_queue: allocations")
{
    TEST_CASE("a line for which there is no memory is lost, and whoever gets the next is told")
    {
        const auto failures = fail_each([](std::size_t nth) {
            CAPTURE(nth);
            log_queue queue({});
            received all;
            std::string lines[many];
            for (std::uint64_t i = 0; i < many; ++i)
                lines[i] = line_of(i + 1);
            bool failed = false;
            {
                const failing_allocation none(nth);
                for (const auto& line : lines)
                    queue.push(service_output::out, line);
                failed = none.has_failed();
            }
            CHECK(queue.lost() == (failed ? 1 : 0));
            all.take(queue.take());
            CHECK(all.lines + all.told == many);
            CHECK(all.told == queue.lost());
            CHECK(all.in_order);
            return failed;
        });
        CHECK(failures > 5);
    }

    TEST_CASE("a batch for which there is no memory goes on waiting")
    {
        log_queue queue({});
        for (std::uint64_t i = 1; i <= many; ++i)
            queue.push(service_output::out, line_of(i));
        {
            const failing_allocation none(1);
            CHECK_THROWS_AS((void)queue.take(), std::bad_alloc);
        }
        received all;
        all.take(queue.take());
        CHECK(all.lines == many);
        CHECK(queue.lost() == 0);
    }
}

TEST_SUITE("log_feed: allocations")
{
    TEST_CASE("each line comes to the task or is counted, whatever allocation fails")
    {
        const auto failures = fail_each([](std::size_t nth) {
            CAPTURE(nth);
            asio::io_context ctx(1);
            received all;
            const auto sink = std::make_shared<log_sink>();
            sink->task = [&](log_batch batch) -> asio::awaitable<void> {
                all.take(batch);
                co_return;
            };
            const auto feed = std::make_shared<log_feed>(ctx.get_executor(), sink, [] { });
            bool failed = false;
            std::string lines[many];
            for (std::uint64_t i = 0; i < many; ++i)
                lines[i] = line_of(i + 1);
            {
                const failing_allocation none(nth);
                for (std::uint64_t i = 0; i < many; ++i) {
                    feed->take(service_output::out, lines[i]);
                    if (i % 100 == 99)
                        poll(ctx);
                }
                failed = none.has_failed();
            }
            // With the next line comes what had to wait.
            feed->take(service_output::out, line_of(many + 1));
            run(ctx);
            CHECK(all.lines + feed->lost() == many + 1);
            CHECK(all.last == many + 1);
            CHECK(all.in_order);
            CHECK(feed->idle());
            return failed;
        });
        CHECK(failures > 10);
    }
}

TEST_SUITE("log_feed: allocations, and its end")
{
    TEST_CASE("a feed that ends for want of memory says that it is idle, and gives up its sink")
    {
        const auto failures = fail_each([](std::size_t nth) {
            CAPTURE(nth);
            asio::io_context ctx(1);
            bool is_released = false;
            std::size_t said_idle = 0;
            auto sink = std::make_shared<log_sink>();
            const std::weak_ptr<log_sink> seen = sink;
            sink->task = [](log_batch) -> asio::awaitable<void> { co_return; };
            const auto feed =
                std::make_shared<log_feed>(ctx.get_executor(), sink, [&] { ++said_idle; });
            sink.reset();
            bool failed = false;
            bool began = false;
            {
                const failing_allocation none(nth);
                feed->take(service_output::out, "line");
                began = !feed->idle();
                if (began)
                    feed->release();
                is_released = began;
                poll(ctx);
                failed = none.has_failed();
            }
            run(ctx);
            CHECK(feed->idle());
            CHECK(said_idle >= (began ? 1U : 0U));
            CHECK(seen.expired() == is_released);
            return failed;
        });
        CHECK(failures > 3);
    }
}

TEST_SUITE("output_lines: allocations")
{
    TEST_CASE("a line that comes in pieces, for which there is no memory, is lost as a whole")
    {
        const auto failures = fail_each([](std::size_t nth) {
            CAPTURE(nth);
            output_lines lines;
            std::uint64_t seen = 0;
            std::uint64_t whole = 0;
            const auto each = [&](std::string_view line) {
                ++seen;
                whole += line.size() == 3000 ? 1 : 0;
            };
            const std::string piece(1000, 'x');
            bool failed = false;
            {
                const failing_allocation none(nth);
                for (int i = 0; i < 4; ++i) {
                    for (int j = 0; j < 3; ++j)
                        lines.take(piece, each);
                    lines.take("\nshort\n", each);
                }
                failed = none.has_failed();
            }
            const auto lost = lines.take_lost();
            CHECK(lost == (failed ? 1 : 0));
            CHECK(whole + lost == 4);
            CHECK(seen == whole + 4);
            CHECK(lines.take_lost() == 0);
            return failed;
        });
        CHECK(failures > 0);
    }

    TEST_CASE("the tail of an output has no gap when there was no memory for a part of it")
    {
        output_tail tail(100);
        tail.take(std::string(50, 'a'));
        {
            const failing_allocation none(1);
            tail.take(std::string_view("0123456789012345678901234567890123456789012345678901234567"
                                       "8901234567890123456789012345678901234567890123456789"));
            CHECK(none.has_failed());
        }
        tail.take("after");
        CHECK(tail.get() == "after");
    }
}
