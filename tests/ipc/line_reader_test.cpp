// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/line_reader.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/pipe.hpp>

#include "operation_contract.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::line_reader;
using procyard::make_pipe;
using procyard::pipe_reader;
using procyard::pipe_writer;
using procyard::stream_errc;
using procyard_test::outcome;
using procyard_test::run;
using line_outcome = outcome<error_code, std::string>;
using socket_type = asio::local::stream_protocol::socket;

static_assert(
    std::is_same_v<decltype(line_reader(std::declval<socket_type&>())), line_reader<socket_type&>>);
static_assert(
    std::is_same_v<decltype(line_reader(std::declval<pipe_reader>(), procyard::line_options{})),
                   line_reader<pipe_reader>>);
static_assert(std::is_nothrow_move_constructible_v<line_reader<pipe_reader>>);

namespace {

void put(pipe_writer& writer, const std::string& text)
{
    error_code ec;
    REQUIRE(writer.try_write_some(asio::buffer(text), ec) == text.size());
}

template <class Stream>
line_outcome next_line(asio::io_context& ctx, line_reader<Stream>& lines)
{
    line_outcome got;
    lines.async_read_line(got.handler());
    run(ctx);
    return got;
}

struct line_operation_base {
    explicit line_operation_base(asio::io_context& ctx) : pipe(make_pipe(ctx.get_executor()))
    {
        lines.emplace(pipe.reader);
    }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void satisfy()
    {
        error_code ec;
        pipe.writer.try_write_some(asio::buffer("one\ntwo\n", 8), ec);
        REQUIRE_FALSE(ec);
    }
    void break_it() { pipe.reader.close(); }
    void destroy() { lines.reset(); }

    procyard::pipe_pair pipe;
    std::optional<line_reader<pipe_reader&>> lines;
};

struct async_read_line : line_operation_base {
    using line_operation_base::line_operation_base;
    template <class Token>
    void start(Token&& token)
    {
        lines->async_read_line(std::forward<Token>(token));
    }
};

struct async_wait_line : line_operation_base {
    using line_operation_base::line_operation_base;
    template <class Token>
    void start(Token&& token)
    {
        lines->async_wait_line(std::forward<Token>(token));
    }
};

}  // namespace

