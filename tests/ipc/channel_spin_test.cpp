// SPDX-License-Identifier: BSL-1.0
// Looking again before sleeping: by the operations, and by who asks for it. One nanosecond is time
// enough for a few looks.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>

#include <unistd.h>

#include <chrono>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard_test::drain;
using procyard_test::fill;
using procyard_test::outcome;
using procyard_test::run;

namespace {

const channel_options looks_again{.capacity_messages = 2, .spin = std::chrono::nanoseconds(1)};

// Whoever spins on the only processor keeps the peer from running.
bool may_spin()
{
    return ::sysconf(_SC_NPROCESSORS_ONLN) > 1;
}

}  // namespace

TEST_SUITE("channel: spin")
{
    TEST_CASE("is none unless it was asked for")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        CHECK_FALSE(c.receiver.spin());
        REQUIRE(c.sender.try_send(1));
        CHECK_FALSE(c.receiver.spin());
        CHECK(c.receiver.statistics().spins == 0);
        CHECK(c.receiver.try_receive() == 1);
    }

    TEST_CASE("sees a message, and room, and takes neither")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), looks_again);
        CHECK_FALSE(c.receiver.spin());
        REQUIRE(c.sender.try_send(1));
        CHECK(c.receiver.spin() == may_spin());
        CHECK(c.receiver.statistics().spins == (may_spin() ? 1 : 0));
        CHECK(c.receiver.try_receive() == 1);
        CHECK(fill(c.sender) == 2);
        CHECK_FALSE(c.sender.spin());
        CHECK(c.receiver.try_receive() == 0);
        CHECK(c.sender.spin() == may_spin());
        CHECK(c.sender.try_send(2));
    }

    TEST_CASE("is over at once when the channel has ended, and the next attempt says so")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), looks_again);
        c.sender.close();
        CHECK(c.receiver.spin() == may_spin());
        int message = 0;
        error_code ec;
        CHECK_FALSE(c.receiver.try_receive(message, ec));
        CHECK(ec == channel_errc::closed);
    }

    TEST_CASE("in vain is not repeated by the operation that follows, but by the one after it")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), looks_again);
        for (int times = 0; times < 2; ++times) {
            CHECK_FALSE(c.receiver.spin());
            const auto sleeps = c.receiver.statistics().sleeps;
            outcome<error_code, int> received;
            c.receiver.async_receive(received.handler());
            // It sleeps already: without a turn, in which it would look again first.
            CHECK(c.receiver.statistics().sleeps == sleeps + 1);
            REQUIRE(c.sender.try_send(7));
            run(ctx);
            CHECK_FALSE(received.error());
            CHECK(c.receiver.statistics().spins == 0);
        }
        outcome<error_code, int> received;
        const auto sleeps = c.receiver.statistics().sleeps;
        c.receiver.async_receive(received.handler());
        CHECK(c.receiver.statistics().sleeps == sleeps + (may_spin() ? 0 : 1));
        REQUIRE(c.sender.try_send(8));
        run(ctx);
        CHECK_FALSE(received.error());
    }

    TEST_CASE("of an end whose peer has not come is in vain")
    {
        asio::io_context ctx;
        auto ends = procyard::make_channel<int>(looks_again);
        procyard::receiver<int> rx(ctx.get_executor(), std::move(ends.receiver));
        CHECK_FALSE(rx.spin());
        procyard::sender<int> tx(ctx.get_executor(), std::move(ends.sender));
        REQUIRE(tx.try_send(1));
        CHECK(rx.spin() == may_spin());
        CHECK(drain(rx) == 1);
    }
}
