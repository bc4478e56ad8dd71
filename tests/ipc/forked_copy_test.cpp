// SPDX-License-Identifier: BSL-1.0
// A copy of the process, made by fork(), destroys what it has got of ours: we go on as before.
#include <procyard/ipc/detail/reactor_watch.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/fan_in.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/unix_listener.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/ipc/work_queue.hpp>

#include "calls_fixture.hpp"
#include "forked.hpp"
#include "procyard_test.hpp"
#include "socket_place.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard_test::in_fork;
using procyard_test::outcome;
using procyard_test::run_until;
using procyard_test::settle;

namespace {

// Destroys it in a copy, and looks whether anything is watched in its place that was not.
template <class T>
void destroy_in_a_copy(std::optional<T>& object)
{
    const auto watched = procyard_test::watched_descriptors();
    CHECK(in_fork([&] {
              object.reset();
              return 0;
          })
          == 0);
    CHECK(procyard_test::watched_descriptors() == watched);
}

template <class T>
std::optional<T> opened(T&& object)
{
    return std::optional<T>(std::move(object));
}

using transfer = outcome<error_code, std::size_t>;

}  // namespace

TEST_SUITE("a copy of us destroys what it has got of ours")
{
    TEST_CASE("a stream that waits for bytes gets them")
    {
        asio::io_context ctx;
        auto ends = procyard::make_pipe(ctx.get_executor());
        auto reader = opened(std::move(ends.reader));
        std::array<char, 8> block{};
        transfer got;
        reader->async_read_some(asio::buffer(block), got.handler());
        settle(ctx);
        destroy_in_a_copy(reader);
        error_code ec;
        CHECK(ends.writer.try_write_some(asio::buffer("abc", 3), ec) == 3);
        run_until(ctx, [&] { return got.done(); });
        CHECK(got.result() == 3);
    }

    TEST_CASE("a stream over a socket stays connected")
    {
        asio::io_context ctx;
        error_code ec;
        auto ends = procyard::make_raw_socket_pair(SOCK_STREAM, ec);
        REQUIRE_FALSE(ec);
        std::optional<procyard::pipe_reader> reader(std::in_place, ctx.get_executor());
        reader->assign(std::move(ends.first), ec);
        REQUIRE_FALSE(ec);
        destroy_in_a_copy(reader);
        REQUIRE(::send(ends.second.get(), "abc", 3, MSG_NOSIGNAL) == 3);
        std::array<char, 8> block{};
        CHECK(reader->try_read_some(asio::buffer(block), ec) == 3);
    }

    TEST_CASE("a subscriber that waits gets the next message, and a broadcaster its room")
    {
        asio::io_context ctx;
        std::optional<procyard::broadcaster<int>> prices(
            std::in_place, ctx.get_executor(), procyard::broadcast_options{.capacity_messages = 2});
        std::optional<procyard::subscriber<int>> books(
            std::in_place, ctx.get_executor(),
            prices->subscribe({.when_slow = procyard::slow_reader::holds_back}));
        outcome<error_code, int> got;
        books->async_receive(got.handler());
        settle(ctx);
        destroy_in_a_copy(books);
        CHECK(prices->try_send(1));
        run_until(ctx, [&] { return got.done(); });
        CHECK(got.result() == 1);

        CHECK(prices->try_send(2));
        CHECK(prices->try_send(3));
        outcome<error_code> sent;
        prices->async_send(4, sent.handler());
        settle(ctx);
        REQUIRE_FALSE(sent.done());
        destroy_in_a_copy(prices);
        error_code ec;
        int n = 0;
        CHECK(books->try_receive(n, ec));
        run_until(ctx, [&] { return sent.done(); });
        CHECK_FALSE(sent.error());
    }

    TEST_CASE("a fan-in that waits gets the next message")
    {
        asio::io_context ctx;
        procyard::channel<int> c(ctx.get_executor());
        std::optional<procyard::fan_in<int>> from(std::in_place, ctx.get_executor());
        from->add(std::move(c.receiver));
        for (int n = 0; n < 2; ++n) {
            outcome<error_code, procyard::arrival<int>> got;
            from->async_receive(got.handler());
            settle(ctx);
            destroy_in_a_copy(from);
            CHECK(c.sender.try_send(n));
            run_until(ctx, [&] { return got.done(); });
            CHECK(got.result().message == n);
        }
    }

    TEST_CASE("a listener that waits accepts")
    {
        asio::io_context ctx;
        const procyard_test::socket_place where;
        std::optional<procyard::unix_listener<>> listener(std::in_place, ctx.get_executor(),
                                                          where.path);
        outcome<error_code, procyard::unix_stream::socket> got;
        listener->async_accept(got.handler());
        settle(ctx);
        destroy_in_a_copy(listener);
        procyard::unix_stream::socket client(ctx);
        client.connect(procyard::unix_path_endpoint<procyard::unix_stream>(where.path));
        run_until(ctx, [&] { return got.done(); });
        CHECK_FALSE(got.error());
    }

    TEST_CASE("a queue hands out, and its consumer keeps the item that it has")
    {
        asio::io_context ctx;
        std::optional<procyard::work_queue<int>> queue(std::in_place, ctx.get_executor());
        std::optional<procyard::work_source<int>> source(std::in_place, ctx.get_executor(),
                                                         queue->consumer());
        outcome<error_code, procyard::leased<int>> got;
        source->async_take(got.handler());
        settle(ctx);
        destroy_in_a_copy(source);
        destroy_in_a_copy(queue);
        outcome<error_code> pushed;
        queue->async_push(7, pushed.handler());
        run_until(ctx, [&] { return got.done(); });

        std::optional<procyard::leased<int>> item(std::move(got.result()));
        CHECK(item->value() == 7);
        destroy_in_a_copy(item);
        settle(ctx);
        CHECK(queue->statistics().leased == 1);
        CHECK(item->acknowledge());
        settle(ctx);
        CHECK(queue->statistics().done == 1);
    }

    TEST_CASE("a call that is being dealt with is not dropped")
    {
        asio::io_context ctx;
        procyard_test::both_sides sides(ctx);
        procyard_test::text_outcome answered;
        sides.client.async_call("question", answered.handler());
        procyard_test::next_outcome next;
        sides.server.async_next(next.handler());
        run_until(ctx, [&] { return next.done(); });
        std::optional<procyard_test::text_call> call(std::move(next.result()));
        destroy_in_a_copy(call);
        settle(ctx);
        REQUIRE_FALSE(answered.done());
        call->reply("answer");
        run_until(ctx, [&] { return answered.done(); });
        CHECK(answered.result() == "answer");
    }
}

