// SPDX-License-Identifier: BSL-1.0
// Callers and responders together, over streams of all kinds, and peers that die.
#include <procyard/ipc/caller.hpp>
#include <procyard/ipc/responder.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/pipe.hpp>

#include "calls_fixture.hpp"
#include "forked.hpp"
#include "message_samples.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::caller_statistics;
using procyard::error_code;
using procyard::frame_checksum;
using procyard::responder_statistics;
using tcp = asio::ip::tcp;

namespace {

// Both directions of a child's streams, say.
struct duplex_pipe {
    using executor_type = procyard::pipe_reader::executor_type;

    executor_type get_executor() const { return in.get_executor(); }
    template <class Buffers, class Token>
    auto async_read_some(const Buffers& buffers, Token&& token)
    {
        return in.async_read_some(buffers, std::forward<Token>(token));
    }
    template <class Buffers, class Token>
    auto async_write_some(const Buffers& buffers, Token&& token)
    {
        return out.async_write_some(buffers, std::forward<Token>(token));
    }

    procyard::pipe_reader in;
    procyard::pipe_writer out;
};

// Answers each call with what it was asked, those that it holds in no order at all.
template <class Server>
asio::awaitable<void> serve(Server& server, std::size_t held)
{
    fixed_random random(3);
    std::vector<typename Server::call_type> open;
    const auto answer_one = [&] {
        std::swap(open[random.below(open.size())], open.back());
        open.back().reply(std::move(open.back().request()));
        open.pop_back();
    };
    for (;;) {
        error_code ec;
        auto next = co_await server.async_next(asio::redirect_error(asio::use_awaitable, ec));
        if (ec) {
            CHECK(ec == asio::error::eof);
            co_return;
        }
        if (next.request().empty()) {  // the last one of its kind
            next.reply({});
            while (!open.empty())
                answer_one();
            continue;
        }
        open.push_back(std::move(next));
        if (open.size() == held)
            answer_one();
    }
}

// A thousand calls at once, each answered with its own request, whatever the order.
template <class Stream>
void check_thousand(asio::io_context& ctx, Stream here, Stream there, std::size_t places,
                    procyard::framed_options frames = {})
{
    constexpr std::size_t count = 1000;
    const procyard::calls_options options{.max_open_calls = places, .frames = frames};
    auto server = std::make_unique<procyard::responder<Stream, std::string, std::string>>(
        std::move(there), options);
    auto client = std::make_unique<procyard::caller<Stream, std::string, std::string>>(
        std::move(here), options);
    asio::co_spawn(ctx, serve(*server, (places + 1) / 2),
                   [](std::exception_ptr failure) { CHECK_FALSE(failure); });
    std::size_t ended = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const auto text = std::to_string(i) + std::string(i % 300, 'x');
        client->async_call(text, [&, text](error_code ec, const std::string& reply) {
            CHECK_FALSE(ec);
            CHECK(reply == text);
            ++ended;
        });
    }
    // What the responder still holds when no more comes.
    text_outcome last;
    client->async_call("", last.handler());
    run_until(ctx, [&] { return ended == count && last.done(); });
    CHECK_FALSE(last.error());
    CHECK(client->statistics() == caller_statistics{.replies = count + 1});
    CHECK(server->statistics() == responder_statistics{.calls = count + 1, .replies = count + 1});
    client.reset();
    run(ctx);
}

struct tcp_pair {
    explicit tcp_pair(asio::io_context& ctx) : here(ctx), there(ctx)
    {
        tcp::acceptor acceptor(ctx, {asio::ip::address_v4::loopback(), 0});
        here.connect(acceptor.local_endpoint());
        acceptor.accept(there);
    }
    tcp::socket here;
    tcp::socket there;
};

}  // namespace

