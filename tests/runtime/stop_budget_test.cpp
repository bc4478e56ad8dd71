// SPDX-License-Identifier: BSL-1.0
//
// What is started is told how long it may take to stop, by whoever will kill it.
#include <procyard/runtime/shutdown.hpp>

#include <doctest/doctest.h>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/runtime/process_pool.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "host_state.hpp"
#include "pool_fixture.hpp"
#include "procyard_test.hpp"
#include "supervisor_fixture.hpp"

using namespace procyard;
using namespace procyard_test;
using namespace std::chrono_literals;

namespace {

// What this process was told itself, which is not its children's time.
struct told {
    variable budget{stop_budget_variable, "77"};
    variable deadline{stop_deadline_variable, "88"};
};

command sayer()
{
    return command::shell("echo ${PROCYARD_STOP_BUDGET_NS-none} ${PROCYARD_STOP_DEADLINE_NS-none}");
}

service one_shot(std::string& said, command what = sayer())
{
    return service("a", std::move(what)).one_shot().log([&](service_output, std::string_view line) {
        said = line;
    });
}

// What a service says that a supervisor of such a budget has started.
std::string said_by(service what, std::string& said,
                    std::chrono::nanoseconds stop_budget = std::chrono::nanoseconds::max())
{
    supervisor_options options;
    options.stop_budget = stop_budget;
    supervised f(options);
    f.it().add(std::move(what));
    f.it().start();
    run_until(f.ctx, [&] { return !said.empty(); });
    f.stop();
    return said;
}

}  // namespace

TEST_SUITE("stop_budget_variable")
{
    TEST_CASE("a service is told nine tenths of its grace, and not what its supervisor was told")
    {
        const told parent;
        std::string said;
        CHECK(said_by(one_shot(said).stop_grace(3s), said) == "2700000000 none");
    }

    TEST_CASE("a service has no more than all of its supervisor have together")
    {
        const told parent;
        std::string said;
        // 0.5 s of the 2 s are for the end of what was killed.
        CHECK(said_by(one_shot(said).stop_grace(30s), said, 2s) == "1350000000 none");
    }

    TEST_CASE("a member of a group has no more than the group")
    {
        const told parent;
        std::string said;
        const std::vector<service> members{one_shot(said).stop_grace(30s)};
        CHECK(said_by(service("group", restart_strategy::one_for_one, members).stop_grace(4s), said)
              == "3150000000 none");
    }

    TEST_CASE("a group has no more than its supervisor, and its members have less")
    {
        const told parent;
        std::string said;
        const std::vector<service> members{one_shot(said).stop_grace(30s)};
        CHECK(said_by(service("group", restart_strategy::one_for_one, members).stop_grace(30s),
                      said, 2s)
              == "900000000 none");
    }

    TEST_CASE("who takes all that it was told is not killed before, wherever it is")
    {
        std::string said;
        const auto deaf = service("a",
                                  command::shell("trap '' TERM; echo $PROCYARD_STOP_BUDGET_NS;"
                                                 " while :; do sleep 1000; done"))
                              .log([&](service_output, std::string_view line) { said = line; });
        const auto group_of = [](std::string name, service member) {
            return service(std::move(name), restart_strategy::one_for_one,
                           std::vector<service>{std::move(member)});
        };
        const auto check = [&](service what, const std::string& path,
                               std::chrono::nanoseconds stop_budget) {
            CAPTURE(path);
            said.clear();
            const auto clock = std::make_shared<manual_clock>();
            supervisor_options options;
            options.clock = clock;
            options.stop_budget = stop_budget;
            supervised f(options);
            f.it().add(std::move(what));
            f.it().start();
            run_until(f.ctx, [&] { return !said.empty(); });
            outcome<error_code, supervisor_result> got;
            f.it().async_stop(got.handler());
            const auto has_come_to = [&](service_state to) {
                return std::find_if(f.events.begin(), f.events.end(), [&](const auto& event) {
                    return event.service == path && event.to == to;
                });
            };
            f.until(path, service_state::stopping);
            run_until(f.ctx, [&] {
                if (has_come_to(service_state::killing) == f.events.end())
                    clock->advance_to_next();
                return got.done();
            });
            REQUIRE(has_come_to(service_state::killing) != f.events.end());
            const auto has = has_come_to(service_state::killing)->when
                - has_come_to(service_state::stopping)->when;
            const std::chrono::nanoseconds heard(std::stoll(said));
            CHECK(heard <= has);
            CHECK(heard > has / 2);
        };
        check(deaf, "a", supervisor_options().stop_budget);
        check(deaf, "a", 2s);
        check(deaf, "a", 600ms);
        check(group_of("g", deaf), "g/a", supervisor_options().stop_budget);
        check(group_of("g", deaf), "g/a", 2s);
        check(group_of("f", group_of("g", deaf)), "f/g/a", supervisor_options().stop_budget);
        check(group_of("f", group_of("g", deaf).stop_grace(30s)), "f/g/a", 5s);
    }

    TEST_CASE("a service that nobody will kill is told nothing")
    {
        const told parent;
        std::string said;
        CHECK(said_by(one_shot(said).stop_grace(std::chrono::nanoseconds::max()), said)
              == "none none");
    }

    TEST_CASE("what the command says of a variable stays, be it that there is none")
    {
        const told parent;
        std::string said;
        CHECK(said_by(one_shot(said, sayer().env(stop_budget_variable, "5")), said) == "5 none");
        said.clear();
        CHECK(said_by(one_shot(said, sayer().env_remove(stop_budget_variable)), said)
              == "none none");
        said.clear();
        CHECK(said_by(one_shot(said, sayer().env(stop_deadline_variable, "6")).stop_grace(1s), said)
              == "900000000 6");
    }

    TEST_CASE("a worker of a pool is told nine tenths of what it has from SIGTERM to SIGKILL")
    {
        const told parent;
        auto options = of_workers(1);
        options.term_grace = 2s;
        pooled f(options);
        f.must_start();
        CHECK(f.call(make_work("environment", 0, stop_budget_variable)).text == "1800000000");
        CHECK(f.call(make_work("environment", 0, stop_deadline_variable)).text == "(none)");
        f.stop();
    }
}
