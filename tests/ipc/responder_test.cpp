// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/responder.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include "allocations.hpp"
#include "calls_fixture.hpp"
#include "operation_contract.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using namespace std::chrono_literals;
using procyard::call_errc;
using procyard::call_failure;
using procyard::error_code;
using procyard::framed_errc;
using procyard::responder_statistics;

static_assert(std::is_nothrow_move_constructible_v<text_responder>);
static_assert(std::is_nothrow_default_constructible_v<text_call>);
static_assert(std::is_nothrow_move_constructible_v<text_call>);

namespace {

struct async_next {
    explicit async_next(asio::io_context& ctx) : peer(ctx) { server.emplace(peer.pair.here); }
    template <class Token>
    void start(Token&& token)
    {
        server->async_next(std::forward<Token>(token));
    }
    void satisfy()
    {
        peer.greet();
        peer.say(start_message{1, 0, "request"});
    }
    void break_it() { peer.pair.here.close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy() { server.reset(); }

    caller_by_hand peer;
    std::optional<text_responder> server;
};

// A caller's call, and the responder's side of it.
struct one_call {
    explicit one_call(procyard::calls_options responders = {}) : sides(ctx, {}, responders)
    {
        sides.client.async_call("question", {.deadline = 1h}, failure,
                                asio::bind_cancellation_slot(signal.slot(), answered.handler()));
        next_outcome next;
        sides.server.async_next(next.handler());
        settle(ctx);
        REQUIRE_FALSE(next.error());
        call = std::move(next.result());
        REQUIRE(call);
        CHECK(call.request() == "question");
    }

