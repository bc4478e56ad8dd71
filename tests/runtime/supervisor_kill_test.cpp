// SPDX-License-Identifier: BSL-1.0
//
// The supervising process is killed: at any moment, again and again, with a new one after it. Each
// service holds a lock on a file as long as anything of it lives, and says so where it finds the
// file locked.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "killed_host.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"
#include "temporary_directory.hpp"
#include "test_process.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::command;
using procyard::orphan_policy;
using procyard::readiness;
using procyard::restart_kind;
using procyard::service;
using procyard::service_event;
using procyard::service_state;
using procyard::stdio;
using procyard::supervisor;
using procyard::supervisor_options;

namespace {

command exclusive(const char* mode, const std::filesystem::path& file)
{
    command what(PROCYARD_TEST_HELPER);
    // A daemon goes with its service when that is stopped, too.
    what.arg(mode).arg(file.string()).tree(procyard::tree_mode::subreaper);
    return what;
}

void add_services(supervisor& all, const std::filesystem::path& where)
{
    all.add(service("a", exclusive("--mode=exclusive", where / "a"))
                .ready_when(readiness::line_with("ready")));
    all.add(service("b", exclusive("--mode=exclusive-daemon", where / "b"))
                .ready_when(readiness::line_with("ready"))
                .depends_on({"a"}));
    all.add(service("group", procyard::restart_strategy::one_for_one,
                    {service("c", exclusive("--mode=exclusive-daemon", where / "c"))
                         .ready_when(readiness::told())}));
    // Never comes to rest.
    all.add(service("d", exclusive("--mode=exclusive-exit", where / "d"))
                .backoff({
                    .first = 1ms,
                    .cap = 1ms,
                }));
}

supervisor_options in(const std::filesystem::path& where)
{
    supervisor_options options;
    options.state_directory = where / "of the supervisor";
    options.intensity = {1'000'000, 1h};
    return options;
}

int kills_wanted()
{
    const char* const text = std::getenv("PROCYARD_SUPERVISOR_KILLS");
    return text != nullptr ? std::atoi(text) : 25;
}

}  // namespace

TEST_SUITE("supervisor_kill")
{
    TEST_CASE("host: supervises" * doctest::skip())
    {
        asio::io_context ctx;
        auto options = in(place());
        options.on_event = [](const service_event& event) { std::cout << event << std::endl; };
        supervisor all(ctx.get_executor(), options);
        add_services(all, place());
        all.start();
        ctx.run();
    }

    TEST_CASE("host: stops in order" * doctest::skip())
    {
        supervised f(in(place()));
        add_services(f.it(), place());
        f.it().start();
        for (const char* const name : {"a", "b"})
            f.until(name, service_state::ready);
        CHECK(f.stop().left.empty());
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
        std::mt19937 random(20261122);
        asio::io_context ctx;
        const int kills = kills_wanted();
        for (int i = 0; i < kills; ++i) {
            auto host = start_host(ctx, "host: supervises", where.path());
            kill_some_time(ctx, host, random, 12);
            bury_orphans();
        }
        auto last = start_host(ctx, "host: stops in order", where.path());
        const auto output = read_all(ctx, last.std_out());
        const auto status = wait(ctx, last);
        CHECK_MESSAGE(status.success(), output);
        // All that there was, was ours, and is dead.
        bury_orphans();
        CHECK(children() == 0);
        for (const char* const name : {"a", "b", "c", "d"})
            CHECK_MESSAGE(!std::filesystem::exists(where.path() / (std::string(name) + ".twice")),
                          name);
        const auto state = text_of(where.path() / "of the supervisor" / "state");
        CHECK_MESSAGE(state.find("lives") == std::string::npos, state);
        MESSAGE(kills << " kills");
    }
}