TEST_SUITE("a copy of us has told Asio that it is one")
{
    TEST_CASE("what it destroys leaves its own reactor")
    {
        asio::io_context ctx;
        procyard::channel<int> c(ctx.get_executor());
        std::optional<procyard::receiver<int>> r(std::move(c.receiver));
        auto ends = procyard::make_pipe(ctx.get_executor());
        auto reader = opened(std::move(ends.reader));
        outcome<error_code, int> received;
        r->async_receive(received.handler());
        std::array<char, 8> block{};
        transfer got;
        reader->async_read_some(asio::buffer(block), got.handler());
        settle(ctx);
        CHECK(in_fork([&] {
                  ctx.notify_fork(asio::execution_context::fork_child);
                  const auto watched = procyard_test::watched_descriptors();
                  r.reset();
                  reader.reset();
                  return procyard_test::watched_descriptors() == watched - 2 ? 0 : 1;
              })
              == 0);
        CHECK(c.sender.try_send(1));
        run_until(ctx, [&] { return received.done(); });
        CHECK(received.result() == 1);
    }

    TEST_CASE("what it has destroyed before is no matter")
    {
        asio::io_context ctx;
        auto ends = procyard::make_pipe(ctx.get_executor());
        auto reader = opened(std::move(ends.reader));
        std::array<char, 8> block{};
        transfer got;
        reader->async_read_some(asio::buffer(block), got.handler());
        settle(ctx);
        CHECK(in_fork([&] {
                  reader.reset();
                  ctx.notify_fork(asio::execution_context::fork_child);
                  return 0;
              })
              == 0);
    }

    TEST_CASE("a stream of its own works on")
    {
        asio::io_context ctx;
        auto ends = procyard::make_pipe(ctx.get_executor());
        std::array<char, 8> block{};
        transfer got;
        ends.reader.async_read_some(asio::buffer(block), got.handler());
        settle(ctx);
        CHECK(in_fork([&] {
                  ctx.notify_fork(asio::execution_context::fork_child);
                  ends.reader.cancel();
                  settle(ctx);
                  if (!got.done())
                      return 1;
                  transfer again;
                  ends.reader.async_read_some(asio::buffer(block), again.handler());
                  settle(ctx);
                  error_code ec;
                  (void)ends.writer.try_write_some(asio::buffer("abc", 3), ec);
                  run_until(ctx, [&] { return again.done(); });
                  return again.result() == 3 ? 0 : 2;
              })
              == 0);
    }
}
