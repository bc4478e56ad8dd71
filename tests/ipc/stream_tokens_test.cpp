// SPDX-License-Identifier: BSL-1.0
// The streams under everything Asio offers: each kind of completion token, its composed operations,
// its adaptors, its requirements.
#include <procyard/ipc/pipe.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffered_read_stream.hpp>
#include <boost/asio/buffered_write_stream.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <future>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include <doctest/doctest.h>

#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::make_pipe;
using procyard::pipe_reader;
using procyard::pipe_writer;
using procyard_test::outcome;
using procyard_test::run;

static_assert(std::is_nothrow_move_constructible_v<pipe_reader>);
static_assert(std::is_nothrow_move_assignable_v<pipe_writer>);
static_assert(!std::is_copy_constructible_v<pipe_reader>);

namespace {

// Runs a coroutine to its end; an exception fails the test.
template <class Coroutine>
void run_coroutine(asio::io_context& ctx, Coroutine coroutine)
{
    bool finished = false;
    asio::co_spawn(ctx, std::move(coroutine), [&](std::exception_ptr failure) {
        finished = true;
        if (failure)
            std::rethrow_exception(failure);
    });
    run(ctx);
    CHECK(finished);
}

asio::const_buffer text(const char* bytes)
{
    return asio::buffer(bytes, std::char_traits<char>::length(bytes));
}

}  // namespace

