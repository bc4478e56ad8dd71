// SPDX-License-Identifier: BSL-1.0
// What a channel can be told: its name, and what a sender does when the ring is full.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/system/system_error.hpp>

#include <array>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "message_samples.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::channel_errc;
using procyard::channel_name;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::when_full;
using procyard_test::drain;
using procyard_test::fill;
using procyard_test::outcome;
using procyard_test::run;

namespace {

std::string mappings()
{
    std::ifstream maps("/proc/self/maps");
    return {std::istreambuf_iterator<char>(maps), {}};
}

error_code send_result(asio::io_context& ctx, sender<int>& s, int message)
{
    outcome<error_code> sent;
    s.async_send(message, sent.handler());
    run(ctx);
    return sent.error();
}

}  // namespace

TEST_SUITE("channel: name")
{
    TEST_CASE("is told by both ends and in /proc/PID/maps, and by nobody when they are gone")
    {
        asio::io_context ctx;
        {
            channel<int> c(ctx.get_executor(), {.name = "my-ticks.1"});
            CHECK(c.sender.name() == "my-ticks.1");
            CHECK(c.receiver.name() == "my-ticks.1");
            CHECK(mappings().find("memfd:procyard:my-ticks.1") != std::string::npos);
        }
        CHECK(mappings().find("my-ticks.1") == std::string::npos);
        channel<int> nameless(ctx.get_executor());
        CHECK(nameless.sender.name().empty());
        CHECK(sender<int>().name().empty());
    }

    TEST_CASE("is in what() of an error")
    {
        std::string what;
        try {
            (void)make_channel<std::string>({.capacity_messages = 1, .name = "orders"});
        } catch (const boost::system::system_error& e) {
            what = e.what();
        }
        CHECK_MESSAGE(what.find("\"orders\"") != std::string::npos, what);
    }

    TEST_CASE("of other characters, or too long, is refused before anything is made")
    {
        const auto before = procyard_test::open_descriptors();
        for (const char* const name :
             {"a b", "a/b", "a:b", "\n", "ü", "12345678901234567890123456789012"}) {
            CAPTURE(name);
            error_code ec;
            auto ends = make_channel<int>({.name = name}, ec);
            CHECK(ec == channel_errc::bad_option);
            CHECK_FALSE(ends.sender);
            CHECK_FALSE(channel_name(name).is_good());
        }
        CHECK(procyard_test::open_descriptors() == before);
    }
}

