// SPDX-License-Identifier: BSL-1.0
// Operations that are started where there is no memory: they throw and have not begun, or complete
// with ENOMEM, and the next is as good as ever.
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/system/errc.hpp>

#include <chrono>
#include <cstddef>
#include <new>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/detail/call_book.hpp>
#include <procyard/ipc/fan_in.hpp>
#include <procyard/ipc/framed.hpp>

#include "allocations.hpp"
#include "calls_fixture.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard_test::failing_allocation;
using procyard_test::outcome;
using procyard_test::settle;

namespace {

// Calls `start` again and again, with one allocation of it failing, until there are no more of
// them; and after each time `look(thrown)`.
template <class Start, class Look>
void with_each_allocation_failing(Start start, Look look)
{
    bool has_failed = true;
    for (std::size_t nth = 1; has_failed; ++nth) {
        CAPTURE(nth);
        REQUIRE(nth < 100);
        bool thrown = false;
        {
            const failing_allocation failure(nth);
            try {
                start();
            } catch (const std::bad_alloc&) {
                thrown = true;
            }
            has_failed = failure.has_failed();
        }
        CHECK((has_failed || !thrown));
        look(thrown);
    }
}

// A receive of `end` whose handler runs elsewhere, and then one that gets what `send` sends.
template <class Result, class End, class Send>
void receive_without_memory(asio::io_context& ctx, End& end, Send send)
{
    asio::io_context elsewhere;
    int number = 0;
    outcome<error_code, Result> got;
    with_each_allocation_failing(
        [&] {
            got = {};
            end.async_receive(asio::bind_executor(elsewhere.get_executor(), got.handler()));
        },
        [&](bool thrown) {
            settle(ctx);
            CHECK_FALSE(got.done());
            send(++number);
            for (int turns = 0; turns < 10; ++turns) {
                settle(ctx);
                settle(elsewhere);
            }
            CHECK(got.done() == !thrown);
            if (!thrown) {
                CHECK_FALSE(got.error());
                return;
            }
            outcome<error_code, Result> again;
            end.async_receive(again.handler());
            settle(ctx);
            REQUIRE(again.done());
            CHECK_FALSE(again.error());
        });
}

}  // namespace

TEST_SUITE("no memory left")
{
    TEST_CASE("for a receive whose handler runs elsewhere: it throws, and has taken nothing")
    {
        asio::io_context ctx;
        procyard::channel<int> c(ctx.get_executor());
        receive_without_memory<int>(ctx, c.receiver, [&](int n) { CHECK(c.sender.try_send(n)); });
    }

    TEST_CASE("the same of a subscriber")
    {
        asio::io_context ctx;
        procyard::broadcaster<int> prices(ctx.get_executor(), {.capacity_messages = 4});
        procyard::subscriber<int> books(ctx.get_executor(), prices.subscribe());
        receive_without_memory<int>(ctx, books, [&](int n) { CHECK(prices.try_send(n)); });
    }

    TEST_CASE("the same of a fan-in")
    {
        asio::io_context ctx;
        procyard::channel<int> c(ctx.get_executor());
        procyard::fan_in<int> from(ctx.get_executor());
        from.add(std::move(c.receiver));
        receive_without_memory<procyard::arrival<int>>(ctx, from,
                                                       [&](int n) { CHECK(c.sender.try_send(n)); });
    }

    TEST_CASE("for a message of a framed stream: it is not sent, and its sender hears of it")
    {
        asio::io_context ctx;
        procyard_test::sockets pair(ctx);
        procyard::framed<procyard_test::socket_type&, std::string, std::string> link(pair.here);
        outcome<error_code> first;
        with_each_allocation_failing(
            [&] {
                first = {};
                link.async_send("first", first.handler());
            },
            [&](bool thrown) {
                settle(ctx);
                CHECK(first.done() == !thrown);
                if (first.done() && first.error())
                    CHECK(first.error() == boost::system::errc::not_enough_memory);
                outcome<error_code> second;
                link.async_send("second", second.handler());
                settle(ctx);
                REQUIRE(second.done());
                CHECK_FALSE(second.error());
                (void)pair.drain();
            });
    }

    TEST_CASE("to note that deadlines of calls have passed: none is needed")
    {
        using time_point = std::chrono::steady_clock::time_point;
        procyard::detail::call_book<std::string> calls(4);
        calls.limit(2);
        for (const char* name : {"a", "b", "c"})
            calls.add(name, time_point(std::chrono::seconds(1)));
        CHECK(calls.send_next());
        CHECK(calls.send_next());
        const auto before = procyard_test::allocations();
        int late = 0;
        while (calls.expire(time_point(std::chrono::seconds(2))))
            ++late;
        CHECK(procyard_test::allocations() == before);
        CHECK(late == 3);
    }
}
