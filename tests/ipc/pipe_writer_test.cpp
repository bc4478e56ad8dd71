// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/pipe.hpp>

#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "io_features.hpp"
#include "procyard_test.hpp"
#include "syscall_refusal.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::make_pipe;
using procyard::pipe_reader;
using procyard::pipe_writer;
using procyard::unique_fd;
using procyard::detail::io;
using procyard_test::outcome;
using procyard_test::run;
using transfer = outcome<error_code, std::size_t>;

namespace {

volatile sig_atomic_t handled = 0;

void count_it(int)
{
    handled = handled + 1;
}

// One way in which the kernel and the host may treat a write without a reader.
class surroundings {
public:
    surroundings(bool kernel_knows_nosignal, void (*disposition)(int))
        : nosignal_before_(io().rwf_nosignal.load())
    {
        if (!kernel_knows_nosignal)
            io().rwf_nosignal = false;
        handled = 0;
        struct sigaction action{};
        action.sa_handler = disposition;
        REQUIRE(::sigaction(SIGPIPE, &action, &before_) == 0);
    }
    surroundings(const surroundings&) = delete;
    surroundings& operator=(const surroundings&) = delete;
    ~surroundings()
    {
        ::sigaction(SIGPIPE, &before_, nullptr);
        io().rwf_nosignal = nosignal_before_;
        CHECK(handled == 0);
        sigset_t set;
        ::sigpending(&set);
        CHECK(::sigismember(&set, SIGPIPE) == 0);
        ::pthread_sigmask(SIG_SETMASK, nullptr, &set);
        CHECK(::sigismember(&set, SIGPIPE) == 0);
    }

private:
    bool nosignal_before_;
    struct sigaction before_{};
};

// Runs `body` on every path a write can take, under every disposition of SIGPIPE. With the default
// one a SIGPIPE would end the test program.
template <class Body>
void everywhere(Body body)
{
    for (const bool kernel_knows_nosignal : {true, false}) {
        for (auto* const disposition : {SIG_DFL, SIG_IGN, &count_it}) {
            CAPTURE(kernel_knows_nosignal);
            CAPTURE(disposition == SIG_DFL);
            CAPTURE(disposition == SIG_IGN);
            const surroundings here(kernel_knows_nosignal, disposition);
            body();
        }
    }
}

// A stream to write to, and where what is written can be read.
struct connection {
    unique_fd a;
    unique_fd b;
};

connection open_pipe()
{
    error_code ec;
    auto pipe = procyard::make_raw_pipe(ec);
    REQUIRE_FALSE(ec);
    return {std::move(pipe.write_end), std::move(pipe.read_end)};
}

connection open_sockets()
{
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}

connection open_terminal()
{
    unique_fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    std::array<char, 64> name{};
    REQUIRE(::grantpt(master.get()) == 0);
    REQUIRE(::unlockpt(master.get()) == 0);
    REQUIRE(::ptsname_r(master.get(), name.data(), name.size()) == 0);
    return {unique_fd(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC)), std::move(master)};
}

connection open_file()
{
    const procyard_test::temporary_directory directory;
    const auto path = directory.write("file", "");
    return {unique_fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC)),
            unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC))};
}

// Every operation that writes, against a stream whose reader is gone.
void check_broken(asio::io_context& ctx, pipe_writer& writer)
{
    const std::array<char, 8> block{};
    error_code ec;
    CHECK(writer.try_write_some(asio::buffer(block), ec) == 0);
    CHECK(ec == asio::error::broken_pipe);
    CHECK(writer.write_some(asio::buffer(block), ec) == 0);
    CHECK(ec == asio::error::broken_pipe);
    transfer got;
    writer.async_write_some(asio::buffer(block), got.handler());
    outcome<error_code> writable;
    writer.async_wait_writable(writable.handler());
    outcome<error_code> closed;
    writer.async_wait_closed(closed.handler());
    run(ctx);
    CHECK(got.error() == asio::error::broken_pipe);
    CHECK(got.result() == 0);
    CHECK_FALSE(writable.error());
    CHECK_FALSE(closed.error());
}

std::size_t fill(pipe_writer& writer)
{
    const std::array<char, 4096> block{};
    std::size_t total = 0;
    error_code ec;
    while (!ec)
        total += writer.try_write_some(asio::buffer(block), ec);
    REQUIRE(ec == asio::error::would_block);
    return total;
}

