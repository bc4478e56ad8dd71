// SPDX-License-Identifier: BSL-1.0
// Operations that race: with each other, with messages that arrive, in one thread and in two.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using procyard::channel;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard_test::run;
using procyard_test::run_coroutine;

namespace {

// PROCYARD_RACES in the environment says it; CONTRIBUTING.md has a number.
int asked_races()
{
    if (const auto* const asked = std::getenv("PROCYARD_RACES")) {
        const int number = std::atoi(asked);
        REQUIRE(number > 0);
        return number;
    }
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 2'000;  // a sanitizer makes them slow
#else
    return 10'000;
#endif
}

// Looked up by a test: before main() a REQUIRE has none to belong to, and ends the program.
int many()
{
    static const int number = asked_races();
    return number;
}

constexpr procyard::channel_options small{.capacity_messages = 8};

asio::awaitable<void> send_numbers(sender<int>& s, int count)
{
    for (int i = 0; i < count; ++i)
        co_await s.async_send(i, asio::use_awaitable);
}

// Each must be the one after the last.
struct in_order {
    int next = 0;
    bool good = true;

    void operator()(int n)
    {
        good = good && n == next;
        ++next;
    }
};

asio::awaitable<void> select_of_two(receiver<int>& a, receiver<int>& b, in_order& from_a,
                                    in_order& from_b)
{
    while (from_a.next < many() || from_b.next < many()) {
        const auto got =
            co_await (a.async_receive(asio::use_awaitable) || b.async_receive(asio::use_awaitable));
        got.index() == 0 ? from_a(std::get<0>(got)) : from_b(std::get<1>(got));
    }
}

// A second thread with an io_context, in which `body` runs.
class other_thread {
public:
    explicit other_thread(std::function<void(asio::io_context&)> body)
        : thread_([body = std::move(body)] {
              asio::io_context ctx;
              body(ctx);
              ctx.run_for(procyard_test::deadlock_guard);
          })
    {
    }
    ~other_thread() { thread_.join(); }

private:
    std::thread thread_;
};

}  // namespace

