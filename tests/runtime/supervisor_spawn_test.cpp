// SPDX-License-Identifier: BSL-1.0
// What a supervisor does while a program that it starts does not come to run.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>

#include "busy_program.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"
#include "syscall_refusal.hpp"

using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::manual_clock;
using procyard::service;
using procyard::service_state;

namespace {

// A service whose exec does not come to an end before `release()`.
struct hanging_start {
    hanging_start()
    {
        it.it().add(service("slow", busy.run().arg("--mode=pause"))
                        .restart(procyard::restart_kind::temporary));
        it.it().add(sleeper("other"));
        it.it().start();
        it.until("other", service_state::ready);
    }
    static procyard::supervisor_options by(const std::shared_ptr<manual_clock>& clock)
    {
        procyard::supervisor_options options;
        options.clock = clock;
        return options;
    }

    std::shared_ptr<manual_clock> clock = std::make_shared<manual_clock>();
    supervised it{by(clock)};
    busy_program busy{PROCYARD_TEST_HELPER};
};

}  // namespace

// What cannot be taken back: each in a process of its own.
TEST_SUITE("isolated")
{
    TEST_CASE("supervisor_spawn: no subreaper" * doctest::skip())
    {
        REQUIRE(refuse({.number = SYS_prctl,
                        .error_number = EPERM,
                        .mask = ~0U,
                        .value = PR_SET_CHILD_SUBREAPER}));
        supervised f;
        f.it().add(service("a", helper({"--mode=pause"}))
                       .ready_when(procyard::readiness::line_with("ready")));
        f.it().start();
        f.until("a", service_state::ready);
        f.stop();
        CHECK(children() == 0);
    }
}

TEST_SUITE("supervisor")
{
    TEST_CASE("where a filter of system calls forbids a subreaper services start all the same")
    {
        check_isolated("supervisor_spawn: no subreaper");
    }

    TEST_CASE("an exec that hangs holds up no supervision")
    {
        hanging_start f;
        CHECK(f.it.state("slow") == service_state::starting);
        CHECK(f.it.of("slow").pid == 0);
        f.busy.release();
        f.it.until("slow", service_state::ready);
        CHECK(f.it.of("slow").pid > 0);
        f.it.stop();
        CHECK(children() == 0);
    }

    TEST_CASE("one that is stopped while its exec hangs is asked when it runs")
    {
        hanging_start f;
        f.it.it().stop("slow");
        f.it.until("slow", service_state::stopping);
        f.busy.release();
        f.it.until("slow", service_state::exited);
        CHECK(f.it.last(service_state::exited).death->status->signal() == SIGTERM);
        f.it.stop();
    }

    TEST_CASE("one whose grace is over while its exec hangs never serves")
    {
        hanging_start f;
        f.it.it().stop("slow");
        f.it.until("slow", service_state::stopping);
        f.clock->advance(5s);
        f.it.until("slow", service_state::killing);
        f.busy.release();
        f.it.until("slow", service_state::exited);
        const auto& death = *f.it.last(service_state::exited).death;
        CHECK(death.text == "killed while it was being started");
        CHECK(children() == 0);
        f.it.stop();
    }

    TEST_CASE("one that waits behind an exec that hangs can be stopped")
    {
        hanging_start f;
        f.it.it().add(service("behind", helper({"--mode=pause"})));
        f.it.it().stop("behind");
        f.it.until("behind", service_state::stopping);
        f.clock->advance(5s);
        f.it.until("behind", service_state::exited);
        CHECK(f.it.state("slow") == service_state::starting);
        f.busy.release();
        f.it.until("slow", service_state::ready);
        f.it.stop();
        CHECK(children() == 0);
    }

    TEST_CASE("what is stored is there for who waits for its spawn, if it hangs up meanwhile, too")
    {
        supervised f;
        busy_program busy;
        f.it().add(service("a", helper({"--mode=notify-store", "^one"}))
                       .ready_when(procyard::readiness::told())
                       .keep_descriptors(1));
        f.it().start();
        f.until("a", service_state::ready);
        REQUIRE(f.of("a").descriptors_kept == 1);
        f.it().add(service("slow", busy.run()));
        f.it().replace("a");
        REQUIRE(::kill(f.of("a").pid, SIGKILL) == 0);
        run_until(f.ctx, [&] { return f.of("a").descriptors_kept == 0; });
        busy.release();
        f.until("a", service_state::ready, 2);
        CHECK(f.of("a").generation == 2);
        CHECK(f.of("a").status_text == "1 one");
        f.stop();
    }

    TEST_CASE("a supervisor that is destroyed while an exec hangs leaves nobody")
    {
        hanging_start f;
        f.it.guarded.reset();
        f.busy.release();
        run(f.it.ctx);
        CHECK(children() == 0);
    }
}
