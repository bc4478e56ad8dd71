// SPDX-License-Identifier: BSL-1.0
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>

#include <procyard/ipc/pipe.hpp>

#include "busy_program.hpp"
#include "skip.hpp"
#include "spawning.hpp"
#include "test_process.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

/// Children whose standard output is a plain pipe: its end tells that all of them are gone, without
/// the library.
struct witness {
    witness()
    {
        error_code ec;
        pipe = make_raw_pipe(ec);
        REQUIRE_FALSE(ec);
    }

    command watched(command what) { return what.std_out(stdio::borrow(pipe.write_end.get())); }

    // Blocks until `count` lines have come.
    void expect_lines(int count) const
    {
        while (count > 0) {
            char c = 0;
            REQUIRE(::read(pipe.read_end.get(), &c, 1) == 1);
            if (c == '\n')
                --count;
        }
    }

    // Blocks until nobody holds the pipe any more.
    void expect_end()
    {
        pipe.write_end.reset();
        char rest[256];
        while (::read(pipe.read_end.get(), rest, sizeof rest) > 0) { }
    }

    raw_pipe pipe;
};

/// Nobody more than before, dead or alive, when it goes.
struct no_child_left {
    no_child_left() : before(children()) { }
    no_child_left(const no_child_left&) = delete;
    no_child_left& operator=(const no_child_left&) = delete;
    ~no_child_left() { CHECK(children() == before); }

    std::size_t before;
};

bool is_alive(pid_t pid)
{
    return ::kill(pid, 0) == 0;
}

// What the library may have left to us: a context that goes down kills, and reaps only what ends at
// once.
void reap_by_hand(pid_t pid)
{
    int status = 0;
    const pid_t reaped = ::waitpid(pid, &status, 0);
    CHECK((reaped == pid || (reaped == -1 && errno == ECHILD)));
}

}  // namespace