// From here on this thread's kernel answers pwritev2 with `error_number`.
void refuse_pwritev2(int error_number)
{
    REQUIRE(procyard_test::refuse({.number = SYS_pwritev2, .error_number = error_number}));
}

}  // namespace

TEST_SUITE("pipe_writer")
{
    TEST_CASE("without a reader a pipe is broken_pipe and no signal, on every path")
    {
        everywhere([] {
            const procyard_test::descriptor_check no_leak;
            asio::io_context ctx;
            auto [reader, writer] = make_pipe(ctx.get_executor());
            reader.close();
            check_broken(ctx, writer);
        });
    }

    TEST_CASE("without a reader a socket is broken_pipe and no signal, on every path")
    {
        everywhere([] {
            asio::io_context ctx;
            auto sockets = open_sockets();
            pipe_writer writer(ctx.get_executor(), std::move(sockets.a));
            sockets.b.reset();
            check_broken(ctx, writer);
        });
    }

    TEST_CASE("without a reader a FIFO is broken_pipe and no signal, on every path")
    {
        const procyard_test::temporary_directory directory;
        const auto path = directory.path() / "fifo";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        everywhere([&] {
            asio::io_context ctx;
            unique_fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
            pipe_writer writer(ctx.get_executor(),
                               unique_fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC)));
            reader.reset();
            check_broken(ctx, writer);
        });
    }

    TEST_CASE("a write that waits for room is woken when the reader goes")
    {
        everywhere([] {
            asio::io_context ctx;
            auto [reader, writer] = make_pipe(ctx.get_executor());
            fill(writer);
            transfer got;
            writer.async_write_some(asio::buffer("x", 1), got.handler());
            ctx.poll();
            CHECK_FALSE(got.done());
            reader.close();
            run(ctx);
            CHECK(got.error() == asio::error::broken_pipe);
        });
    }

    TEST_CASE("what is written arrives, on every path and into every kind of stream")
    {
        for (auto* const open : {&open_pipe, &open_sockets, &open_terminal, &open_file}) {
            everywhere([open] {
                asio::io_context ctx;
                auto stream = open();
                pipe_writer writer(ctx.get_executor(), std::move(stream.a));
                const std::vector<asio::const_buffer> parts{
                    asio::buffer("ab", 2), asio::const_buffer(), asio::buffer("cde", 3)};
                transfer got;
                writer.async_write_some(parts, got.handler());
                run(ctx);
                CHECK_FALSE(got.error());
                CHECK(got.result() == 5);
                std::array<char, 16> block{};
                CHECK(::read(stream.b.get(), block.data(), block.size()) == 5);
                CHECK(std::string(block.data(), 5) == "abcde");
            });
        }
    }

    TEST_CASE("a kernel or a filter that does not know RWF_NOSIGNAL is found out, once")
    {
        for (const int refusal : {EOPNOTSUPP, EINVAL, ENOSYS, EPERM}) {
            CAPTURE(refusal);
            const surroundings here(true, &count_it);
            io().rwf_nosignal = true;
            std::thread([refusal] {
                refuse_pwritev2(refusal);
                asio::io_context ctx;
                auto [reader, writer] = make_pipe(ctx.get_executor());
                error_code ec;
                CHECK(writer.try_write_some(asio::buffer("x", 1), ec) == 1);
                CHECK_FALSE(ec);
                CHECK_FALSE(io().rwf_nosignal);
                reader.close();
                check_broken(ctx, writer);
            }).join();
        }
    }

    TEST_CASE("a device that refuses bytes says why")
    {
        everywhere([] {
            asio::io_context ctx;
            pipe_writer writer(ctx.get_executor(),
                               unique_fd(::open("/dev/full", O_WRONLY | O_CLOEXEC)));
            transfer got;
            writer.async_write_some(asio::buffer("x", 1), got.handler());
            run(ctx);
            CHECK(got.error() == errc::no_space_on_device);
        });
    }

    TEST_CASE("a file is written at its position, or at its end when opened so")
    {
        const procyard_test::temporary_directory directory;
        const auto path = directory.write("file", "0123456789");
        asio::io_context ctx;
        error_code ec;
        pipe_writer inside(ctx.get_executor(),
                           unique_fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC)));
        CHECK(inside.try_write_some(asio::buffer("ab", 2), ec) == 2);
        CHECK(inside.try_write_some(asio::buffer("cd", 2), ec) == 2);
        pipe_writer end(ctx.get_executor(),
                        unique_fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC)));
        CHECK(end.try_write_some(asio::buffer("e", 1), ec) == 1);
        CHECK(directory.read("file") == "abcd456789e");
        outcome<error_code> closed;
        end.async_wait_closed(closed.handler());
        run(ctx);
        CHECK(closed.error() == asio::error::operation_not_supported);
    }

    TEST_CASE("a full stream makes the writer wait, and try_write_some say so")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor(), {.capacity_bytes = 4096});
        CHECK(fill(writer) == 4096);
        error_code ec;
        CHECK(writer.try_write_some(asio::buffer("x", 1), ec) == 0);
        CHECK(ec == asio::error::would_block);
        transfer got;
        writer.async_write_some(asio::buffer("x", 1), got.handler());
        ctx.poll();
        CHECK_FALSE(got.done());
        std::array<char, 4096> block{};
        CHECK(reader.try_read_some(asio::buffer(block), ec) == 4096);
        run(ctx);
        CHECK(got.result() == 1);
    }

    TEST_CASE("write_some blocks a thread until there is room")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor(), {.capacity_bytes = 4096});
        fill(writer);
        std::thread other([&r = reader] {
            std::array<char, 4096> block{};
            error_code ignored;
            r.try_read_some(asio::buffer(block), ignored);
        });
        CHECK(writer.write_some(asio::buffer("x", 1)) == 1);
        other.join();
        reader.close();
        CHECK_THROWS_AS(writer.write_some(asio::buffer("x", 1)), boost::system::system_error);
    }

    TEST_CASE("buffers without bytes complete at once, even where nobody reads")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        reader.close();
        transfer got;
        writer.async_write_some(asio::const_buffer(), got.handler());
        run(ctx);
        CHECK_FALSE(got.error());
        CHECK(got.result() == 0);
    }

    TEST_CASE("a descriptor that cannot be written is refused")
    {
        asio::io_context ctx;
        pipe_writer writer(ctx.get_executor());
        error_code ec;
        writer.assign(unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), ec);
        CHECK(ec == asio::error::bad_descriptor);
        CHECK_FALSE(writer.is_open());
    }

    TEST_CASE("closing the writer of a socket ends the stream though a reader shares the socket")
    {
        asio::io_context ctx;
        auto sockets = open_sockets();
        unique_fd copy(::fcntl(sockets.a.get(), F_DUPFD_CLOEXEC, 0));
        pipe_reader reader(ctx.get_executor(), std::move(copy));
        pipe_writer writer(ctx.get_executor(), std::move(sockets.a));
        writer.close();
        char byte = 0;
        CHECK(::read(sockets.b.get(), &byte, 1) == 0);
        // The other direction lives on.
        REQUIRE(::write(sockets.b.get(), "x", 1) == 1);
        error_code ec;
        CHECK(reader.try_read_some(asio::buffer(&byte, 1), ec) == 1);
    }

    TEST_CASE("async_wait_closed sees the reader go, and nothing else")
    {
        asio::io_context ctx;
        pipe_reader reader(ctx.get_executor());
        pipe_writer writer(ctx.get_executor());
        SUBCASE("pipe")
        {
            auto pipe = make_pipe(ctx.get_executor());
            reader = std::move(pipe.reader);
            writer = std::move(pipe.writer);
        }
        SUBCASE("socket")
        {
            auto sockets = open_sockets();
            reader.assign(std::move(sockets.a));
            writer.assign(std::move(sockets.b));
        }
        outcome<error_code> closed;
        writer.async_wait_closed(closed.handler());
        ctx.poll();
        // Writing, filling, draining and waiting for room wake the reactor, and are not the end.
        fill(writer);
        outcome<error_code> writable;
        writer.async_wait_writable(writable.handler());
        ctx.poll();
        std::array<char, 4096> block{};
        for (error_code ec; !ec;)
            reader.try_read_some(asio::buffer(block), ec);
        procyard_test::run_until(ctx, [&] { return writable.done(); });
        ctx.poll();
        CHECK_FALSE(closed.done());
        reader.close();
        run(ctx);
        CHECK_FALSE(closed.error());
    }
}