TEST_SUITE("channel: when full")
{
    TEST_CASE("what is none of them is refused, when it is made and when an end is opened")
    {
        error_code ec;
        constexpr auto none = static_cast<when_full>(4);
        (void)make_channel<int>({.full = none}, ec);
        CHECK(ec == channel_errc::bad_option);
        auto ends = make_channel<int>();
        ends.sender.options().full = none;
        asio::io_context ctx;
        const sender<int> s(ctx.get_executor(), std::move(ends.sender), ec);
        CHECK(ec == channel_errc::bad_option);
        CHECK_FALSE(s.is_open());
    }

    TEST_CASE("fail: an asynchronous send says would_block, and sends when there is room")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 4, .full = when_full::fail});
        for (int n = 0; n < 4; ++n)
            CHECK_FALSE(send_result(ctx, c.sender, n));
        CHECK(send_result(ctx, c.sender, 4) == asio::error::would_block);
        CHECK_FALSE(c.sender.try_send(4));
        outcome<error_code, std::size_t> all;
        c.sender.async_send_all(std::vector<int>{5, 6}, all.handler());
        run(ctx);
        CHECK(all.error() == asio::error::would_block);
        CHECK(all.result() == 0);
        CHECK(c.receiver.try_receive() == 0);
        outcome<error_code, std::size_t> one;
        c.sender.async_send_all(std::vector<int>{5, 6}, one.handler());
        run(ctx);
        CHECK(one.error() == asio::error::would_block);
        CHECK(one.result() == 1);
        for (const int expected : {1, 2, 3, 5})
            CHECK(c.receiver.try_receive() == expected);
        CHECK(c.sender.statistics().dropped == 0);
        CHECK(c.sender.statistics().messages == 5);
    }

    TEST_CASE("fail: a loan says would_block, async_wait_writable waits all the same")
    {
        asio::io_context ctx;
        channel<std::uint64_t> c(ctx.get_executor(),
                                 {.capacity_messages = 2, .full = when_full::fail});
        fill(c.sender);
        outcome<error_code, procyard::message_loan<std::uint64_t>> loan;
        c.sender.async_loan(1, loan.handler());
        run(ctx);
        CHECK(loan.error() == asio::error::would_block);
        outcome<error_code> writable;
        c.sender.async_wait_writable(writable.handler());
        ctx.restart();
        ctx.poll();
        CHECK_FALSE(writable.done());
        CHECK(c.receiver.try_receive());
        run(ctx);
        CHECK_FALSE(writable.error());
    }

    TEST_CASE("fail: neither a send nor a loan waits behind an operation that waits for room")
    {
        asio::io_context ctx;
        channel<std::uint64_t> c(ctx.get_executor(),
                                 {.capacity_messages = 2, .full = when_full::fail});
        fill(c.sender);
        outcome<error_code> writable;
        c.sender.async_wait_writable(writable.handler());
        ctx.poll();
        outcome<error_code> sent;
        c.sender.async_send(1, sent.handler());
        outcome<error_code, procyard::message_loan<std::uint64_t>> loan;
        c.sender.async_loan(1, loan.handler());
        ctx.poll();
        CHECK(sent.error() == asio::error::would_block);
        CHECK(loan.error() == asio::error::would_block);
        CHECK_FALSE(writable.done());
        CHECK(c.receiver.try_receive());
        run(ctx);
        CHECK_FALSE(writable.error());
    }

    TEST_CASE("fail: of several sends one is cancelled, the others go through in their order")
    {
        for (std::size_t cancelled = 0; cancelled < 3; ++cancelled) {
            CAPTURE(cancelled);
            asio::io_context ctx;
            channel<std::size_t> c(ctx.get_executor(),
                                   {.capacity_messages = 4, .full = when_full::fail});
            asio::cancellation_signal signal;
            std::array<outcome<error_code>, 3> sent;
            for (std::size_t i = 0; i < sent.size(); ++i) {
                if (i == cancelled)
                    c.sender.async_send(
                        i, asio::bind_cancellation_slot(signal.slot(), sent[i].handler()));
                else
                    c.sender.async_send(i, sent[i].handler());
            }
            signal.emit(asio::cancellation_type::total);
            run(ctx);
            for (std::size_t i = 0; i < sent.size(); ++i) {
                CHECK(sent[i].count == 1);
                CHECK((sent[i].error() == asio::error::operation_aborted) == (i == cancelled));
                if (i != cancelled)
                    CHECK(c.receiver.try_receive() == i);
            }
            CHECK_FALSE(c.receiver.try_receive());
        }
    }

    TEST_CASE("drop_newest: a send behind a loan that waits for room is dropped")
    {
        asio::io_context ctx;
        channel<std::uint64_t> c(ctx.get_executor(),
                                 {.capacity_messages = 2, .full = when_full::drop_newest});
        outcome<error_code, procyard::message_loan<std::uint64_t>> loan;
        CHECK(c.sender.try_send(0));
        CHECK(c.sender.try_send(1));
        c.sender.async_loan(1, loan.handler());
        ctx.poll();
        outcome<error_code> sent;
        c.sender.async_send(2, sent.handler());
        ctx.poll();
        CHECK_FALSE(sent.error());
        CHECK(c.sender.statistics().dropped == 1);
        CHECK_FALSE(loan.done());
        CHECK(c.receiver.try_receive() == 0U);
        run(ctx);
        CHECK_FALSE(loan.error());
    }

    TEST_CASE("drop_newest: sends succeed, and both sides know how many were dropped")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(),
                       {.capacity_messages = 4, .full = when_full::drop_newest});
        for (int n = 0; n < 4; ++n)
            CHECK(c.sender.try_send(n));
        CHECK(c.receiver.statistics().dropped == 0);
        CHECK(c.sender.try_send(100));
        CHECK_FALSE(send_result(ctx, c.sender, 101));
        error_code ec;
        const std::array<int, 3> some{102, 103, 104};
        CHECK(c.sender.try_send_some(some, ec) == 3);
        CHECK_FALSE(ec);
        outcome<error_code, std::size_t> all;
        c.sender.async_send_all(std::vector<int>{105, 106}, all.handler());
        run(ctx);
        CHECK_FALSE(all.error());
        CHECK(all.result() == 2);
        CHECK(c.sender.statistics().dropped == 7);
        CHECK(c.sender.statistics().messages == 4);

        for (int n = 0; n < 4; ++n)
            CHECK(c.receiver.try_receive() == n);
        CHECK(c.receiver.statistics().dropped == 7);
        CHECK(c.sender.try_send(4));
        CHECK(c.receiver.try_receive() == 4);
        CHECK(c.receiver.statistics().dropped == 7);

        c.sender.close();
        CHECK_FALSE(c.receiver.try_receive());
        sender<int> next(ctx.get_executor(), c.receiver.resume());
        CHECK(c.receiver.statistics().dropped == 7);
        for (int n = 0; n < 6; ++n)
            CHECK(next.try_send(n));
        CHECK(drain(c.receiver) == 4);
        CHECK(c.receiver.statistics().dropped == 7 + 2);

        c.receiver.close();
        c.receiver = receiver<int>(ctx.get_executor(), next.resume());
        for (int n = 0; n < 5; ++n)
            CHECK(next.try_send(n));
        CHECK(drain(c.receiver) == 4);
        CHECK(c.receiver.statistics().dropped == 1);
        CHECK(next.statistics().dropped == 2 + 1);
    }

    TEST_CASE("drop_newest: what is received and what was dropped is what was sent, at each step")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(),
                               {.capacity_bytes = 256, .full = when_full::drop_newest});
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        procyard_test::fixed_random random(11);
        for (int round = 0; round < 2000; ++round) {
            CAPTURE(round);
            for (auto n = random.below(6); n > 0; --n, ++sent)
                REQUIRE(c.sender.try_send(std::string(random.below(100), 'x')));
            for (auto n = random.below(6); n > 0 && c.receiver.try_receive(); --n)
                ++received;
            if (c.receiver.statistics().depth == 0)
                REQUIRE(received + c.receiver.statistics().dropped == sent);
            REQUIRE(c.sender.statistics().messages + c.sender.statistics().dropped == sent);
        }
        received += drain(c.receiver);
        c.sender.close();
        CHECK_FALSE(c.receiver.try_receive());
        CHECK(c.receiver.failure() == channel_errc::closed);
        CHECK(received + c.receiver.statistics().dropped == sent);
        CHECK(c.receiver.statistics().dropped > 100);
    }

    TEST_CASE("drop_newest: what can never be sent is an error, and so is an end that is in use")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(),
                               {.capacity_bytes = 64, .full = when_full::drop_newest});
        error_code ec;
        CHECK_FALSE(c.sender.try_send(std::string(100, 'x'), ec));
        CHECK(ec == channel_errc::too_long);
        outcome<error_code> sent;
        c.sender.async_send(std::string(100, 'x'), sent.handler());
        run(ctx);
        CHECK(sent.error() == channel_errc::too_long);

        channel<std::uint64_t> cells(ctx.get_executor(),
                                     {.capacity_messages = 2, .full = when_full::drop_newest});
        const auto loan = cells.sender.try_loan(1, ec);
        CHECK_FALSE(cells.sender.try_send(1, ec));
        CHECK(ec == channel_errc::lent);
        CHECK(cells.sender.statistics().dropped == 0);
        c.receiver.close();
        CHECK_FALSE(c.sender.try_send("x", ec));
        CHECK(ec == channel_errc::closed);
        CHECK(c.sender.statistics().dropped == 0);
    }

    TEST_CASE("drop_newest: before the receiver has come it drops what does not fit, and tells it")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>({.capacity_messages = 2, .full = when_full::drop_newest});
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        for (int n = 0; n < 5; ++n)
            CHECK(s.try_send(n));
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(r.try_receive() == 0);
        CHECK(r.try_receive() == 1);
        CHECK_FALSE(r.try_receive());
        CHECK(r.statistics().dropped == 3);
    }
}
