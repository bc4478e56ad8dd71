// SPDX-License-Identifier: BSL-1.0
// The strategies with processes. What follows from which failure is tested without any, by
// supervisor_fsm_test and supervisor_model_test.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <errno.h>
#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"

using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::restart_strategy;
using procyard::service;
using procyard::service_cause;
using procyard::service_event;
using procyard::service_state;
using procyard::supervisor_options;

namespace {

supervisor_options with(restart_strategy strategy)
{
    supervisor_options options;
    options.strategy = strategy;
    options.intensity = {.restarts = 5, .window = 1h};
    return options;
}

// What becomes of a, b and c when b is killed.
struct three {
    three(restart_strategy strategy, bool in_a_row) : f(with(strategy))
    {
        f.it().add(pausing("a", {}));
        f.it().add(
            pausing("b", in_a_row ? std::vector<std::string>{"a"} : std::vector<std::string>{}));
        f.it().add(
            pausing("c", in_a_row ? std::vector<std::string>{"b"} : std::vector<std::string>{}));
        f.it().start();
        for (const auto* const name : {"a", "b", "c"}) {
            f.until(name, service_state::ready);
            pids[name] = f.of(name).pid;
        }
        told = f.events.size();
        ::kill(pids["b"], SIGKILL);
        f.until("b", service_state::ready, 2);
        f.until("c", service_state::ready);
        f.until("a", service_state::ready);
    }

    // Since b was killed, in order: "c.1 stopping" and so on. An end is an event of a death.
    std::string story(bool of_ends, service_state to)
    {
        std::string text;
        for (auto i = told; i < f.events.size(); ++i) {
            const auto& event = f.events[i];
            if (of_ends ? event.death != nullptr : event.to == to)
                text += (text.empty() ? "" : " ") + event.service + '.'
                    + std::to_string(event.generation);
        }
        return text;
    }
    std::string stops() { return story(false, service_state::stopping); }
    std::string starts() { return story(false, service_state::starting); }
    std::string ends() { return story(true, service_state::exited); }

    // The same process as before; or another one, and the first has gone.
    bool is_same(const std::string& name)
    {
        const bool same = f.of(name).pid == pids[name];
        if (!same)
            CHECK((::kill(pids[name], 0) == -1 && errno == ESRCH));
        return same;
    }

    procyard::death_report death(const std::string& name)
    {
        const auto found = f.of(name).last_death;
        REQUIRE_MESSAGE(found, name, " has not ended");
        return *found;
    }

    // All ends come before the first start.
    bool are_apart() const
    {
        bool started = false;
        for (auto i = told; i < f.events.size(); ++i) {
            if (f.events[i].death && started)
                return false;
            started = started || f.events[i].to == service_state::starting;
        }
        return started;
    }

    supervised f;
    std::map<std::string, pid_t> pids{};
    std::size_t told = 0;
};

}  // namespace

TEST_SUITE("supervisor")
{
    TEST_CASE("one for one: who is killed is started again, and nobody else (case 40)")
    {
        for (const bool in_a_row : {false, true}) {
            three all(restart_strategy::one_for_one, in_a_row);
            CHECK(all.stops() == "");
            CHECK(all.starts() == "b.2");
            CHECK(all.is_same("a"));
            CHECK_FALSE(all.is_same("b"));
            CHECK(all.is_same("c"));
            CHECK_FALSE(all.f.stop().failed);
            CHECK(children() == 0);
        }
    }

    TEST_CASE("one for all: the others stop in reverse order, and all start in theirs (case 40)")
    {
        for (const bool in_a_row : {false, true}) {
            three all(restart_strategy::one_for_all, in_a_row);
            CHECK(all.stops() == "c.1 a.1");
            if (in_a_row)
                CHECK(all.ends() == "b.1 c.1 a.1");
            CHECK(all.starts() == "a.2 b.2 c.2");
            CHECK(all.are_apart());
            for (const auto* const name : {"a", "b", "c"})
                CHECK_FALSE(all.is_same(name));
            CHECK(all.death("a").status->signal() == SIGTERM);
            CHECK(all.death("b").status->signal() == SIGKILL);
            CHECK(all.death("c").status->signal() == SIGTERM);
            CHECK(all.f.last(service_state::stopping).cause == service_cause::sibling_failed);
            CHECK(all.f.of("a").restarts == 0);
            CHECK(all.f.of("b").restarts == 1);
            CHECK_FALSE(all.f.stop().failed);
            CHECK(children() == 0);
        }
    }

    TEST_CASE("rest for one: those that were added later go along, the earlier stay (case 40)")
    {
        for (const bool in_a_row : {false, true}) {
            three all(restart_strategy::rest_for_one, in_a_row);
            CHECK(all.stops() == "c.1");
            CHECK(all.ends() == "b.1 c.1");
            CHECK(all.starts() == "b.2 c.2");
            CHECK(all.are_apart());
            CHECK(all.is_same("a"));
            CHECK_FALSE(all.is_same("b"));
            CHECK_FALSE(all.is_same("c"));
            CHECK(all.death("c").asked);
            CHECK_FALSE(all.f.stop().failed);
            CHECK(children() == 0);
        }
    }
}
