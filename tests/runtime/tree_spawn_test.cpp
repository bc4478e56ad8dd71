// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/spawn.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read_until.hpp>

#include <doctest/doctest.h>
#include <signal.h>

#include <fstream>
#include <string>

#include "procyard_test.hpp"

using namespace procyard;
using procyard_test::outcome;

namespace {

std::string read_line(asio::io_context& ctx, pipe_reader& from, std::string& buffer)
{
    outcome<error_code, std::size_t> got;
    asio::async_read_until(from, asio::dynamic_buffer(buffer), '\n', got.handler());
    procyard_test::run_until(ctx, [&] { return got.done(); });
    REQUIRE_FALSE(got.error());
    auto line = buffer.substr(0, got.result() - 1);
    buffer.erase(0, got.result());
    return line;
}

// Alive: neither gone nor a zombie that its new parent has not collected yet.
bool exists(pid_t pid)
{
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(file, text);
    const auto at = text.rfind(')');
    return at != std::string::npos && text.size() > at + 2 && text[at + 2] != 'Z';
}

}  // namespace

TEST_SUITE("trees of children")
{
    TEST_CASE("a dropped child takes its descendants along, those in sessions of their own too "
              "(case 59, complaint 9)")
    {
        asio::io_context ctx;
        std::string buffer;
        pid_t in_group = 0;
        pid_t in_session = 0;
        {
            auto c = spawn(
                command::shell("sleep 1000 & echo $!; setsid sh -c 'echo $$; sleep 1000' & wait")
                    .std_out(stdio::pipe()),
                ctx.get_executor());
            in_group = std::stoi(read_line(ctx, c.std_out(), buffer));
            in_session = std::stoi(read_line(ctx, c.std_out(), buffer));
            CHECK(c.info().tree != tree_mechanism::none);
            CHECK(exists(in_group));
            CHECK(exists(in_session));
        }
        procyard_test::run(ctx);
        CHECK_FALSE(exists(in_group));
        CHECK_FALSE(exists(in_session));
        CHECK(procyard_test::zombie_children() == 0);
    }

    TEST_CASE("terminate_then_kill lets a child end by itself, and kills one that does not")
    {
        asio::io_context ctx;
        for (const char* script : {"echo ready; exec sleep 1000",
                                   "trap '' TERM; echo ready; while :; do sleep 1000; done"}) {
            CAPTURE(script);
            std::string buffer;
            auto c =
                spawn(command::shell(script)
                          .std_out(stdio::pipe())
                          .on_drop(drop_policy::terminate_then_kill(std::chrono::milliseconds(50))),
                      ctx.get_executor());
            CHECK(read_line(ctx, c.std_out(), buffer) == "ready");
            const pid_t pid = c.id();
            c = child();
            procyard_test::run(ctx);
            CHECK_FALSE(exists(pid));
        }
    }

    TEST_CASE("a child that ended is not avenged: what it left behind lives on")
    {
        asio::io_context ctx;
        std::string buffer;
        pid_t left = 0;
        {
            auto c = spawn(command::shell("sleep 1000 >/dev/null & echo $!").std_out(stdio::pipe()),
                           ctx.get_executor());
            left = std::stoi(read_line(ctx, c.std_out(), buffer));
            outcome<error_code, exit_status> got;
            c.async_wait(got.handler());
            procyard_test::run_until(ctx, [&] { return got.done(); });
            CHECK(got.result().success());
        }
        procyard_test::run(ctx);
        CHECK(exists(left));
        CHECK(::kill(left, SIGKILL) == 0);
    }

    TEST_CASE("a subreaper's children carry the marker, and nested trees keep the outer one")
    {
        asio::io_context ctx;
        std::string buffer;
        auto c = spawn(command::shell("echo $PROCYARD_TREE")
                           .env("PROCYARD_TREE", "outer")
                           .tree(tree_mode::subreaper)
                           .std_out(stdio::pipe()),
                       ctx.get_executor());
        CHECK(c.info().tree == tree_mechanism::subreaper);
        const auto line = read_line(ctx, c.std_out(), buffer);
        CHECK_MESSAGE(line.rfind("outer:", 0) == 0, line);
        CHECK(line.size() > std::string("outer:").size());
    }

    TEST_CASE("a cgroup asked for by name and not to be had fails the spawn, naming the tree")
    {
        asio::io_context ctx;
        spawn_failure failure;
        CHECK_FALSE(
            spawn(command("true").cgroup_parent("/nonexistent"), ctx.get_executor(), failure));
        CHECK(failure.step == spawn_step::tree);
        CHECK(failure.operand == "/nonexistent");
        CHECK_FALSE(spawn(command("true").cgroup("/nonexistent"), ctx.get_executor(), failure));
        CHECK(failure.step == spawn_step::cgroup);

        auto c = spawn(command("true").cgroup("/nonexistent").optional(spawn_step::cgroup),
                       ctx.get_executor(), failure);
        REQUIRE_FALSE(failure);
        REQUIRE(c.info().not_applied.size() == 1);
        CHECK(c.info().not_applied[0].step == spawn_step::cgroup);
    }

    TEST_CASE("async_wait_tree waits for those who stay behind, and for the child itself")
    {
        asio::io_context ctx;
        std::string buffer;
        auto c = spawn(command::shell("exec 3<&0; cat <&3 >/dev/null & echo started")
                           .std_out(stdio::pipe())
                           .std_in(stdio::pipe()),
                       ctx.get_executor());
        CHECK(read_line(ctx, c.std_out(), buffer) == "started");
        outcome<error_code, exit_status> ended;
        c.async_wait(ended.handler());
        procyard_test::run_until(ctx, [&] { return ended.done(); });
        outcome<error_code> gone;
        c.async_wait_tree(gone.handler());
        ctx.restart();
        ctx.poll();
        CHECK_FALSE(gone.done());
        c.std_in().close();
        procyard_test::run(ctx);
        CHECK_FALSE(gone.error());
    }
}

