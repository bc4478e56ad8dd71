// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/spawn.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>

#include <string>
#include <vector>

#include "kernel_features.hpp"
#include "procyard_test.hpp"

using namespace procyard;
using procyard_test::outcome;

namespace {

std::string read_all(asio::io_context& ctx, pipe_reader& from)
{
    std::string text;
    outcome<error_code, std::size_t> got;
    asio::async_read(from, asio::dynamic_buffer(text), got.handler());
    procyard_test::run_until(ctx, [&] { return got.done(); });
    CHECK(got.error() == asio::error::eof);
    return text;
}

exit_status wait(asio::io_context& ctx, child& c)
{
    outcome<error_code, exit_status> got;
    c.async_wait(got.handler());
    procyard_test::run_until(ctx, [&] { return got.done(); });
    CHECK_FALSE(got.error());
    return got.result();
}

command helper(std::initializer_list<std::string_view> arguments)
{
    return command(PROCYARD_TEST_HELPER).args(arguments);
}

}  // namespace

TEST_SUITE("spawn")
{
    TEST_CASE("runs a program, hands out its output and its status")
    {
        asio::io_context ctx;
        auto c =
            spawn(command("echo", {"hello", "a b"}).std_out(stdio::pipe()), ctx.get_executor());
        CHECK(read_all(ctx, c.std_out()) == "hello a b\n");
        CHECK(wait(ctx, c) == exit_status::exited(0));
    }

    TEST_CASE("an error names the step and the operand, compares with errc, and leaves nothing")
    {
        asio::io_context ctx;
        {
            auto first = spawn(command("true"), ctx.get_executor());
        }
        procyard_test::run(ctx);  // until it is reaped
        const auto before = procyard_test::open_descriptor_list();
        spawn_failure failure;
        const auto what = command("true").working_directory("/nope").std_out(stdio::pipe());
        CHECK_FALSE(spawn(what, ctx.get_executor(), failure));
        CHECK(failure.to_string()
              == R"(spawn "true": working directory "/nope": No such file or directory)");
        CHECK(failure.code == boost::system::errc::no_such_file_or_directory);
        CHECK(step_of(failure.code) == spawn_step::working_directory);
        CHECK_THROWS_WITH_AS(
            (void)spawn(what, ctx.get_executor()),
            R"(spawn "true": working directory "/nope": No such file or directory)", spawn_error);
        CHECK(procyard_test::open_descriptor_list() == before);
    }

    TEST_CASE("the descriptor table is trimmed and the process made by clone3 where the kernel can")
    {
        asio::io_context ctx;
        auto c =
            spawn(command("true").std_in(stdio::null()).std_out(stdio::pipe()), ctx.get_executor());
        CHECK(c.info().descriptors == descriptor_table::trimmed);
        CHECK(c.info().mechanism == spawn_mechanism::clone3);
        CHECK(c.info().pidfd);
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("a context made when low numbers are gone fetches the descriptors it needs")
    {
        std::vector<unique_fd> taken;
        while (taken.empty() || taken.back().get() < 400)
            taken.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        asio::io_context ctx;
        const auto what = command::shell("cat; ls /proc/self/fd | wc -l; echo err >&2")
                              .std_in(stdio::pipe())
                              .std_out(stdio::pipe())
                              .std_err(stdio::to_stdout());
        for (const bool allowed : {true, false}) {
            CAPTURE(allowed);
            detail::kernel().pidfd_getfd = allowed;
            auto c = spawn(what, ctx.get_executor());
            CHECK(c.info().descriptors
                  == (allowed ? descriptor_table::fetched : descriptor_table::copied));
            c.std_in().close();
            CHECK(read_all(ctx, c.std_out()) == "4\nerr\n");
            CHECK(wait(ctx, c).success());
        }
        detail::kernel().pidfd_getfd = true;
    }

    TEST_CASE("a pid namespace, from which nothing can be fetched, spoils it for nobody else")
    {
        std::vector<unique_fd> taken;
        while (taken.empty() || taken.back().get() < 400)
            taken.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        asio::io_context ctx;
        const auto what = command("/bin/true").std_out(stdio::pipe());
        auto apart = what;
        apart.namespaces({.pid = true}).optional(spawn_step::namespaces);
        auto first = spawn(apart, ctx.get_executor());
        CHECK(wait(ctx, first).success());
        auto second = spawn(what, ctx.get_executor());
        CHECK(second.info().descriptors == descriptor_table::fetched);
        CHECK(wait(ctx, second).success());
    }

    TEST_CASE("exit codes and signals are told apart (case 42)")
    {
        asio::io_context ctx;
        for (const int code : {0, 1, 15, 255}) {
            auto c = spawn(helper({"--mode=exit", std::to_string(code)}), ctx.get_executor());
            CHECK(wait(ctx, c) == exit_status::exited(code));
        }
        auto c = spawn(helper({"--mode=pause"}).std_out(stdio::pipe()), ctx.get_executor());
        c.signal(15);
        CHECK(wait(ctx, c) == exit_status::signaled(15));
    }

    TEST_CASE("a dropped child is killed and reaped by the loop")
    {
        asio::io_context ctx;
        (void)spawn(helper({"--mode=pause"}).std_out(stdio::null()), ctx.get_executor());
        procyard_test::run(ctx);
        CHECK(procyard_test::zombie_children() == 0);
    }

    TEST_CASE("a child on a terminal leads a session that the terminal controls")
    {
        asio::io_context ctx;
        // Fields of proc(5): 1 pid, 6 session, 8 the foreground group of the controlling terminal.
        const auto script = "set -- $(cat /proc/$$/stat); test \"$6\" = $$ && test \"$8\" = $$ &&"
                            " test -c /dev/tty && stty size </dev/tty";
        auto c =
            spawn(command::shell(script).terminal({.rows = 7, .columns = 90}), ctx.get_executor());
        CHECK(read_all(ctx, c.std_out()) == "7 90\r\n");
        CHECK(wait(ctx, c).success());
    }
}
