// SPDX-License-Identifier: BSL-1.0
// How items come to a queue, from its owner and from others, and what becomes of those that cannot
// go out.
#include <procyard/ipc/work_queue.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "limit_guard.hpp"
#include "numbered_messages.hpp"
#include "work_fixture.hpp"

namespace asio = boost::asio;
using procyard::dead_letter;
using procyard::error_code;
using procyard::leased;
using procyard::return_reason;
using procyard::sender;
using procyard::work_queue;
using procyard::work_source;
using procyard_test::numbered_text;
using procyard_test::outcome;
using procyard_test::run_with;

namespace {

// Of which some cannot be encoded.
struct moody {
    std::string text;
    static inline bool has_memory = false;
};

}  // namespace

template <>
struct procyard::codec<moody> {
    static constexpr std::string_view layout = "moody";
    static std::size_t size(const moody& m) noexcept { return encoded_size(m.text); }
    static void encode(const moody& m, encoder& out)
    {
        if (m.text == "bad")
            throw std::domain_error("moody");
        if (m.text == "hungry" && !moody::has_memory)
            throw std::bad_alloc();
        out.put(m.text);
    }
    static bool decode(decoder& in, moody& m) { return in.get(m.text); }
};

namespace {

const error_code aborted = asio::error::operation_aborted;

}  // namespace