TEST_SUITE("drop_policy")
{
    TEST_CASE("by default the whole tree is killed and reaped by the loop (case 61 complaint 13)")
    {
        const no_child_left check;
        witness seen;
        asio::io_context ctx;
        {
            auto c = spawn(seen.watched(helper({"--mode=family", "3"})), ctx.get_executor());
            seen.expect_lines(4);
        }
        seen.expect_end();
        run(ctx);  // ends: a dropped child keeps the loop running only until it is reaped
    }

    TEST_CASE("an assignment drops what was held before (case 61)")
    {
        const no_child_left check;
        witness seen;
        asio::io_context ctx;
        auto c = spawn(seen.watched(helper({"--mode=ignore-term"})), ctx.get_executor());
        seen.expect_lines(1);
        c = spawn(command("true"), ctx.get_executor());
        seen.expect_end();
        CHECK(wait(ctx, c).success());
        c = child();
        run(ctx);
    }

    TEST_CASE("to drop never waits, not even for a child that stands still (case 61)")
    {
        const no_child_left check;
        witness seen;
        asio::io_context ctx;
        auto c = spawn(seen.watched(helper({"--mode=pause"})), ctx.get_executor());
        seen.expect_lines(1);
        c.suspend();
        c = child();
        seen.expect_end();
        run(ctx);
    }

    TEST_CASE("to drop an ended child does nothing (case 61)")
    {
        const no_child_left check;
        asio::io_context ctx;
        {
            auto reaped = spawn(command("true"), ctx.get_executor());
            CHECK(wait(ctx, reaped).success());
        }
        {
            auto only_seen = spawn(command("true"), ctx.get_executor());
            await([&] { return only_seen.try_wait().has_value(); });
        }
        {
            witness seen;
            auto unseen = spawn(seen.watched(command("true")), ctx.get_executor());
            seen.expect_end();
        }
        run(ctx);
    }

    TEST_CASE("detached by policy, the child lives on and does not keep the loop (case 61)")
    {
        const no_child_left check;
        witness seen;
        asio::io_context ctx;
        pid_t pid = 0;
        {
            auto c = spawn(seen.watched(helper({"--mode=pause"}).on_drop(drop_policy::detach())),
                           ctx.get_executor());
            pid = c.id();
            seen.expect_lines(1);
        }
        run(ctx);
        CHECK(is_alive(pid));
        ::kill(pid, SIGKILL);
        seen.expect_end();
        // Reaped by whatever makes the service look next.
        while (is_alive(pid))
            CHECK(status_of(ctx, command("true")).success());
        CHECK(errno == ESRCH);
    }

    TEST_CASE("detached by hand: the pid is returned, the object empty (case 61)")
    {
        const no_child_left check;
        witness seen;
        asio::io_context ctx;
        auto c = spawn(seen.watched(helper({"--mode=pause"})), ctx.get_executor());
        const pid_t pid = c.id();
        CHECK(c.detach() == pid);
        CHECK_FALSE(c);
        run(ctx);
        CHECK(is_alive(pid));
        ::kill(pid, SIGKILL);
        seen.expect_end();
        while (is_alive(pid))
            CHECK(status_of(ctx, command("true")).success());
    }

    TEST_CASE("a policy may be changed until the drop (case 61)")
    {
        const no_child_left check;
        witness seen;
        asio::io_context ctx;
        pid_t pid = 0;
        {
            auto c = spawn(seen.watched(helper({"--mode=pause"})), ctx.get_executor());
            pid = c.id();
            c.on_drop(drop_policy::detach());
            seen.expect_lines(1);
        }
        CHECK(is_alive(pid));
        ::kill(pid, SIGKILL);
        seen.expect_end();
        while (is_alive(pid))
            CHECK(status_of(ctx, command("true")).success());
    }

    TEST_CASE("terminate, then kill: who minds SIGTERM gets no SIGKILL (case 61)")
    {
        const no_child_left check;
        witness seen;
        asio::io_context ctx;
        {
            auto c = spawn(
                seen.watched(helper({"--mode=catch"})
                                 .on_drop(drop_policy::terminate_then_kill(std::chrono::hours(1)))),
                ctx.get_executor());
            seen.expect_lines(1);
        }
        run(ctx);
        seen.expect_lines(1);  // "15": it was asked, and had the time to say so
        seen.expect_end();
    }

    TEST_CASE("terminate, then kill: who does not mind is killed when the grace is over (case 61)")
    {
        const no_child_left check;
        witness seen;
        asio::io_context ctx;
        {
            auto c = spawn(seen.watched(helper({"--mode=ignore-term"})
                                            .on_drop(drop_policy::terminate_then_kill(
                                                std::chrono::milliseconds(1)))),
                           ctx.get_executor());
            seen.expect_lines(1);
        }
        run(ctx);
        seen.expect_end();
    }

    TEST_CASE("a context that goes first kills, and the object may go later (case 61)")
    {
        const no_child_left check;
        for (const bool ended : {false, true}) {
            witness seen;
            std::optional<asio::io_context> ctx(std::in_place);
            auto c = spawn(seen.watched(helper({"--mode=until-eof", "5"}))
                               .std_in(stdio::pipe())
                               .std_err(stdio::pipe()),
                           ctx->get_executor());
            const pid_t pid = c.id();
            seen.expect_lines(1);
            if (ended) {
                c.std_in().close();
                CHECK(wait(*ctx, c) == exit_status::exited(5));
            }
            ctx.reset();
            seen.expect_end();
            error_code ec;
            c.signal_tree(SIGTERM, ec);  // nobody is there, and no context that could be told
            CHECK_FALSE(ec);
            if (!ended)
                reap_by_hand(pid);
        }
    }

    TEST_CASE("a context that goes first reaps a detached child that has ended")
    {
        const no_child_left check;
        witness seen;
        {
            asio::io_context gone;
            auto c = spawn(seen.watched(helper({"--mode=exit", "0"})), gone.get_executor());
            const pid_t pid = c.detach();
            seen.expect_end();
            siginfo_t ended{};
            REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) == 0);
        }
    }

    TEST_CASE("a child that has ended may be asked when its context is gone")
    {
        const no_child_left check;
        std::optional<asio::io_context> ctx(std::in_place);
        auto c = spawn(helper({"--mode=exit", "4"}), ctx->get_executor());
        siginfo_t ended{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(c.id()), &ended, WEXITED | WNOWAIT) == 0);
        ctx.reset();
        CHECK(c.try_wait() == exit_status::exited(4));
    }

    TEST_CASE("a context that goes first leaves a detached child alone (case 61)")
    {
        const no_child_left check;
        witness seen;
        pid_t pid = 0;
        {
            asio::io_context ctx;
            auto c = spawn(seen.watched(helper({"--mode=pause"})), ctx.get_executor());
            pid = c.detach();
            seen.expect_lines(1);
        }
        CHECK(is_alive(pid));
        ::kill(pid, SIGKILL);
        seen.expect_end();
        reap_by_hand(pid);
    }
}