TEST_SUITE("line_reader")
{
    PROCYARD_OPERATION_CONTRACT(async_read_line)
    PROCYARD_OPERATION_CONTRACT(async_wait_line)

    TEST_CASE("reads line after line, then the end, and again the end")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        line_reader lines(std::move(reader));
        put(writer, "one\n\nlast");
        writer.close();
        CHECK(next_line(ctx, lines).result() == "one");
        auto empty = next_line(ctx, lines);
        CHECK_FALSE(empty.error());
        CHECK(empty.result().empty());
        auto last = next_line(ctx, lines);
        CHECK_FALSE(last.error());
        CHECK(last.result() == "last");
        CHECK(next_line(ctx, lines).error() == asio::error::eof);
        CHECK(next_line(ctx, lines).error() == asio::error::eof);
    }

    TEST_CASE("a line that comes in pieces is one line")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        line_reader lines(reader);
        line_outcome got;
        lines.async_read_line(got.handler());
        for (const auto* piece : {"h\xc3", "\xa9", "llo", "\nrest"}) {
            ctx.poll();
            CHECK_FALSE(got.done());
            put(writer, piece);
        }
        run(ctx);
        CHECK(got.result() == "h\xc3\xa9llo");
        CHECK(lines.buffered() == "rest");
    }

    TEST_CASE("a line too long is an error with its beginning, and reading goes on after it")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        line_reader lines(reader, {.max_line_bytes = 4, .read_bytes = 3});
        put(writer, "123456789\nabcd\n");
        auto first = next_line(ctx, lines);
        CHECK(first.error() == stream_errc::line_too_long);
        CHECK(first.error() == boost::system::errc::message_size);
        CHECK(first.error().message() == "line too long");
        CHECK(std::string(first.error().category().name()) == "procyard.stream");
        CHECK(first.result() == "1234");
        auto second = next_line(ctx, lines);
        CHECK_FALSE(second.error());
        CHECK(second.result() == "abcd");
    }

    TEST_CASE("try_next_line takes what async_wait_line has brought")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        line_reader lines(reader, {.max_line_bytes = 4});
        error_code ec;
        CHECK_FALSE(lines.try_next_line(ec));
        CHECK(ec == asio::error::would_block);
        put(writer, "one\n12345\ntwo");
        outcome<error_code> ready;
        lines.async_wait_line(ready.handler());
        run(ctx);
        CHECK_FALSE(ready.error());
        CHECK(lines.try_next_line(ec) == "one");
        CHECK_FALSE(ec);
        CHECK(lines.try_next_line(ec) == "1234");
        CHECK(ec == stream_errc::line_too_long);
        CHECK_FALSE(lines.try_next_line(ec));
        CHECK(ec == asio::error::would_block);

        writer.close();
        for (const auto* line : {"two", ""}) {
            outcome<error_code> more;
            lines.async_wait_line(more.handler());
            run(ctx);
            CHECK_FALSE(more.error());
            CHECK(lines.try_next_line(ec).value_or("") == line);
        }
        CHECK(ec == asio::error::eof);
    }

    TEST_CASE("a cancelled read keeps the bytes that had come")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        line_reader lines(reader);
        put(writer, "beg");
        asio::cancellation_signal signal;
        line_outcome got;
        lines.async_read_line(asio::bind_cancellation_slot(signal.slot(), got.handler()));
        ctx.poll();
        CHECK_FALSE(got.done());
        signal.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
        CHECK(got.result().empty());
        CHECK(lines.buffered() == "beg");
        put(writer, "in\n");
        CHECK(next_line(ctx, lines).result() == "begin");
    }

    TEST_CASE("a cancellation that meets a line already there leaves the line there")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        line_reader lines(reader);
        put(writer, "one\ntwo\n");
        CHECK(next_line(ctx, lines).result() == "one");
        asio::cancellation_signal signal;
        line_outcome got;
        lines.async_read_line(asio::bind_cancellation_slot(signal.slot(), got.handler()));
        signal.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
        CHECK(next_line(ctx, lines).result() == "two");
    }

    TEST_CASE("of two readers that race, the loser has taken no line")
    {
        using namespace asio::experimental::awaitable_operators;
        asio::io_context ctx;
        auto a = make_pipe(ctx.get_executor());
        auto b = make_pipe(ctx.get_executor());
        put(a.writer, "1\n2\n3\n4\n5\n6\n7\n8\n");
        put(b.writer, "a\nb\nc\nd\ne\nf\ng\nh\n");
        std::string seen;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                line_reader left(a.reader);
                line_reader right(b.reader);
                while (seen.size() < 16) {
                    const auto line = co_await (left.async_read_line(asio::use_awaitable)
                                                || right.async_read_line(asio::use_awaitable));
                    seen += std::visit([](const auto& text) { return text; }, line);
                }
            },
            [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        run(ctx);
        std::sort(seen.begin(), seen.end());
        CHECK(seen == "12345678abcdefgh");
    }

    TEST_CASE("an error of the stream comes after the lines before it, and keeps the rest")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        line_reader lines(reader);
        put(writer, "one\nunfinished");
        CHECK(next_line(ctx, lines).result() == "one");
        reader.close();
        CHECK(next_line(ctx, lines).error() == asio::error::bad_descriptor);
        CHECK(lines.buffered() == "unfinished");
        auto fresh = make_pipe(ctx.get_executor());
        reader.assign(fresh.reader.release());
        put(fresh.writer, " business\n");
        CHECK(next_line(ctx, lines).result() == "unfinished business");
    }

    TEST_CASE("closing the stream ends a read with operation_aborted")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        line_reader lines(reader);
        line_outcome got;
        lines.async_read_line(got.handler());
        ctx.poll();
        reader.close();
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
    }

    TEST_CASE("a move carries a pending read and the bytes along")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        line_reader lines(std::move(reader));
        put(writer, "on");
        line_outcome got;
        lines.async_read_line(got.handler());
        ctx.poll();
        line_reader moved(std::move(lines));
        put(writer, "e\n");
        run(ctx);
        CHECK(got.result() == "one");
        CHECK(moved.next_layer().is_open());
    }

    TEST_CASE("a socket is read the same way, and its bytes can be read without lines after them")
    {
        asio::io_context ctx;
        socket_type here(ctx);
        socket_type there(ctx);
        asio::local::connect_pair(here, there);
        line_reader lines(here, {.strip_carriage_return = true});
        const std::string sent = "Length: 4\r\n\r\nbody";
        asio::write(there, asio::buffer(sent));
        CHECK(next_line(ctx, lines).result() == "Length: 4");
        CHECK(next_line(ctx, lines).result().empty());
        std::string body(lines.buffered());
        lines.consume(body.size());
        asio::read(lines.next_layer(), asio::dynamic_buffer(body),
                   asio::transfer_exactly(4 - body.size()));
        CHECK(body == "body");
        CHECK(lines.get_executor() == here.get_executor());
    }

    TEST_CASE("every kind of token")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        line_reader lines(reader);
        put(writer, "future\nawaitable\ndefault\ntuple\n");
        auto future = lines.async_read_line(asio::use_future);
        run(ctx);
        CHECK(future.get() == "future");
        bool finished = false;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                CHECK(co_await lines.async_read_line(asio::use_awaitable) == "awaitable");
                CHECK(co_await lines.async_read_line() == "default");
                co_await lines.async_wait_line();
                const auto [ec, line] =
                    co_await lines.async_read_line(asio::as_tuple(asio::deferred));
                CHECK_FALSE(ec);
                CHECK(line == "tuple");
                finished = true;
            },
            [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        run(ctx);
        CHECK(finished);
    }
}
