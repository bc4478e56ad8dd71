// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/pipe.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "procyard_test.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::make_pipe;
using procyard::pipe_reader;
using procyard::pipe_writer;
using procyard::unique_fd;
using procyard_test::outcome;
using procyard_test::run;
using transfer = outcome<error_code, std::size_t>;

namespace {

void put(pipe_writer& writer, const std::string& text)
{
    error_code ec;
    REQUIRE(writer.try_write_some(asio::buffer(text), ec) == text.size());
    REQUIRE_FALSE(ec);
}

// Reads to the end in the event loop.
std::string read_all(asio::io_context& ctx, pipe_reader& reader, error_code& ec)
{
    std::string all;
    std::array<char, 512> block{};
    for (;;) {
        transfer got;
        reader.async_read_some(asio::buffer(block), got.handler());
        run(ctx);
        ec = got.error();
        if (ec)
            return all;
        all.append(block.data(), got.result());
    }
}

bool is_nonblocking(int fd)
{
    return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

struct terminal {
    unique_fd master;
    unique_fd slave;
};

terminal open_terminal()
{
    terminal pty;
    pty.master = unique_fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(pty.master);
    REQUIRE(::grantpt(pty.master.get()) == 0);
    REQUIRE(::unlockpt(pty.master.get()) == 0);
    std::array<char, 64> name{};
    REQUIRE(::ptsname_r(pty.master.get(), name.data(), name.size()) == 0);
    pty.slave = unique_fd(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(pty.slave);
    return pty;
}

}  // namespace

TEST_SUITE("pipe_reader")
{
    TEST_CASE("hands out what is there, then the end of the stream, and again the end")
    {
        const procyard_test::descriptor_check no_leak;
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        put(writer, "left behind");
        writer.close();
        error_code ec;
        CHECK(read_all(ctx, reader, ec) == "left behind");
        CHECK(ec == asio::error::eof);
        CHECK(read_all(ctx, reader, ec).empty());
        CHECK(ec == asio::error::eof);
    }

    TEST_CASE("the end of the stream wakes a read that waits")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        std::array<char, 8> block{};
        transfer got;
        reader.async_read_some(asio::buffer(block), got.handler());
        ctx.poll();
        CHECK_FALSE(got.done());
        writer.close();
        run(ctx);
        CHECK(got.error() == asio::error::eof);
        CHECK(got.result() == 0);
    }

    TEST_CASE("the master of a terminal reads what the slave wrote, then the end")
    {
        asio::io_context ctx;
        auto pty = open_terminal();
        termios settings{};
        REQUIRE(::tcgetattr(pty.slave.get(), &settings) == 0);
        ::cfmakeraw(&settings);
        REQUIRE(::tcsetattr(pty.slave.get(), TCSANOW, &settings) == 0);
        REQUIRE(::write(pty.slave.get(), "bye", 3) == 3);
        pty.slave.reset();
        pipe_reader reader(ctx.get_executor(), std::move(pty.master));
        error_code ec;
        CHECK(read_all(ctx, reader, ec) == "bye");
        CHECK(ec == asio::error::eof);
    }

    TEST_CASE("a terminal itself can be read")
    {
        asio::io_context ctx;
        auto pty = open_terminal();
        pipe_reader reader(ctx.get_executor(), std::move(pty.slave));
        std::array<char, 16> block{};
        transfer got;
        reader.async_read_some(asio::buffer(block), got.handler());
        ctx.poll();
        CHECK_FALSE(got.done());
        REQUIRE(::write(pty.master.get(), "line\n", 5) == 5);
        run(ctx);
        CHECK_FALSE(got.error());
        CHECK(std::string(block.data(), got.result()) == "line\n");
    }

    TEST_CASE("a regular file is read from the event loop, and can be waited for")
    {
        const procyard_test::temporary_directory directory;
        const auto path = directory.write("text", std::string(5000, 'a') + "end");
        asio::io_context ctx;
        pipe_reader reader(ctx.get_executor(),
                           unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)));
        outcome<error_code> readable;
        reader.async_wait_readable(readable.handler());
        run(ctx);
        CHECK_FALSE(readable.error());
        error_code ec;
        CHECK(read_all(ctx, reader, ec) == std::string(5000, 'a') + "end");
        CHECK(ec == asio::error::eof);
    }

    TEST_CASE("a directory is not readable and says so")
    {
        asio::io_context ctx;
        pipe_reader reader(ctx.get_executor(), unique_fd(::open("/", O_RDONLY | O_CLOEXEC)));
        error_code ec;
        CHECK(read_all(ctx, reader, ec).empty());
        CHECK(ec == errc::is_a_directory);
    }

    TEST_CASE("character devices are read at once")
    {
        asio::io_context ctx;
        error_code ec;
        pipe_reader null(ctx.get_executor(), unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
        CHECK(read_all(ctx, null, ec).empty());
        CHECK(ec == asio::error::eof);

        pipe_reader zero(ctx.get_executor(), unique_fd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)));
        std::array<char, 4> block{1, 1, 1, 1};
        CHECK(zero.try_read_some(asio::buffer(block), ec) == 4);
        CHECK(block == std::array<char, 4>{});
    }

    TEST_CASE("a FIFO and a socket are streams like a pipe")
    {
        asio::io_context ctx;
        error_code ec;
        SUBCASE("FIFO")
        {
            const procyard_test::temporary_directory directory;
            const auto path = directory.path() / "fifo";
            REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
            // Opened for both, so that neither open waits for the other.
            unique_fd both(::open(path.c_str(), O_RDWR | O_CLOEXEC));
            pipe_reader reader(ctx.get_executor(),
                               unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)));
            REQUIRE(::write(both.get(), "fifo", 4) == 4);
            both.reset();
            CHECK(read_all(ctx, reader, ec) == "fifo");
        }
        SUBCASE("socket")
        {
            int ends[2];
            REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
            unique_fd peer(ends[1]);
            pipe_reader reader(ctx.get_executor(), unique_fd(ends[0]));
            REQUIRE(::write(peer.get(), "socket", 6) == 6);
            peer.reset();
            CHECK(read_all(ctx, reader, ec) == "socket");
        }
        CHECK(ec == asio::error::eof);
    }

    TEST_CASE("buffers without bytes complete at once and take nothing")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        transfer empty;
        reader.async_read_some(asio::mutable_buffer(), empty.handler());
        CHECK_FALSE(empty.done());
        run(ctx);
        CHECK_FALSE(empty.error());
        CHECK(empty.result() == 0);
        error_code ec;
        CHECK(reader.try_read_some(asio::mutable_buffer(), ec) == 0);
        CHECK_FALSE(ec);
    }

    TEST_CASE(
        "a sequence of buffers is filled in order; those beyond sixteen wait for the next read")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        put(writer, "abcdefghijklmnopqrst");
        std::array<char, 20> bytes{};
        std::vector<asio::mutable_buffer> buffers{asio::mutable_buffer()};  // an empty one between
        for (auto& byte : bytes)
            buffers.emplace_back(&byte, 1);
        transfer got;
        reader.async_read_some(buffers, got.handler());
        run(ctx);
        CHECK_FALSE(got.error());
        CHECK(got.result() == 16);
        CHECK(std::string(bytes.data(), 16) == "abcdefghijklmnop");
    }

    TEST_CASE("try_read_some never waits")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        std::array<char, 8> block{};
        error_code ec;
        CHECK(reader.try_read_some(asio::buffer(block), ec) == 0);
        CHECK(ec == asio::error::would_block);
        put(writer, "x");
        CHECK(reader.try_read_some(asio::buffer(block), ec) == 1);
        CHECK_FALSE(ec);
        writer.close();
        CHECK(reader.try_read_some(asio::buffer(block), ec) == 0);
        CHECK(ec == asio::error::eof);
    }

    TEST_CASE("read_some blocks a thread until there is something")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        std::thread other([&w = writer] { put(w, "x"); });
        std::array<char, 8> block{};
        CHECK(reader.read_some(asio::buffer(block)) == 1);
        other.join();
        writer.close();
        error_code ec;
        CHECK(reader.read_some(asio::buffer(block), ec) == 0);
        CHECK(ec == asio::error::eof);
        CHECK_THROWS_AS(reader.read_some(asio::buffer(block)), boost::system::system_error);
    }

    TEST_CASE("only this end becomes non-blocking, and release makes it blocking again")
    {
        asio::io_context ctx;
        error_code ec;
        auto pipe = procyard::make_raw_pipe(ec);
        REQUIRE_FALSE(ec);
        pipe_reader reader(ctx.get_executor(), std::move(pipe.read_end));
        CHECK(is_nonblocking(reader.native_handle()));
        CHECK_FALSE(is_nonblocking(pipe.write_end.get()));
        const int number = reader.native_handle();
        const auto fd = reader.release();
        CHECK(fd.get() == number);
        CHECK_FALSE(is_nonblocking(number));
        CHECK_FALSE(reader.is_open());
        CHECK_FALSE(reader.release());
    }

    TEST_CASE("release ends pending reads, which have taken nothing")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        std::array<char, 8> block{};
        transfer got;
        reader.async_read_some(asio::buffer(block), got.handler());
        ctx.poll();
        put(writer, "x");
        const auto fd = reader.release();
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
        CHECK(::read(fd.get(), block.data(), block.size()) == 1);
    }

    TEST_CASE("a descriptor that cannot be read is refused")
    {
        asio::io_context ctx;
        pipe_reader reader(ctx.get_executor());
        error_code ec;
        reader.assign(unique_fd(), ec);
        CHECK(ec == asio::error::bad_descriptor);
        reader.assign(unique_fd(::open("/dev/null", O_WRONLY | O_CLOEXEC)), ec);
        CHECK(ec == asio::error::bad_descriptor);
        reader.assign(unique_fd(::open("/", O_PATH | O_CLOEXEC)), ec);
        CHECK(ec == asio::error::bad_descriptor);
        CHECK_FALSE(reader.is_open());
        CHECK_THROWS_AS(pipe_reader(ctx.get_executor(), unique_fd()), boost::system::system_error);
    }

    TEST_CASE("a closed reader answers bad_descriptor, however it is asked")
    {
        asio::io_context ctx;
        pipe_reader reader(ctx.get_executor());
        CHECK_FALSE(reader.is_open());
        CHECK(reader.native_handle() == -1);
        CHECK(reader.get_executor() == asio::any_io_executor(ctx.get_executor()));
        std::array<char, 8> block{};
        error_code ec;
        CHECK(reader.try_read_some(asio::buffer(block), ec) == 0);
        CHECK(ec == asio::error::bad_descriptor);
        CHECK(reader.read_some(asio::buffer(block), ec) == 0);
        CHECK(ec == asio::error::bad_descriptor);
        reader.close();
        reader.cancel();
    }

    TEST_CASE("assign closes what was open and ends its operations; the next read is the new one's")
    {
        asio::io_context ctx;
        auto old = make_pipe(ctx.get_executor());
        auto fresh = make_pipe(ctx.get_executor());
        std::array<char, 8> block{};
        transfer aborted;
        old.reader.async_read_some(asio::buffer(block), aborted.handler());
        ctx.poll();
        old.reader.assign(fresh.reader.release());
        put(fresh.writer, "new");
        transfer got;
        old.reader.async_read_some(asio::buffer(block), got.handler());
        run(ctx);
        CHECK(aborted.error() == asio::error::operation_aborted);
        CHECK_FALSE(got.error());
        CHECK(got.result() == 3);
        error_code ec;
        old.writer.try_write_some(asio::buffer("x", 1), ec);
        CHECK(ec == asio::error::broken_pipe);
    }

    TEST_CASE("a move carries pending reads along")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        std::array<char, 8> block{};
        transfer got;
        reader.async_read_some(asio::buffer(block), got.handler());
        ctx.poll();
        pipe_reader moved(std::move(reader));
        CHECK_FALSE(reader.is_open());
        CHECK(reader.native_handle() == -1);
        put(writer, "x");
        run(ctx);
        CHECK_FALSE(got.error());

        pipe_reader target(ctx.get_executor());
        target = std::move(moved);
        CHECK(target.is_open());
        reader = std::move(target);  // a moved-from object may be assigned to
        CHECK(reader.is_open());
    }

    TEST_CASE("cancel ends every pending operation, and the reader goes on")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        std::array<char, 8> block{};
        transfer first;
        transfer second;
        outcome<error_code> third;
        reader.async_read_some(asio::buffer(block), first.handler());
        ctx.poll();
        reader.async_read_some(asio::buffer(block), second.handler());
        reader.async_wait_readable(third.handler());
        reader.cancel();
        put(writer, "x");
        run(ctx);
        CHECK(first.error() == asio::error::operation_aborted);
        CHECK(second.error() == asio::error::operation_aborted);
        CHECK(third.error() == asio::error::operation_aborted);
        transfer next;
        reader.async_read_some(asio::buffer(block), next.handler());
        run(ctx);
        CHECK(next.result() == 1);
    }

    TEST_CASE("a cancellation of one operation leaves the others alone")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        std::array<char, 8> block{};
        asio::cancellation_signal signal;
        transfer first;
        transfer second;
        reader.async_read_some(asio::buffer(block),
                               asio::bind_cancellation_slot(signal.slot(), first.handler()));
        reader.async_read_some(asio::buffer(block), second.handler());
        ctx.poll();
        signal.emit(asio::cancellation_type::total);
        put(writer, "x");
        run(ctx);
        CHECK(first.error() == asio::error::operation_aborted);
        CHECK_FALSE(second.error());
    }

    TEST_CASE("of two reads that race, the loser has read nothing")
    {
        using namespace asio::experimental::awaitable_operators;
        asio::io_context ctx;
        auto a = make_pipe(ctx.get_executor());
        auto b = make_pipe(ctx.get_executor());
        put(a.writer, "01234567");
        put(b.writer, "abcdefgh");
        std::string seen;
        const auto race = [](pipe_reader& left, pipe_reader& right,
                             std::string& all) -> asio::awaitable<void> {
            while (all.size() < 16) {
                char l = 0;
                char r = 0;
                const auto winner =
                    co_await (left.async_read_some(asio::buffer(&l, 1), asio::use_awaitable)
                              || right.async_read_some(asio::buffer(&r, 1), asio::use_awaitable));
                all += winner.index() == 0 ? l : r;
            }
        };
        asio::co_spawn(ctx, race(a.reader, b.reader, seen),
                       [](std::exception_ptr e) { CHECK_FALSE(e); });
        run(ctx);
        std::sort(seen.begin(), seen.end());
        CHECK(seen == "01234567abcdefgh");
    }

    TEST_CASE("a closed descriptor leaves epoll, even while somebody holds a copy")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        const auto copy = unique_fd(::fcntl(reader.native_handle(), F_DUPFD_CLOEXEC, 0));
        outcome<error_code> other;  // brings the reactor's own descriptors along
        auto elsewhere = make_pipe(ctx.get_executor());
        elsewhere.reader.async_wait_readable(other.handler());
        ctx.poll();
        const auto watched = procyard_test::watched_descriptors();
        std::array<char, 8> block{};
        transfer got;
        reader.async_read_some(asio::buffer(block), got.handler());
        ctx.poll();
        CHECK(procyard_test::watched_descriptors() == watched + 1);
        SUBCASE("close")
        {
            reader.close();
        }
        SUBCASE("release")
        {
            const auto fd = reader.release();
            CHECK(procyard_test::watched_descriptors() == watched);
        }
        SUBCASE("destroy")
        {
            pipe_reader gone(std::move(reader));
        }
        CHECK(procyard_test::watched_descriptors() == watched);
        elsewhere.writer.close();
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
    }
}
