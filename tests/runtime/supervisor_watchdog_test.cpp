// SPDX-License-Identifier: BSL-1.0
// A watchdog at its whole length: our supervisor on one side, our notifier on the other.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "procyard_test.hpp"
#include "supervisor_fixture.hpp"
#include "temporary_directory.hpp"

using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::command;
using procyard::manual_clock;
using procyard::readiness;
using procyard::service;
using procyard::service_cause;
using procyard::service_state;
using procyard::supervisor_options;

TEST_SUITE("supervisor")
{
    TEST_CASE("a loop that is fed from, and stuck then: SIGABRT, a core, and it says why (case 48)")
    {
        supervisor_options options;
        const auto clock = std::make_shared<manual_clock>();
        options.clock = clock;
        supervised f(options);
        const temporary_directory where;
        std::vector<std::string> lines;
        f.it().add(service("a", command(PROCYARD_FED_SERVICE).working_directory(where.path()))
                       .ready_when(readiness::told())
                       .watchdog(40ms)
                       .restart(procyard::restart_kind::temporary)
                       .log([&](procyard::service_output, std::string_view line) {
                           lines.emplace_back(line);
                       }));
        f.it().start();
        f.until("a", service_state::ready);
        // More time than it has, but a sign of life in each part of it. Its own time is the
        // machine's: it may be slower, and nothing is late.
        for (int i = 0; i < 5; ++i) {
            const auto before = f.of("a").status_text;
            clock->advance(30ms);
            run_until(f.ctx, [&] { return f.of("a").status_text != before; });
        }
        CHECK(f.state("a") == service_state::ready);

        REQUIRE(::kill(f.of("a").pid, SIGUSR1) == 0);
        run_until(f.ctx, [&] { return !lines.empty(); });
        f.ctx.poll();  // what it had said before
        CHECK(f.state("a") == service_state::ready);
        clock->advance(40ms);
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::stopping).cause == service_cause::watchdog);
        const auto& end = f.last(service_state::failed);
        CHECK(end.cause == service_cause::watchdog);
        CHECK(end.to_string().find("watchdog") != std::string::npos);
        CHECK(end.death->status->signal() == SIGABRT);
        // Elsewhere the machine's pattern decides whether there is one, and where.
        if (lines.front() == "stuck core") {
            CHECK(end.death->status->core_dumped());
            CHECK_FALSE(std::filesystem::is_empty(where.path()));
        } else {
            CHECK(lines.front() == "stuck");
        }
        f.stop();
        CHECK(children() == 0);
    }

    TEST_CASE("health that fails is another cause than a watchdog that runs out")
    {
        supervised f;
        auto one = sleeper("a");
        one.health([]() -> boost::asio::awaitable<bool> { co_return false; }, 1ms, 1)
            .watchdog(1h)
            .restart(procyard::restart_kind::temporary);
        f.it().add(one);
        f.it().start();
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).cause == service_cause::unhealthy);
        CHECK(f.last(service_state::failed).to_string().find("watchdog") == std::string::npos);
        f.stop();
    }
}