TEST_SUITE("calls")
{
    TEST_CASE("a thousand at once, answered in no order: a Unix socket")
    {
        for (const std::size_t places : {1U, 10U, 1001U}) {
            asio::io_context ctx;
            sockets pair(ctx);
            check_thousand(ctx, std::move(pair.here), std::move(pair.there), places);
        }
    }

    TEST_CASE("a thousand at once, answered in no order: TCP, with checksums")
    {
        asio::io_context ctx;
        tcp_pair pair(ctx);
        check_thousand(ctx, std::move(pair.here), std::move(pair.there), 64,
                       {.checksum = frame_checksum::crc32c});
    }

    TEST_CASE("a thousand at once, answered in no order: two pipes")
    {
        asio::io_context ctx;
        auto asked = procyard::make_pipe(ctx.get_executor());
        auto answered = procyard::make_pipe(ctx.get_executor());
        check_thousand(ctx, duplex_pipe{std::move(answered.reader), std::move(asked.writer)},
                       duplex_pipe{std::move(asked.reader), std::move(answered.writer)}, 64);
    }

    TEST_CASE("messages of every kind, there and back")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        procyard::caller<socket_type&, report, padded> client(pair.here);
        procyard::responder<socket_type&, report, padded> server(pair.there);
        outcome<error_code, padded> got;
        outcome<error_code, procyard::call<report, padded>> next;
        client.async_call(sample_report(), got.handler());
        server.async_next(next.handler());
        settle(ctx);
        CHECK(next.result().request() == sample_report());
        next.result().reply({'x', -7, true});
        run(ctx);
        CHECK(got.result() == padded{'x', -7, true});
    }

    TEST_CASE("calls in both directions over one pair of processes need one stream each")
    {
        // What one is for: a caller over what is a responder's is told so, and does not hang.
        asio::io_context ctx;
        sockets pair(ctx);
        text_caller left(pair.here);
        text_caller right(pair.there);
        text_outcome first;
        text_outcome second;
        left.async_call("q", first.handler());
        right.async_call("q", second.handler());
        run(ctx);
        CHECK(first.error() == procyard::framed_errc::other_type);
        CHECK(second.error() == procyard::framed_errc::other_type);
        CHECK_MESSAGE(left.explanation().starts_with("what is sent: here calls ("),
                      left.explanation());
    }

    TEST_CASE("another type of request or reply is told from ours")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        text_caller client(pair.here);
        procyard::responder<socket_type&, std::string, std::uint32_t> server(pair.there);
        text_outcome got;
        outcome<error_code, procyard::call<std::string, std::uint32_t>> next;
        client.async_call("q", got.handler());
        server.async_next(next.handler());
        run(ctx);
        CHECK(got.error() == procyard::framed_errc::other_type);
        CHECK(next.error() == procyard::framed_errc::other_type);
        CHECK_MESSAGE(client.explanation().starts_with("what is received: here answers ("),
                      client.explanation());
        CHECK_MESSAGE(server.explanation().starts_with("what is sent: here answers ("),
                      server.explanation());
    }

    TEST_CASE("a responder that is killed ends all calls, sent or not")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        ctx.notify_fork(asio::io_context::fork_prepare);
        forked other([&] {
            ctx.notify_fork(asio::io_context::fork_child);
            pair.here.close();
            text_responder server(pair.there, {.max_open_calls = 2});
            std::vector<text_call> held;
            asio::co_spawn(
                ctx,
                [&]() -> asio::awaitable<void> {
                    auto first = co_await server.async_next(asio::use_awaitable);
                    first.reply("from " + std::to_string(::getpid()));
                    for (;;)
                        held.push_back(co_await server.async_next(asio::use_awaitable));
                },
                [](std::exception_ptr) {});
            ctx.run();
            return 0;
        });
        ctx.notify_fork(asio::io_context::fork_parent);
        pair.there.close();
        text_caller client(pair.here);
        std::vector<text_outcome> got(4);
        for (auto& each : got)
            client.async_call("q", each.handler());
        run_until(ctx, [&] { return got[0].done(); });
        CHECK(got[0].result() == "from " + std::to_string(other.pid()));
        CHECK(client.statistics().open == 2);
        CHECK(client.statistics().waiting == 1);
        other.kill_hard();
        run(ctx);
        for (std::size_t i = 1; i < got.size(); ++i) {
            const auto ec = got[i].error();
            CHECK_MESSAGE((ec == asio::error::eof || ec == asio::error::connection_reset
                           || ec == asio::error::broken_pipe),
                          ec.message());
        }
    }

    TEST_CASE("a caller that is killed cancels what it has asked for")
    {
        asio::io_context ctx;
        sockets pair(ctx);
        ctx.notify_fork(asio::io_context::fork_prepare);
        forked other([&] {
            ctx.notify_fork(asio::io_context::fork_child);
            pair.there.close();
            text_caller client(pair.here);
            text_outcome got[3];
            for (auto& each : got)
                client.async_call("q", each.handler());
            ctx.run();
            return 0;
        });
        ctx.notify_fork(asio::io_context::fork_parent);
        pair.here.close();
        text_responder server(pair.there);
        std::vector<next_outcome> next(3);
        for (auto& each : next)
            server.async_next(each.handler());
        next_outcome beyond;
        server.async_next(beyond.handler());
        run_until(ctx, [&] { return next[2].done(); });
        next[0].result().reply("one is answered");
        other.kill_hard();
        run(ctx);
        CHECK(next[1].result().cancelled());
        CHECK(next[2].result().cancelled());
        CHECK_MESSAGE((beyond.error() == asio::error::eof
                       || beyond.error() == asio::error::connection_reset
                       || beyond.error() == asio::error::broken_pipe),
                      beyond.error().message());
    }

    TEST_CASE("a thousand connections leave nothing")
    {
        asio::io_context ctx;
        asio::steady_timer first(ctx);  // the context has descriptors of its own from now on
        const auto before = open_descriptor_list();
        int ended = 0;  // some of them after their caller or responder
        for (int i = 0; i < 1000; ++i) {
            sockets pair(ctx);
            procyard::caller<socket_type, std::string, std::string> client(std::move(pair.here));
            procyard::responder<socket_type, std::string, std::string> server(
                std::move(pair.there));
            for (int n = 0; n < 2; ++n) {
                client.async_call("q", [&](error_code, const std::string&) { ++ended; });
                server.async_next([&](error_code, const text_call&) { ++ended; });
            }
            // To all places where one can be.
            ctx.restart();
            for (int steps = 0; steps < i % 50; ++steps)
                ctx.poll_one();
        }
        run(ctx);
        CHECK(ended == 4000);
        CHECK(open_descriptor_list() == before);
    }
}
