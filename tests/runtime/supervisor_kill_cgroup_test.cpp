// SPDX-License-Identifier: BSL-1.0
//
// The supervising process is killed, and its services are in cgroups.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <sched.h>
#include <signal.h>

#include <boost/asio/io_context.hpp>

#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>

#include "cgroup_check.hpp"
#include "cgroup_main.hpp"
#include "killed_host.hpp"
#include "killed_supervisor.hpp"
#include "run_fixture.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"
#include "test_process.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::command;
using procyard::exit_status;
using procyard::service;
using procyard::supervisor;
using procyard::tree_mode;

namespace {

std::size_t leaves_after(asio::io_context& ctx, const char* host,
                         const std::filesystem::path& where)
{
    auto one = start_host(ctx, host, where);
    const auto output = read_all(ctx, one.std_out());
    CHECK_MESSAGE(wait(ctx, one).success(), output);
    return leaves().size();
}

}  // namespace

TEST_SUITE("supervisor_kill: cgroups")
{
    TEST_CASE("host: supervises" * doctest::skip())
    {
        supervise_at(place(), test_cgroup());
    }

    TEST_CASE("host: supervises with a guardian" * doctest::skip())
    {
        supervise_at(place(), test_cgroup(), true);
    }

    TEST_CASE("host: stops in order" * doctest::skip())
    {
        stop_in_order_at(place(), test_cgroup());
    }

    TEST_CASE("host: without a state directory" * doctest::skip())
    {
        asio::io_context ctx;
        supervisor all(ctx.get_executor());
        command daemonizing(PROCYARD_TEST_HELPER);
        daemonizing.arg("--mode=daemon").tree(tree_mode::cgroup).cgroup_parent(test_cgroup());
        all.add(service("a", daemonizing).log([](procyard::service_output, std::string_view line) {
            std::cout << line << std::endl;
        }));
        all.start();
        ctx.run();
    }

    TEST_CASE("host: makes a leaf" * doctest::skip())
    {
        asio::io_context ctx;
        command nothing("true");
        nothing.tree(tree_mode::cgroup).cgroup_parent(test_cgroup());
        CHECK(status_of(ctx, nothing).success());
        run(ctx);
    }

    TEST_CASE(
        "kill -9 at any moment, a new one each time: no process, leaf, socket or name is left "
        "(case 49)")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        // There are no sockets but ours, then.
        REQUIRE(::unshare(CLONE_NEWNET) == 0);
        const auto sockets = text_of("/proc/net/unix");
        kill_again_and_again(where.path());
        CHECK(text_of("/proc/net/unix") == sockets);
        CHECK(leaves().empty());
    }

    TEST_CASE("kill -9 at any moment with a guardian: no process, leaf, socket or name is left at "
              "once, whoever comes next")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        REQUIRE(::unshare(CLONE_NEWNET) == 0);
        const auto sockets = text_of("/proc/net/unix");
        kill_guarded_again_and_again(where.path(), [] { CHECK(leaves().empty()); });
        CHECK(text_of("/proc/net/unix") == sockets);
    }

    TEST_CASE("without a state directory a daemon lives on in its leaf, and the first leaf that is "
              "made there after its end clears that away")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        asio::io_context ctx;
        auto host = start_host(ctx, "host: without a state directory", where.path());
        pid_t leader = 0;
        pid_t daemon = 0;
        std::string buffered;
        while (leader == 0 || daemon == 0) {
            const auto line = read_line(ctx, host.std_out(), buffered);
            leader = std::max(leader, reported_pid(line, "ready"));
            daemon = std::max(daemon, reported_pid(line, "member"));
        }
        host.kill();
        CHECK(wait(ctx, host) == exit_status::signaled(SIGKILL));
        // Its parent has gone, so it is ours.
        siginfo_t info{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(leader), &info, WEXITED) == 0);
        CHECK(info.si_status == SIGKILL);
        CHECK(lives(daemon));
        CHECK(leaves_after(ctx, "host: makes a leaf", where.path()) == 1);
        CHECK(lives(daemon));
        ::kill(daemon, SIGKILL);
        REQUIRE(::waitid(P_PID, static_cast<id_t>(daemon), &info, WEXITED) == 0);
        CHECK(leaves().size() == 1);
        CHECK(leaves_after(ctx, "host: makes a leaf", where.path()) == 0);
    }
}