TEST_SUITE("child::signal")
{
    TEST_CASE("after the exit and after the wait it is a success that does nothing (case 53)")
    {
        witness seen;
        asio::io_context ctx;
        auto c = spawn(seen.watched(helper({"--mode=exit", "5"})), ctx.get_executor());
        seen.expect_end();
        error_code ec;
        c.signal(SIGKILL, ec);  // a zombie, or not yet quite
        CHECK_FALSE(ec);
        const auto status = wait(ctx, c);
        CHECK(status == exit_status::exited(5));
        for (const int number : {SIGKILL, SIGTERM, 0}) {
            c.signal(number, ec);
            CHECK_FALSE(ec);
            c.signal_tree(number, ec);
            CHECK_FALSE(ec);
        }
        c.kill();
        CHECK(c.try_wait() == status);
    }

    TEST_CASE("never hits another process that has got the number (case 53 complaint 15)")
    {
        asio::io_context ctx;
        auto c = spawn(helper({"--mode=exit", "0"}), ctx.get_executor());
        const pid_t pid = c.id();
        CHECK(wait(ctx, c).success());
        if (::geteuid() != 0) {
            skip("only root can have a process with a given number");
            return;
        }
        test_process stranger({"pause"}, {.with_pid = pid});
        REQUIRE(stranger.pid() == pid);
        error_code ec;
        for (const int number : {SIGTERM, SIGKILL}) {
            c.signal(number, ec);
            CHECK_FALSE(ec);
            c.signal_tree(number, ec);
            CHECK_FALSE(ec);
        }
        ::kill(pid, SIGUSR1);
        CHECK(stranger.reap() == SIGUSR1);
    }

    TEST_CASE("stops and continues, and a wait survives it")
    {
        asio::io_context ctx;
        auto c =
            spawn(helper({"--mode=until-eof", "5"}).std_in(stdio::pipe()).std_out(stdio::pipe()),
                  ctx.get_executor());
        CHECK(read_line(ctx, c.std_out()).starts_with("ready"));
        outcome<error_code, exit_status> got;
        c.async_wait(got.handler());
        c.suspend();
        c.std_in().close();
        // Stopped for sure: the kernel says so to its parent.
        siginfo_t stopped{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(c.id()), &stopped, WSTOPPED) == 0);
        ctx.poll();
        CHECK_FALSE(got.done());
        CHECK_FALSE(c.try_wait());
        c.resume();
        run(ctx);
        CHECK(got.result() == exit_status::exited(5));
    }

    TEST_CASE("an impossible signal is an error")
    {
        asio::io_context ctx;
        auto c = spawn(helper({"--mode=pause"}).std_out(stdio::null()), ctx.get_executor());
        error_code ec;
        c.signal(999, ec);
        CHECK(ec == boost::system::errc::invalid_argument);
        CHECK_THROWS_AS(c.signal(-1), boost::system::system_error);
        c.kill();
        CHECK(wait(ctx, c) == exit_status::signaled(SIGKILL));
    }
}
