// SPDX-License-Identifier: BSL-1.0
// Opening FIFOs, for readers and writers that come and go.
#include <procyard/ipc/fifo.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/stream_error.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "forked.hpp"
#include "host_state.hpp"
#include "limit_guard.hpp"
#include "procyard_test.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
namespace fs = std::filesystem;
using procyard::async_open_fifo_reader;
using procyard::async_open_fifo_writer;
using procyard::error_code;
using procyard::make_errno;
using procyard::open_fifo_reader;
using procyard::open_fifo_writer;
using procyard::pipe_reader;
using procyard::pipe_writer;
using procyard::stream_errc;
using procyard::unique_fd;
using procyard_test::descriptor_check;
using procyard_test::forked;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::temporary_directory;

namespace {

// A directory with a FIFO in it.
struct place {
    place() { REQUIRE(::mkfifo(path.c_str(), 0600) == 0); }

    temporary_directory directory;
    std::string path = (directory.path() / "f").native();
};

// What can be read now.
std::string read_now(pipe_reader& reader, error_code& ec)
{
    std::array<char, 64> block{};
    const auto n = reader.try_read_some(asio::buffer(block), ec);
    return {block.data(), n};
}

// Another process, that opens the FIFO as any program does, writes, and goes.
int write_as_a_program(const std::string& path, std::string_view text)
{
    return procyard_test::in_fork([&] {
        const unique_fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        return ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0
                                                                                                : 1;
    });
}

}  // namespace

TEST_SUITE("open_fifo_reader")
{
    TEST_CASE("survives writers that come and go, and never tells the end")
    {
        const descriptor_check no_leak;
        const place where;
        asio::io_context ctx;
        auto reader = open_fifo_reader(ctx.get_executor(), where.path);
        CHECK((::fcntl(reader.native_handle(), F_GETFD) & FD_CLOEXEC) != 0);
        std::array<char, 64> block{};
        for (const std::string_view text : {"one", "two", "three"}) {
            outcome<error_code, std::size_t> got;
            reader.async_read_some(asio::buffer(block), got.handler());
            ctx.restart();
            ctx.poll();
            CHECK_FALSE(got.done());
            REQUIRE(write_as_a_program(where.path, text) == 0);
            run(ctx);
            CHECK_FALSE(got.error());
            CHECK(std::string_view(block.data(), got.result()) == text);
        }
        error_code ec;
        (void)read_now(reader, ec);
        CHECK(ec == asio::error::would_block);
    }

    TEST_CASE("what is no FIFO is refused, and a link to one is followed")
    {
        const descriptor_check no_leak;
        const place where;
        asio::io_context ctx;
        error_code ec;
        const auto file = where.directory.write("file", "precious");
        for (const std::string& path :
             {file.native(), std::string("/dev/null"), where.directory.path().native()}) {
            CHECK_FALSE(open_fifo_reader(ctx.get_executor(), path, ec).is_open());
            CHECK(ec == stream_errc::not_a_fifo);
            CHECK(ec == errc::invalid_argument);
            CHECK_FALSE(open_fifo_writer(ctx.get_executor(), path, ec).is_open());
            CHECK(ec == stream_errc::not_a_fifo);
        }
        (void)open_fifo_reader(ctx.get_executor(), where.path + "no", ec);
        CHECK(ec == errc::no_such_file_or_directory);
        (void)open_fifo_reader(ctx.get_executor(), std::string_view("a\0b", 3), ec);
        CHECK(ec == errc::invalid_argument);
        CHECK_THROWS_AS((void)open_fifo_reader(ctx.get_executor(), file.native()),
                        boost::system::system_error);
        const auto link = where.directory.path() / "link";
        fs::create_symlink("f", link);
        CHECK(open_fifo_reader(ctx.get_executor(), link.native(), ec).is_open());
    }
}

TEST_SUITE("open_fifo_writer")
{
    TEST_CASE("writes to who reads, and says ENXIO when nobody does")
    {
        const descriptor_check no_leak;
        const place where;
        asio::io_context ctx;
        error_code ec;
        CHECK_FALSE(open_fifo_writer(ctx.get_executor(), where.path, ec).is_open());
        CHECK(ec == make_errno(ENXIO));
        CHECK_THROWS_AS((void)open_fifo_writer(ctx.get_executor(), where.path),
                        boost::system::system_error);
        auto reader = open_fifo_reader(ctx.get_executor(), where.path);
        auto writer = open_fifo_writer(ctx.get_executor(), where.path);
        (void)writer.try_write_some(asio::buffer("hi", 2), ec);
        CHECK(read_now(reader, ec) == "hi");
    }
}

