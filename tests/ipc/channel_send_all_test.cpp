// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/channel.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "operation_contract.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using namespace procyard;
using procyard_test::outcome;
using procyard_test::run;

namespace {

struct send_all {
    explicit send_all(asio::io_context& ctx) : ends(ctx.get_executor(), {.capacity_messages = 1})
    {
        CHECK(ends.sender.try_send(0));
        sending.emplace(std::move(ends.sender));
    }
    void start(auto&& token)
    {
        sending->async_send_all(std::vector<int>{1}, std::forward<decltype(token)>(token));
    }
    void satisfy() { CHECK(ends.receiver.try_receive()); }
    void break_it() { ends.receiver.close(); }
    [[nodiscard]] error_code breakage() const { return channel_errc::closed; }
    void destroy() { sending.reset(); }

    channel<int> ends;
    std::optional<sender<int>> sending;
};

}  // namespace

TEST_SUITE("async_send_all")
{
    PROCYARD_OPERATION_CONTRACT(send_all)

    TEST_CASE("sends more than there is room for, in order, as room comes")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 4});
        outcome<error_code, std::size_t> sent;
        std::vector<int> numbers(1000);
        for (int i = 0; i < 1000; ++i)
            numbers[static_cast<std::size_t>(i)] = i;
        c.sender.async_send_all(std::move(numbers), sent.handler());
        int next = 0;
        for (; next < 1000; ++next) {
            outcome<error_code, int> received;
            c.receiver.async_receive(received.handler());
            procyard_test::run_until(ctx, [&] { return received.done(); });
            REQUIRE_FALSE(received.error());
            REQUIRE(received.result() == next);
        }
        procyard_test::run_until(ctx, [&] { return sent.done(); });
        CHECK_FALSE(sent.error());
        CHECK(sent.result() == 1000);
        CHECK(c.sender.statistics().messages == 1000);
    }

    TEST_CASE("cancelled in the middle it says how many have gone, and the others have not")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 64});
        asio::cancellation_signal signal;
        outcome<error_code, std::size_t> sent;
        c.sender.async_send_all(std::vector<std::string>{"one", "two", "three", "four", "five"},
                                asio::bind_cancellation_slot(signal.slot(), sent.handler()));
        ctx.poll();
        CHECK_FALSE(sent.done());
        signal.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(sent.error() == asio::error::operation_aborted);
        std::size_t received = 0;
        for (const char* text : {"one", "two", "three", "four", "five"}) {
            if (const auto got = c.receiver.try_receive()) {
                CHECK(*got == text);
                ++received;
            }
        }
        CHECK(received == sent.result());
        CHECK(received > 0);
        CHECK(received < 5);
    }

    TEST_CASE("stops before a message that can never go, with its error, also on a full ring")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 64, .max_message_bytes = 99});
        (void)procyard_test::fill(c.sender, std::string("x"));
        outcome<error_code, std::size_t> sent;
        c.sender.async_send_all(std::vector<std::string>{std::string(100, 'y')}, sent.handler());
        run(ctx);
        CHECK(sent.error() == channel_errc::too_long);
        CHECK(sent.result() == 0);
    }

    TEST_CASE("of nothing is done, also on a full ring; a view is sent from where it is")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 4});
        (void)procyard_test::fill(c.sender);
        outcome<error_code, std::size_t> nothing;
        c.sender.async_send_all(std::vector<int>(), nothing.handler());
        run(ctx);
        CHECK_FALSE(nothing.error());
        CHECK(nothing.result() == 0);
        (void)procyard_test::drain(c.receiver);
        const std::vector<int> numbers{5, 6, 7};
        outcome<error_code, std::size_t> sent;
        c.sender.async_send_all(std::span(numbers), sent.handler());
        run(ctx);
        CHECK(sent.result() == 3);
        outcome<error_code, std::size_t> doubled;
        c.sender.async_send_all(std::views::iota(8, 9), doubled.handler());
        run(ctx);
        for (const int n : {5, 6, 7, 8})
            CHECK(c.receiver.try_receive() == n);
    }
}