TEST_SUITE("channel select")
{
    TEST_CASE("two channels: exactly one is taken from, the other is left untouched (case 25)")
    {
        asio::io_context ctx;
        channel<int> a(ctx.get_executor());
        channel<int> b(ctx.get_executor());
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (int i = 0; i < 1000; ++i) {
                CHECK(a.sender.try_send(i));
                CHECK(b.sender.try_send(-i));
                const auto got = co_await (a.receiver.async_receive(asio::use_awaitable)
                                           || b.receiver.async_receive(asio::use_awaitable));
                const auto left_a = a.receiver.try_receive();
                const auto left_b = b.receiver.try_receive();
                CHECK(left_a.has_value() == (got.index() == 1));
                CHECK(left_b.has_value() == (got.index() == 0));
            }
        });
    }

    TEST_CASE("in a loop, in one thread: no message is lost or repeated")
    {
        asio::io_context ctx;
        channel<int> a(ctx.get_executor(), small);
        channel<int> b(ctx.get_executor(), small);
        in_order from_a;
        in_order from_b;
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            co_await (send_numbers(a.sender, many()) && send_numbers(b.sender, many())
                      && select_of_two(a.receiver, b.receiver, from_a, from_b));
        });
        CHECK(from_a.good);
        CHECK(from_b.good);
    }

    TEST_CASE("in a loop, of senders in another thread: no message is lost or repeated")
    {
        asio::io_context ctx;
        auto a = make_channel<int>(small);
        auto b = make_channel<int>(small);
        const other_thread senders([&](asio::io_context& there) {
            asio::co_spawn(
                there,
                [](sender<int> to_a,
                   sender<int> to_b) -> asio::awaitable<void> {
                    co_await (send_numbers(to_a, many()) && send_numbers(to_b, many()));
                }(sender<int>(there.get_executor(), std::move(a.sender)),
                                     sender<int>(there.get_executor(), std::move(b.sender))),
                [](std::exception_ptr) {});
        });
        receiver<int> ra(ctx.get_executor(), std::move(a.receiver));
        receiver<int> rb(ctx.get_executor(), std::move(b.receiver));
        in_order from_a;
        in_order from_b;
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            co_await select_of_two(ra, rb, from_a, from_b);
        });
        CHECK(from_a.good);
        CHECK(from_b.good);
    }

    TEST_CASE("a receive against something else that ends at any moment (case 23)")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>(small);
        const other_thread senders([&](asio::io_context& there) {
            asio::co_spawn(
                there,
                [](sender<int> s) -> asio::awaitable<void> {
                    co_await send_numbers(s, many());
                }(sender<int>(there.get_executor(), std::move(ends.sender))),
                [](std::exception_ptr) {});
        });
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        in_order received;
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            while (received.next < many()) {
                const auto got = co_await (r.async_receive(asio::use_awaitable)
                                           || asio::post(ctx, asio::use_awaitable));
                if (got.index() == 0)
                    received(std::get<0>(got));
            }
        });
        CHECK(received.good);
    }

    TEST_CASE("a receive against a timer of no time, of 1 ns, and of one without an end (case 22)")
    {
        using namespace std::chrono_literals;
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), small);
        asio::steady_timer timer(ctx);
        const auto race = [&]() -> asio::awaitable<std::optional<int>> {
            const auto got = co_await (c.receiver.async_receive(asio::use_awaitable)
                                       || timer.async_wait(asio::use_awaitable));
            if (got.index() == 1)
                co_return std::nullopt;
            co_return std::get<0>(got);
        };
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (const auto period : {-1h + 0ns, 0ns, 1ns}) {
                timer.expires_after(period);
                CHECK(co_await race() == std::nullopt);
                CHECK(c.sender.try_send(1));
                CHECK(c.receiver.try_receive() == 1);  // it has taken nothing
                // What is there already, one of the two has, and not both.
                CHECK(c.sender.try_send(2));
                timer.expires_after(period);
                const auto raced = co_await race();
                CHECK(c.receiver.try_receive().has_value() == !raced.has_value());
            }
            for (const auto when :
                 {std::chrono::steady_clock::time_point::max(),
                  std::chrono::steady_clock::now() + std::chrono::hours(24 * 365 * 200)}) {
                timer.expires_at(when);
                asio::post(ctx, [&] { CHECK(c.sender.try_send(3)); });
                CHECK(co_await race() == 3);
            }
        });
        CHECK(c.receiver.try_receive() == std::nullopt);
    }

    TEST_CASE("a send against something else that ends at any moment (case 23)")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>({.capacity_messages = 2});
        in_order received;
        {
            const other_thread receivers([&](asio::io_context& there) {
                asio::co_spawn(
                    there,
                    [](receiver<int> r, in_order& check) -> asio::awaitable<void> {
                        while (check.next < many())
                            check(co_await r.async_receive(asio::use_awaitable));
                    }(receiver<int>(there.get_executor(), std::move(ends.receiver)), received),
                    [](std::exception_ptr) {});
            });
            sender<int> s(ctx.get_executor(), std::move(ends.sender));
            run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                for (int i = 0; i < many();) {
                    const auto got = co_await (s.async_send(i, asio::use_awaitable)
                                               || asio::post(ctx, asio::use_awaitable));
                    if (got.index() == 0)
                        ++i;
                }
            });
        }
        CHECK(received.good);
        CHECK(received.next == many());
    }

    TEST_CASE("a cancellation by hand, at an instant of its own, against arrival (case 23)")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>(small);
        const other_thread senders([&](asio::io_context& there) {
            asio::co_spawn(
                there,
                [](sender<int> s) -> asio::awaitable<void> {
                    co_await send_numbers(s, many());
                }(sender<int>(there.get_executor(), std::move(ends.sender))),
                [](std::exception_ptr) {});
        });
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        in_order received;
        int cancelled = 0;
        asio::cancellation_signal signal;
        while (received.next < many() && received.good) {
            bool done = false;
            r.async_receive(asio::bind_cancellation_slot(signal.slot(), [&](error_code ec, int n) {
                done = true;
                ec ? static_cast<void>(++cancelled) : received(n);
            }));
            const int turns = (received.next + cancelled) % 4;
            ctx.restart();
            for (int i = 0; i < turns; ++i)
                ctx.poll_one();
            signal.emit(asio::cancellation_type::total);
            run(ctx);
            REQUIRE(done);
        }
        CHECK(received.good);
        CHECK(cancelled > 0);
    }
}
