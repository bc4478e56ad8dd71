// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/async_copy.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/pipe.hpp>

#include "io_features.hpp"
#include "procyard_test.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using procyard::async_copy;
using procyard::copy_mechanism;
using procyard::copy_options;
using procyard::copy_result;
using procyard::copy_side;
using procyard::error_code;
using procyard::make_pipe;
using procyard::pipe_reader;
using procyard::pipe_writer;
using procyard::unique_fd;
using procyard_test::outcome;
using procyard_test::run;
using copy_outcome = outcome<error_code, copy_result>;

namespace {

std::string pattern(std::size_t size)
{
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i)
        text[i] = static_cast<char>((i * 2'654'435'761U) >> 13U);
    return text;
}

void put(pipe_writer& writer, const std::string& text)
{
    error_code ec;
    REQUIRE(writer.try_write_some(asio::buffer(text), ec) == text.size());
}

std::string take(pipe_reader& reader)
{
    std::string all;
    std::array<char, 4096> block{};
    for (error_code ec; !ec;)
        all.append(block.data(), reader.try_read_some(asio::buffer(block), ec));
    return all;
}

struct descriptors {
    unique_fd read_end;
    unique_fd write_end;
};

descriptors pipe_ends()
{
    error_code ec;
    auto pipe = procyard::make_raw_pipe(ec);
    REQUIRE_FALSE(ec);
    return {std::move(pipe.read_end), std::move(pipe.write_end)};
}

descriptors socket_ends()
{
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}

enum class kind { pipe, socket, file, append_file };

// A stream of the kind with another end at which the test feeds or drains it. A file is fed before
// and drained after the copy.
struct fed_source {
    fed_source(asio::io_context& ctx, kind k, const std::string& content)
        : reader(ctx.get_executor()),
          feeder(ctx.get_executor())
    {
        if (k == kind::file) {
            const auto path = directory.write("in", content);
            reader.assign(unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)));
            return;
        }
        auto ends = k == kind::pipe ? pipe_ends() : socket_ends();
        reader.assign(std::move(ends.read_end));
        feeder.assign(std::move(ends.write_end));
        asio::async_write(feeder, asio::buffer(content),
                          [this](error_code, std::size_t) { feeder.close(); });
    }

    procyard_test::temporary_directory directory;
    pipe_reader reader;
    pipe_writer feeder;
};

struct drained_sink {
    drained_sink(asio::io_context& ctx, kind k)
        : writer(ctx.get_executor()),
          drain(ctx.get_executor()),
          is_file(false)
    {
        if (k == kind::file || k == kind::append_file) {
            is_file = true;
            const auto path = directory.write("out", "");
            const int mode = k == kind::append_file ? O_APPEND : 0;
            writer.assign(unique_fd(::open(path.c_str(), O_WRONLY | mode | O_CLOEXEC)));
            return;
        }
        auto ends = k == kind::pipe ? pipe_ends() : socket_ends();
        writer.assign(std::move(ends.write_end));
        drain.assign(std::move(ends.read_end));
        asio::async_read(drain, asio::dynamic_buffer(text), [](error_code, std::size_t) { });
    }
    std::string content() { return is_file ? directory.read("out") : text; }

    procyard_test::temporary_directory directory;
    pipe_writer writer;
    pipe_reader drain;
    std::string text;
    bool is_file;
};

int handled = 0;

void count_it(int)
{
    ++handled;
}

}  // namespace