    asio::io_context ctx;
    both_sides sides;
    call_failure failure;
    asio::cancellation_signal signal;
    text_outcome answered;
    text_call call;
};

}  // namespace

TEST_SUITE("responder")
{
    PROCYARD_OPERATION_CONTRACT(async_next)

    TEST_CASE("each call goes to one of those that wait, in their order")
    {
        asio::io_context ctx;
        both_sides sides(ctx);
        std::vector<next_outcome> next(3);
        std::vector<text_outcome> got(3);
        for (auto& each : next)
            sides.server.async_next(each.handler());
        for (std::size_t i = 0; i < 3; ++i)
            sides.client.async_call(std::to_string(i), got[i].handler());
        settle(ctx);
        for (std::size_t i = 0; i < 3; ++i) {
            CHECK(next[i].result().request() == std::to_string(i));
            next[i].result().reply("to " + next[i].result().request());
        }
        run(ctx);
        for (std::size_t i = 0; i < 3; ++i)
            CHECK(got[i].result() == "to " + std::to_string(i));
    }

    TEST_CASE("one that loses a race has taken no call, and hands it on")
    {
        // At every step after the request has come.
        for (int steps = 0; steps < 12; ++steps) {
            asio::io_context ctx;
            both_sides sides(ctx);
            asio::cancellation_signal signal;
            next_outcome first;
            next_outcome second;
            text_outcome got;
            sides.server.async_next(asio::bind_cancellation_slot(signal.slot(), first.handler()));
            sides.server.async_next(second.handler());
            sides.client.async_call("q", got.handler());
            for (int i = 0; i < steps; ++i)
                ctx.poll_one();
            signal.emit(asio::cancellation_type::total);
            settle(ctx);
            REQUIRE(first.done());
            auto& taken = first.error() ? second : first;
            if (first.error()) {
                CHECK(first.error() == asio::error::operation_aborted);
                CHECK_FALSE(first.result());
            }
            REQUIRE_MESSAGE(taken.done(), steps);
            taken.result().reply("a");
            settle(ctx);
            CHECK(got.result() == "a");
        }
    }

    TEST_CASE("a failure has a code and a text")
    {
        one_call test;
        test.call.fail(42, "no such account");
        run(test.ctx);
        CHECK(test.answered.error() == error_code(42, procyard::remote_category()));
        CHECK(test.failure == call_failure{42, "no such account"});
    }

    TEST_CASE("a text that is too long is cut, and is sent")
    {
        one_call test({.frames = {.max_message_bytes = 100}});
        test.call.fail(1, std::string(1000, 'x'));
        run(test.ctx);
        CHECK(test.failure.text == std::string(100 - 17, 'x'));
    }

    TEST_CASE("a call that is dropped is an error of the caller, at once")
    {
        one_call test;
        test.call = text_call();
        run(test.ctx);
        CHECK(test.answered.error() == call_errc::abandoned);
        CHECK(test.answered.error() == boost::system::errc::connection_aborted);
        CHECK(test.sides.server.statistics() == responder_statistics{.calls = 1, .abandoned = 1});
    }

    TEST_CASE("a second answer is an error, and is not sent")
    {
        one_call test;
        test.call.reply("first");
        error_code ec;
        test.call.reply("second", ec);
        CHECK(ec == call_errc::already_answered);
        test.call.fail(1, "third", ec);
        CHECK(ec == call_errc::already_answered);
        CHECK_THROWS_AS(test.call.reply("fourth"), boost::system::system_error);
        text_call().reply("of none", ec);
        CHECK(ec == call_errc::already_answered);
        run(test.ctx);
        CHECK(test.answered.result() == "first");
        CHECK(test.answered.count == 1);
        CHECK(test.sides.server.statistics() == responder_statistics{.calls = 1, .replies = 1});
    }

    TEST_CASE("a reply that is too long leaves the call open for another answer")
    {
        one_call test({.frames = {.max_message_bytes = 100}});
        error_code ec;
        test.call.reply(std::string(100, 'x'), ec);
        CHECK(ec == framed_errc::too_long);
        CHECK_THROWS_AS(test.call.reply(std::string(100, 'x')), boost::system::system_error);
        test.call.fail(7, "too long");
        run(test.ctx);
        CHECK(test.answered.error() == error_code(7, procyard::remote_category()));
    }

    TEST_CASE("the caller's patience is known")
    {
        one_call test;
        const auto now = std::chrono::steady_clock::now();
        CHECK(test.call.deadline() > now);
        CHECK(test.call.deadline() <= now + 1h);

        text_outcome endless;
        next_outcome next;
        test.sides.client.async_call("q", endless.handler());
        test.sides.server.async_next(next.handler());
        settle(test.ctx);
        CHECK(next.result().deadline() == std::chrono::steady_clock::time_point::max());
    }

    TEST_CASE("a cancellation reaches the call, and what is bound to its slot")
    {
        one_call test;
        asio::steady_timer work(test.ctx, std::chrono::steady_clock::time_point::max());
        outcome<error_code> worked;
        work.async_wait(
            asio::bind_cancellation_slot(test.call.get_cancellation_slot(), worked.handler()));
        settle(test.ctx);
        CHECK_FALSE(test.call.cancelled());
        test.signal.emit(asio::cancellation_type::total);
        settle(test.ctx);
        CHECK(test.call.cancelled());
        CHECK(worked.error() == asio::error::operation_aborted);
        CHECK(test.answered.error() == asio::error::operation_aborted);
        // Nobody waits for it, but it has to be answered: that makes the place free.
        CHECK(test.sides.client.statistics().open == 1);
        test.call.reply("too late");
        text_outcome next;
        test.sides.client.async_call("q", next.handler());
        next_outcome served;
        test.sides.server.async_next(served.handler());
        settle(test.ctx);
        CHECK(test.sides.client.statistics().late == 1);
        CHECK(test.sides.server.statistics()
              == responder_statistics{.calls = 2, .abandoned = 1, .cancelled = 1, .open = 1});
    }

    TEST_CASE("the end of the caller cancels all that is open, and ends what waits")
    {
        one_call test;
        next_outcome next;
        test.sides.server.async_next(next.handler());
        settle(test.ctx);
        test.sides.pair.here.close();
        settle(test.ctx);
        CHECK(test.call.cancelled());
        CHECK(next.error() == asio::error::eof);
        CHECK_FALSE(next.result());
        error_code ec = asio::error::eof;
        test.call.reply("to nobody", ec);
        CHECK_FALSE(ec);
        next_outcome later;
        test.sides.server.async_next(later.handler());
        run(test.ctx);
        CHECK(later.error() == asio::error::eof);
    }

    TEST_CASE("a call outlives its responder, and answers nobody")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        caller_by_hand peer(ctx);
        std::optional<text_responder> server(peer.pair.here);
        peer.greet();
        peer.say(start_message{1, 0, "q"});
        next_outcome next;
        server->async_next(next.handler());
        settle(ctx);
        text_call one = std::move(next.result());
        server.reset();
        CHECK(one.cancelled());
        CHECK(one.request() == "q");
        one.reply("a");
        run(ctx);
    }

    TEST_CASE("a call that nobody has taken yet is cancelled without being seen")
    {
        asio::io_context ctx;
        both_sides sides(ctx);
        next_outcome first;
        text_outcome got;
        sides.client.async_call("first", got.handler());
        sides.server.async_next(first.handler());
        settle(ctx);
        REQUIRE(first.result());  // open: so the responder reads on
        asio::cancellation_signal signal;
        text_outcome second;
        text_outcome third;
        sides.client.async_call("second",
                                asio::bind_cancellation_slot(signal.slot(), second.handler()));
        sides.client.async_call("third", third.handler());
        settle(ctx);
        CHECK(sides.server.statistics().open == 3);
        signal.emit(asio::cancellation_type::terminal);
        settle(ctx);
        CHECK(sides.server.statistics().open == 2);
        next_outcome next;
        sides.server.async_next(next.handler());
        settle(ctx);
        CHECK(next.result().request() == "third");
        CHECK(second.error() == asio::error::operation_aborted);
    }

