// SPDX-License-Identifier: BSL-1.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/write.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

// Writes "out" and "err", each to its own.
command speak()
{
    return command::shell("echo out; echo err >&2");
}

mode_t mode_of(const std::filesystem::path& path)
{
    struct stat status = {};
    CHECK(::stat(path.c_str(), &status) == 0);
    return status.st_mode & 07777;
}

/// This process without some of its standard streams.
class closed_streams {
public:
    explicit closed_streams(std::vector<int> numbers) : numbers_(std::move(numbers))
    {
        for (const int number : numbers_) {
            saved_.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, 10));
            ::close(number);
        }
    }
    closed_streams(const closed_streams&) = delete;
    closed_streams& operator=(const closed_streams&) = delete;
    ~closed_streams()
    {
        for (std::size_t i = 0; i < numbers_.size(); ++i)
            ::dup2(saved_[i].get(), numbers_[i]);
    }

private:
    std::vector<int> numbers_;
    std::vector<unique_fd> saved_;
};

// Spawns what writes its list of descriptors to number 9, while some of ours are closed, and
// returns the list. Checks nothing before the streams are open again.
std::string listed_without(const std::vector<int>& numbers, command what)
{
    error_code ec;
    auto report = make_raw_pipe(ec);
    unique_fd write_end = report.write_end.duplicate(ec, 20);
    report.write_end.reset();
    spawn_failure failure;
    outcome<error_code, exit_status> ended;
    {
        const closed_streams closed(numbers);
        // Made now, so that its own descriptors are where the streams were.
        asio::io_context ctx;
        what.args({"--mode=descriptors", "9"}).descriptor(9, stdio::borrow(write_end.get()));
        auto c = spawn(what, ctx.get_executor(), failure);
        if (c) {
            c.async_wait(ended.handler());
            ctx.run();
        }
    }
    write_end.reset();
    REQUIRE_MESSAGE(!failure, failure);
    CHECK(ended.result().success());
    char text[4096];
    const auto n = ::read(report.read_end.get(), text, sizeof text);
    return {text, n > 0 ? static_cast<std::size_t>(n) : 0};
}

std::string numbers_of(const std::string& list)
{
    std::string numbers;
    for (std::size_t at = 0; at < list.size(); at = list.find('\n', at) + 1)
        numbers += list.substr(at, list.find(' ', at) - at) + ' ';
    return numbers;
}

}  // namespace

