// SPDX-License-Identifier: BSL-1.0
//
// The supervising process is killed: at any moment, again and again, with a new one after it.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "killed_host.hpp"
#include "killed_supervisor.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"
#include "test_process.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::orphan_policy;
using procyard::service;
using procyard::supervisor;

TEST_SUITE("supervisor_kill")
{
    TEST_CASE("host: supervises" * doctest::skip())
    {
        supervise_at(place());
    }

    TEST_CASE("host: supervises with a guardian" * doctest::skip())
    {
        supervise_at(place(), "", true);
    }

    TEST_CASE("host: stops in order" * doctest::skip())
    {
        stop_in_order_at(place());
    }

    TEST_CASE("host: a plain one" * doctest::skip())
    {
        asio::io_context ctx;
        auto options = in(place());
        options.state_directory.clear();
        if (std::filesystem::exists(place() / "leave"))
            options.orphans = orphan_policy::leave;
        supervisor all(ctx.get_executor(), options);
        all.add(service("a", helper({"--mode=pause"}))
                    .log([](procyard::service_output, std::string_view line) {
                        std::cout << line << std::endl;
                    }));
        all.start();
        ctx.run();
    }

    TEST_CASE("a command dies with the process of its supervisor, unless it is to be left")
    {
        const subreaper_guard guard;
        for (const bool stays : {false, true}) {
            CAPTURE(stays);
            const temporary_directory where;
            if (stays)
                std::ofstream(where.path() / "leave") << "";
            asio::io_context ctx;
            auto host = start_host(ctx, "host: a plain one", where.path());
            std::string line;
            std::string buffered;
            do
                line = read_line(ctx, host.std_out(), buffered);
            while (!line.starts_with("ready "));
            const auto pid = static_cast<pid_t>(std::stoi(line.substr(6)));
            host.kill();
            CHECK(wait(ctx, host) == procyard::exit_status::signaled(SIGKILL));
            // Its parent has gone, so it is ours.
            siginfo_t info{};
            if (stays) {
                CHECK(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG) == 0);
                CHECK(info.si_pid == 0);
                ::kill(pid, SIGTERM);
            }
            REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED) == 0);
            CHECK(info.si_status == (stays ? SIGTERM : SIGKILL));
        }
    }

    TEST_CASE(
        "kill -9 at any moment, a new one each time: never two incarnations, and none is left "
        "(case 49)")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        kill_again_and_again(where.path());
    }
    TEST_CASE("kill -9 at any moment with a guardian: no process and no name is left at once, "
              "whoever comes next")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        kill_guarded_again_and_again(where.path());
    }
}