TEST_SUITE("async_copy")
{
    TEST_CASE("what comes out is what went in, between all kinds of descriptors")
    {
        struct pair {
            kind from;
            kind to;
            copy_mechanism expected;
        };
        const auto by_kernel = copy_mechanism::splice;
        const auto by_us = copy_mechanism::read_write;
        const std::vector<pair> pairs{
            {kind::pipe, kind::pipe, by_kernel}, {kind::pipe, kind::socket, by_kernel},
            {kind::pipe, kind::file, by_kernel}, {kind::socket, kind::pipe, by_kernel},
            {kind::file, kind::pipe, by_kernel}, {kind::socket, kind::socket, by_us},
            {kind::file, kind::file, by_us},     {kind::pipe, kind::append_file, by_us},
            {kind::file, kind::socket, by_us},
        };
        const auto content = pattern(1'500'000);
        for (const auto& [from, to, expected] : pairs) {
            for (const bool allowed : {true, false}) {
                CAPTURE(static_cast<int>(from));
                CAPTURE(static_cast<int>(to));
                CAPTURE(allowed);
                asio::io_context ctx;
                fed_source source(ctx, from, content);
                drained_sink sink(ctx, to);
                copy_outcome got;
                async_copy(source.reader, sink.writer, {.allow_splice = allowed}, got.handler());
                procyard_test::run_until(ctx, [&] { return got.done(); });
                sink.writer.close();
                run(ctx);
                CHECK_FALSE(got.error());
                CHECK(got.result().bytes == content.size());
                CHECK(got.result().end_of_source);
                CHECK(got.result().failed == copy_side::none);
                CHECK(got.result().unwritten.empty());
                CHECK(got.result().mechanism == (allowed ? expected : by_us));
                CHECK(sink.content() == content);
            }
        }
    }

    TEST_CASE("an empty source is a copy of no bytes")
    {
        for (const bool allowed : {true, false}) {
            asio::io_context ctx;
            auto from = make_pipe(ctx.get_executor());
            auto to = make_pipe(ctx.get_executor());
            from.writer.close();
            copy_outcome got;
            async_copy(from.reader, to.writer, {.allow_splice = allowed}, got.handler());
            run(ctx);
            CHECK_FALSE(got.error());
            CHECK(got.result().bytes == 0);
            CHECK(got.result().end_of_source);
            CHECK(to.writer.is_open());
        }
    }

    TEST_CASE("stops after max_bytes and leaves the rest in the source")
    {
        for (const bool allowed : {true, false}) {
            for (const std::uint64_t limit : {0U, 1U, 5U}) {
                asio::io_context ctx;
                auto from = make_pipe(ctx.get_executor());
                auto to = make_pipe(ctx.get_executor());
                put(from.writer, "0123456789");
                copy_outcome got;
                async_copy(from.reader, to.writer, {.max_bytes = limit, .allow_splice = allowed},
                           got.handler());
                CHECK_FALSE(got.done());
                run(ctx);
                CHECK_FALSE(got.error());
                CHECK(got.result().bytes == limit);
                CHECK_FALSE(got.result().end_of_source);
                CHECK(take(to.reader) + take(from.reader) == "0123456789");
            }
        }
    }

    TEST_CASE("a sink without a reader is broken_pipe, no signal, and no byte is lost")
    {
        for (auto* const disposition : {SIG_DFL, SIG_IGN, &count_it}) {
            for (const kind to : {kind::pipe, kind::socket}) {
                for (const bool allowed : {true, false}) {
                    CAPTURE(static_cast<int>(to));
                    CAPTURE(allowed);
                    handled = 0;
                    struct sigaction action{};
                    struct sigaction before{};
                    action.sa_handler = disposition;
                    REQUIRE(::sigaction(SIGPIPE, &action, &before) == 0);
                    asio::io_context ctx;
                    auto from = make_pipe(ctx.get_executor());
                    auto ends = to == kind::pipe ? pipe_ends() : socket_ends();
                    pipe_writer sink(ctx.get_executor(), std::move(ends.write_end));
                    ends.read_end.reset();
                    put(from.writer, "0123456789");
                    copy_outcome got;
                    async_copy(from.reader, sink, {.allow_splice = allowed}, got.handler());
                    run(ctx);
                    CHECK(got.error() == asio::error::broken_pipe);
                    CHECK(got.result().failed == copy_side::sink);
                    CHECK(got.result().bytes == 0);
                    CHECK(got.result().unwritten + take(from.reader) == "0123456789");
                    CHECK(got.result().unwritten.empty() == allowed);
                    CHECK(handled == 0);
                    ::sigaction(SIGPIPE, &before, nullptr);
                }
            }
        }
    }

    TEST_CASE("the bytes before a sink fails are counted")
    {
        for (const bool allowed : {true, false}) {
            asio::io_context ctx;
            auto from = make_pipe(ctx.get_executor());
            auto to = make_pipe(ctx.get_executor());
            copy_outcome got;
            async_copy(from.reader, to.writer, {.allow_splice = allowed}, got.handler());
            put(from.writer, "first");
            procyard_test::run_until(ctx, [&, all = std::string()]() mutable {
                return (all += take(to.reader)) == "first";
            });
            to.reader.close();
            put(from.writer, "second");
            run(ctx);
            CHECK(got.error() == asio::error::broken_pipe);
            CHECK(got.result().bytes == 5);
            CHECK(got.result().unwritten + take(from.reader) == "second");
        }
    }

    TEST_CASE("it is noticed while the source is silent that nobody reads the sink any more")
    {
        for (const bool allowed : {true, false}) {
            for (const kind to : {kind::pipe, kind::socket}) {
                asio::io_context ctx;
                auto from = make_pipe(ctx.get_executor());
                auto ends = to == kind::pipe ? pipe_ends() : socket_ends();
                pipe_writer sink(ctx.get_executor(), std::move(ends.write_end));
                put(from.writer, "abc");
                copy_outcome got;
                async_copy(from.reader, sink, {.allow_splice = allowed}, got.handler());
                ctx.poll();
                CHECK_FALSE(got.done());
                std::array<char, 3> block{};
                REQUIRE(::read(ends.read_end.get(), block.data(), block.size()) == 3);
                ends.read_end.reset();
                run(ctx);
                CHECK(got.error() == asio::error::broken_pipe);
                CHECK(got.result().failed == copy_side::sink);
                CHECK(got.result().bytes == 3);
            }
        }
    }

    TEST_CASE("source and sink may live on different threads")
    {
        const auto content = pattern(1'000'000);
        for (const bool allowed : {true, false}) {
            asio::io_context here;
            asio::io_context there;
            fed_source source(here, kind::pipe, content);
            drained_sink sink(there, kind::pipe);
            copy_outcome got;
            async_copy(source.reader, sink.writer, {.allow_splice = allowed}, got.handler());
            std::thread thread([&there] { there.run_for(procyard_test::deadlock_guard); });
            run(here);
            sink.writer.close();
            thread.join();
            CHECK(got.result().bytes == content.size());
            CHECK(sink.content() == content);
        }
    }

    TEST_CASE("an error of the source is told as the source's")
    {
        for (const bool allowed : {true, false}) {
            asio::io_context ctx;
            auto to = make_pipe(ctx.get_executor());
            auto ends = socket_ends();
            // A local socket whose peer closes with unread bytes is reset.
            REQUIRE(::write(ends.read_end.get(), "never read", 10) == 10);
            pipe_reader source(ctx.get_executor(), std::move(ends.read_end));
            copy_outcome got;
            async_copy(source, to.writer, {.allow_splice = allowed}, got.handler());
            ctx.poll();
            REQUIRE(::write(ends.write_end.get(), "abc", 3) == 3);
            ctx.poll();
            ends.write_end.reset();
            run(ctx);
            CHECK(got.error() == asio::error::connection_reset);
            CHECK(got.result().failed == copy_side::source);
            CHECK(got.result().bytes == 3);
            CHECK(take(to.reader) == "abc");
        }
    }

    TEST_CASE("a sink that takes nothing holds the source back")
    {
        for (const bool allowed : {true, false}) {
            asio::io_context ctx;
            auto from = make_pipe(ctx.get_executor(), {.capacity_bytes = 8192});
            auto to = make_pipe(ctx.get_executor(), {.capacity_bytes = 8192});
            const auto content = pattern(200'000);
            outcome<error_code, std::size_t> fed;
            asio::async_write(from.writer, asio::buffer(content), fed.handler());
            std::uint64_t progress = 0;
            copy_outcome got;
            async_copy(from.reader, to.writer,
                       {.buffer_bytes = 4096,
                        .allow_splice = allowed,
                        .on_progress = [&](std::uint64_t bytes) { progress = bytes; }},
                       got.handler());
            ctx.poll();
            CHECK_FALSE(fed.done());
            CHECK(progress > 0);
            CHECK(progress <= 8192);

            std::string all;
            procyard_test::run_until(ctx, [&] {
                all += take(to.reader);
                return fed.done();
            });
            from.writer.close();
            procyard_test::run_until(ctx, [&] {
                all += take(to.reader);
                return got.done();
            });
            CHECK(progress == content.size());
            CHECK(all + take(to.reader) == content);
        }
    }

    TEST_CASE("a fast copy leaves turns to everybody else")
    {
        for (const bool allowed : {true, false}) {
            asio::io_context ctx;
            auto pipe = make_pipe(ctx.get_executor());
            pipe_reader zero(ctx.get_executor(),
                             unique_fd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)));
            pipe_writer null(ctx.get_executor(),
                             unique_fd(::open("/dev/null", O_WRONLY | O_CLOEXEC)));
            constexpr std::uint64_t total = std::uint64_t{64} << 20U;
            copy_outcome in;
            copy_outcome out;
            async_copy(zero, pipe.writer, {.max_bytes = total, .allow_splice = allowed},
                       in.handler());
            async_copy(pipe.reader, null, {.max_bytes = total, .allow_splice = allowed},
                       out.handler());
            std::size_t turns = 0;
            std::function<void()> other = [&] {
                ++turns;
                if (!out.done())
                    asio::post(ctx, other);
            };
            asio::post(ctx, other);
            run(ctx);
            CHECK(in.result().bytes == total);
            CHECK(out.result().bytes == total);
            CHECK(turns > 100);
        }
    }

    TEST_CASE("cancelled anywhere and continued, it loses and doubles nothing")
    {
        std::mt19937 engine(3);
        const auto up_to = [&engine](std::size_t most) {
            return std::uniform_int_distribution<std::size_t>(0, most)(engine);
        };
        for (int round = 0; round < 60; ++round) {
            const bool allowed = round % 2 == 0;
            asio::io_context ctx;
            const auto content = pattern(400'000);
            fed_source source(ctx, kind::pipe, content);
            drained_sink sink(ctx, kind::pipe);
            std::uint64_t counted = 0;
            bool ended = false;
            while (!ended) {
                asio::cancellation_signal signal;
                copy_outcome got;
                async_copy(source.reader, sink.writer,
                           {.buffer_bytes = 1 + up_to(100'000), .allow_splice = allowed},
                           asio::bind_cancellation_slot(signal.slot(), got.handler()));
                for (auto turns = up_to(30); turns > 0 && !got.done(); --turns)
                    ctx.poll_one();
                signal.emit(up_to(1) == 0 ? asio::cancellation_type::terminal
                                          : asio::cancellation_type::partial);
                procyard_test::run_until(ctx, [&] { return got.done(); });
                REQUIRE((!got.error() || got.error() == asio::error::operation_aborted));
                ended = got.result().end_of_source;
                auto& rest = got.result().unwritten;
                counted += got.result().bytes + rest.size();
                if (!rest.empty()) {
                    bool written = false;
                    asio::async_write(sink.writer, asio::buffer(rest),
                                      [&](error_code, std::size_t) { written = true; });
                    procyard_test::run_until(ctx, [&] { return written; });
                }
            }
            sink.writer.close();
            run(ctx);
            CHECK(counted == content.size());
            CHECK(sink.content() == content);
        }
    }

    TEST_CASE("a total cancellation that comes after bytes have been copied is not heard")
    {
        for (const bool allowed : {true, false}) {
            asio::io_context ctx;
            auto from = make_pipe(ctx.get_executor());
            auto to = make_pipe(ctx.get_executor());
            put(from.writer, "abc");
            asio::cancellation_signal signal;
            copy_outcome got;
            async_copy(from.reader, to.writer, {.allow_splice = allowed},
                       asio::bind_cancellation_slot(signal.slot(), got.handler()));
            ctx.poll();
            signal.emit(asio::cancellation_type::total);
            ctx.poll();
            CHECK_FALSE(got.done());
            put(from.writer, "def");
            from.writer.close();
            run(ctx);
            CHECK_FALSE(got.error());
            CHECK(take(to.reader) == "abcdef");
        }
    }

    TEST_CASE("closing, cancelling or releasing either stream ends the copy")
    {
        for (const bool allowed : {true, false}) {
            for (int way = 0; way < 5; ++way) {
                CAPTURE(way);
                asio::io_context ctx;
                auto from = make_pipe(ctx.get_executor());
                auto to = make_pipe(ctx.get_executor());
                put(from.writer, "abc");
                copy_outcome got;
                async_copy(from.reader, to.writer, {.allow_splice = allowed}, got.handler());
                ctx.poll();
                CHECK_FALSE(got.done());
                unique_fd released;
                switch (way) {
                case 0: from.reader.close(); break;
                case 1: from.reader.cancel(); break;
                case 2: released = from.reader.release(); break;
                case 3: to.writer.close(); break;
                default: released = to.writer.release(); break;
                }
                run(ctx);
                CHECK(got.error() == asio::error::operation_aborted);
                CHECK(got.result().bytes == 3);
            }
        }
    }

    TEST_CASE("a kernel without splice is served by reading and writing")
    {
        procyard::detail::io().splice = false;
        asio::io_context ctx;
        auto from = make_pipe(ctx.get_executor());
        auto to = make_pipe(ctx.get_executor());
        put(from.writer, "abc");
        from.writer.close();
        copy_outcome got;
        async_copy(from.reader, to.writer, got.handler());
        run(ctx);
        procyard::detail::io().splice = true;
        CHECK_FALSE(got.error());
        CHECK(got.result().mechanism == copy_mechanism::read_write);
        CHECK(take(to.reader) == "abc");
    }

    TEST_CASE("between streams of Asio, and between theirs and ours")
    {
        using socket_type = asio::local::stream_protocol::socket;
        asio::io_context ctx;
        socket_type client(ctx);
        socket_type server(ctx);
        asio::local::connect_pair(client, server);
        socket_type next(ctx);
        socket_type last(ctx);
        asio::local::connect_pair(next, last);
        auto pipe = make_pipe(ctx.get_executor());
        auto end = make_pipe(ctx.get_executor());
        const auto content = pattern(300'000);
        std::string received;
        copy_outcome from_asio;
        copy_outcome to_asio;
        copy_outcome at_last;
        asio::async_write(client, asio::buffer(content),
                          [&](error_code, std::size_t) { client.close(); });
        async_copy(server, pipe.writer, [&, h = from_asio.handler()](error_code ec, copy_result r) {
            h(ec, std::move(r));
            pipe.writer.close();
        });
        async_copy(pipe.reader, next, [&, h = to_asio.handler()](error_code ec, copy_result r) {
            h(ec, std::move(r));
            next.close();
        });
        async_copy(last, end.writer, [&, h = at_last.handler()](error_code ec, copy_result r) {
            h(ec, std::move(r));
            end.writer.close();
        });
        asio::async_read(end.reader, asio::dynamic_buffer(received),
                         [](error_code, std::size_t) { });
        run(ctx);
        CHECK_FALSE(from_asio.error());
        CHECK_FALSE(to_asio.error());
        CHECK(at_last.result().bytes == content.size());
        CHECK(at_last.result().mechanism == copy_mechanism::read_write);
        CHECK(received == content);
    }

    TEST_CASE("every kind of token")
    {
        asio::io_context ctx;
        auto from = make_pipe(ctx.get_executor());
        auto to = make_pipe(ctx.get_executor());
        put(from.writer, "abcd");
        auto future = async_copy(from.reader, to.writer, {.max_bytes = 1}, asio::use_future);
        run(ctx);
        CHECK(future.get().bytes == 1);
        bool finished = false;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                auto& source = from.reader;
                auto& sink = to.writer;
                const copy_options one{.max_bytes = 1};
                CHECK((co_await async_copy(source, sink, one)).bytes == 1);
                CHECK((co_await async_copy(source, sink, one, asio::use_awaitable)).bytes == 1);
                from.writer.close();
                const auto [ec, rest] =
                    co_await async_copy(source, sink, asio::as_tuple(asio::deferred));
                CHECK_FALSE(ec);
                CHECK(rest.bytes == 1);
                finished = true;
            },
            [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        run(ctx);
        CHECK(finished);
    }
}