TEST_SUITE("stream tokens")
{
    TEST_CASE("callback")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        outcome<error_code, std::size_t> wrote;
        outcome<error_code, std::size_t> got;
        outcome<error_code> readable;
        outcome<error_code> writable;
        outcome<error_code> closed;
        std::array<char, 8> block{};
        writer.async_wait_writable(writable.handler());
        writer.async_write_some(text("x"), wrote.handler());
        reader.async_wait_readable(readable.handler());
        reader.async_read_some(asio::buffer(block), got.handler());
        writer.async_wait_closed(closed.handler());
        procyard_test::run_until(ctx, [&] { return got.done() && readable.done(); });
        CHECK(wrote.result() == 1);
        CHECK(got.result() == 1);
        CHECK_FALSE(writable.error());
        reader.close();
        run(ctx);
        CHECK_FALSE(closed.error());
    }

    TEST_CASE("use_future")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        std::array<char, 8> block{};
        auto wrote = writer.async_write_some(text("x"), asio::use_future);
        auto readable = reader.async_wait_readable(asio::use_future);
        auto got = reader.async_read_some(asio::buffer(block), asio::use_future);
        auto end = reader.async_read_some(asio::buffer(block), asio::use_future);
        procyard_test::run_until(ctx, [&] {
            return got.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
        });
        CHECK(wrote.get() == 1);
        CHECK(got.get() == 1);
        writer.close();
        run(ctx);
        readable.get();
        CHECK_THROWS_AS(end.get(), boost::system::system_error);
    }

    TEST_CASE("the default, as_tuple, redirect_error and use_awaitable in a coroutine")
    {
        asio::io_context ctx;
        auto pipe = make_pipe(ctx.get_executor());
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            std::array<char, 8> block{};
            const auto buffer = asio::buffer(block);
            auto& [reader, writer] = pipe;
            co_await writer.async_wait_writable();
            CHECK(co_await writer.async_write_some(text("ab")) == 2);
            co_await reader.async_wait_readable();
            CHECK(co_await reader.async_read_some(buffer) == 2);

            CHECK(co_await writer.async_write_some(text("c"), asio::use_awaitable) == 1);
            const auto [ec, n] =
                co_await reader.async_read_some(buffer, asio::as_tuple(asio::deferred));
            CHECK_FALSE(ec);
            CHECK(n == 1);

            writer.close();
            error_code end;
            co_await reader.async_read_some(buffer, asio::redirect_error(asio::use_awaitable, end));
            CHECK(end == asio::error::eof);
            CHECK_THROWS_AS(co_await reader.async_read_some(buffer), boost::system::system_error);
        });
    }

    TEST_CASE("a deferred operation starts when it is called, and outlives a move of its stream")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        std::array<char, 8> block{};
        auto later = reader.async_read_some(asio::buffer(block), asio::deferred);
        pipe_reader moved(std::move(reader));
        error_code ec;
        writer.try_write_some(text("x"), ec);
        outcome<error_code, std::size_t> got;
        std::move(later)(got.handler());
        run(ctx);
        CHECK(got.result() == 1);
    }

    TEST_CASE("awaitable operators")
    {
        using namespace asio::experimental::awaitable_operators;
        asio::io_context ctx;
        auto pipe = make_pipe(ctx.get_executor());
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            std::array<char, 8> block{};
            auto& [reader, writer] = pipe;
            const auto [n, m] =
                co_await (reader.async_read_some(asio::buffer(block), asio::use_awaitable)
                          && writer.async_write_some(text("abc"), asio::use_awaitable));
            CHECK(n == 3);
            CHECK(m == 3);
            const auto first =
                co_await (reader.async_read_some(asio::buffer(block), asio::use_awaitable)
                          || writer.async_wait_writable(asio::use_awaitable));
            CHECK(first.index() == 1);
        });
    }

    TEST_CASE("executors of other types serve as well")
    {
        asio::io_context ctx;
        auto pipe = make_pipe(asio::make_strand(ctx));
        asio::co_spawn(
            asio::make_strand(ctx),
            [&]() -> asio::awaitable<void> {
                char byte = 0;
                co_await pipe.writer.async_write_some(text("x"));
                CHECK(co_await pipe.reader.async_read_some(asio::buffer(&byte, 1)) == 1);
            },
            [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        run(ctx);
    }
}

TEST_SUITE("stream requirements")
{
    TEST_CASE("async_read and async_write move whole buffers through a small pipe")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor(), {.capacity_bytes = 4096});
        std::string sent(1'000'000, '\0');
        for (std::size_t i = 0; i < sent.size(); ++i)
            sent[i] = static_cast<char>(i * 31);
        std::string received(sent.size(), '\0');
        outcome<error_code, std::size_t> wrote;
        outcome<error_code, std::size_t> got;
        asio::async_write(writer, asio::buffer(sent), wrote.handler());
        asio::async_read(reader, asio::buffer(received), got.handler());
        run(ctx);
        CHECK_FALSE(wrote.error());
        CHECK_FALSE(got.error());
        CHECK(received == sent);
    }

    TEST_CASE("async_read of more than there is ends with eof and the bytes so far")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        error_code ec;
        writer.try_write_some(text("abc"), ec);
        writer.close();
        std::string all;
        outcome<error_code, std::size_t> got;
        asio::async_read(reader, asio::dynamic_buffer(all), got.handler());
        run(ctx);
        CHECK(got.error() == asio::error::eof);
        CHECK(all == "abc");
    }

    TEST_CASE("async_read_until finds its delimiter")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        error_code ec;
        writer.try_write_some(text("line\nrest"), ec);
        std::string all;
        outcome<error_code, std::size_t> got;
        asio::async_read_until(reader, asio::dynamic_buffer(all), '\n', got.handler());
        run(ctx);
        CHECK(got.result() == 5);
    }

    TEST_CASE("the buffering adaptors take them")
    {
        asio::io_context ctx;
        auto pipe = make_pipe(ctx.get_executor());
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            asio::buffered_write_stream<pipe_writer&> out(pipe.writer);
            asio::buffered_read_stream<pipe_reader&> in(pipe.reader);
            co_await asio::async_write(out, text("abc"), asio::use_awaitable);
            co_await out.async_flush(asio::use_awaitable);
            std::array<char, 3> block{};
            co_await asio::async_read(in, asio::buffer(block), asio::use_awaitable);
            CHECK(std::string(block.data(), 3) == "abc");
        });
    }

    TEST_CASE("read and write without an event loop")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor(), {.capacity_bytes = 4096});
        const std::string sent(100'000, 'x');
        std::thread other([&w = writer, &sent] {
            asio::write(w, asio::buffer(sent));
            w.close();
        });
        std::string received;
        error_code ec;
        asio::read(reader, asio::dynamic_buffer(received), ec);
        other.join();
        CHECK(ec == asio::error::eof);
        CHECK(received == sent);
    }
}
