// SPDX-License-Identifier: BSL-1.0
// A cancelled receive has taken nothing, a cancelled send has sent nothing: in every state, and
// whoever else waits at the same end.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::channel_errc;
using procyard::error_code;
using procyard_test::outcome;
using procyard_test::run;

namespace {

const error_code aborted = asio::error::operation_aborted;

constexpr procyard::channel_options two_messages{.capacity_messages = 2};

// One receive after the other, each with a signal of its own.
struct receives {
    explicit receives(procyard::receiver<int>& from, std::size_t count) : signals(count)
    {
        for (auto& signal : signals) {
            results.emplace_back();
            from.async_receive(
                asio::bind_cancellation_slot(signal.slot(), results.back().handler()));
        }
    }
    void cancel(std::size_t which) { signals[which].emit(asio::cancellation_type::total); }

    std::deque<asio::cancellation_signal> signals;
    std::deque<outcome<error_code, int>> results;
};

struct sends {
    explicit sends(procyard::sender<int>& to, const std::vector<int>& messages)
        : signals(messages.size())
    {
        for (std::size_t i = 0; i < messages.size(); ++i) {
            results.emplace_back();
            to.async_send(
                messages[i],
                asio::bind_cancellation_slot(signals[i].slot(), results.back().handler()));
        }
    }
    void cancel(std::size_t which) { signals[which].emit(asio::cancellation_type::total); }

    std::deque<asio::cancellation_signal> signals;
    std::deque<outcome<error_code>> results;
};

}  // namespace

TEST_SUITE("channel cancellation: a receive")
{
    TEST_CASE("cancelled on its way to a message that is there leaves it there")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        CHECK(c.sender.try_send(1));
        receives pending(c.receiver, 1);
        pending.cancel(0);
        run(ctx);
        CHECK(pending.results[0].error() == aborted);
        CHECK(c.receiver.try_receive() == 1);
    }

    TEST_CASE("cancelled while it waits leaves the message that comes later")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        receives pending(c.receiver, 1);
        ctx.poll();
        pending.cancel(0);
        CHECK(c.sender.try_send(1));
        run(ctx);
        CHECK(pending.results[0].error() == aborted);
        CHECK(c.receiver.try_receive() == 1);
    }

    TEST_CASE("cancelled at any step after the message has come: either all or nothing (case 23)")
    {
        for (int steps = 0; steps < 6; ++steps) {
            CAPTURE(steps);
            asio::io_context ctx;
            channel<int> c(ctx.get_executor());
            receives pending(c.receiver, 1);
            ctx.poll();
            CHECK(c.sender.try_send(1));
            ctx.restart();
            for (int i = 0; i < steps; ++i)
                ctx.poll_one();
            pending.cancel(0);
            run(ctx);
            if (pending.results[0].error() == aborted) {
                CHECK(c.receiver.try_receive() == 1);
            } else {
                CHECK(pending.results[0].result() == 1);
                CHECK_FALSE(c.receiver.try_receive());
            }
        }
    }

    TEST_CASE("that waits behind others is cancelled at once, and they are not")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        receives pending(c.receiver, 3);
        ctx.poll();
        pending.cancel(1);
        ctx.poll();
        CHECK(pending.results[1].error() == aborted);
        CHECK_FALSE(pending.results[0].done());
        pending.cancel(2);
        CHECK(c.sender.try_send(1));
        run(ctx);
        CHECK(pending.results[0].result() == 1);
        CHECK(pending.results[2].error() == aborted);
        receives later(c.receiver, 1);
        CHECK(c.sender.try_send(2));
        run(ctx);
        CHECK(later.results[0].result() == 2);
    }

    TEST_CASE("that others wait behind is cancelled, and the next takes its place")
    {
        for (const bool waiting : {false, true}) {
            CAPTURE(waiting);
            asio::io_context ctx;
            channel<int> c(ctx.get_executor());
            receives pending(c.receiver, 3);
            if (waiting)
                ctx.poll();
            pending.cancel(0);
            CHECK(c.sender.try_send(1));
            CHECK(c.sender.try_send(2));
            run(ctx);
            CHECK(pending.results[0].error() == aborted);
            CHECK(pending.results[1].result() == 1);
            CHECK(pending.results[2].result() == 2);
        }
    }

    TEST_CASE("that waits behind one that is cancelled still hears of a message that comes then")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        receives pending(c.receiver, 2);
        ctx.poll();
        pending.cancel(0);
        ctx.poll();
        CHECK(pending.results[0].error() == aborted);
        CHECK_FALSE(pending.results[1].done());
        CHECK(c.sender.try_send(1));
        run(ctx);
        CHECK(pending.results[1].result() == 1);
    }

    TEST_CASE("cancelled twice, or after its end, is cancelled once")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        receives pending(c.receiver, 2);
        ctx.poll();
        for (int i = 0; i < 3; ++i) {
            pending.cancel(0);
            pending.cancel(1);
        }
        run(ctx);
        receives next(c.receiver, 1);
        pending.cancel(0);
        pending.cancel(1);
        CHECK(c.sender.try_send(1));
        run(ctx);
        CHECK(next.results[0].result() == 1);
        CHECK(pending.results[0].count == 1);
        CHECK(pending.results[1].count == 1);
    }

    TEST_CASE("with a signal that outlives the channel and its io_context is no matter")
    {
        asio::cancellation_signal signal;
        {
            asio::io_context ctx;
            channel<int> c(ctx.get_executor());
            c.receiver.async_receive(
                asio::bind_cancellation_slot(signal.slot(), [](error_code, int) { }));
            ctx.poll();
        }
        signal.emit(asio::cancellation_type::all);
    }
}

