// SPDX-License-Identifier: BSL-1.0
// What an end says of itself: every figure, exactly.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::error_code;
using procyard_test::drain;
using procyard_test::fill;
using procyard_test::outcome;
using procyard_test::run;

TEST_SUITE("channel: statistics, exactly")
{
    TEST_CASE("depth is in messages, used in bytes, of texts of all lengths around the ring")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 256});
        std::uint64_t there = 0;
        for (std::size_t n = 0; n < 200; ++n) {
            CAPTURE(n);
            while (c.sender.try_send(std::string(n * 7 % 90, 't')))
                ++there;
            CHECK(c.sender.statistics().depth == there);
            CHECK(c.receiver.statistics().depth == there);
            CHECK(c.receiver.statistics().used == c.sender.statistics().used);
            REQUIRE(c.receiver.try_receive());
            --there;
            CHECK(c.sender.statistics().depth == there);
            CHECK(c.receiver.statistics().depth == there);
        }
        drain(c.receiver);
        CHECK(c.receiver.statistics().depth == 0);
        CHECK(c.receiver.statistics().used == 0);
    }

    TEST_CASE("depth before the peer has come: what waits for it")
    {
        asio::io_context ctx;
        auto ends = procyard::make_channel<std::string>();
        procyard::sender<std::string> s(ctx.get_executor(), std::move(ends.sender));
        CHECK(s.try_send("one"));
        CHECK(s.try_send("two"));
        CHECK(s.statistics().depth == 2);
        CHECK(s.statistics().rung == 0);
        CHECK(s.statistics().elided == 2);
        procyard::receiver<std::string> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(r.statistics().depth == 2);
    }

    TEST_CASE("every publication is either rung for or elided")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 16});
        CHECK(c.sender.try_send(1));
        CHECK(c.sender.try_send(2));
        CHECK(drain(c.receiver) == 2);
        CHECK(c.sender.statistics().elided == 2);
        CHECK(c.sender.statistics().rung == 0);
        CHECK(c.receiver.statistics().elided == 2);

        outcome<error_code, int> got;
        c.receiver.async_receive(got.handler());
        ctx.poll();
        CHECK(c.sender.try_send(3));  // the receiver sleeps
        CHECK(c.sender.try_send(4));  // and has been rung for
        run(ctx);
        CHECK(c.sender.statistics().rung == 1);
        CHECK(c.sender.statistics().elided == 3);
        CHECK(c.receiver.statistics().woken == 1);
        CHECK(c.receiver.statistics().sleeps == 1);
        CHECK(c.receiver.statistics().stalls == 1);
    }

    TEST_CASE("high water is the most that an end has found, also of one that never waits")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 16});
        for (const int burst : {3, 9, 2}) {
            for (int n = 0; n < burst; ++n)
                REQUIRE(c.sender.try_send(n));
            CHECK(drain(c.receiver) == static_cast<std::size_t>(burst));
        }
        CHECK(c.receiver.statistics().high_water == 9);
        CHECK(c.sender.statistics().high_water == 0);  // it has always found room at once
        CHECK(fill(c.sender) == 16);
        CHECK(c.sender.statistics().high_water == 16);
        CHECK(c.receiver.statistics().stalls == 0);  // to try is not to wait
    }

    TEST_CASE("a wait that ends by looking again is a spin, and no sleep")
    {
        if (::sysconf(_SC_NPROCESSORS_ONLN) == 1)
            return;  // nobody spins there
        std::uint64_t spins = 0;
        for (int round = 0; round < 1000 && spins == 0; ++round) {
            asio::io_context ctx;
            channel<int> c(ctx.get_executor(),
                           {.capacity_messages = 4, .spin = std::chrono::seconds(30)});
            std::atomic<bool> goes{false};
            std::thread peer([&] {
                goes.wait(false);
                CHECK(c.sender.try_send(7));
            });
            outcome<error_code, int> got;
            c.receiver.async_receive(got.handler());
            goes = true;
            goes.notify_one();
            run(ctx);
            peer.join();
            CHECK(got.result() == 7);
            const auto now = c.receiver.statistics();
            CHECK(now.sleeps == 0);
            CHECK(now.stalls == now.spins);  // none, if the message was quicker
            spins = now.spins;
        }
        CHECK(spins == 1);
    }
}

TEST_SUITE("message_batch: empty")
{
    TEST_CASE("says whether there is something left, of cells and of records")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 4});
        CHECK(procyard::message_batch<int>().empty());
        fill(c.sender, 1);
        error_code ec;
        auto batch = c.receiver.try_receive_batch(ec);
        int n = 0;
        for (int left = 4; left > 0; --left) {
            CHECK_FALSE(batch.empty());
            CHECK(batch.size() == static_cast<std::size_t>(left));
            CHECK(batch.next(n));
        }
        CHECK(batch.empty());
        CHECK_FALSE(batch.next(n));
        batch.release();
        CHECK(batch.empty());

        channel<std::string_view> texts(ctx.get_executor());
        CHECK(texts.sender.try_send("one"));
        CHECK(texts.sender.try_send("two"));
        auto views = texts.receiver.try_receive_batch(ec);
        std::string_view view;
        CHECK_FALSE(views.empty());
        CHECK(views.next(view));
        CHECK_FALSE(views.empty());
        CHECK(views.next(view));
        CHECK(views.empty());
    }
}