    TEST_CASE("answers that the caller does not take stop the reading, not the process")
    {
        asio::io_context ctx;
        caller_by_hand peer(ctx);
        text_responder server(peer.pair.here, {.max_open_calls = 2});
        peer.greet();
        next_outcome next;
        server.async_next(next.handler());
        settle(ctx);
        peer.pair.fill();  // nothing goes out any more
        std::uint64_t id = 0;
        for (int i = 0; i < 2; ++i) {
            peer.say(start_message{++id, 0, "q"});
            settle(ctx);
            REQUIRE(next.result());
            next.result().reply("a");
            next = {};
            server.async_next(next.handler());
        }
        peer.say(start_message{++id, 0, "not read"});
        settle(ctx);
        CHECK_FALSE(next.done());
        CHECK(server.statistics() == responder_statistics{.calls = 2, .replies = 2, .unsent = 2});
        (void)peer.pair.drain();
        settle(ctx);
        CHECK(next.result().request() == "not read");
    }

    TEST_CASE("a slot whose handler destroys the responder finds nothing broken")
    {
        asio::io_context ctx;
        caller_by_hand peer(ctx);
        std::optional<text_responder> server(peer.pair.here);
        peer.greet();
        for (std::uint64_t id = 1; id <= 3; ++id)
            peer.say(start_message{id, 0, "q"});
        std::vector<next_outcome> next(3);
        for (auto& each : next)
            server->async_next(each.handler());
        settle(ctx);
        next[0].result().get_cancellation_slot().assign(
            [&](asio::cancellation_type) { server.reset(); });
        peer.say(withdrawal_message{1});
        peer.say(withdrawal_message{2});
        run_until(ctx, [&] { return !server; });
        CHECK(next[1].result().cancelled());
        CHECK(next[2].result().cancelled());
    }

    TEST_CASE(
        "no memory to say that a call is dropped: both sides hear of the end, and wait no more")
    {
        bool has_failed = true;
        for (std::size_t nth = 1; has_failed; ++nth) {
            CAPTURE(nth);
            one_call test;
            next_outcome next;
            test.sides.server.async_next(next.handler());
            settle(test.ctx);
            {
                const failing_allocation failure(nth);
                test.call = {};
                has_failed = failure.has_failed();
            }
            settle(test.ctx);
            REQUIRE(test.answered.done());
            if (has_failed) {
                CHECK(test.answered.error() == asio::error::eof);
                CHECK(next.error() == boost::system::errc::not_enough_memory);
            } else {
                CHECK(nth > 1);
                CHECK(test.answered.error() == call_errc::abandoned);
                CHECK_FALSE(next.done());
            }
        }
    }

    TEST_CASE("a coroutine that waits while the caller does not read goes down with the context")
    {
        auto alive = std::make_shared<int>(0);
        {
            asio::io_context ctx;
            caller_by_hand peer(ctx);
            peer.greet();
            peer.say(start_message{1, 0, "q"});
            asio::co_spawn(
                ctx,
                [](socket_type socket, std::shared_ptr<int>) -> asio::awaitable<void> {
                    procyard::responder<socket_type, std::string, std::string> owned(
                        std::move(socket), {.max_open_calls = 1});
                    auto one = co_await owned.async_next(asio::use_awaitable);
                    const std::string large(1'000'000, 'x');  // does not go out
                    one.reply(large);
                    one = co_await owned.async_next(asio::use_awaitable);
                }(std::move(peer.pair.here), alive),
                [](std::exception_ptr) { CHECK(false); });
            settle(ctx);
            CHECK(alive.use_count() == 2);
        }
        CHECK(alive.use_count() == 1);
    }

    TEST_CASE("a coroutine that owns its responder goes down with the context")
    {
        auto alive = std::make_shared<int>(0);
        {
            asio::io_context ctx;
            sockets pair(ctx);
            asio::co_spawn(
                ctx,
                [](socket_type socket, std::shared_ptr<int>) -> asio::awaitable<void> {
                    procyard::responder<socket_type, std::string, std::string> owned(
                        std::move(socket));
                    auto one = co_await owned.async_next(asio::use_awaitable);
                }(std::move(pair.here), alive),
                [](std::exception_ptr) { CHECK(false); });
            ctx.poll();
            CHECK(alive.use_count() == 2);
        }
        CHECK(alive.use_count() == 1);
    }
}
