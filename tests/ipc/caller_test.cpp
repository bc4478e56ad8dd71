// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/caller.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include "calls_fixture.hpp"
#include "operation_contract.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using namespace std::chrono_literals;
using procyard::call_errc;
using procyard::caller_statistics;
using procyard::error_code;
using procyard::framed_errc;
using cancellation = asio::cancellation_type;

static_assert(std::is_nothrow_move_constructible_v<text_caller>);

namespace {

// The responder greets and answers when the test says so.
struct async_call {
    explicit async_call(asio::io_context& context) : ctx(context), peer(context)
    {
        client.emplace(peer.pair.here);
    }
    template <class Token>
    void start(Token&& token)
    {
        ++started;
        client->async_call("request", std::forward<Token>(token));
        if (satisfied)
            answer();
    }
    void satisfy()
    {
        satisfied = true;
        peer.greet();
        if (client->statistics().waiting != 0)  // else it was cancelled
            answer();
    }
    // Not before it was asked.
    void answer()
    {
        settle(ctx);
        peer.say(reply_message{started, "reply"});
    }
    void break_it() { peer.pair.here.close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy() { client.reset(); }

    asio::io_context& ctx;
    responder_by_hand peer;
    std::optional<text_caller> client;
    std::uint64_t started = 0;
    bool satisfied = false;
};

struct greeted_caller {
    explicit greeted_caller(std::uint32_t limit = 16, procyard::calls_options options = {})
        : peer(ctx),
          client(peer.pair.here, options)
    {
        peer.greet(limit);
    }

    void say(const text_answer& message)
    {
        settle(ctx);  // not before it was asked
        peer.say(message);
    }

