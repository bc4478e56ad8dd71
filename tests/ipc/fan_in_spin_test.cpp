// SPDX-License-Identifier: BSL-1.0
// A fan-in that looks again before it sleeps. It may for a minute, so that it does not depend on
// when a message comes whether it has to sleep.
#include <procyard/ipc/fan_in.hpp>

#include <boost/asio/io_context.hpp>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::arrival;
using procyard::channel;
using procyard::error_code;
using procyard::fan_in;
using procyard_test::outcome;
using procyard_test::run;

namespace {

constexpr auto long_enough = std::chrono::minutes(1);

// Whoever spins on the only processor keeps the peer from running.
bool may_spin()
{
    return ::sysconf(_SC_NPROCESSORS_ONLN) > 1;
}

// Receives what another thread sends when this one has begun to wait for it.
int receive_from(asio::io_context& ctx, fan_in<int>& from, procyard::sender<int>& to, int message)
{
    outcome<error_code, arrival<int>> got;
    from.async_receive(got.handler());
    std::atomic<bool> waits{false};
    std::thread sending([&] {
        while (!waits)
            std::this_thread::yield();
        (void)to.try_send(message);
    });
    waits = true;
    run(ctx);
    sending.join();
    REQUIRE_FALSE(got.error());
    return got.result().message;
}

}  // namespace

TEST_SUITE("fan_in: spin")
{
    TEST_CASE("a message that comes soon enough costs no sleep")
    {
        asio::io_context ctx;
        fan_in<int> all(ctx.get_executor(), {.spin = long_enough});
        channel<int> c(ctx.get_executor());
        const auto id = all.add(std::move(c.receiver));
        for (int n = 0; n < 20; ++n)
            CHECK(receive_from(ctx, all, c.sender, n) == n);
        if (may_spin())
            CHECK(all.statistics(id).sleeps == 0);
    }

    TEST_CASE("two sources in turns, of which one ends, and no sleep")
    {
        asio::io_context ctx;
        channel<int> first(ctx.get_executor());
        channel<int> second(ctx.get_executor());
        fan_in<int> all(ctx.get_executor(), {.spin = long_enough});
        const auto one = all.add(std::move(first.receiver));
        const auto other = all.add(std::move(second.receiver));
        for (int n = 0; n < 20; ++n)
            CHECK(receive_from(ctx, all, n % 2 == 0 ? first.sender : second.sender, n) == n);
        first.sender.close();
        arrival<int> last;
        error_code ec;
        REQUIRE(all.try_receive(last, ec));
        CHECK(last.ended);
        CHECK(receive_from(ctx, all, second.sender, 20) == 20);
        if (may_spin()) {
            CHECK(all.statistics(one).sleeps == 0);
            CHECK(all.statistics(other).sleeps == 0);
        }
    }

    TEST_CASE("in vain, and without being asked to, it sleeps")
    {
        for (const auto spin : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(1)}) {
            asio::io_context ctx;
            fan_in<int> all(ctx.get_executor(), {.spin = spin});
            channel<int> c(ctx.get_executor());
            const auto id = all.add(std::move(c.receiver));
            outcome<error_code, arrival<int>> got;
            all.async_receive(got.handler());
            ctx.poll();
            CHECK(all.statistics(id).sleeps == 1);
            CHECK(c.sender.try_send(1));
            run(ctx);
            REQUIRE_FALSE(got.error());
            CHECK(got.result().message == 1);
        }
    }
}