TEST_SUITE("stdio")
{
    TEST_CASE("null: nothing to read, nowhere to write")
    {
        asio::io_context ctx;
        CHECK(output_of(ctx, command("cat").std_in(stdio::null())).empty());
        CHECK(status_of(ctx, speak().std_out(stdio::null()).std_err(stdio::null())).success());
        const auto seen = output_of(
            ctx, helper({"--mode=descriptors"}).std_in(stdio::null()).std_err(stdio::null()));
        CHECK(seen.find("0 /dev/null\n") != std::string::npos);
        CHECK(seen.find("2 /dev/null\n") != std::string::npos);
    }

    TEST_CASE("pipe: three of them at once")
    {
        asio::io_context ctx;
        auto c = spawn(command::shell("cat; echo err >&2")
                           .std_in(stdio::pipe())
                           .std_out(stdio::pipe())
                           .std_err(stdio::pipe()),
                       ctx.get_executor());
        error_code ec;
        c.std_in().try_write_some(asio::buffer("in", 2), ec);
        c.std_in().close();
        CHECK(read_all(ctx, c.std_out()) == "in");
        CHECK(read_all(ctx, c.std_err()) == "err\n");
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("pipe: what was written before the exit is read after it (case 35 complaint 19)")
    {
        asio::io_context ctx;
        auto c = spawn(command("head", {"-c", "60000", "/dev/zero"}).std_out(stdio::pipe()),
                       ctx.get_executor());
        CHECK(wait(ctx, c).success());
        CHECK(read_all(ctx, c.std_out()).size() == 60'000);
    }

    TEST_CASE("pipe: the size is the one asked for, and large enough for output by default")
    {
        asio::io_context ctx;
        error_code ec;
        auto c = spawn(command("cat").std_in(stdio::pipe(8192)).std_out(stdio::pipe(128 * 1024)),
                       ctx.get_executor());
        CHECK(pipe_capacity(c.std_in().native_handle(), ec) == 8192);
        CHECK(pipe_capacity(c.std_out().native_handle(), ec) == 128 * 1024);
        c.std_in().close();
        CHECK(wait(ctx, c).success());
        auto d =
            spawn(command("cat").std_in(stdio::pipe()).std_out(stdio::pipe()), ctx.get_executor());
        CHECK(pipe_capacity(d.std_in().native_handle(), ec) == 64 * 1024);
        CHECK(pipe_capacity(d.std_out().native_handle(), ec) >= 64 * 1024);
        d.std_in().close();
        CHECK(wait(ctx, d).success());
    }

    TEST_CASE("pipe: large input and output at once, through cat (cases 28 and 30)")
    {
        asio::io_context ctx;
        for (const auto& kind : {stdio::pipe(), stdio::socket()}) {
            auto c = spawn(command("cat").std_in(kind).std_out(kind), ctx.get_executor());
            const std::string sent(3'000'000, 'x');
            std::string received;
            outcome<error_code, std::size_t> written;
            outcome<error_code, std::size_t> read;
            asio::async_write(c.std_in(), asio::buffer(sent), [&](error_code ec, std::size_t n) {
                written.handler()(ec, n);
                c.std_in().close();
            });
            asio::async_read(c.std_out(), asio::dynamic_buffer(received), read.handler());
            run_until(ctx, [&] { return read.done() && written.done(); });
            CHECK_FALSE(written.error());
            CHECK(received == sent);
            CHECK(wait(ctx, c).success());
        }
    }

    TEST_CASE("socket: a stream in each direction, with an end of file each")
    {
        asio::io_context ctx;
        auto c = spawn(command("cat")
                           .std_in(stdio::socket())
                           .std_out(stdio::socket())
                           .std_err(stdio::socket()),
                       ctx.get_executor());
        error_code ec;
        c.std_in().try_write_some(asio::buffer("hello", 5), ec);
        c.std_in().close();
        CHECK(read_all(ctx, c.std_out()) == "hello");
        CHECK(read_all(ctx, c.std_err()).empty());
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("descriptor: one end of a pair of sockets, for both directions")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        error_code ec;
        auto [ours, theirs] = make_socket_pair<unix_stream>(ctx.get_executor());
        unique_fd out(theirs.release(ec));
        auto in = out.duplicate(ec);
        REQUIRE_FALSE(ec);
        auto c = spawn(command("cat")
                           .std_in(stdio::descriptor(std::move(in)))
                           .std_out(stdio::descriptor(std::move(out))),
                       ctx.get_executor());
        asio::write(ours, asio::buffer("hello", 5));
        ours.shutdown(unix_stream::socket::shutdown_send);
        std::string received;
        outcome<error_code, std::size_t> read;
        asio::async_read(ours, asio::dynamic_buffer(received), read.handler());
        run_until(ctx, [&] { return read.done(); });
        CHECK(received == "hello");
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("a writer to a child that has ended gets broken_pipe, and no SIGPIPE (case 31)")
    {
        asio::io_context ctx;
        for (const auto& kind : {stdio::pipe(), stdio::socket()}) {
            auto c = spawn(command("true").std_in(kind), ctx.get_executor());
            CHECK(wait(ctx, c).success());
            outcome<error_code, std::size_t> got;
            c.std_in().async_write_some(asio::buffer("x", 1), got.handler());
            run_until(ctx, [&] { return got.done(); });
            CHECK(got.error() == boost::system::errc::broken_pipe);
        }
    }

    TEST_CASE("files: read, truncated, appended to")
    {
        asio::io_context ctx;
        const temporary_directory files;
        files.write("in", "the input");
        files.write("out", "something much longer than what will be there");
        files.write("log", "first\n");
        const auto& at = files.path();
        CHECK(status_of(ctx,
                        command("cat")
                            .std_in(stdio::read_file(at / "in"))
                            .std_out(stdio::write_file(at / "out")))
                  .success());
        CHECK(files.read("out") == "the input");
        for (int i = 0; i < 2; ++i)
            CHECK(status_of(ctx,
                            speak()
                                .std_out(stdio::append_file(at / "log"))
                                .std_err(stdio::append_file(at / "log")))
                      .success());
        CHECK(files.read("log") == "first\nout\nerr\nout\nerr\n");
    }

    TEST_CASE("files: made with the mode that was asked for, less our umask")
    {
        asio::io_context ctx;
        const temporary_directory files;
        const auto& at = files.path();
        const mode_t ours = ::umask(022);
        CHECK(status_of(ctx,
                        speak()
                            .std_out(stdio::write_file(at / "a"))
                            .std_err(stdio::append_file(at / "b", 0620))
                            .umask(077))
                  .success());
        ::umask(ours);
        CHECK(mode_of(at / "a") == 0644);
        CHECK(mode_of(at / "b") == 0600);
    }

    TEST_CASE("files: opened by the parent, where the parent is")
    {
        asio::io_context ctx;
        const temporary_directory files;
        files.write("in", "here");
        const auto before = std::filesystem::current_path();
        std::filesystem::current_path(files.path());
        auto what = command("cat").std_in(stdio::read_file("in")).working_directory("/");
        CHECK(output_of(ctx, what) == "here");
        std::filesystem::current_path(before);
    }

    TEST_CASE("files: a failure names the path, and nothing else is left behind")
    {
        asio::io_context ctx;
        warm_up(ctx);
        const descriptor_check no_leak;
        const auto missing = failure_of(
            ctx, command("true").std_out(stdio::pipe()).std_in(stdio::read_file("/nope/file")));
        CHECK(missing.to_string()
              == R"(spawn "true": open file "/nope/file": No such file or directory)");
        CHECK(failure_of(ctx, command("true").std_out(stdio::write_file("/"))).code
              == boost::system::errc::is_a_directory);
        CHECK(failure_of(ctx, command("true").std_in(stdio::write_file("/dev/null"))).step
              == spawn_step::descriptors);
        CHECK(failure_of(ctx, command("true").std_out(stdio::read_file("/dev/null"))).step
              == spawn_step::descriptors);
        CHECK(failure_of(ctx, command("true").descriptor(5, stdio::pipe())).step
              == spawn_step::descriptors);
    }

    TEST_CASE("files: the open of a FIFO never waits for its other side")
    {
        asio::io_context ctx;
        const temporary_directory files;
        const auto fifo = files.path() / "fifo";
        REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
        // Nobody reads: there is nothing to open for writing.
        const auto failure = failure_of(ctx, speak().std_out(stdio::write_file(fifo)));
        CHECK(failure.step == spawn_step::open_file);
        CHECK(failure.code.value() == ENXIO);
        // Nobody writes: the child would take that for an end of file.
        const auto deaf = failure_of(ctx, command("cat").std_in(stdio::read_file(fifo)));
        CHECK(deaf.step == spawn_step::open_file);
        CHECK(deaf.code.value() == ENXIO);
        CHECK(deaf.operand == fifo.string());
        // With another side it is a pipe, and a blocking one for the child. The side held here
        // keeps the reader from an end of file before the writer is there.
        unique_fd held(::open(fifo.c_str(), O_RDWR | O_CLOEXEC));
        REQUIRE(held);
        auto reader = spawn(command("cat").std_in(stdio::read_file(fifo)).std_out(stdio::pipe()),
                            ctx.get_executor());
        auto writer = spawn(command("echo", {"through"}).std_out(stdio::write_file(fifo)),
                            ctx.get_executor());
        CHECK(wait(ctx, writer).success());
        held.reset();
        CHECK(read_all(ctx, reader.std_out()) == "through\n");
        CHECK(wait(ctx, reader).success());
    }

    TEST_CASE("merged: errors into output, in the order of the writes (case 40)")
    {
        asio::io_context ctx;
        const auto script = command::shell("echo 1; echo 2 >&2; echo 3; echo 4 >&2");
        CHECK(output_of(ctx, command(script).std_err(stdio::to_stdout())) == "1\n2\n3\n4\n");
        auto c = spawn(command(script).std_out(stdio::to_stderr()).std_err(stdio::pipe()),
                       ctx.get_executor());
        CHECK(read_all(ctx, c.std_err()) == "1\n2\n3\n4\n");
        CHECK(wait(ctx, c).success());
        CHECK(output_of(ctx,
                        command::shell("echo 5 >&5; echo 6 >&6")
                            .descriptor(5, stdio::to_stdout())
                            .descriptor(6, stdio::to_stderr())
                            .std_err(stdio::to_stdout()))
              == "5\n6\n");
    }

    TEST_CASE("merged: with what is inherited, and the input with an output")
    {
        asio::io_context ctx;
        const temporary_directory files;
        const auto both = files.write("both", "");
        const unique_fd fd(::open(both.c_str(), O_RDWR | O_CLOEXEC));
        CHECK(status_of(ctx,
                        command::shell("echo to the input >&0")
                            .std_in(stdio::to_stdout())
                            .std_out(stdio::borrow(fd.get())))
                  .success());
        CHECK(files.read("both") == "to the input\n");
    }

    TEST_CASE("inherited: a stream that is closed here is closed in the child")
    {
        CHECK(numbers_of(listed_without({0}, command(PROCYARD_TEST_HELPER))) == "1 2 9 ");
        CHECK(numbers_of(listed_without({1}, command(PROCYARD_TEST_HELPER))) == "0 2 9 ");
        CHECK(numbers_of(listed_without({0, 1, 2}, command(PROCYARD_TEST_HELPER))) == "9 ");
    }

    TEST_CASE("inherited: closed ones do not get in the way of pipes and files")
    {
        const auto list = listed_without({0, 1, 2},
                                         command(PROCYARD_TEST_HELPER)
                                             .std_in(stdio::pipe())
                                             .std_out(stdio::null())
                                             .std_err(stdio::socket()));
        CHECK(numbers_of(list) == "0 1 2 9 ");
        CHECK(list.find("0 pipe:") != std::string::npos);
        CHECK(list.find("1 /dev/null") != std::string::npos);
        CHECK(list.find("2 socket:") != std::string::npos);
    }

    TEST_CASE("inherited: what is merged into a closed stream is closed as well")
    {
        CHECK(numbers_of(
                  listed_without({1}, command(PROCYARD_TEST_HELPER).std_err(stdio::to_stdout())))
              == "0 9 ");
        CHECK(numbers_of(listed_without({0, 1, 2},
                                        command(PROCYARD_TEST_HELPER).std_out(stdio::to_stderr())))
              == "9 ");
    }
}