TEST_SUITE("async_open_fifo_reader")
{
    TEST_CASE("reads from the first writer to the last one's end, and from the next")
    {
        const descriptor_check no_leak;
        const place where;
        asio::io_context ctx;
        outcome<error_code, pipe_reader> got;
        async_open_fifo_reader(ctx.get_executor(), where.path, got.handler());
        ctx.poll();
        CHECK_FALSE(got.done());
        std::optional<pipe_writer> writer(open_fifo_writer(ctx.get_executor(), where.path));
        ctx.poll();
        CHECK_FALSE(got.done());  // there is nothing to read yet
        error_code ec;
        (void)writer->try_write_some(asio::buffer("first", 5), ec);
        run(ctx);
        REQUIRE_FALSE(got.error());
        auto& reader = got.result();
        CHECK(read_now(reader, ec) == "first");
        (void)read_now(reader, ec);
        CHECK(ec == asio::error::would_block);
        writer.reset();
        (void)read_now(reader, ec);
        CHECK(ec == asio::error::eof);
        CHECK(write_as_a_program(where.path, "next") == 0);
        CHECK(read_now(reader, ec) == "next");
    }

    TEST_CASE("a writer that comes and goes without a word is the end of the stream")
    {
        const place where;
        asio::io_context ctx;
        outcome<error_code, pipe_reader> got;
        async_open_fifo_reader(ctx.get_executor(), where.path, got.handler());
        ctx.poll();
        CHECK(write_as_a_program(where.path, "") == 0);
        run(ctx);
        REQUIRE_FALSE(got.error());
        error_code ec;
        (void)read_now(got.result(), ec);
        CHECK(ec == asio::error::eof);
    }

    TEST_CASE("lets in a program that waits in open(2)")
    {
        const place where;
        asio::io_context ctx;
        forked program([&] {
            const unique_fd fd(::open(where.path.c_str(), O_WRONLY | O_CLOEXEC));
            return ::write(fd.get(), "hello", 5) == 5 ? 0 : 1;
        });
        outcome<error_code, pipe_reader> got;
        async_open_fifo_reader(ctx.get_executor(), where.path, got.handler());
        run(ctx);
        error_code ec;
        CHECK(read_now(got.result(), ec) == "hello");
        CHECK(program.result() == 0);
    }
}

TEST_SUITE("async_open_fifo_writer")
{
    TEST_CASE("finds a program that waits in open(2) to read")
    {
        const descriptor_check no_leak;
        const place where;
        asio::io_context ctx;
        outcome<error_code, pipe_writer> got;
        async_open_fifo_writer(ctx.get_executor(), where.path, got.handler());
        ctx.poll();
        CHECK_FALSE(got.done());
        forked program([&] {
            const unique_fd fd(::open(where.path.c_str(), O_RDONLY | O_CLOEXEC));
            std::array<char, 8> block{};
            return ::read(fd.get(), block.data(), block.size()) == 5 ? 0 : 1;
        });
        run(ctx);
        REQUIRE_FALSE(got.error());
        CHECK((::fcntl(got.result().native_handle(), F_GETFD) & FD_CLOEXEC) != 0);
        error_code ec;
        (void)got.result().try_write_some(asio::buffer("hello", 5), ec);
        CHECK_FALSE(ec);
        CHECK(program.result() == 0);
    }

    TEST_CASE("two that wait for one reader both find it, and let no other writer in before")
    {
        const place where;
        asio::io_context ctx;
        error_code ec;
        forked program([&] {  // as `echo hello >fifo`
            const unique_fd fd(::open(where.path.c_str(), O_WRONLY | O_CLOEXEC));
            return ::write(fd.get(), "hello", 5) == 5 ? 0 : 1;
        });
        outcome<error_code, pipe_writer> first;
        outcome<error_code, pipe_writer> second;
        async_open_fifo_writer(ctx.get_executor(), where.path, first.handler());
        async_open_fifo_writer(ctx.get_executor(), where.path, second.handler());
        for (int turns = 0; turns < 6; ++turns) {  // some of their attempts
            ctx.run_one();
            CHECK_FALSE(first.done());
            CHECK_FALSE(second.done());
        }
        auto reader = open_fifo_reader(ctx.get_executor(), where.path);
        run(ctx);
        CHECK_FALSE(first.error());
        CHECK_FALSE(second.error());
        CHECK(program.result() == 0);
        CHECK(read_now(reader, ec) == "hello");
    }

    TEST_CASE("a FIFO that is removed meanwhile, or replaced, is told")
    {
        const place where;
        asio::io_context ctx;
        outcome<error_code, pipe_writer> got;
        async_open_fifo_writer(ctx.get_executor(), where.path, got.handler());
        ctx.poll();
        fs::remove(where.path);
        run(ctx);
        CHECK(got.error() == errc::no_such_file_or_directory);
        CHECK_FALSE(got.result().is_open());

        const place other;
        async_open_fifo_writer(ctx.get_executor(), other.path, got.handler());
        ctx.restart();
        ctx.poll();
        fs::remove(other.path);
        other.directory.write("f", "something else");
        run(ctx);
        CHECK(got.error() == stream_errc::not_a_fifo);
    }

    TEST_CASE("a relative path is that of the directory at the time of the call")
    {
        const place where;
        asio::io_context ctx;
        outcome<error_code, pipe_writer> writer;
        outcome<error_code, pipe_reader> reader;
        {
            const procyard_test::current_directory there(where.directory.path());
            async_open_fifo_reader(ctx.get_executor(), "f", reader.handler());
            async_open_fifo_writer(ctx.get_executor(), "f", writer.handler());
        }
        procyard_test::run_until(ctx, [&] { return writer.done(); });
        CHECK_FALSE(writer.error());
        writer.value.reset();
        run(ctx);
        CHECK_FALSE(reader.error());
    }

    TEST_CASE("without a free descriptor it fails")
    {
        const place where;
        asio::io_context ctx;
        const unique_fd reader(::open(where.path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        ctx.poll();
        outcome<error_code, pipe_writer> got;
        async_open_fifo_writer(ctx.get_executor(), where.path, got.handler());
        {
            const procyard_test::limit_guard full(RLIMIT_NOFILE, 0);
            run(ctx);
        }
        CHECK(got.error() == errc::too_many_files_open);
    }
}