TEST_SUITE("channel cancellation: a send")
{
    TEST_CASE("cancelled on its way to a ring with room has sent nothing")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), two_messages);
        sends pending(c.sender, {1});
        pending.cancel(0);
        run(ctx);
        CHECK(pending.results[0].error() == aborted);
        CHECK_FALSE(c.receiver.try_receive());
    }

    TEST_CASE("cancelled while it waits for room has sent nothing, whatever comes first (case 23)")
    {
        for (int steps = 0; steps < 6; ++steps) {
            CAPTURE(steps);
            asio::io_context ctx;
            channel<int> c(ctx.get_executor(), two_messages);
            procyard_test::fill(c.sender, 7);
            sends pending(c.sender, {1});
            ctx.poll();
            CHECK(procyard_test::drain(c.receiver) == 2);
            ctx.restart();
            for (int i = 0; i < steps; ++i)
                ctx.poll_one();
            pending.cancel(0);
            run(ctx);
            const bool was_sent = !pending.results[0].error();
            CHECK((was_sent || pending.results[0].error() == aborted));
            CHECK(procyard_test::drain(c.receiver) == (was_sent ? 1 : 0));
        }
    }

    TEST_CASE("among others that wait for room: it alone is missing, and the order holds")
    {
        for (std::size_t which = 0; which < 4; ++which) {
            CAPTURE(which);
            asio::io_context ctx;
            channel<int> c(ctx.get_executor(), two_messages);
            procyard_test::fill(c.sender, 7);
            sends pending(c.sender, {0, 1, 2, 3});
            ctx.poll();
            pending.cancel(which);
            std::vector<int> received;
            for (int round = 0; round < 4; ++round) {
                while (const auto message = c.receiver.try_receive())
                    received.push_back(*message);
                ctx.restart();
                ctx.poll();
            }
            run(ctx);
            std::vector<int> expected{7, 7, 0, 1, 2, 3};
            expected.erase(expected.begin() + 2 + static_cast<std::ptrdiff_t>(which));
            CHECK(received == expected);
            CHECK(pending.results[which].error() == aborted);
        }
    }
}

TEST_SUITE("channel cancellation: all operations of an end")
{
    TEST_CASE("each message goes to exactly one of those that wait, in the order of their start")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        receives pending(c.receiver, 5);
        ctx.poll();
        for (int i = 0; i < 5; ++i) {
            CHECK(c.sender.try_send(i));
            if (i % 2 == 0)
                ctx.poll();
        }
        run(ctx);
        for (std::size_t i = 0; i < 5; ++i)
            CHECK(pending.results[i].result() == static_cast<int>(i));
    }

    TEST_CASE("cancel() completes each of them, and the end works as before")
    {
        for (const bool waiting : {false, true}) {
            asio::io_context ctx;
            channel<int> c(ctx.get_executor(), two_messages);
            receives pending(c.receiver, 3);
            outcome<error_code> readable;
            c.receiver.async_wait_readable(readable.handler());
            if (waiting)
                ctx.poll();
            c.receiver.cancel();
            receives after(c.receiver, 1);
            CHECK(c.sender.try_send(1));
            run(ctx);
            for (auto& each : pending.results)
                CHECK(each.error() == aborted);
            CHECK(readable.error() == aborted);
            CHECK(after.results[0].result() == 1);
        }
    }

    TEST_CASE("close() completes each of them, parked or cancelled or not")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), two_messages);
        procyard_test::fill(c.sender, 7);
        sends pending(c.sender, {0, 1, 2});
        ctx.poll();
        pending.cancel(1);
        c.sender.close();
        run(ctx);
        for (auto& each : pending.results)
            CHECK(each.error() == aborted);
        CHECK(procyard_test::drain(c.receiver) == 2);
    }

    TEST_CASE("a handler may cancel those behind it")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        std::array<asio::cancellation_signal, 2> signals;
        outcome<error_code, int> second;
        int first = 0;
        c.receiver.async_receive([&](error_code, int n) {
            first = n;
            signals[1].emit(asio::cancellation_type::total);
        });
        c.receiver.async_receive(asio::bind_cancellation_slot(signals[1].slot(), second.handler()));
        CHECK(c.sender.try_send(1));
        CHECK(c.sender.try_send(2));
        run(ctx);
        CHECK(first == 1);
        CHECK(second.error() == aborted);
        CHECK(c.receiver.try_receive() == 2);
    }
}
