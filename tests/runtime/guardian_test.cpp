// SPDX-License-Identifier: BSL-1.0
//
// A process that outlives its host for a moment, without cgroups.
#include <procyard/runtime/guardian.hpp>

#include <doctest/doctest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>

#include <procyard/runtime/spawn.hpp>
#include <procyard/runtime/spawn_error.hpp>

#include "forked.hpp"
#include "guardian_fixture.hpp"
#include "killed_host.hpp"
#include "procyard_test.hpp"
#include "run_fixture.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"
#include "test_process.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::command;
using procyard::guardian;
using procyard::spawn;
using procyard::tree_mode;

TEST_SUITE("guardian")
{
    TEST_CASE("host: with a daemon" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const family all(ctx, daemonizing().guarded_by(by));
        say_and_wait(to_line(all.daemon, by.id()));
    }

    TEST_CASE("host: with a daemon of a leader that has gone" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        family all(ctx, daemonizing().guarded_by(by));
        (void)::kill(all.leader.id(), SIGKILL);
        (void)wait(ctx, all.leader);
        say_and_wait(to_line(all.daemon, by.id()));
    }

    TEST_CASE("host: with one that was let go" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        auto what = daemonizing().guarded_by(by).on_drop(procyard::drop_policy::detach());
        std::optional<family> all(std::in_place, ctx, what);
        const auto line = to_line(all->daemon, by.id());
        all.reset();
        say_and_wait(line);
    }

    TEST_CASE("host: whose guardian is killed" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const family all(ctx, daemonizing().guarded_by(by));
        const auto first = by.id();
        REQUIRE(::kill(first, SIGKILL) == 0);
        siginfo_t info{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(first), &info, WEXITED | WNOWAIT) == 0);
        CHECK(status_of(ctx, command("true").guarded_by(by)).success());
        REQUIRE(by.id() != first);
        say_and_wait(to_line(all.daemon, by.id()));
    }

    TEST_CASE("host: ends without a destructor" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const family all(ctx, daemonizing().guarded_by(by));
        std::cout << to_line(all.daemon, by.id()) << std::endl;
        std::_Exit(0);
    }

    TEST_CASE("host: with a daemon that nobody guards" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const family all(ctx, daemonizing());
        say_and_wait(to_line(all.daemon, by.id()));
    }

    TEST_CASE("host: with a family that forks and exits without end" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const auto running = [&](const char* mode) {
            return spawn(helper({mode, "1000000000"})
                             .guarded_by(by)
                             .parent_death_signal(SIGKILL)
                             .tree(tree_mode::process_group)
                             .std_out(procyard::stdio::pipe()),
                         ctx.get_executor());
        };
        auto in_group = running("--mode=runaway");
        auto in_sessions = running("--mode=runaway-sessions");
        for (auto* const one : {&in_group, &in_sessions}) {
            std::string buffered;
            for (int lines = 0; lines < 2; ++lines)
                (void)read_line(ctx, one->std_out(), buffered);
        }
        say_and_wait(to_line(0, by.id()));
    }

    TEST_CASE("kill -9 of a host of families that fork and exit without end: they are caught")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        asio::io_context ctx;
        host one(ctx, "host: with a family that forks and exits without end", where.path());
        one.process.kill();
        CHECK(wait(ctx, one.process) == procyard::exit_status::signaled(SIGKILL));
        bury_until(0);
    }

    TEST_CASE("kill -9 of its host: all that a guarded child has started is killed, and it ends")
    {
        const subreaper_guard guard;
        for (const char* const name :
             {"host: with a daemon", "host: with a daemon of a leader that has gone",
              "host: with one that was let go", "host: whose guardian is killed"}) {
            CAPTURE(name);
            const temporary_directory where;
            asio::io_context ctx;
            host one(ctx, name, where.path());
            CHECK(lives(one.daemon));
            one.process.kill();
            CHECK(wait(ctx, one.process) == procyard::exit_status::signaled(SIGKILL));
            bury_until(0);
        }
    }

    TEST_CASE("a host that ends by itself without its destructors: the same")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        asio::io_context ctx;
        host one(ctx, "host: ends without a destructor", where.path());
        CHECK(wait(ctx, one.process).success());
        bury_until(0);
    }

    TEST_CASE("whom it does not guard it leaves alone")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        asio::io_context ctx;
        host one(ctx, "host: with a daemon that nobody guards", where.path());
        one.process.kill();
        CHECK(wait(ctx, one.process) == procyard::exit_status::signaled(SIGKILL));
        siginfo_t info{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(one.guard), &info, WEXITED) == 0);
        CHECK(info.si_code == CLD_EXITED);
        CHECK(info.si_status == 0);
        CHECK(lives(one.daemon));
        CHECK(::kill(one.daemon, SIGKILL) == 0);
        // The leader has not been asked, either.
        CHECK(children() == 2);
        bury_orphans();
        std::istringstream left(text_of("/proc/thread-self/children"));
        for (pid_t pid = 0; left >> pid;)
            ::kill(pid, SIGKILL);
        bury_until(0);
    }

    TEST_CASE("it heeds no signal but SIGKILL, has a session of its own, and no stream of its host")
    {
        asio::io_context ctx;
        // What a service manager has said to its host is not said to it.
        REQUIRE(::setenv("NOTIFY_SOCKET", "/nope", 1) == 0);
        const guardian by(ctx.get_executor());
        REQUIRE(::unsetenv("NOTIFY_SOCKET") == 0);
        CHECK(text_of("/proc/" + std::to_string(by.id()) + "/environ").find("NOTIFY_SOCKET")
              == std::string::npos);
        for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGPIPE})
            CHECK(::kill(by.id(), number) == 0);
        CHECK(::getsid(by.id()) == by.id());
        // Not by whether it is still there: a signal takes its time.
        std::istringstream status(text_of("/proc/" + std::to_string(by.id()) + "/status"));
        std::string blocked;
        for (std::string word; status >> word;) {
            if (word == "SigBlk:")
                status >> blocked;
        }
        const auto mask = std::stoull("0" + blocked, nullptr, 16);
        for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGPIPE, SIGTSTP})
            CHECK((mask >> (number - 1) & 1) == 1);
        const auto directory = "/proc/" + std::to_string(by.id());
        for (const char* const stream : {"/fd/0", "/fd/1", "/fd/2"})
            CHECK(std::filesystem::read_symlink(directory + stream) == "/dev/null");
        CHECK(std::filesystem::read_symlink(directory + "/cwd") == "/");
        CHECK(lives(by.id()));
    }

    TEST_CASE("the last copy, command and child that name it keep it, and it goes with them")
    {
        asio::io_context ctx;
        pid_t id = 0;
        {
            std::optional<command> what;
            {
                const guardian by(ctx.get_executor());
                const auto copy = by;  // NOLINT(performance-unnecessary-copy-initialization)
                id = copy.id();
                what = helper({"--mode=pause"}).guarded_by(copy);
            }
            auto running = spawn(*what, ctx.get_executor());
            what.reset();
            CHECK(lives(id));
            running.kill();
            (void)wait(ctx, running);
        }
        run(ctx);
        CHECK_FALSE(lives(id));
    }

    TEST_CASE("a copy of its host spawns nothing that it guards")
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const auto what = command("true").guarded_by(by);
        CHECK(status_of(ctx, what).success());
        forked copy([&] {
            asio::io_context own;
            procyard::spawn_failure failure;
            const auto none = spawn(what, own.get_executor(), failure);
            const bool is_told = failure.step == procyard::spawn_step::guardian
                && failure.code == boost::system::errc::no_child_process;
            return !none && is_told ? 0 : 1;
        });
        CHECK(copy.result() == 0);
        CHECK(status_of(ctx, what).success());
    }

    TEST_CASE("a program that does not become one is told, and nothing is left of it")
    {
        const auto before = children();
        asio::io_context ctx;
        const auto make = [&](const command& what) {
            return text_of_failure([&] { const guardian by(ctx.get_executor(), what); });
        };
        CHECK(make(command("true"))
              == "guardian: true has ended, and not called run_if_guardian()");
        CHECK(make(command::shell("echo cannot >&4"))
              == "guardian: /bin/sh -c 'echo cannot >&4' says: cannot");
        CHECK(make(command("/nope")) == "spawn \"/nope\": exec: No such file or directory");
        run(ctx);
        CHECK(children() == before);
    }

    TEST_CASE("a program that was started as one, and makes one instead, is told")
    {
        asio::io_context ctx;
        REQUIRE(::setenv("PROCYARD_GUARDIAN", "1 mark", 1) == 0);
        const auto text = text_of_failure([&] { const guardian by(ctx.get_executor()); });
        REQUIRE(::unsetenv("PROCYARD_GUARDIAN") == 0);
        CHECK(text
              == "guardian: this process was started as one: run_if_guardian() has to be called at "
                 "the beginning of main()");
    }

    TEST_CASE("a variable that does not say whom to guard makes none")
    {
        for (const char* const text : {"", "x", "0 mark", "-1 mark", "12", "12 ", "12x mark"}) {
            CAPTURE(text);
            asio::io_context ctx;
            auto c =
                spawn(command("/proc/self/exe").env("PROCYARD_GUARDIAN", text), ctx.get_executor());
            CHECK(wait(ctx, c) == procyard::exit_status::exited(64));
        }
    }

    TEST_CASE("one that comes when its host has gone already clears away at once")
    {
        const subreaper_guard guard;
        asio::io_context ctx;
        auto what = daemonizing();
        what.env("PROCYARD_TREE", "a-mark").on_drop(procyard::drop_policy::detach());
        const family all(ctx, what);
        // Its number is nobody's.
        auto gone = spawn(command("true"), ctx.get_executor());
        (void)wait(ctx, gone);
        auto c = spawn(command("/proc/self/exe")
                           .env("PROCYARD_GUARDIAN", std::to_string(gone.id()) + " a-mark")
                           .descriptor(3, procyard::stdio::null())
                           .descriptor(4, procyard::stdio::null()),
                       ctx.get_executor());
        CHECK(wait(ctx, c).success());
        CHECK_FALSE(lives(all.daemon));
        bury_until(0);
    }
}
