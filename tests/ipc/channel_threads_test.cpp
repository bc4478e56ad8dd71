// SPDX-License-Identifier: BSL-1.0
// Channels of a host with threads, strands and children that are copies of it.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard_test::outcome;
using procyard_test::run;

namespace {

constexpr procyard::channel_options few{.capacity_messages = 8};
constexpr int many = 5'000;

asio::awaitable<void> send_numbers(sender<int> s)
{
    for (int i = 0; i < many; ++i)
        co_await s.async_send(i, asio::use_awaitable);
}

asio::awaitable<void> receive_numbers(receiver<int> r, std::atomic<int>& wrong)
{
    for (int i = 0; i < many; ++i)
        wrong += co_await r.async_receive(asio::use_awaitable) == i ? 0 : 1;
}

}  // namespace

TEST_SUITE("channel threads")
{
    TEST_CASE("each end on a strand of its own, all in one pool")
    {
        std::atomic<int> wrong{0};
        std::atomic<int> finished{0};
        asio::thread_pool pool(3);
        const auto count = [&](std::exception_ptr failure) { finished += failure ? 100 : 1; };
        for (int i = 0; i < 3; ++i) {
            auto ends = make_channel<int>(few);
            const auto one = asio::make_strand(pool);
            const auto other = asio::make_strand(pool);
            asio::co_spawn(one, send_numbers(sender<int>(one, std::move(ends.sender))), count);
            asio::co_spawn(other,
                           receive_numbers(receiver<int>(other, std::move(ends.receiver)), wrong),
                           count);
        }
        pool.join();
        CHECK(finished == 6);
        CHECK(wrong == 0);
    }

    TEST_CASE("both ends on one strand of a pool, with handlers that start the next operation")
    {
        asio::thread_pool pool(3);
        const auto strand = asio::make_strand(pool);
        std::optional<channel<int>> c(std::in_place, strand, few);
        int received = 0;
        int wrong = 0;
        std::function<void(error_code, int)> on_message = [&](error_code ec, int n) {
            wrong += !ec && n == received ? 0 : 1;
            if (++received < many)
                c->receiver.async_receive(on_message);
        };
        int sent = 0;
        std::function<void(error_code)> on_sent = [&](error_code ec) {
            wrong += ec ? 1 : 0;
            if (++sent < many)
                c->sender.async_send(sent, on_sent);
        };
        asio::post(strand, [&] {
            c->receiver.async_receive(on_message);
            c->sender.async_send(0, on_sent);
        });
        pool.join();
        CHECK(received == many);
        CHECK(wrong == 0);
    }

    TEST_CASE("an end on the context of a pool, its handlers on a strand")
    {
        asio::thread_pool pool(2);
        const auto strand = asio::make_strand(pool);
        std::optional<channel<int>> c(std::in_place, pool.get_executor(), few);
        int received = 0;
        asio::post(strand, [&] {
            for (int i = 0; i < 8; ++i) {
                c->receiver.async_receive(asio::bind_executor(
                    strand, [&](error_code ec, int) { received += ec ? 0 : 1; }));
            }
            for (int i = 0; i < 8; ++i)
                CHECK(c->sender.try_send(i));
        });
        pool.join();
        CHECK(received == 8);
    }

    TEST_CASE("ends that are made, used and dropped in two threads at the same time (case 40)")
    {
        for (int round = 0; round < 100; ++round) {
            auto ends = make_channel<int>(few);
            std::thread other([&, end = std::move(ends.sender)]() mutable {
                asio::io_context ctx;
                sender<int> s(ctx.get_executor(), std::move(end));
                for (int i = 0; i < round % 8; ++i)
                    (void)s.try_send(i);
            });
            asio::io_context ctx;
            receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
            int next = 0;
            error_code end;
            procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                while (!end) {
                    try {
                        const int n = co_await r.async_receive(asio::use_awaitable);
                        CHECK(n == next++);
                    } catch (const boost::system::system_error& e) {
                        end = e.code();
                    }
                }
            });
            other.join();
            CHECK(end == procyard::channel_errc::closed);
            CHECK(next == round % 8);
        }
    }
}

TEST_SUITE("channel fork")
{
    TEST_CASE("a copy of the process that leaves without a word disturbs nobody")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor());
        outcome<error_code, std::string> received;
        c.receiver.async_receive(received.handler());
        ctx.poll();
        CHECK(procyard_test::in_fork([] { return 0; }) == 0);
        CHECK(procyard_test::in_fork([] {
                  ::_exit(3);
                  return 0;
              })
              == 3);
        CHECK(procyard_test::in_fork([] {
                  std::quick_exit(4);
                  return 0;
              })
              == 4);
        ctx.poll();
        CHECK_FALSE(received.done());
        CHECK(c.sender.try_send("still there"));
        run(ctx);
        CHECK(received.result() == "still there");
        CHECK(c.receiver.is_open());
    }

    TEST_CASE("a copy that lives on does not hide a close (but it hides a death)")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>();
        std::optional<sender<int>> s(std::in_place, ctx.get_executor(), std::move(ends.sender));
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        outcome<error_code, int> received;
        r.async_receive(received.handler());
        ctx.poll();
        const procyard_test::forked copy([] {
            ::pause();
            return 0;
        });
        s.reset();
        run(ctx);
        CHECK(received.error() == procyard::channel_errc::closed);
    }
}
