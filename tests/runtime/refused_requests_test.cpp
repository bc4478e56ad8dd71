// SPDX-License-Identifier: BSL-1.0
// What was asked for and cannot be had is refused by its name, and before anything has happened.
#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/system/system_error.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <procyard/runtime/pipeline.hpp>

#include "plan_builder.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

// More than the kernel gives to anybody: not to a user for want of a right, not to root for want
// of so much memory in one piece.
constexpr std::size_t too_much = std::size_t{1} << 30;

// A number that is open nowhere.
int closed_number()
{
    const unique_fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(fd);
    const int number = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 700);
    ::close(number);
    return number;
}

}  // namespace

TEST_SUITE("stdio")
{
    TEST_CASE("a capacity that the kernel refuses fails the spawn, naming stream and bytes")
    {
        asio::io_context ctx;
        const auto pipe = stdio::pipe(too_much);
        const std::string bytes = std::to_string(too_much);
        std::string operand;
        command what("true");
        SUBCASE("of the input")
        {
            what.std_in(pipe);
            operand = "0, " + bytes + " bytes";
        }
        SUBCASE("of the output")
        {
            what.std_out(pipe);
            operand = "1, " + bytes + " bytes";
        }
        SUBCASE("of the error output")
        {
            what.std_err(pipe);
            operand = "2, " + bytes + " bytes";
        }
        const auto failure = failure_of(ctx, what);
        CHECK(failure.step == spawn_step::pipe);
        CHECK(failure.operand == operand);
    }

    TEST_CASE("the library's own larger pipe is a wish")
    {
        // A limit on the memory of a user's pipes takes nothing away from the default.
        asio::io_context ctx;
        std::vector<child> children;
        for (int i = 0; i < 40; ++i)
            children.push_back(spawn(command("true").std_out(stdio::pipe()), ctx.get_executor()));
        for (auto& one : children)
            CHECK(wait(ctx, one).success());
    }

    TEST_CASE("a borrowed descriptor that is closed is found before a file has been emptied")
    {
        asio::io_context ctx;
        const temporary_directory directory;
        const auto file = directory.write("precious", "text");
        const int closed = closed_number();
        const auto failure = failure_of(
            ctx,
            command("true").std_out(stdio::write_file(file)).descriptor(5, stdio::borrow(closed)));
        CHECK(failure.step == spawn_step::descriptors);
        CHECK(failure.code == boost::system::errc::bad_file_descriptor);
        CHECK(failure.operand == std::to_string(closed));
        CHECK(directory.read("precious") == "text");
    }
}

TEST_SUITE("pipeline")
{
    TEST_CASE("a capacity that the kernel refuses fails the spawn, naming stage, stream and bytes")
    {
        asio::io_context ctx;
        spawn_failure failure;
        const auto p = spawn((command("true") | command("cat")).pipe_capacity(too_much),
                             ctx.get_executor(), failure);
        CHECK_FALSE(p);
        CHECK(failure.step == spawn_step::pipe);
        CHECK(failure.stage == 1);
        CHECK(failure.operand == "0, " + std::to_string(too_much) + " bytes");
    }

    TEST_CASE("a borrowed descriptor that is closed is found before any stage is started")
    {
        asio::io_context ctx;
        const temporary_directory directory;
        const auto file = directory.write("precious", "text");
        spawn_failure failure;
        const auto p = spawn(command("true").descriptor(5, stdio::borrow(closed_number()))
                                 | command("cat").std_out(stdio::write_file(file)),
                             ctx.get_executor(), failure);
        CHECK_FALSE(p);
        CHECK(failure.step == spawn_step::descriptors);
        CHECK(failure.stage == 0);
        CHECK(directory.read("precious") == "text");
    }
}

TEST_SUITE("namespace_options")
{
    TEST_CASE("an id inside is refused without a user namespace")
    {
        asio::io_context ctx;
        namespace_options own;
        const char* operand = "";
        SUBCASE("of a user")
        {
            own.inside_uid = 7;
            operand = "inside_uid without user";
        }
        SUBCASE("of a group")
        {
            own.mount = true;
            own.inside_gid = 7;
            operand = "inside_gid without user";
        }
        const auto failure = failure_of(ctx, command("true").namespaces(own));
        CHECK(failure.step == spawn_step::namespaces);
        CHECK(failure.operand == operand);
    }
}

TEST_SUITE("command")
{
    TEST_CASE("more retries of a busy program than a minute's are refused")
    {
        asio::io_context ctx;
        CHECK(status_of(ctx, command("true").text_busy_retries(16)).success());
        const auto failure = failure_of(ctx, command("true").text_busy_retries(17));
        CHECK(failure.step == spawn_step::options);
        CHECK(failure.operand == "text_busy_retries 17, at most 16");
    }
}

TEST_SUITE("async_spawn")
{
    TEST_CASE("whatever is thrown in the spawner's thread becomes a failure")
    {
        const auto failure_of_thrown = [](auto thrown) {
            try {
                throw thrown;
            } catch (...) {
                return detail::make_failure_of_exception(command("frob"));
            }
        };
        auto failure = failure_of_thrown(std::bad_alloc());
        CHECK(failure.step == spawn_step::clone);
        CHECK(failure.code == boost::system::errc::not_enough_memory);
        CHECK(failure.program == "frob");

        failure = failure_of_thrown(boost::system::system_error(
            boost::system::error_code(EMFILE, boost::system::system_category()), "fill"));
        CHECK(failure.code == boost::system::errc::too_many_files_open);

        failure = failure_of_thrown(std::length_error("too long"));
        CHECK(failure.code == boost::system::errc::state_not_recoverable);
        CHECK(failure.operand == "too long");
        CHECK(failure_of_thrown(7).code == boost::system::errc::state_not_recoverable);
    }
}