TEST_SUITE("child::async_wait")
{
    TEST_CASE("ends with the child, whatever its descendants hold (complaint 22)")
    {
        asio::io_context ctx;
        std::string buffer;
        auto c = spawn(command(PROCYARD_TEST_HELPER, {"--mode=leave-holder", "012", "5"})
                           .std_in(stdio::pipe())
                           .std_out(stdio::pipe())
                           .std_err(stdio::pipe()),
                       ctx.get_executor());
        CHECK(read_line(ctx, c.std_out(), buffer).starts_with("member"));
        outcome<error_code, exit_status> ended;
        c.async_wait(ended.handler());
        procyard_test::run_until(ctx, [&] { return ended.done(); });
        CHECK(ended.result() == exit_status::exited(5));
        char byte = 0;
        error_code ec;
        (void)c.std_err().try_read_some(asio::buffer(&byte, 1), ec);
        CHECK_MESSAGE(ec == asio::error::would_block, "the descendant holds it: no end of file");
        c.signal_tree(SIGKILL, ec);
        CHECK_FALSE(ec);
        outcome<error_code, std::size_t> end;
        c.std_err().async_read_some(asio::buffer(&byte, 1), end.handler());
        procyard_test::run_until(ctx, [&] { return end.done(); });
        CHECK(end.error() == asio::error::eof);
    }
}

TEST_SUITE("child::async_stop")
{
    TEST_CASE("ends with the first rung that helps (case 54)")
    {
        asio::io_context ctx;
        std::string buffer;
        auto c = spawn(command::shell("echo ready; exec sleep 1000").std_out(stdio::pipe()),
                       ctx.get_executor());
        CHECK(read_line(ctx, c.std_out(), buffer) == "ready");
        outcome<error_code, stop_result> stopped;
        c.async_stop(stop_ladder::polite(), stopped.handler());
        procyard_test::run(ctx);
        CHECK_FALSE(stopped.error());
        CHECK(stopped.result().status == exit_status::signaled(SIGTERM));
        CHECK(stopped.result().tree_empty);
        CHECK_FALSE(stopped.result().forced());
    }

    TEST_CASE("kills after the grace, by the ladder's clock (case 54)")
    {
        asio::io_context ctx;
        std::string buffer;
        auto clock = std::make_shared<manual_clock>();
        auto c = spawn(command::shell("trap '' TERM; echo ready; while :; do sleep 1000; done")
                           .std_out(stdio::pipe()),
                       ctx.get_executor());
        CHECK(read_line(ctx, c.std_out(), buffer) == "ready");
        auto ladder = stop_ladder::terminate(std::chrono::hours(1));
        ladder.clock = clock;
        outcome<error_code, stop_result> stopped;
        c.async_stop(ladder, stopped.handler());
        procyard_test::run_until(ctx, [&] { return clock->pending() > 0; });
        CHECK_FALSE(stopped.done());
        clock->advance(std::chrono::hours(1));
        procyard_test::run(ctx);
        CHECK(stopped.result().forced());
        CHECK(stopped.result().status == exit_status::signaled(SIGKILL));
        CHECK(stopped.result().tree_empty);
    }

    TEST_CASE("cancelled, it takes no further rung, and another ladder can be tried")
    {
        asio::io_context ctx;
        auto c = spawn(command("sleep", {"1000"}).ignore_signal(SIGTERM), ctx.get_executor());
        auto ladder = stop_ladder::terminate(std::chrono::hours(1));
        auto clock = std::make_shared<manual_clock>();
        ladder.clock = clock;
        asio::cancellation_signal signal;
        outcome<error_code, stop_result> first;
        c.async_stop(ladder, asio::bind_cancellation_slot(signal.slot(), first.handler()));
        procyard_test::run_until(ctx, [&] { return clock->pending() > 0; });
        signal.emit(asio::cancellation_type::total);
        procyard_test::run(ctx);
        CHECK(first.error() == asio::error::operation_aborted);
        CHECK(first.result().taken.size() == 1);
        CHECK_FALSE(first.result().tree_empty);
        CHECK(clock->pending() == 0);
        CHECK_FALSE(c.try_wait());

        outcome<error_code, stop_result> patient;
        outcome<error_code, stop_result> hasty;
        c.async_stop(ladder, patient.handler());
        c.async_stop(stop_ladder::kill(), hasty.handler());
        procyard_test::run(ctx);
        for (auto* const second : {&patient, &hasty}) {
            CHECK_FALSE(second->error());
            CHECK(second->result().status == exit_status::signaled(SIGKILL));
            CHECK(second->result().tree_empty);
        }
    }

    TEST_CASE("of a child that has ended is done at once, and signals nobody (case 53)")
    {
        asio::io_context ctx;
        auto c = spawn(command("true"), ctx.get_executor());
        outcome<error_code, exit_status> ended;
        c.async_wait(ended.handler());
        procyard_test::run(ctx);
        outcome<error_code, stop_result> stopped;
        c.async_stop(stop_ladder::kill(), stopped.handler());
        procyard_test::run(ctx);
        CHECK_FALSE(stopped.error());
        CHECK(stopped.result().taken.empty());
        CHECK(stopped.result().status.success());
    }
}
