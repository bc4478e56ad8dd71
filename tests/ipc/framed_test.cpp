// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/framed.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/pipe.hpp>

#include "framed_fixture.hpp"
#include "operation_contract.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::framed;
using procyard::framed_errc;
using procyard_test::links;
using procyard_test::outcome;
using procyard_test::report;
using procyard_test::run;
using procyard_test::sample_report;
using procyard_test::socket_type;
using string_link = framed<socket_type&, std::string>;
using string_outcome = outcome<error_code, std::string>;

static_assert(std::is_nothrow_move_constructible_v<string_link>);

namespace {

struct receive_base {
    explicit receive_base(asio::io_context& ctx) : pair(ctx) { link.emplace(pair.here); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void satisfy()
    {
        pair.put_message(std::string("one"));
        pair.put_message(std::string("two"));
    }
    void break_it() { pair.here.close(); }
    void destroy() { link.reset(); }

    procyard_test::sockets pair;
    std::optional<string_link> link;
};

struct async_receive : receive_base {
    using receive_base::receive_base;
    template <class Token>
    void start(Token&& token)
    {
        link->async_receive(std::forward<Token>(token));
    }
};

struct async_wait_message : receive_base {
    using receive_base::receive_base;
    template <class Token>
    void start(Token&& token)
    {
        link->async_wait_message(std::forward<Token>(token));
    }
};

struct async_handshake : receive_base {
    using receive_base::receive_base;
    void satisfy() { pair.put_hello<std::string, std::string>(); }
    template <class Token>
    void start(Token&& token)
    {
        link->async_handshake(std::forward<Token>(token));
    }
};

// A stream that takes nothing before satisfy().
struct async_send : receive_base {
    explicit async_send(asio::io_context& ctx) : receive_base(ctx) { pair.fill(); }
    void satisfy() { pair.drain(); }
    template <class Token>
    void start(Token&& token)
    {
        link->async_send(std::string("text"), std::forward<Token>(token));
    }
};

string_outcome next(asio::io_context& ctx, string_link& link)
{
    string_outcome got;
    link.async_receive(got.handler());
    run(ctx);
    return got;
}

error_code send(asio::io_context& ctx, string_link& link, const std::string& text)
{
    outcome<error_code> got;
    link.async_send(text, got.handler());
    run(ctx);
    return got.error();
}

}  // namespace

TEST_SUITE("framed")
{
    PROCYARD_OPERATION_CONTRACT(async_receive)
    PROCYARD_OPERATION_CONTRACT(async_wait_message)
    PROCYARD_OPERATION_CONTRACT(async_handshake)
    PROCYARD_OPERATION_CONTRACT(async_send)

    TEST_CASE("messages arrive as they were sent, then the end, and again the end")
    {
        asio::io_context ctx;
        links<std::string> both(ctx);
        for (const std::string& text : {std::string("one"), std::string(), std::string("three")}) {
            CHECK_FALSE(send(ctx, both.left, text));
            auto got = next(ctx, both.right);
            CHECK_FALSE(got.error());
            CHECK(got.result() == text);
        }
        both.sockets.here.close();
        CHECK(next(ctx, both.right).error() == asio::error::eof);
        CHECK(next(ctx, both.right).error() == asio::error::eof);
    }

    TEST_CASE("a message of everything, with a checksum, through a pipe")
    {
        asio::io_context ctx;
        auto [reader, writer] = procyard::make_pipe(ctx.get_executor());
        const procyard::framed_options options{.checksum = procyard::frame_checksum::crc32c};
        framed<procyard::pipe_writer, report> out(std::move(writer), options);
        framed<procyard::pipe_reader, report> in(std::move(reader), options);
        outcome<error_code> sent;
        outcome<error_code, report> got;
        out.async_send(sample_report(), sent.handler());
        in.async_receive(got.handler());
        run(ctx);
        CHECK_FALSE(sent.error());
        CHECK(got.result() == sample_report());
    }

    TEST_CASE("a stream over TCP, owned, with different types in both directions")
    {
        using tcp = asio::ip::tcp;
        asio::io_context ctx;
        tcp::acceptor acceptor(ctx, {asio::ip::address_v4::loopback(), 0});
        tcp::socket here(ctx);
        here.connect(acceptor.local_endpoint());
        framed<tcp::socket, int, std::string> client(std::move(here));
        framed<tcp::socket, std::string, int> server(acceptor.accept());
        outcome<error_code> a;
        outcome<error_code> b;
        client.async_handshake(a.handler());
        server.async_handshake(b.handler());
        run(ctx);
        CHECK_FALSE(a.error());
        CHECK_FALSE(b.error());
        outcome<error_code, int> got;
        client.async_send(42, a.handler());
        server.async_receive(got.handler());
        run(ctx);
        CHECK(got.result() == 42);
        CHECK(client.explanation().empty());
        CHECK(client.get_executor() == client.next_layer().get_executor());
    }

    TEST_CASE("sends that are started together arrive in order, however many")
    {
        asio::io_context ctx;
        links<std::string> both(ctx);
        constexpr int count = 3000;
        int sent = 0;
        for (int i = 0; i < count; ++i)
            both.left.async_send(std::string(static_cast<std::size_t>(i % 300), 'x')
                                     + std::to_string(i),
                                 [&](error_code ec) { sent += ec ? 0 : 1; });
        int received = 0;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                for (; received < count; ++received) {
                    const auto text = co_await both.right.async_receive(asio::use_awaitable);
                    REQUIRE(text.ends_with(std::to_string(received)));
                }
            },
            [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        run(ctx);
        CHECK(sent == count);
        CHECK(received == count);
    }

    TEST_CASE("the value is not needed any more when async_send returns")
    {
        asio::io_context ctx;
        links<std::string> both(ctx);
        auto text = std::make_unique<std::string>("gone");
        auto operation = both.left.async_send(*text, asio::deferred);
        text.reset();
        std::move(operation)([](error_code ec) { CHECK_FALSE(ec); });
        CHECK(next(ctx, both.right).result() == "gone");
    }

    TEST_CASE("a message that is too long is refused before anything is sent")
    {
        asio::io_context ctx;
        links<std::string> both(ctx, {.max_message_bytes = 8});
        CHECK(send(ctx, both.left, "12345") == framed_errc::too_long);
        CHECK(send(ctx, both.left, "1234") == error_code());
        CHECK(next(ctx, both.right).result() == "1234");
    }

    TEST_CASE("a large message goes through in pieces")
    {
        asio::io_context ctx;
        links<std::string> both(ctx, {.max_message_bytes = 5'000'000, .read_bytes = 1000});
        const std::string text(4'000'000, 'z');
        outcome<error_code> sent;
        both.left.async_send(text, sent.handler());
        CHECK(next(ctx, both.right).result() == text);
        CHECK_FALSE(sent.error());
    }

    TEST_CASE("try_receive takes what async_wait_message has brought, views without a copy")
    {
        asio::io_context ctx;
        links<std::string_view> both(ctx);
        error_code ec;
        CHECK_FALSE(both.right.try_receive(ec));
        CHECK(ec == asio::error::would_block);
        outcome<error_code> sent;
        both.left.async_send("one", sent.handler());
        both.left.async_send("two", sent.handler());
        run(ctx);
        outcome<error_code> ready;
        both.right.async_wait_message(ready.handler());
        run(ctx);
        CHECK_FALSE(ready.error());
        const auto first = both.right.try_receive(ec);
        const auto second = both.right.try_receive(ec);
        CHECK(first == "one");
        CHECK(second == "two");
        CHECK_FALSE(both.right.try_receive(ec));
        CHECK(ec == asio::error::would_block);
        both.sockets.here.close();
        both.right.async_wait_message(ready.handler());
        run(ctx);
        CHECK_FALSE(ready.error());
        CHECK_FALSE(both.right.try_receive(ec));
        CHECK(ec == asio::error::eof);
    }

    TEST_CASE("of two receives that race, the loser has taken no message")
    {
        using namespace asio::experimental::awaitable_operators;
        asio::io_context ctx;
        links<std::string> a(ctx);
        links<std::string> b(ctx);
        for (int i = 0; i < 8; ++i) {
            REQUIRE_FALSE(send(ctx, a.left, std::string(1, static_cast<char>('1' + i))));
            REQUIRE_FALSE(send(ctx, b.left, std::string(1, static_cast<char>('a' + i))));
        }
        std::string seen;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                while (seen.size() < 16) {
                    const auto text = co_await (a.right.async_receive(asio::use_awaitable)
                                                || b.right.async_receive(asio::use_awaitable));
                    seen += std::visit([](const auto& each) { return each; }, text);
                }
            },
            [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        run(ctx);
        std::sort(seen.begin(), seen.end());
        CHECK(seen == "12345678abcdefgh");
    }

    TEST_CASE("an error of the stream ends all sends that wait")
    {
        asio::io_context ctx;
        links<std::string> both(ctx);
        both.sockets.fill();
        std::vector<outcome<error_code>> sent(3);
        for (auto& each : sent)
            both.left.async_send("text", each.handler());
        ctx.poll();
        both.sockets.there.close();
        run(ctx);
        for (auto& each : sent)
            CHECK((each.error() == asio::error::broken_pipe
                   || each.error() == asio::error::connection_reset));
    }

    TEST_CASE("a move carries pending operations along")
    {
        asio::io_context ctx;
        links<std::string> both(ctx);
        string_outcome got;
        both.right.async_receive(got.handler());
        ctx.poll();
        auto moved = std::move(both.right);
        CHECK_FALSE(send(ctx, both.left, "text"));
        CHECK(got.result() == "text");
    }

    TEST_CASE("a coroutine that owns the stream goes down with its io_context while it sends")
    {
        auto alive = std::make_shared<int>(0);
        {
            std::optional<asio::io_context> ctx(std::in_place);
            std::optional<procyard_test::sockets> pair(std::in_place, *ctx);
            pair->fill();
            asio::co_spawn(
                *ctx,
                [](std::shared_ptr<int>, socket_type socket) -> asio::awaitable<void> {
                    framed<socket_type, std::string> link(std::move(socket));
                    co_await link.async_send("text", asio::use_awaitable);
                }(alive, std::move(pair->here)),
                [](std::exception_ptr) { CHECK(false); });
            ctx->poll();
            CHECK(alive.use_count() == 2);
            pair.reset();
            ctx.reset();
        }
        CHECK(alive.use_count() == 1);
    }

    TEST_CASE("every kind of token")
    {
        asio::io_context ctx;
        links<std::string> both(ctx);
        auto sent = both.left.async_send("future", asio::use_future);
        auto got = both.right.async_receive(asio::use_future);
        run(ctx);
        sent.get();
        CHECK(got.get() == "future");
        bool finished = false;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                co_await both.left.async_send("default");
                co_await both.right.async_wait_message();
                CHECK(co_await both.right.async_receive() == "default");
                co_await both.left.async_send("tuple", asio::use_awaitable);
                const auto [ec, text] =
                    co_await both.right.async_receive(asio::as_tuple(asio::deferred));
                CHECK_FALSE(ec);
                CHECK(text == "tuple");
                finished = true;
            },
            [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        run(ctx);
        CHECK(finished);
    }
}
