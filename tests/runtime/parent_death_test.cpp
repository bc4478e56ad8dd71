// SPDX-License-Identifier: BSL-1.0
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>

#include "busy_program.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

// Blocked from birth, so that a signal that comes early is not lost.
command catch_usr1()
{
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR1);
    ::sigaddset(&blocked, SIGTERM);
    return helper({"--mode=catch", std::to_string(SIGUSR1)})
        .signal_mask(blocked)
        .parent_death_signal(SIGUSR1);
}

pid_t pid_in(const std::string& line)
{
    return static_cast<pid_t>(std::stoi(line.substr(line.find(' '))));
}

}  // namespace

TEST_SUITE("parent_death_signal")
{
    TEST_CASE("host: spawns a child and dies of SIGKILL" * doctest::skip())
    {
        asio::io_context ctx;
        auto c = spawn(catch_usr1(), ctx.get_executor());
        ::raise(SIGKILL);
    }

    TEST_CASE("is sent when the parent dies of SIGKILL (case 66)")
    {
        asio::io_context ctx;
        auto host = spawn(
            command("/proc/self/exe", {"--test-case=host: spawns*", "--no-skip", "--no-intro"})
                .std_out(stdio::pipe()),
            ctx.get_executor());
        std::string buffered;
        std::string line;
        do
            line = read_line(ctx, host.std_out(), buffered);
        while (!line.starts_with("ready"));
        const pid_t orphan = pid_in(line);
        CHECK(read_line(ctx, host.std_out(), buffered).starts_with(std::to_string(SIGUSR1) + ' '));
        CHECK(wait(ctx, host) == exit_status::signaled(SIGKILL));
        ::kill(orphan, SIGTERM);
        CHECK(read_all(ctx, host.std_out()).empty() == false);
    }

    TEST_CASE(
        "is not sent when only the thread ends that asked for the child (case 66 complaint 17)")
    {
        asio::io_context ctx;
        child c;
        std::string thread;
        std::thread([&] {
            thread = "/proc/self/task/" + std::to_string(::gettid());
            c = spawn(catch_usr1().std_out(stdio::pipe()), ctx.get_executor());
        }).join();
        // join() comes a little before the kernel's own end of the thread, which is what counts.
        await([&] { return ::access(thread.c_str(), F_OK) != 0; });
        std::string buffered;
        CHECK(read_line(ctx, c.std_out(), buffered).starts_with("ready"));
        c.terminate();
        // SIGUSR1 is the lower number: it would have come first.
        CHECK(read_line(ctx, c.std_out(), buffered).starts_with(std::to_string(SIGTERM) + ' '));
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("holds for a child of async_spawn as well")
    {
        asio::io_context ctx;
        outcome<error_code, child> got;
        async_spawn(catch_usr1().std_out(stdio::pipe()), ctx.get_executor(), got.handler());
        run_until(ctx, [&] { return got.done(); });
        REQUIRE_FALSE(got.error());
        auto& c = got.result();
        CHECK(read_line(ctx, c.std_out()).starts_with("ready"));
        c.terminate();
        CHECK(wait(ctx, c).success());
    }
}
