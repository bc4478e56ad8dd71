// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/pipe.hpp>

#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::make_pipe;
using procyard::make_raw_pipe;
using procyard::unique_fd;

namespace {

bool has_flag(int fd, int command, int flag)
{
    return (::fcntl(fd, command) & flag) != 0;
}

// No new descriptor can be opened while it lives.
class no_more_descriptors {
public:
    no_more_descriptors()
    {
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
        const unique_fd next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        rlimit low = before_;
        low.rlim_cur = static_cast<rlim_t>(next.get());
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
    }
    no_more_descriptors(const no_more_descriptors&) = delete;
    no_more_descriptors& operator=(const no_more_descriptors&) = delete;
    ~no_more_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

}  // namespace

TEST_SUITE("stream_end::count_bytes_into")
{
    TEST_CASE("counts what is moved through an end, wherever it is moved to")
    {
        asio::io_context ctx;
        auto [reader, writer] = make_pipe(ctx.get_executor());
        const auto in = std::make_shared<std::atomic<std::uint64_t>>(0);
        const auto out = std::make_shared<std::atomic<std::uint64_t>>(100);
        error_code ec;
        writer.try_write_some(asio::buffer("uncounted", 9), ec);
        reader.count_bytes_into(in);
        writer.count_bytes_into(out);
        procyard::pipe_writer moved(std::move(writer));
        moved.try_write_some(asio::buffer("abc", 3), ec);
        CHECK(*out == 103);

        std::string text(5, ' ');
        reader.async_read_some(asio::buffer(text), [](error_code, std::size_t) { });
        procyard_test::run(ctx);
        CHECK(*in == 5);
        CHECK(reader.read_some(asio::buffer(text), ec) == 5);
        CHECK(*in == 10);
        reader.count_bytes_into(nullptr);
        CHECK(reader.read_some(asio::buffer(text), ec) == 2);
        reader.try_read_some(asio::buffer(text), ec);
        CHECK(ec == asio::error::would_block);
        CHECK(*in == 10);
    }
}

TEST_SUITE("make_pipe")
{
    TEST_CASE("both ends are close-on-exec and non-blocking")
    {
        asio::io_context ctx;
        const auto pipe = make_pipe(ctx.get_executor());
        for (const int fd : {pipe.reader.native_handle(), pipe.writer.native_handle()}) {
            CHECK(has_flag(fd, F_GETFD, FD_CLOEXEC));
            CHECK(has_flag(fd, F_GETFL, O_NONBLOCK));
        }
    }

    TEST_CASE("too many open descriptors are an error, and nothing stays open")
    {
        asio::io_context ctx;
        const procyard_test::descriptor_check no_leak;
        {
            const no_more_descriptors limit;
            error_code ec;
            const auto pipe = make_pipe(ctx.get_executor(), {}, ec);
            CHECK(ec == boost::system::errc::too_many_files_open);
            CHECK_FALSE(pipe.reader.is_open());
            CHECK_FALSE(pipe.writer.is_open());
            CHECK_FALSE(make_raw_pipe(ec).read_end);
            CHECK(ec == boost::system::errc::too_many_files_open);
        }
    }

    TEST_CASE("the throwing form throws what the other one reports")
    {
        asio::io_context ctx;
        const procyard::pipe_options impossible{.capacity_bytes = std::size_t{1} << 40};
        CHECK_THROWS_AS((void)make_pipe(ctx.get_executor(), impossible),
                        boost::system::system_error);
    }

    TEST_CASE("destroying both ends closes them")
    {
        asio::io_context ctx;
        const procyard_test::descriptor_check no_leak;
        for (int i = 0; i < 100; ++i)
            (void)make_pipe(ctx.get_executor());
    }
}

TEST_SUITE("make_raw_pipe")
{
    TEST_CASE("both ends are close-on-exec and blocking")
    {
        error_code ec;
        const auto pipe = make_raw_pipe(ec);
        REQUIRE_FALSE(ec);
        for (const int fd : {pipe.read_end.get(), pipe.write_end.get()}) {
            CHECK(has_flag(fd, F_GETFD, FD_CLOEXEC));
            CHECK_FALSE(has_flag(fd, F_GETFL, O_NONBLOCK));
        }
    }
}

TEST_SUITE("pipe_capacity")
{
    TEST_CASE("a pipe is made with the capacity asked for, rounded up")
    {
        error_code ec;
        const auto pipe = make_raw_pipe(ec, {.capacity_bytes = 100'000});
        REQUIRE_FALSE(ec);
        CHECK(procyard::pipe_capacity(pipe.read_end.get(), ec) == 131'072);
        CHECK_FALSE(ec);
    }

    TEST_CASE("without a wish the kernel's default stands")
    {
        error_code ec;
        const auto pipe = make_raw_pipe(ec);
        CHECK(procyard::pipe_capacity(pipe.write_end.get(), ec) >= 4096);
        CHECK_FALSE(ec);
    }

    TEST_CASE("a capacity the kernel refuses is an error, or is left alone when it was a wish")
    {
        const procyard_test::descriptor_check no_leak;
        const auto too_much = std::size_t{1} << 40;
        error_code ec;
        const auto refused = make_raw_pipe(ec, {.capacity_bytes = too_much});
        CHECK(ec);
        CHECK_FALSE(refused.read_end);
        CHECK_FALSE(refused.write_end);
        const auto wished =
            make_raw_pipe(ec, {.capacity_bytes = too_much, .capacity_is_a_wish = true});
        CHECK_FALSE(ec);
        CHECK(wished.read_end);
    }

    TEST_CASE("it can be changed later, but not below what the pipe holds")
    {
        error_code ec;
        const auto pipe = make_raw_pipe(ec, {.capacity_bytes = 8192});
        REQUIRE_FALSE(ec);
        CHECK(procyard::set_pipe_capacity(pipe.read_end.get(), 16'384, ec) == 16'384);
        const std::string text(10'000, 'x');
        REQUIRE(::write(pipe.write_end.get(), text.data(), text.size()) == 10'000);
        CHECK(procyard::set_pipe_capacity(pipe.read_end.get(), 4096, ec) == 0);
        CHECK(ec == boost::system::errc::device_or_resource_busy);
    }

    TEST_CASE("what is not a pipe has none")
    {
        const unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        error_code ec;
        CHECK(procyard::pipe_capacity(null.get(), ec) == 0);
        CHECK(ec == boost::system::errc::bad_file_descriptor);
        CHECK(procyard::set_pipe_capacity(null.get(), 4096, ec) == 0);
        CHECK(ec == boost::system::errc::bad_file_descriptor);
    }
}
