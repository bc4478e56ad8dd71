// SPDX-License-Identifier: BSL-1.0
#include "supervisor_fsm.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "supervisor_stage.hpp"

using procyard::restart_kind;
using procyard::restart_strategy;
using procyard::service_cause;
using procyard::service_state;
using procyard::to_string;
using procyard::detail::supervisor_fsm;
using procyard::detail::supervisor_input;
using procyard::detail::supervisor_output;
using namespace procyard_test;
using namespace std::chrono_literals;
using stage = supervisor_stage;

namespace {

using kind = supervisor_input::kind;
using duration = supervisor_fsm::duration;

}  // namespace

TEST_SUITE("supervisor_fsm")
{
    TEST_CASE("a service starts when all it depends on is ready, the others at once (complaint 19)")
    {
        stage world;
        world.fsm.add(plain());
        world.fsm.add(plain());
        world.fsm.add(after({0, 1}));
        CHECK(world.tell(kind::start) == "start 0.1, start 1.1");
        CHECK(world.of(kind::ready, 0) == "");
        CHECK(world.states() == "ready, starting, waiting");
        CHECK(world.of(kind::ready, 1) == "start 2.1");
        CHECK(world.of(kind::ready, 2) == "");
        CHECK(world.states() == "ready, ready, ready");
    }

    TEST_CASE("extended: from the message on, never sooner, as far as it may, and asked for again")
    {
        auto how = plain();
        how.start_timeout = 10s;
        how.stop_grace = 4s;
        how.most_extension = 5s;
        stage world;
        world.fsm.add(how);
        world.tell(kind::start);
        const auto extend = [&](std::chrono::nanoseconds time) {
            supervisor_input input{kind::extend, 0, 1};
            input.extension = time;
            return world.note(world.fsm.resume(input, world.now));
        };
        world.tick(8s);
        extend(1s);  // less than it has anyway
        CHECK(world.fsm.next() == world.now + 2s);
        extend(3s);
        CHECK(world.fsm.next() == world.now + 3s);
        world.tick(3s);
        CHECK(world.states() == "stopping");
        extend(duration::max());
        CHECK(world.fsm.next() == world.now + 9s);
        CHECK(world.tick(8999ms) == "");
        CHECK(world.tick(1ms) == "kill 0.1");
        extend(1h);
        CHECK(world.states() == "killing");
    }

    TEST_CASE("an extension puts off no end of the supervisor's own stop, nor an order of stops")
    {
        auto how = plain();
        how.stop_grace = 1h;
        how.most_extension = 1h;
        supervisor_fsm::setup what;
        what.stop_budget = 10s;
        what.kill_reserve = 1s;
        stage world(what);
        world.fsm.add(how);
        world.start_all();
        CHECK(world.tell(kind::stop) == "stop 0.1");
        supervisor_input input{kind::extend, 0, 1};
        input.extension = 1h;
        world.note(world.fsm.resume(input, world.now));
        CHECK(world.tick(9s) == "kill 0.1");
    }

    TEST_CASE("one that is in its delay and held up by who depends on it waits for no time")
    {
        auto slow = plain();
        slow.backoff.first = 1s;
        slow.backoff.cap = 1s;
        auto stubborn = after({0});
        stubborn.stop_grace = 1h;
        supervisor_fsm::setup what;
        what.stop_budget = 1h;
        what.intensity = {10, 1h};
        stage world(what);
        world.fsm.add(slow);
        world.fsm.add(stubborn);
        world.start_all();
        world.of(kind::ended_failed, 0);
        CHECK(world.states() == "backoff, ready");
        CHECK(world.tell(kind::stop) == "stop 1.1");
        world.tick(2s);
        CHECK(world.fsm.next() > world.now);
    }

    TEST_CASE("replaced again while the one before is still going: when it has gone")
    {
        stage world;
        world.fsm.add(plain());
        world.start_all();
        CHECK(world.tell(kind::replace_service, 0) == "start 0.2");
        CHECK(world.tell(kind::replace_service, 0) == "");
        CHECK(world.tell(kind::ready, 0, 2) == "stop 0.1");
        CHECK(world.tell(kind::replace_service, 0) == "");
        CHECK(world.tell(kind::ended_clean, 0, 1) == "start 0.3");
        CHECK(world.tell(kind::ready, 0, 3) == "stop 0.2");
        CHECK(world.tell(kind::ended_clean, 0, 2) == "");
        CHECK(world.states() == "ready");
    }

    TEST_CASE("one that loses its readiness keeps late dependants waiting (process-compose#544)")
    {
        stage world;
        world.fsm.add(plain());
        world.fsm.add(plain());
        world.fsm.add(after({0, 1}));
        world.tell(kind::start);
        world.of(kind::ready, 0);
        world.of(kind::unready, 0);
        CHECK(world.of(kind::ready, 1) == "");
        CHECK(world.states() == "unready, ready, waiting");
        CHECK(world.of(kind::ready, 0) == "start 2.1");
    }

    TEST_CASE("what depends on one that has ended for good fails, and says why")
    {
        auto once = plain();
        once.restart = restart_kind::temporary;
        stage world;
        world.fsm.add(once);
        world.fsm.add(after({0}));
        world.fsm.add(after({1}));
        world.fsm.add(plain());
        CHECK(world.tell(kind::start) == "start 0.1, start 3.1");
        world.history.clear();
        SUBCASE("by a failure")
        {
            CHECK(world.of(kind::ended_failed, 0) == "");
            CHECK(world.states() == "failed, failed, failed, starting");
            CHECK(world.history
                  == std::vector<std::string>{"0 failed: it has failed",
                                              "1 failed: a dependency has failed for good",
                                              "2 failed: a dependency has failed for good"});
        }
        SUBCASE("with success, before anybody needed it")
        {
            CHECK(world.of(kind::ended_clean, 0) == "");
            CHECK(world.states() == "exited, failed, failed, starting");
        }
        SUBCASE("but what was stopped by request is waited for")
        {
            world.tell(kind::stop_service, 0);
            CHECK(world.of(kind::ended_failed, 0) == "");
            CHECK(world.states() == "exited, waiting, waiting, starting");
        }
        // In their order, each by request.
        CHECK(world.tell(kind::start_service, 0) == "start 0.2");
        world.tell(kind::start_service, 1);
        CHECK(world.of(kind::ready, 0) == "start 1.1");
        CHECK(world.of(kind::ready, 1)
              == (world.fsm.state(2) == service_state::failed ? "" : "start 2.1"));
    }

    TEST_CASE("one that runs goes on without what has failed; it fails when it is to start again")
    {
        auto once = plain();
        once.restart = restart_kind::temporary;
        auto later = after({0});
        later.backoff.first = 1s;
        stage world(with(restart_strategy::one_for_one));
        world.fsm.add(once);
        world.fsm.add(later);
        world.start_all();
        world.of(kind::ended_failed, 0);
        CHECK(world.states() == "failed, ready");
        world.of(kind::ended_failed, 1);
        CHECK(world.states() == "failed, backoff");
        CHECK(world.tick(1s) == "");
        CHECK(world.states() == "failed, failed");
        CHECK(world.history.back() == "1 failed: a dependency has failed for good");
    }

    TEST_CASE("a one-shot serves those that depend on it by its success")
    {
        stage world;
        auto migration = plain();
        migration.restart = restart_kind::transient;
        migration.one_shot = true;
        world.fsm.add(migration);
        world.fsm.add(after({0}));
        world.tell(kind::start);
        CHECK(world.of(kind::ended_failed, 0) == "start 0.2");
        CHECK(world.of(kind::ready, 0) == "");
        CHECK(world.of(kind::ended_clean, 0) == "start 1.1");
        CHECK(world.states() == "exited, starting");
    }

    TEST_CASE("B of A, B, C is killed: the strategy says who is restarted (case 40)")
    {
        struct expectation {
            restart_strategy strategy;
            std::string stopped;
            std::vector<std::size_t> ends;
            std::string started;
        };
        const std::vector<expectation> cases{
            {restart_strategy::one_for_one, "start 1.2", {}, ""},
            {restart_strategy::rest_for_one, "stop 2.1", {2}, "start 1.2"},
            {restart_strategy::one_for_all, "stop 2.1", {2, 0}, "start 0.2"},
        };
        for (const auto& expected : cases) {
            CAPTURE(to_string(expected.strategy));
            stage world(with(expected.strategy));
            world.fsm.add(plain());
            world.fsm.add(after({0}));
            world.fsm.add(after({1}));
            world.start_all();
            CHECK(world.of(kind::ended_failed, 1) == expected.stopped);
            std::string last;
            for (const auto which : expected.ends)
                last = world.of(kind::ended_clean, which);
            CHECK(last == expected.started);
            for (std::size_t i = 0; i < 3; ++i)
                world.of(kind::ready, i);
            CHECK(world.states() == "ready, ready, ready");
            CHECK(world.fsm.generation(0)
                  == (expected.strategy == restart_strategy::one_for_all ? 2 : 1));
            CHECK(world.fsm.generation(1) == 2);
            CHECK(world.fsm.generation(2)
                  == (expected.strategy == restart_strategy::one_for_one ? 1 : 2));
        }
    }

    TEST_CASE("siblings without dependencies are stopped in reverse order, without waiting")
    {
        stage world(with(restart_strategy::one_for_all));
        for (int i = 0; i < 4; ++i)
            world.fsm.add(plain());
        world.start_all();
        CHECK(world.of(kind::ended_failed, 1) == "stop 3.1, stop 2.1, stop 0.1");
        world.of(kind::ended_clean, 0);
        world.of(kind::ended_clean, 3);
        CHECK(world.of(kind::ended_failed, 2) == "start 0.2, start 1.2, start 2.2, start 3.2");
    }

    TEST_CASE("one that is restarted while what it needs is not ready waits, and wakes nobody up")
    {
        stage world(with(restart_strategy::one_for_one));
        world.fsm.add(plain());
        world.fsm.add(after({0}));
        world.start_all();
        world.of(kind::unready, 0);
        CHECK(world.tell(kind::restart_service, 1) == "stop 1.1");
        CHECK(world.of(kind::ended_clean, 1) == "");
        CHECK_FALSE(world.fsm.next());
        CHECK(world.of(kind::ready, 0) == "start 1.2");
    }

    TEST_CASE("the longest delay that there is, and none after a thousand failures")
    {
        stage world(with(restart_strategy::one_for_one, 2000));
        auto how = plain();
        how.backoff = {.first = 1h, .factor = 2, .cap = std::chrono::nanoseconds::max()};
        world.fsm.add(how);
        how.backoff = {.first = 0ns, .factor = 2, .cap = 1h};
        world.fsm.add(how);
        world.start_all();
        for (int i = 0; i < 100; ++i) {
            world.of(kind::ended_failed, 0);
            world.now = {};
            world.tell(kind::stop_service, 0);
            world.tell(kind::start_service, 0);
        }
        CHECK(world.delays.back().count() == std::chrono::nanoseconds::max().count());
        for (int i = 0; i < 1100; ++i)
            world.of(kind::ended_failed, 1);
        CHECK(world.delays.back().count() == 0);
    }

    TEST_CASE("a temporary sibling is stopped with the others, and not started again")
    {
        stage world(with(restart_strategy::one_for_all));
        world.fsm.add(plain());
        auto job = plain();
        job.restart = restart_kind::temporary;
        world.fsm.add(job);
        world.start_all();
        CHECK(world.of(kind::ended_failed, 0) == "stop 1.1");
        CHECK(world.of(kind::ended_clean, 1) == "start 0.2");
        CHECK(world.states() == "starting, exited");
    }

    TEST_CASE("what is to start after a sibling that is not started again fails, and does not wait")
    {
        for (const auto strategy :
             {restart_strategy::one_for_all, restart_strategy::rest_for_one}) {
            stage world(with(strategy));
            world.fsm.add(plain());
            auto job = plain();
            job.restart = restart_kind::temporary;
            world.fsm.add(job);
            world.fsm.add(after({1}));
            world.start_all();
            CHECK(world.of(kind::ended_failed, 0) == "stop 2.1");
            CHECK(world.of(kind::ended_clean, 2) == "stop 1.1");
            CHECK(world.of(kind::ended_clean, 1) == "start 0.2");
            CHECK(world.states() == "starting, exited, failed");
            CHECK(world.history.back() == "2 failed: a dependency has failed for good");
        }
    }

    TEST_CASE("nobody waits for a sibling that was asked to go on before it was stopped")
    {
        stage world(with(restart_strategy::one_for_all));
        world.fsm.add(plain());
        auto job = plain();
        job.restart = restart_kind::temporary;
        world.fsm.add(job);
        world.fsm.add(after({1}));
        world.start_all();
        CHECK(world.of(kind::ended_failed, 0) == "stop 2.1");
        CHECK(world.tell(kind::start_service, 1) == "");
        CHECK(world.of(kind::ended_clean, 2) == "start 0.2, start 2.2");
    }

    TEST_CASE(
        "those that are restarted wait for a sibling that a failure before has stopped for good")
    {
        stage world(with(restart_strategy::rest_for_one));
        world.fsm.add(plain());
        world.fsm.add(plain());
        auto job = plain();
        job.restart = restart_kind::temporary;
        world.fsm.add(job);
        world.start_all();
        CHECK(world.of(kind::ended_failed, 1) == "stop 2.1");
        CHECK(world.of(kind::ended_failed, 0) == "");
        CHECK(world.of(kind::ended_clean, 2) == "start 0.2, start 1.2");
        CHECK(world.states() == "starting, starting, exited");
    }

    TEST_CASE("kinds: permanent always, transient after a failure, temporary never")
    {
        struct expectation {
            restart_kind how;
            kind end;
            std::string done;
            service_state state;
        };
        const std::vector<expectation> cases{
            {restart_kind::permanent, kind::ended_clean, "start 0.2", service_state::starting},
            {restart_kind::permanent, kind::ended_failed, "start 0.2", service_state::starting},
            {restart_kind::transient, kind::ended_clean, "", service_state::exited},
            {restart_kind::transient, kind::ended_failed, "start 0.2", service_state::starting},
            {restart_kind::temporary, kind::ended_clean, "", service_state::exited},
            {restart_kind::temporary, kind::ended_failed, "", service_state::failed},
        };
        for (const auto& expected : cases) {
            CAPTURE(to_string(expected.how));
            stage world;
            auto how = plain();
            how.restart = expected.how;
            world.fsm.add(how);
            world.start_all();
            CHECK(world.of(expected.end, 0) == expected.done);
            CHECK(to_string(world.fsm.state(0)) == to_string(expected.state));
        }
    }

    TEST_CASE(
        "a crash loop waits longer each time, up to the cap; a stable time begins anew (case 41)")
    {
        stage world(with(restart_strategy::one_for_one));
        auto how = plain();
        how.backoff = {.first = 100ms, .factor = 2, .cap = 500ms, .jitter = 0, .stable_after = 60s};
        world.fsm.add(how);
        world.start_all();
        for (int i = 0; i < 5; ++i) {
            CHECK(world.of(kind::ended_failed, 0) == "");
            CHECK(world.tick(world.delays.back() - 1ns) == "");
            CHECK(world.tick(1ns) == "start 0." + std::to_string(i + 2));
        }
        CHECK(world.delays
              == std::vector<std::chrono::nanoseconds>{100ms, 200ms, 400ms, 500ms, 500ms});
        world.of(kind::ready, 0);
        world.tick(60s);
        world.of(kind::ended_failed, 0);
        CHECK(world.delays.back() == 100ms);
    }

    TEST_CASE("jitter stays within its part and under the cap, and is not always the same")
    {
        stage world(with(restart_strategy::one_for_one));
        auto how = plain();
        how.backoff = {.first = 1s, .factor = 1, .cap = 1100ms, .jitter = 0.2, .stable_after = 1h};
        world.fsm.add(how);
        world.start_all();
        for (int i = 0; i < 200; ++i) {
            world.of(kind::ended_failed, 0);
            world.tick(2s);
        }
        const auto [least, most] = std::minmax_element(world.delays.begin(), world.delays.end());
        CHECK(least->count() >= std::chrono::nanoseconds(800ms).count());
        CHECK(least->count() < std::chrono::nanoseconds(850ms).count());
        CHECK(most->count() == std::chrono::nanoseconds(1100ms).count());
    }

    TEST_CASE(
        "more restarts than the intensity: everything stops, and the supervisor fails (case 42)")
    {
        stage world(with(restart_strategy::one_for_one, 2));
        world.fsm.add(plain());
        world.fsm.add(after({0}));
        world.start_all();
        CHECK(world.of(kind::ended_failed, 0) == "start 0.2");
        CHECK(world.of(kind::ended_failed, 0) == "start 0.3");
        CHECK(world.of(kind::ended_failed, 0) == "stop 1.1");
        CHECK(world.states() == "failed, stopping");
        CHECK(world.of(kind::ended_clean, 1) == "finished failed");
        CHECK(world.states() == "failed, exited");
        CHECK(std::count(world.history.begin(), world.history.end(), "0 failed: too many restarts")
              == 1);
        CHECK(world.tell(kind::start_service, 0) == "");
    }

    TEST_CASE("restarts that are longer ago than the window do not count")
    {
        auto what = with(restart_strategy::one_for_one, 1);
        what.intensity.window = 5s;
        stage world(what);
        world.fsm.add(plain());
        world.start_all();
        for (int i = 0; i < 10; ++i) {
            CHECK(world.of(kind::ended_failed, 0) == "start 0." + std::to_string(i + 2));
            world.tick(5s);
        }
    }

    TEST_CASE("stops in reverse topological order, and kills at the end of a grace")
    {
        stage world;
        world.fsm.add(plain());
        world.fsm.add(after({0}));
        world.fsm.add(after({0}));
        world.start_all();
        CHECK(world.tell(kind::stop) == "stop 2.1, stop 1.1");
        CHECK(world.of(kind::ended_clean, 1) == "");
        CHECK(world.fsm.next() == world.now + 4750ms);
        CHECK(world.tick(4750ms) == "kill 2.1, stop 0.1");
        CHECK(world.of(kind::ended_failed, 2) == "");
        CHECK(world.of(kind::ended_clean, 0) == "finished");
        CHECK_FALSE(world.fsm.next());
    }

    TEST_CASE("the whole stop keeps its budget: fifty that ignore SIGTERM in parallel (case 45)")
    {
        stage world;
        for (int i = 0; i < 50; ++i)
            world.fsm.add(plain());
        world.start_all();
        world.tell(kind::stop);
        const auto began = world.now;
        std::size_t kills = 0;
        while (const auto next = world.fsm.next()) {
            const auto& step = world.fsm.resume({kind::tick}, world.now = *next);
            kills += step.outputs.size();
            world.note(step);
        }
        CHECK(kills == 50);
        CHECK((world.now - began).count() <= std::chrono::nanoseconds(9500ms).count());
        for (std::size_t i = 0; i < 50; ++i)
            world.of(kind::ended_failed, i);
        CHECK(world.fsm.finished());
    }

    TEST_CASE("a chain that ignores SIGTERM shares the budget, and none is left when it is over")
    {
        stage world;
        world.fsm.add(plain());
        for (std::size_t i = 1; i < 5; ++i)
            world.fsm.add(after({i - 1}));
        world.start_all();
        world.tell(kind::stop);
        const auto began = world.now;
        for (std::size_t i = 5; i-- > 0;) {
            world.now = world.fsm.next().value();
            CHECK(world.tell(kind::tick)
                  == "kill " + std::to_string(i) + ".1"
                      + (i > 0 ? ", stop " + std::to_string(i - 1) + ".1" : ""));
            world.of(kind::ended_failed, i);
        }
        CHECK(world.fsm.finished());
        CHECK((world.now - began).count() <= std::chrono::nanoseconds(9500ms).count());
    }

    TEST_CASE("one that cannot be killed holds up the others no longer than the budget")
    {
        stage world;
        world.fsm.add(plain());
        world.fsm.add(after({0}));
        world.start_all();
        CHECK(world.tell(kind::stop) == "stop 1.1");
        CHECK(world.tick(4750ms) == "kill 1.1, stop 0.1");
        CHECK(world.tick(4750ms) == "kill 0.1");
        CHECK(world.of(kind::ended_failed, 0) == "");
        CHECK(world.of(kind::ended_failed, 1) == "finished");
    }

    TEST_CASE("what is stopping when everything shall stop has no more than its share either")
    {
        auto slow = plain();
        slow.stop_grace = 30s;
        slow.most_extension = 1s;
        stage world;
        world.fsm.add(slow);
        world.fsm.add(after({0}, slow));
        world.start_all();
        CHECK(world.tell(kind::restart_service, 1) == "stop 1.1");
        // 9.5 s for two levels: the first of them is killed after half of it, and what it may ask
        // for, which a second stop does not take back.
        CHECK(world.tell(kind::stop) == "hurry 1.1");
        supervisor_input more{kind::extend, 1, 1};
        more.extension = 6s;
        CHECK(world.note(world.fsm.resume(more, world.now)) == "");
        CHECK(world.tell(kind::stop) == "");
        CHECK(world.tick(5749ms) == "");
        CHECK(world.tick(1ms) == "kill 1.1, stop 0.1");
        CHECK(world.tick(3749ms) == "");
        CHECK(world.of(kind::ended_failed, 1) == "");
        CHECK(world.of(kind::ended_clean, 0) == "finished");
    }

    TEST_CASE("a second, earlier deadline for the stop counts, a later one does not")
    {
        stage world;
        world.fsm.add(plain());
        world.start_all();
        world.tell(kind::stop);
        world.note(world.fsm.resume({kind::stop, 0, 0, world.now + 1s}, world.now));
        CHECK(world.fsm.next() == world.now + 500ms);
        world.note(world.fsm.resume({kind::stop, 0, 0, world.now + 9s}, world.now));
        CHECK(world.tick(500ms) == "kill 0.1");
    }

    TEST_CASE("not ready in time: stopped, and that is a failure")
    {
        stage world(with(restart_strategy::one_for_one));
        auto how = plain();
        how.start_timeout = 3s;
        how.restart = restart_kind::transient;
        world.fsm.add(how);
        world.tell(kind::start);
        CHECK(world.fsm.next() == world.now + 3s);
        CHECK(world.tick(3s) == "stop 0.1");
        CHECK(world.of(kind::ended_clean, 0) == "start 0.2");
        CHECK(world.history.at(3) == "0 backoff: it was not ready in time");
    }

    TEST_CASE("a watchdog that goes hungry: stopped, and restarted although it ended with success")
    {
        stage world(with(restart_strategy::one_for_one));
        auto how = plain();
        how.restart = restart_kind::transient;
        world.fsm.add(how);
        world.start_all();
        CHECK(world.of(kind::unhealthy, 0) == "stop 0.1");
        CHECK(world.of(kind::unhealthy, 0) == "");
        CHECK(world.tick(5s) == "kill 0.1");
        CHECK(world.of(kind::ended_clean, 0) == "start 0.2");
    }

    TEST_CASE("news of an earlier incarnation change nothing")
    {
        stage world(with(restart_strategy::one_for_one));
        world.fsm.add(plain());
        world.start_all();
        world.of(kind::ended_failed, 0);
        for (const auto what :
             {kind::ready, kind::unready, kind::unhealthy, kind::ended_clean, kind::ended_failed})
            CHECK(world.tell(what, 0, 1) == "");
        CHECK(world.states() == "starting");
        CHECK(world.tell(kind::ready, 7, 1) == "");
    }

    TEST_CASE(
        "stopped by request: no failure, no restart; wanted again while it stops: started again")
    {
        stage world(with(restart_strategy::one_for_one, 0));
        world.fsm.add(plain());
        world.start_all();
        CHECK(world.tell(kind::stop_service, 0) == "stop 0.1");
        SUBCASE("and left")
        {
            CHECK(world.of(kind::ended_failed, 0) == "");
            CHECK(world.states() == "exited");
            CHECK(world.tell(kind::start_service, 0) == "start 0.2");
        }
        SUBCASE("and wanted again")
        {
            CHECK(world.tell(kind::start_service, 0) == "");
            CHECK(world.of(kind::ended_failed, 0) == "start 0.2");
        }
        CHECK(world.delays.empty());
    }

    TEST_CASE("restarted by request: that one alone, without delay")
    {
        stage world(with(restart_strategy::one_for_all, 0));
        world.fsm.add(plain());
        world.fsm.add(after({0}));
        world.start_all();
        CHECK(world.tell(kind::restart_service, 0) == "stop 0.1");
        CHECK(world.of(kind::ended_clean, 0) == "start 0.2");
        CHECK(world.history.front() == "0 stopping: asked to");
    }

    TEST_CASE("removed: stopped first, then nothing of it is known any more")
    {
        stage world;
        world.fsm.add(plain());
        world.start_all();
        CHECK(world.tell(kind::remove_service, 0) == "stop 0.1");
        CHECK(world.tell(kind::start_service, 0) == "");
        world.of(kind::ended_clean, 0);
        CHECK(world.history.back() == "0 removed: it has ended");
        CHECK(world.states() == "");
        CHECK(world.fsm.state(0) == service_state::removed);
        CHECK(world.tell(kind::start_service, 0) == "");
        CHECK(world.tell(kind::stop) == "finished");
    }

    TEST_CASE("removed: the others keep their numbers, their order and what they depend on")
    {
        stage world(with(restart_strategy::rest_for_one));
        for (const auto& how : {plain(), plain(), after({0}), plain(), after({2})})
            world.fsm.add(how);
        world.start_all();
        for (const std::size_t gone : {1U, 3U}) {
            world.tell(kind::remove_service, gone);
            world.of(kind::ended_clean, gone);
        }
        CHECK(world.fsm.size() == 3);
        CHECK(world.of(kind::ended_clean, 3) == "");
        CHECK(world.fsm.add(after({4})) == 5);
        CHECK(world.tell(kind::tick) == "start 5.1");
        world.of(kind::ready, 5);
        CHECK(world.of(kind::ended_failed, 2) == "stop 5.1");
        CHECK(world.of(kind::ended_clean, 5) == "stop 4.1");
        CHECK(world.of(kind::ended_clean, 4) == "start 2.2");
        CHECK(world.of(kind::ready, 2) == "start 4.2");
        CHECK(world.fsm.state(0) == service_state::ready);
        CHECK(world.of(kind::ready, 4) == "start 5.2");
        CHECK(world.tell(kind::stop) == "stop 5.2");
    }

    TEST_CASE("10,000 that were added and removed are nothing to the machine")
    {
        stage world;
        world.fsm.add(plain());
        world.start_all();
        for (std::size_t number = 1; number <= 10'000; ++number) {
            REQUIRE(world.fsm.add(after({0})) == number);
            world.tell(kind::tick);
            world.tell(kind::remove_service, number);
            REQUIRE(world.of(kind::ended_failed, number) == "");
            REQUIRE(world.fsm.size() == 1);
        }
        CHECK(world.tell(kind::ready, 1, 1) == "");
        CHECK(world.tell(kind::stop) == "stop 0.1");
    }

    TEST_CASE("one that is added later starts by itself")
    {
        stage world;
        world.fsm.add(plain());
        world.start_all();
        world.fsm.add(after({0}));
        CHECK(world.tell(kind::tick) == "start 1.1");
    }

    TEST_CASE("replaced: the new one is ready before the old one is stopped")
    {
        stage world;
        world.fsm.add(plain());
        world.start_all();
        CHECK(world.tell(kind::replace_service, 0) == "start 0.2");
        CHECK(world.tell(kind::replace_service, 0) == "");
        CHECK(world.states() == "ready");
        CHECK(world.tell(kind::ready, 0, 2) == "stop 0.1");
        CHECK(world.fsm.generation(0) == 2);
        CHECK(world.tell(kind::ended_clean, 0, 1) == "");
        CHECK(world.states() == "ready");
        CHECK(world.tell(kind::stop) == "stop 0.2");
        CHECK(world.tell(kind::ended_clean, 0, 2) == "finished");
    }

    TEST_CASE("a replacement that fails leaves the old one as it was, and is no restart")
    {
        auto what = with(restart_strategy::one_for_one, 0);
        stage world(what);
        auto how = plain();
        how.start_timeout = 3s;
        world.fsm.add(how);
        world.start_all();
        CHECK(world.tell(kind::replace_service, 0) == "start 0.2");
        SUBCASE("it ends")
        {
            CHECK(world.tell(kind::ended_failed, 0, 2) == "");
        }
        SUBCASE("it is not ready in time")
        {
            CHECK(world.tick(3s) == "stop 0.2");
            CHECK(world.tell(kind::ready, 0, 2) == "");
            CHECK(world.tell(kind::ended_failed, 0, 2) == "");
        }
        CHECK(world.states() == "ready");
        CHECK(world.fsm.generation(0) == 1);
        CHECK(world.tell(kind::replace_service, 0) == "start 0.3");
    }

    TEST_CASE("the old one ends while its successor starts: the successor takes over")
    {
        stage world(with(restart_strategy::one_for_one, 0));
        world.fsm.add(plain());
        world.start_all();
        world.tell(kind::replace_service, 0);
        CHECK(world.tell(kind::ended_failed, 0, 1) == "");
        CHECK(world.states() == "starting");
        CHECK(world.tell(kind::ready, 0, 2) == "");
        CHECK(world.states() == "ready");
    }

    TEST_CASE("a stop ends both incarnations of one that is being replaced")
    {
        stage world;
        world.fsm.add(plain());
        world.start_all();
        world.tell(kind::replace_service, 0);
        CHECK(world.tell(kind::stop) == "stop 0.1, stop 0.2");
        CHECK(world.tell(kind::ended_clean, 0, 1) == "");
        CHECK(world.tell(kind::ended_clean, 0, 2) == "finished");
        CHECK(world.states() == "exited");
    }
}
