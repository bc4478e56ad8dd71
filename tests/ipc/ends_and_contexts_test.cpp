// SPDX-License-Identifier: BSL-1.0
// Coroutines that own the ends on whose operations they wait, and a context that is destroyed at
// any of their turns: everything goes with it, of each kind of end (case 27).
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc.hpp>

#include "mapped_segments.hpp"
#include "procyard_test.hpp"
#include "socket_place.hpp"

namespace asio = boost::asio;
using namespace procyard;
using procyard_test::descriptor_check;
using procyard_test::mapped_segments;

namespace {

using procedure = asio::awaitable<void>;
constexpr auto with_error = asio::as_tuple(asio::use_awaitable);
constexpr channel_options few{.capacity_messages = 4};
constexpr channel_options overwritten{.capacity_messages = 4, .full = when_full::drop_oldest};

// A coroutine as long as it lasts; what it throws fails the test.
void begin(asio::io_context& ctx, std::function<procedure()> body)
{
    asio::co_spawn(ctx, std::move(body), [](std::exception_ptr failure) { CHECK_FALSE(failure); });
}

struct scene {
    std::string_view of;
    void (*play)(asio::io_context&, const std::string& address);
};

void play_sender(asio::io_context& ctx, const std::string&)
{
    begin(ctx, [&ctx]() -> procedure {
        channel<int> c(ctx.get_executor(), few);
        const std::vector<int> many(1000);
        (void)co_await c.sender.async_send_all(many, with_error);
    });
}

void play_receiver(asio::io_context& ctx, const std::string&)
{
    begin(ctx, [&ctx]() -> procedure {
        channel<std::string> c(ctx.get_executor());
        c.sender.try_send("one");
        const auto batch = co_await c.receiver.async_receive_some(with_error);
        (void)co_await c.sender.async_wait_closed(with_error);
    });
    begin(ctx, [&ctx]() -> procedure {
        channel<int> c(ctx.get_executor(), overwritten);
        for (int n = 0; n < 20; ++n)
            c.sender.try_send(n);
        for (int n = 0; n < 20; ++n)
            (void)co_await c.receiver.async_receive(with_error);
    });
}

void play_resumed(asio::io_context& ctx, const std::string&)
{
    begin(ctx, [&ctx]() -> procedure {
        auto ends = make_channel<int>(few);
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        ends.receiver = {};
        (void)co_await s.async_wait_closed(with_error);
        receiver<int> next(ctx.get_executor(), s.resume());
        (void)co_await next.async_receive(with_error);
    });
}

void play_broadcast(asio::io_context& ctx, const std::string&)
{
    begin(ctx, [&ctx]() -> procedure {
        const broadcast_options options{.capacity_messages = 4};
        const subscription_options held{.when_slow = slow_reader::holds_back};
        broadcaster<int> b(ctx.get_executor(), options);
        const subscriber<int> slow(ctx.get_executor(), b.subscribe(held));
        const auto unopened = b.subscribe();
        for (int n = 0; n < 20; ++n)
            (void)co_await b.async_send(n, with_error);
    });
    begin(ctx, [&ctx]() -> procedure {
        broadcaster<int> b(ctx.get_executor());
        subscriber<int> s(ctx.get_executor(), b.subscribe());
        b.try_send(1);
        for (int n = 0; n < 20; ++n)
            (void)co_await s.async_receive(with_error);
    });
}

void play_latest_value(asio::io_context& ctx, const std::string&)
{
    begin(ctx, [&ctx]() -> procedure {
        const latest_value<int> value(ctx.get_executor());
        latest_value<int> written(ctx.get_executor());
        latest_reader<int> reader(ctx.get_executor(), written.subscribe());
        written.store(1);
        (void)reader.load();
        (void)co_await reader.async_wait_changed(with_error);
    });
}

void play_fan_in(asio::io_context& ctx, const std::string&)
{
    begin(ctx, [&ctx]() -> procedure {
        fan_in<int> from(ctx.get_executor());
        channel<int> gone(ctx.get_executor());
        channel<int> c(ctx.get_executor());
        from.add(std::move(gone.receiver));
        from.add(std::move(c.receiver));
        c.sender.try_send(1);
        gone.sender.close();
        for (int n = 0; n < 20; ++n)
            (void)co_await from.async_receive(with_error);
    });
}

void play_work_queue(asio::io_context& ctx, const std::string&)
{
    begin(ctx, [&ctx]() -> procedure {
        work_queue<int> queue(ctx.get_executor());
        work_source<int> source(ctx.get_executor(), queue.consumer());
        sender<int> producer(ctx.get_executor(), queue.producer());
        error_code ec;
        queue.try_push(1, ec);
        producer.try_send(2);
        const auto first = co_await source.async_take(with_error);
        const auto second = co_await source.async_take(with_error);
        (void)co_await source.async_take(with_error);
    });
    begin(ctx, [&ctx]() -> procedure {
        work_queue<int> queue(ctx.get_executor());
        error_code ec;
        queue.try_push(1, ec);
        (void)co_await queue.async_drain(with_error);
    });
}

void play_listener(asio::io_context& ctx, const std::string& address)
{
    begin(ctx, [&ctx, address]() -> procedure {
        channel_listener<receiver<int>> listener(ctx.get_executor(), address);
        const auto first = co_await listener.async_accept(with_error);
        (void)co_await listener.async_accept(with_error);
    });
    for (int clients = 0; clients < 2; ++clients)
        begin(ctx, [&ctx, address]() -> procedure {
            auto [ec, s] =
                co_await async_connect<sender<int>>(ctx.get_executor(), address, with_error);
            CHECK_FALSE(ec);
            if (!ec)
                (void)co_await s.async_wait_closed(with_error);
        });
}

void play_end_listener(asio::io_context& ctx, const std::string& address)
{
    begin(ctx, [&ctx, address]() -> procedure {
        broadcaster<int> b(ctx.get_executor());
        end_listener<subscriber<int>> listener(ctx.get_executor(), address);
        auto [ec, request] = co_await listener.async_accept(with_error);
        request.give(b.subscribe());
        const auto kept = co_await listener.async_accept(with_error);
        (void)co_await listener.async_accept(with_error);
    });
    for (int clients = 0; clients < 2; ++clients)
        begin(ctx, [&ctx, address]() -> procedure {
            auto [ec, s] =
                co_await async_connect<subscriber<int>>(ctx.get_executor(), address, with_error);
            CHECK_FALSE(ec);
            if (!ec)
                (void)co_await s.async_receive(with_error);
        });
}

void play_framed(asio::io_context& ctx, const std::string&)
{
    using socket = asio::local::stream_protocol::socket;
    begin(ctx, [&ctx]() -> procedure {
        socket one(ctx);
        socket two(ctx);
        asio::local::connect_pair(one, two);
        framed<socket, std::string> a(std::move(one));
        const framed<socket, std::string> b(std::move(two));
        const std::string much(1 << 20U, 'x');
        (void)co_await a.async_send(much, with_error);
    });
    begin(ctx, [&ctx]() -> procedure {
        socket one(ctx);
        socket two(ctx);
        asio::local::connect_pair(one, two);
        framed<socket, std::string> a(std::move(one));
        (void)co_await a.async_handshake(with_error);
    });
}

void play_fifo(asio::io_context& ctx, const std::string& address)
{
    auto name = std::make_shared<owned_name>(make_fifo(address));
    begin(ctx, [&ctx, name]() -> procedure {
        (void)co_await async_open_fifo_writer(ctx.get_executor(), name->path(), with_error);
    });
}

constexpr scene scenes[]{
    {"a sender", &play_sender},
    {"a receiver", &play_receiver},
    {"a sender that has resumed", &play_resumed},
    {"a broadcast", &play_broadcast},
    {"a latest value", &play_latest_value},
    {"a fan-in", &play_fan_in},
    {"a work queue", &play_work_queue},
    {"a channel_listener", &play_listener},
    {"an end_listener", &play_end_listener},
    {"a framed stream", &play_framed},
    {"a FIFO", &play_fifo},
};

}  // namespace

TEST_SUITE("ends and contexts (case 27)")
{
    TEST_CASE("of each kind: a context that goes takes the coroutines that own their ends with it")
    {
        for (const auto& each : scenes) {
            CAPTURE(each.of);
            for (int turns = 0; turns < 40; ++turns) {
                CAPTURE(turns);
                const descriptor_check no_leak;
                const procyard_test::socket_place where;
                {
                    asio::io_context ctx;
                    each.play(ctx, where.path);
                    for (int n = 0; n < turns; ++n)
                        ctx.poll_one();
                }
                CHECK(mapped_segments().mappings == 0);
            }
        }
    }
}