TEST_SUITE("work_queue: producers")
{
    TEST_CASE("what they send is taken in, in the order of each, and no more than there is room")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(),
                              {.capacity = 8, .channels = {.capacity_messages = 4}});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            sender<int> first(ctx.get_executor(), queue.producer());
            sender<int> second(ctx.get_executor(), queue.producer());
            outcome<error_code, std::size_t> all;
            std::vector<int> numbers;
            for (int i = 0; i < 100; ++i)
                numbers.push_back(i);
            first.async_send_all(numbers, all.handler());
            CHECK(second.try_send(1000));
            second.close();
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            int next = 0;
            bool has_second = false;
            for (int i = 0; i < 101; ++i) {
                auto item = co_await consumer.async_take(asio::use_awaitable);
                const auto statistics = queue.statistics();
                CHECK(statistics.ready + statistics.leased <= 8);
                if (item.value() == 1000)
                    has_second = true;
                else
                    CHECK(item.value() == next++);
                CHECK(item.acknowledge());
            }
            CHECK(has_second);
            CHECK(all.result() == 100);
            CHECK(queue.statistics().producers == 1);
        });
    }

    TEST_CASE("one that always has more to send, and an owner that pushes, take turns")
    {
        asio::io_context ctx;
        for (const std::size_t capacity : {1U, 4U}) {
            work_queue<int> queue(ctx.get_executor(), {.capacity = capacity});
            ctx.restart();
            run_with(ctx, queue, [&]() -> asio::awaitable<void> {
                sender<int> producer(ctx.get_executor(), queue.producer());
                work_source<int> consumer(ctx.get_executor(), queue.consumer());
                const auto fill = [&] {
                    error_code ec;
                    while (producer.try_send(1, ec)) { }
                };
                fill();
                std::vector<outcome<error_code>> pushes(20);
                for (auto& push : pushes)
                    queue.async_push(0, push.handler());
                int pushed = 0;
                int sent = 0;
                while (pushed < 20) {
                    auto item = co_await consumer.async_take(asio::use_awaitable);
                    ++(item.value() == 0 ? pushed : sent);
                    CHECK(item.acknowledge());
                    fill();
                    REQUIRE(sent <= 3 * 20 + 8);
                    REQUIRE(pushed <= sent + 8);
                }
                for (auto& push : pushes)
                    CHECK_FALSE(push.error());
            });
        }
    }

    TEST_CASE("a push that is cancelled when it was its turn leaves it to the producers")
    {
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor(), {.capacity = 1});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            sender<int> producer(ctx.get_executor(), queue.producer());
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            for (int i = 0; i < 10; ++i) {
                CHECK(producer.try_send(2 * i));
                auto item = co_await consumer.async_take(asio::use_awaitable);
                CHECK(item.value() == 2 * i);
                CHECK(producer.try_send(2 * i + 1));
                outcome<error_code> push;
                asio::cancellation_signal signal;
                queue.async_push(-1, asio::bind_cancellation_slot(signal.slot(), push.handler()));
                co_await asio::post(ctx, asio::use_awaitable);
                CHECK(item.acknowledge());
                signal.emit(asio::cancellation_type::total);
                auto next = co_await consumer.async_take(asio::use_awaitable);
                CHECK(push.error() == aborted);
                CHECK(next.value() == 2 * i + 1);
                CHECK(next.acknowledge());
            }
        });
    }

    TEST_CASE("no descriptor for one that comes: the queue goes on, and it is met later")
    {
        const procyard_test::descriptor_check no_leak;
        asio::io_context ctx;
        work_queue<int> queue(ctx.get_executor());
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            sender<int> there(ctx.get_executor(), queue.producer());
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            CHECK(there.try_send(0));
            CHECK((co_await consumer.async_take(asio::use_awaitable)).acknowledge());
            auto producer = queue.producer();
            auto end = queue.consumer();
            sender<int> late(ctx.get_executor(), std::move(producer));
            work_source<int> later(ctx.get_executor(), std::move(end));
            outcome<error_code, leased<int>> taken;
            later.async_take(taken.handler());
            CHECK(late.try_send(100));
            {
                const procyard::unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                const procyard_test::limit_guard none(RLIMIT_NOFILE,
                                                      static_cast<rlim_t>(probe.get()) + 1);
                for (int i = 1; i < 200; ++i) {
                    CHECK(there.try_send(i));
                    auto item = co_await consumer.async_take(asio::use_awaitable);
                    CHECK(item.value() == i);
                    CHECK(item.acknowledge());
                }
                CHECK(queue.is_open());
                CHECK(queue.statistics().producers == 2);
                CHECK(queue.statistics().consumers == 2);
                CHECK_FALSE(taken.done());
            }
            auto item = co_await consumer.async_take(asio::use_awaitable);
            CHECK(item.value() == 100);
            CHECK(there.try_send(200));
            while (!taken.done())
                co_await asio::post(ctx, asio::use_awaitable);
            CHECK(taken.result().value() == 200);
        });
    }

    TEST_CASE("an item whose codec throws is a dead letter, without memory it is tried again")
    {
        asio::io_context ctx;
        work_queue<moody> queue(ctx.get_executor());
        work_source<moody> consumer(ctx.get_executor(), queue.consumer());
        outcome<error_code, leased<moody>> first;
        outcome<error_code, leased<moody>> second;
        consumer.async_take(first.handler());
        ctx.poll();
        error_code ec;
        CHECK(queue.try_push({"bad"}, ec));
        CHECK(queue.try_push({"hungry"}, ec));
        CHECK(queue.try_push({"good"}, ec));
        ctx.restart();
        CHECK_THROWS_AS(procyard_test::run_until(ctx, [&] { return first.done(); }),
                        std::domain_error);
        CHECK(queue.statistics().leased == 0);
        dead_letter<moody> dead;
        REQUIRE(queue.try_dead_letter(dead, ec));
        CHECK(dead.value.text == "bad");
        CHECK(dead.reason == return_reason::unsendable);
        CHECK(dead.attempts == 0);
        CHECK_THROWS_AS(procyard_test::run_until(ctx, [&] { return first.done(); }),
                        std::bad_alloc);
        CHECK(queue.statistics().leased == 0);
        CHECK(queue.statistics().ready == 2);
        moody::has_memory = true;
        procyard_test::run_until(ctx, [&] { return first.done(); });
        CHECK(first.result().value().text == "hungry");
        CHECK(first.result().attempt() == 1);
        consumer.async_take(second.handler());
        procyard_test::run_until(ctx, [&] { return second.done(); });
        CHECK(second.result().value().text == "good");
        moody::has_memory = false;
    }

    TEST_CASE("an item that is too long for the consumers' channels is a dead letter at once")
    {
        asio::io_context ctx;
        work_queue<std::string> queue(ctx.get_executor(), {.channels = {.capacity_bytes = 1024}});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<std::string> consumer(ctx.get_executor(), queue.consumer());
            std::string longest(2000, 'x');
            std::string usual = "usual";
            co_await queue.async_push(longest, asio::use_awaitable);
            co_await queue.async_push(usual, asio::use_awaitable);
            auto item = co_await consumer.async_take(asio::use_awaitable);
            CHECK(item.value() == usual);
            const auto dead = co_await queue.async_dead_letter(asio::use_awaitable);
            CHECK(dead.reason == return_reason::unsendable);
            CHECK(dead.attempts == 0);
            CHECK(dead.value == longest);
        });
    }

    TEST_CASE("one that a producer sends in parts is one item, in its turn, and not lost")
    {
        asio::io_context ctx;
        work_queue<std::string> queue(ctx.get_executor(), {.channels = {.capacity_bytes = 1024}});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            sender<std::string> producer(ctx.get_executor(), queue.producer());
            sender<std::string> other(ctx.get_executor(), queue.producer());
            CHECK(producer.try_send("before"));
            std::vector<std::string> many;
            for (std::uint64_t n = 0; n < 10; ++n)
                many.push_back(numbered_text(n, n % 2 == 0 ? 5000 : 10));
            outcome<error_code, std::size_t> all;
            producer.async_send_all(many, all.handler());
            CHECK(other.try_send("other"));
            work_source<std::string> consumer(ctx.get_executor(), queue.consumer());
            std::vector<std::string> done;
            while (done.size() < 7) {
                auto item = co_await consumer.async_take(asio::use_awaitable);
                done.push_back(item.value());
                CHECK(item.acknowledge());
            }
            CHECK(std::erase(done, "other") == 1);
            CHECK(done.front() == "before");
            for (std::size_t n = 0; n < 5; ++n)
                CHECK(done[n + 1] == many[2 * n + 1]);
            // Longer than what goes out: see the case before this one.
            for (std::size_t n = 0; n < 10; n += 2) {
                const auto dead = co_await queue.async_dead_letter(asio::use_awaitable);
                CHECK(dead.value == many[n]);
                CHECK(dead.reason == return_reason::unsendable);
            }
            CHECK(all.result() == 10);
            CHECK(queue.statistics().pushed == 12);
        });
    }

    TEST_CASE("a consumer's channel that is full of long items: the queue waits for room there")
    {
        asio::io_context ctx;
        work_queue<std::string> queue(ctx.get_executor(), {.channels = {.capacity_bytes = 1024}});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<std::string> consumer(ctx.get_executor(), queue.consumer());
            consumer.prefetch(10);
            for (int i = 0; i < 30; ++i) {
                std::string text(300, static_cast<char>('a' + i % 26));
                co_await queue.async_push(text, asio::use_awaitable);
            }
            for (int i = 0; i < 30; ++i) {
                auto item = co_await consumer.async_take(asio::use_awaitable);
                CHECK(item.value() == std::string(300, static_cast<char>('a' + i % 26)));
                CHECK(item.attempt() == 1);
                CHECK(item.acknowledge());
            }
        });
    }

    TEST_CASE("channels that drop what finds no room drop nothing that goes out")
    {
        asio::io_context ctx;
        work_queue<int> queue(
            ctx.get_executor(),
            {.channels = {.capacity_messages = 2, .full = procyard::when_full::drop_newest}});
        run_with(ctx, queue, [&]() -> asio::awaitable<void> {
            work_source<int> consumer(ctx.get_executor(), queue.consumer());
            consumer.prefetch(8);
            leased<int> none;
            error_code ec;
            CHECK_FALSE(consumer.try_take(none, ec));  // asks for all of them
            for (int i = 0; i < 8; ++i)
                co_await queue.async_push(i, asio::use_awaitable);
            for (int i = 0; i < 8; ++i) {
                auto item = co_await consumer.async_take(asio::use_awaitable);
                CHECK(item.value() == i);
                CHECK(item.attempt() == 1);
                CHECK(item.acknowledge());
            }
            co_await queue.async_drain(asio::use_awaitable);
            CHECK(queue.statistics().done == 8);
        });
    }
}