    asio::io_context ctx;
    responder_by_hand peer;
    text_caller client;
};

template <class Message>
const Message& the(const std::vector<text_question>& all, std::size_t i = 0)
{
    REQUIRE(i < all.size());
    const auto* const found = std::get_if<Message>(&all[i]);
    REQUIRE(found);
    return *found;
}

}  // namespace

TEST_SUITE("caller")
{
    PROCYARD_OPERATION_CONTRACT(async_call)

    TEST_CASE("asks only what it is told, and waits for a place")
    {
        greeted_caller test(2);
        text_outcome got[3];
        for (auto& each : got)
            test.client.async_call("q", each.handler());
        auto heard = test.peer.heard(test.ctx);
        REQUIRE(heard.size() == 2);
        CHECK(the<start_message>(heard).id == 1);
        CHECK(the<start_message>(heard).request == "q");
        CHECK(the<start_message>(heard).patience_ns == procyard::detail::endless_patience);
        CHECK(test.client.statistics() == caller_statistics{.waiting = 1, .open = 2});
        test.peer.say(reply_message{2, "a"});
        heard = test.peer.heard(test.ctx);
        CHECK(the<start_message>(heard).id == 3);
        CHECK(got[1].result() == "a");
        CHECK_FALSE(got[0].done());
    }

    TEST_CASE("says its patience, also when the call had to wait")
    {
        greeted_caller test(1);
        text_outcome got[2];
        for (auto& each : got)
            test.client.async_call("q", {.deadline = 1h}, each.handler());
        auto heard = test.peer.heard(test.ctx);
        const auto first = the<start_message>(heard).patience_ns;
        test.peer.say(reply_message{1, "a"});
        heard = test.peer.heard(test.ctx);
        const auto second = the<start_message>(heard).patience_ns;
        const auto hour = static_cast<std::uint64_t>(std::chrono::nanoseconds(1h).count());
        CHECK(first <= hour);
        CHECK(second <= hour);
        CHECK(first > hour / 2);
        CHECK(second > hour / 2);
    }

    TEST_CASE("a deadline ends a call that was sent, the peer is told, and the answer is late")
    {
        greeted_caller test;
        text_outcome first;
        test.client.async_call("q", first.handler());
        test.say(reply_message{1, "a"});
        run(test.ctx);
        CHECK(first.result() == "a");
        CHECK(test.peer.heard(test.ctx).size() == 1);

        // There is a place, so it is sent before time can pass.
        text_outcome got;
        test.client.async_call("q", {.deadline = 1ms}, got.handler());
        run(test.ctx);
        CHECK(got.error() == asio::error::timed_out);
        const auto heard = test.peer.heard(test.ctx);
        CHECK(the<withdrawal_message>(heard, 1).id == the<start_message>(heard).id);
        CHECK(test.client.statistics()
              == caller_statistics{.replies = 1, .timed_out = 1, .open = 1});

        test.peer.say(reply_message{2, "too late"});
        text_outcome next;
        test.client.async_call("q", next.handler());
        test.say(reply_message{3, "in time"});
        run(test.ctx);
        CHECK(next.result() == "in time");
        CHECK(test.client.statistics()
              == caller_statistics{.replies = 2, .timed_out = 1, .late = 1});
    }

    TEST_CASE("a deadline that is over before it begins sends nothing")
    {
        greeted_caller test;
        for (const auto deadline : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
            text_outcome got;
            test.client.async_call("q", {.deadline = deadline}, got.handler());
            CHECK_FALSE(got.done());
            run(test.ctx);
            CHECK(got.error() == asio::error::timed_out);
        }
        CHECK(test.peer.heard(test.ctx).empty());
    }

    TEST_CASE("a deadline ends also a call that waits for a place, or for a peer that is silent")
    {
        asio::io_context ctx;
        responder_by_hand silent(ctx);
        text_caller client(silent.pair.here);
        text_outcome got;
        client.async_call("q", {.deadline = 1ms}, got.handler());
        run(ctx);
        CHECK(got.error() == asio::error::timed_out);
        CHECK(silent.heard(ctx).empty());

        greeted_caller test(1);
        text_outcome first;
        text_outcome second;
        test.client.async_call("q", first.handler());
        test.client.async_call("q", {.deadline = 1ms}, second.handler());
        run_until(test.ctx, [&] { return second.done(); });
        CHECK(second.error() == asio::error::timed_out);
        CHECK_FALSE(first.done());
        CHECK(test.peer.heard(test.ctx).size() == 1);
    }

    TEST_CASE("of deadlines the earliest comes first, whatever was started first")
    {
        greeted_caller test;
        std::string order;
        const auto call = [&](std::chrono::nanoseconds deadline, char name) {
            test.client.async_call("q", {.deadline = deadline},
                                   [&order, name](error_code ec, auto&&) {
                                       CHECK(ec == asio::error::timed_out);
                                       order += name;
                                   });
        };
        call(30ms, 'c');
        call(1ms, 'a');
        call(15ms, 'b');
        run(test.ctx);
        CHECK(order == "abc");
    }

    TEST_CASE("cancelled after it was sent, the peer is told, once")
    {
        for (const auto how :
             {cancellation::terminal, cancellation::partial, cancellation::total}) {
            greeted_caller test;
            asio::cancellation_signal signal;
            text_outcome got;
            test.client.async_call("q", asio::bind_cancellation_slot(signal.slot(), got.handler()));
            CHECK(test.peer.heard(test.ctx).size() == 1);
            signal.emit(how);
            signal.emit(how);
            CHECK_FALSE(got.done());
            const auto heard = test.peer.heard(test.ctx);
            CHECK(got.error() == asio::error::operation_aborted);
            REQUIRE(heard.size() == 1);
            CHECK(the<withdrawal_message>(heard).id == 1);
            run(test.ctx);  // nobody waits: nothing keeps the loop
            CHECK(test.client.statistics() == caller_statistics{.cancelled = 1, .open = 1});
        }
    }

    TEST_CASE("what the responder says of a failure")
    {
        greeted_caller test;
        procyard::call_failure failure;
        text_outcome got;
        test.client.async_call("q", {}, failure, got.handler());
        test.say(refusal_message{1, 42, "no such account"});
        run(test.ctx);
        CHECK(got.error() == error_code(42, procyard::remote_category()));
        CHECK(failure == procyard::call_failure{42, "no such account"});

        test.client.async_call("q", got.handler());
        test.say(refusal_message{2, -7, "nobody asks"});
        run(test.ctx);
        CHECK(got.error() == error_code(-7, procyard::remote_category()));
        CHECK(got.error().message() == "call failed at the peer, code -7");

        test.client.async_call("q", got.handler());
        test.say(dropped_message{3});
        run(test.ctx);
        CHECK(got.error() == call_errc::abandoned);
        CHECK(test.client.statistics() == caller_statistics{.failures = 3});
    }

    TEST_CASE("an idle caller keeps no loop busy, and a later call goes on")
    {
        greeted_caller test;
        for (std::uint64_t id = 1; id <= 3; ++id) {
            text_outcome got;
            test.client.async_call("q", {.deadline = 1h}, got.handler());
            test.say(reply_message{id, "a"});
            run(test.ctx);
            CHECK(got.result() == "a");
        }
    }

    TEST_CASE("the end of the stream ends all calls, and each that comes later")
    {
        greeted_caller test(1);
        text_outcome got[2];
        for (auto& each : got)
            test.client.async_call("q", each.handler());
        settle(test.ctx);
        test.peer.pair.there.shutdown(socket_type::shutdown_send);
        run(test.ctx);
        CHECK(got[0].error() == asio::error::eof);
        CHECK(got[1].error() == asio::error::eof);
        text_outcome later;
        test.client.async_call("q", later.handler());
        CHECK_FALSE(later.done());
        run(test.ctx);
        CHECK(later.error() == asio::error::eof);
    }

    TEST_CASE("answers that had come before the responder went are received")
    {
        greeted_caller test;
        text_outcome got[3];
        test.client.async_call("q", got[0].handler());
        test.client.async_call("q", got[1].handler());
        CHECK(test.peer.heard(test.ctx).size() == 2);
        test.peer.say(reply_message{2, "a last word"});
        test.peer.pair.there.close();
        test.client.async_call("not sent", got[2].handler());
        run(test.ctx);
        CHECK(got[1].result() == "a last word");
        CHECK(got[0].error() == asio::error::eof);
        CHECK(got[2].error() == asio::error::broken_pipe);
        text_outcome later;
        test.client.async_call("q", later.handler());
        run(test.ctx);
        CHECK((later.error() == asio::error::eof || later.error() == asio::error::broken_pipe));
    }

    TEST_CASE("a request that is too long fails alone, by our limit or by the peer's")
    {
        greeted_caller test(16, {.frames = {.max_message_bytes = 100}});
        text_outcome got;
        test.client.async_call(std::string(100, 'x'), got.handler());
        run(test.ctx);
        CHECK(got.error() == framed_errc::too_long);

        asio::io_context ctx;
        sockets pair(ctx);
        text_caller client(pair.here);
        procyard::framed<socket_type&, text_answer, text_question> peer(pair.there,
                                                                        {.max_message_bytes = 60});
        outcome<error_code> shaken;
        outcome<error_code> limited;
        peer.async_handshake(shaken.handler());
        peer.async_send(limit_message{16}, limited.handler());
        text_outcome late;
        text_outcome fine;
        client.async_call(std::string(60, 'x'), late.handler());
        client.async_call("q", fine.handler());
        settle(ctx);
        CHECK(late.error() == framed_errc::too_long);
        CHECK(client.statistics() == caller_statistics{.open = 1});
        CHECK_FALSE(fine.done());
    }

    TEST_CASE("tokens: a coroutine, a future, deferred, and the default")
    {
        asio::io_context ctx;
        both_sides sides(ctx);
        std::vector<next_outcome> next(3);
        for (auto& each : next)
            sides.server.async_next(each.handler());
        const auto answer = [&](std::size_t i) {
            settle(ctx);
            next[i].result().reply(std::to_string(i));
        };
        std::string in_coroutine;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                in_coroutine = co_await sides.client.async_call("q");
                in_coroutine += co_await sides.client.async_call("q", {.deadline = 1h});
            },
            [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        answer(0);
        answer(1);
        settle(ctx);
        CHECK(in_coroutine == "01");

        auto operation = sides.client.async_call("q", asio::deferred);
        settle(ctx);
        CHECK_FALSE(next[2].done());  // it starts when it is called
        auto future = std::move(operation)(asio::use_future);
        answer(2);
        run(ctx);
        CHECK(future.get() == "2");
    }

    TEST_CASE("moved while calls are pending, they go on; assigned to, the old ones end")
    {
        asio::io_context ctx;
        both_sides one(ctx);
        both_sides two(ctx);
        text_outcome first;
        text_outcome second;
        one.client.async_call("q", first.handler());
        two.client.async_call("q", second.handler());
        settle(ctx);
        two.client = std::move(one.client);
        text_caller moved(std::move(two.client));
        next_outcome next;
        one.server.async_next(next.handler());
        settle(ctx);
        next.result().reply("a");
        settle(ctx);
        CHECK(first.result() == "a");
        CHECK(second.error() == asio::error::operation_aborted);
    }

    TEST_CASE("a coroutine that owns its caller goes down with the context")
    {
        auto alive = std::make_shared<int>(0);
        {
            asio::io_context ctx;
            sockets pair(ctx);
            asio::co_spawn(
                ctx,
                [](socket_type socket, std::shared_ptr<int>) -> asio::awaitable<void> {
                    procyard::caller<socket_type, std::string, std::string> owned(
                        std::move(socket));
                    co_await owned.async_call("q", {.deadline = 1h});
                }(std::move(pair.here), alive),
                [](std::exception_ptr) { CHECK(false); });
            ctx.poll();
            CHECK(alive.use_count() == 2);
        }
        CHECK(alive.use_count() == 1);
    }
}
