// SPDX-License-Identifier: BSL-1.0
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <signal.h>
#include <sys/wait.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "busy_program.hpp"
#include "event_log.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

std::string dump_of(asio::io_context& ctx)
{
    std::ostringstream text;
    dump(ctx.get_executor(), text);
    return text.str();
}

bool contains(const std::string& text, std::string_view part)
{
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("observer")
{
    TEST_CASE("is told of a life: spawned, signal sent, exited, reaped")
    {
        asio::io_context ctx;
        const auto log = watch(ctx);
        auto c = spawn(helper({"--mode=pause"}).std_out(stdio::pipe()), ctx.get_executor());
        (void)read_line(ctx, c.std_out());
        c.terminate();
        (void)wait(ctx, c);
        c.terminate();  // reaches nobody: no event
        CHECK(log->lines()
              == std::vector<std::string>{"spawned", "signal sent SIGTERM", "exited",
                                          "reaped: killed by SIGTERM"});
        CHECK(log->is_in_order());
    }

    TEST_CASE("is told of the exit while the kernel still knows the process")
    {
        // Looks, and asks the library, in the middle of the event.
        struct looker final : observer {
            void on_event(const child_event& event) noexcept override
            {
                if (event.what == child_event::kind::exited) {
                    zombies = zombie_children();
                    ended_inside = subject->try_wait().has_value();
                }
            }
            child* subject = nullptr;
            std::size_t zombies = 0;
            bool ended_inside = false;
        };
        asio::io_context ctx;
        const auto look = std::make_shared<looker>();
        set_observer(ctx.get_executor(), look);
        auto c = spawn(command("true"), ctx.get_executor());
        look->subject = &c;
        CHECK(wait(ctx, c).success());
        CHECK(look->zombies == 1);
        CHECK_FALSE(look->ended_inside);
        CHECK(zombie_children() == 0);
        set_observer(ctx.get_executor(), nullptr);
    }

    TEST_CASE("is told why a spawn failed")
    {
        asio::io_context ctx;
        const auto log = watch(ctx);
        (void)failure_of(ctx, command("/nope"));
        (void)failure_of(ctx, command("nope").env("PATH", "/usr/bin"));
        (void)failure_of(ctx, command("").arg("x"));
        CHECK(log->lines().size() == 3);
        CHECK(log->count(R"(exec failed: spawn "/nope": exec: No such file or directory)") == 1);
        CHECK(log->count(
                  R"(exec failed: spawn "nope": lookup in "/usr/bin": No such file or directory)")
              == 1);
    }

    TEST_CASE("is told of the kill by a drop")
    {
        asio::io_context ctx;
        const auto log = watch(ctx);
        (void)spawn(helper({"--mode=pause"}).std_out(stdio::null()), ctx.get_executor());
        run(ctx);
        CHECK(log->count("signal sent SIGKILL (tree)") > 0);
        CHECK(log->count("reaped: killed by SIGKILL") == 1);
    }

    TEST_CASE("hears nothing of another context, and nothing once it is taken away")
    {
        asio::io_context ctx;
        asio::io_context other;
        const auto log = watch(ctx);
        CHECK(status_of(other, command("true")).success());
        CHECK(log->lines().empty());
        set_observer(ctx.get_executor(), nullptr);
        CHECK(log.use_count() == 1);
        CHECK(status_of(ctx, command("true")).success());
        CHECK(log->lines().empty());
    }

    TEST_CASE("may call the library, even to take itself away")
    {
        struct curious final : observer {
            explicit curious(asio::io_context& io) : ctx(io) { }
            void on_event(const child_event& event) noexcept override
            {
                std::ostringstream text;
                dump(ctx.get_executor(), text);
                seen.push_back(text.str());
                if (event.what == child_event::kind::reaped)
                    set_observer(ctx.get_executor(), nullptr);
            }
            asio::io_context& ctx;
            std::vector<std::string> seen;
        };
        asio::io_context ctx;
        const auto watcher = std::make_shared<curious>(ctx);
        set_observer(ctx.get_executor(), watcher);
        CHECK(status_of(ctx, command("true")).success());
        CHECK(watcher->seen.size() == 3);
        CHECK(watcher.use_count() == 1);
    }
}

TEST_SUITE("dump")
{
    TEST_CASE("of a context without children is empty")
    {
        asio::io_context ctx;
        CHECK(dump_of(ctx).empty());
        CHECK(status_of(ctx, command("true")).success());
        CHECK(dump_of(ctx).empty());
    }

    TEST_CASE("has a line for each living child")
    {
        asio::io_context ctx;
        auto c = spawn(helper({"--mode=pause"}).std_out(stdio::pipe()), ctx.get_executor());
        (void)read_line(ctx, c.std_out());
        outcome<error_code, exit_status> got;
        c.async_wait(got.handler());
        const auto text = dump_of(ctx);
        CHECK(contains(text, "[" + std::to_string(c.id()) + "] " + PROCYARD_TEST_HELPER));
        CHECK(contains(text, "1 waiting"));
        CHECK(contains(text, "tree process group"));
        CHECK_FALSE(contains(text, "full"));
        c.suspend();
        siginfo_t stopped{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(c.id()), &stopped, WSTOPPED | WNOWAIT) == 0);
        CHECK(contains(dump_of(ctx), "stopped"));
        c.kill();
        run(ctx);
        CHECK(dump_of(ctx).empty());
    }

    TEST_CASE("says that nobody reads a full pipe (complaint 20)")
    {
        asio::io_context ctx;
        for (const bool errors : {false, true}) {
            auto c = spawn(command::shell(errors ? "exec cat /dev/zero >&2" : "exec cat /dev/zero")
                               .std_out(stdio::pipe(4096))
                               .std_err(stdio::pipe(4096)),
                           ctx.get_executor());
            // Full is what cannot be waited for from this side; cat gets there by itself.
            const std::string expected = std::string("its standard ")
                + (errors ? "error" : "output") + " pipe is full: nobody reads it";
            await([&] { return contains(dump_of(ctx), expected); });
            c.kill();
            CHECK(wait(ctx, c) == exit_status::signaled(SIGKILL));
        }
    }

    TEST_CASE("says that a child stands before an empty input")
    {
        asio::io_context ctx;
        auto c = spawn(command("cat").std_in(stdio::pipe()), ctx.get_executor());
        CHECK(contains(dump_of(ctx), "its standard input pipe is empty"));
        c.std_in().close();
        CHECK(wait(ctx, c).success());
    }
}
