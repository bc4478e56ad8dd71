// SPDX-License-Identifier: BSL-1.0
// Supervisors in supervisors: what is seen of the members of a group, and asked of them.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_events.hpp"
#include "supervisor_fixture.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::command;
using procyard::error_code;
using procyard::manual_clock;
using procyard::readiness;
using procyard::restart_strategy;
using procyard::service;
using procyard::service_cause;
using procyard::service_context;
using procyard::service_event;
using procyard::service_state;
using procyard::supervisor_options;
using procyard::supervisor_result;

namespace {

using fixture = supervised;
constexpr auto one_for_one = restart_strategy::one_for_one;

std::string names(fixture& f)
{
    std::string text;
    for (const auto& one : f.it().snapshot())
        text += (text.empty() ? "" : " ") + one.name;
    return text;
}

std::string refusal(const auto& ask)
{
    try {
        ask();
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "accepted";
}

}  // namespace

TEST_SUITE("supervisor")
{
    TEST_CASE("events and the snapshot show the members of groups, at any depth, by their paths")
    {
        fixture f;
        f.it().add(sleeper("first"));
        f.it().add(service("group", one_for_one,
                           {pausing("x"), service("inner", one_for_one, {sleeper("y")})}));
        f.it().add(sleeper("last").depends_on({"group"}));
        const std::string all = "first group group/x group/inner group/inner/y last";
        CHECK(names(f) == all);
        CHECK(f.state("group/inner/y") == service_state::configured);
        f.it().start();
        f.until("last", service_state::ready);
        CHECK(names(f) == all);
        CHECK(f.state("group/x") == service_state::ready);
        CHECK(f.state("group/inner/y") == service_state::ready);
        CHECK(f.of("group/x").pid > 0);
        CHECK(f.of("group").pid == 0);
        CHECK_FALSE(f.stop().failed);
        CHECK(names(f) == all);
        CHECK(f.state("group/x") == service_state::exited);
        CHECK(f.state("group/inner/y") == service_state::exited);
        CHECK(f.came_to(service_state::starting)
              == "first.1 group.1 group/x.1 group/inner.1 group/inner/y.1 last.1");
        CHECK(f.came_to(service_state::exited).starts_with("last.1 "));
        CHECK(gap_in(f.events) == "");
        CHECK(children() == 0);
    }

    TEST_CASE("a member that dies has its death report, its restarts and its lost lines")
    {
        fixture f(patient());
        f.it().add(service("group", one_for_one,
                           {pausing("x").log([](procyard::service_output, std::string_view) {
                                throw std::runtime_error("a full disk");
                            }),
                            sleeper("y")},
                           {.restarts = 5, .window = 1h}));
        f.it().start();
        f.until("group", service_state::ready);
        ::kill(f.of("group/x").pid, SIGKILL);
        f.until("group/x", service_state::ready, 2);
        f.until("group", service_state::ready);
        const auto now = f.of("group/x");
        CHECK(now.restarts == 1);
        CHECK(now.lines_lost == 2);
        REQUIRE(now.last_death);
        CHECK(now.last_death->status->signal() == SIGKILL);
        CHECK(f.of("group").restarts == 0);
        CHECK(f.of("group/y").restarts == 0);
        const auto& event = f.last(service_state::backoff);
        CHECK(event.service == "group/x");
        CHECK(event.cause == service_cause::crashed);
        REQUIRE(event.death);
        CHECK(event.death->status->signal() == SIGKILL);
        f.stop();
        CHECK(gap_in(f.events) == "");
    }

    TEST_CASE("a group that is started again: its members are the same, and count on")
    {
        fixture f(patient());
        f.it().add(service("group", one_for_one,
                           {pausing("x").log([](procyard::service_output, std::string_view) {
                                throw std::runtime_error("a full disk");
                            }),
                            service("inner", one_for_one, {sleeper("y")})},
                           {.restarts = 5, .window = 1h}));
        f.it().start();
        f.until("group", service_state::ready);
        ::kill(f.of("group/x").pid, SIGKILL);
        f.until("group/x", service_state::ready, 2);
        f.it().stop("group");
        f.until("group", service_state::exited);
        const auto between = f.of("group/x");
        CHECK(between.state == service_state::exited);
        CHECK(between.pid == 0);
        CHECK(between.generation == 2);
        CHECK(between.restarts == 1);
        CHECK(between.lines_lost == 2);
        f.it().start("group");
        f.until("group", service_state::ready, 2);
        const auto now = f.of("group/x");
        CHECK(now.generation == 3);
        CHECK(now.restarts == 1);
        CHECK(now.lines_lost == 3);
        CHECK(f.of("group/inner/y").generation == 2);
        f.stop();
        CHECK(gap_in(f.events) == "");
        CHECK(f.came_to(service_state::starting)
              == "group.1 group/x.1 group/inner.1 group/inner/y.1 group/x.2 group.2 group/x.3 "
                 "group/inner.2 group/inner/y.2");
    }

    TEST_CASE("a member is stopped, started, restarted and replaced by its path")
    {
        fixture f;
        f.it().add(service("group", one_for_one,
                           {sleeper("x"), service("inner", one_for_one, {pausing("y")})}));
        f.it().start();
        f.until("group", service_state::ready);
        f.it().restart("group/inner/y");
        f.until("group/inner/y", service_state::ready, 2);
        f.it().replace("group/inner/y");
        f.until("group/inner/y", service_state::ready, 3);
        run_until(f.ctx, [] { return children() == 1; });
        f.it().stop("group/x");
        f.until("group/x", service_state::exited);
        CHECK(f.of("group/x").restarts == 0);
        f.it().start("group/x");
        f.until("group/x", service_state::ready, 2);
        f.it().restart("group/inner");
        f.until("group/inner/y", service_state::ready, 4);
        f.until("group", service_state::ready);
        CHECK(f.of("group").generation == 1);
        CHECK(f.of("group/inner").generation == 2);
        CHECK_FALSE(f.stop().failed);
        CHECK(gap_in(f.events) == "");
    }

    TEST_CASE("a group that is replaced: no number of a member is used twice")
    {
        fixture f;
        f.it().add(service("group", one_for_one, {sleeper("x"), pausing("y")}));
        f.it().start();
        f.until("group", service_state::ready);
        const auto before = f.events.size();
        f.it().replace("group");
        f.until("group", service_state::ready, 2);
        // Also while both are there: it is the second one's that is asked, and counts on.
        f.it().restart("group/x");
        f.until("group/x", service_state::ready, 3);
        run_until(f.ctx, [] { return children() == 1; });
        f.until("group", service_state::ready);
        CHECK(f.of("group/y").generation == 2);
        std::set<std::string> started;
        for (const auto& event : f.events) {
            if (event.to == service_state::starting)
                CHECK(started.insert(event.service + std::to_string(event.generation)).second);
        }
        const auto second =
            std::find_if(f.events.begin() + static_cast<std::ptrdiff_t>(before), f.events.end(),
                         [](const auto& event) { return event.service == "group/x"; });
        REQUIRE(second != f.events.end());
        CHECK(second->replacement);
        CHECK_FALSE(f.stop().failed);
    }

    TEST_CASE("a group that fails while the one before it is going: its members go on from there")
    {
        fixture f(patient());
        asio::steady_timer slow(f.ctx, asio::steady_timer::time_point::max());
        asio::steady_timer poison(f.ctx, asio::steady_timer::time_point::max());
        const auto body = [&](service_context me) -> asio::awaitable<void> {
            if (me.generation() == 1) {
                co_await deaf_until_said(&slow);
            } else if (me.generation() == 2) {
                co_await until_said(&poison);
                throw std::runtime_error("poisoned");
            } else {
                co_await until_cancelled();
            }
        };
        f.it().add(service("group", one_for_one, {service("x", body)}, {.restarts = 0})
                       .backoff(at_once()));
        f.it().start();
        f.until("group", service_state::ready);
        f.it().replace("group");
        f.until("group", service_state::ready, 2);
        poison.cancel();
        f.until("group", service_state::backoff);
        CHECK(f.state("group/x") == service_state::failed);
        slow.cancel();
        f.until("group", service_state::ready, 3);
        CHECK(f.of("group/x").generation == 3);
        CHECK(gap_in(f.events) == "");
        CHECK_FALSE(f.stop().failed);
    }

    TEST_CASE("a group in a group that was replaced is started again: its members go on")
    {
        fixture f;
        f.it().add(service("group", one_for_one, {service("inner", one_for_one, {sleeper("y")})}));
        f.it().start();
        f.until("group", service_state::ready);
        f.it().replace("group");
        f.until("group", service_state::ready, 2);
        f.it().restart("group/inner");
        f.until("group/inner/y", service_state::ready, 3);
        const auto again = std::find_if(f.events.rbegin(), f.events.rend(), [](const auto& event) {
            return event.service == "group/inner/y" && event.to == service_state::waiting;
        });
        REQUIRE(again != f.events.rend());
        CHECK(again->from == service_state::exited);
        CHECK(again->generation == 2);
        CHECK_FALSE(f.stop().failed);
        CHECK(gap_in(f.events) == "");
    }

    TEST_CASE("of two incarnations of a group the members of the one that serves are shown")
    {
        fixture f(patient());
        asio::steady_timer holds(f.ctx, asio::steady_timer::time_point::max());
        asio::steady_timer poison(f.ctx, asio::steady_timer::time_point::max());
        bool fails = false;
        const auto x = [&](service_context me) -> asio::awaitable<void> {
            if (me.generation() > 1)
                co_return co_await until_cancelled();
            co_await until_said(&poison);
            throw std::runtime_error("poisoned");
        };
        const auto y = [&](service_context me) -> asio::awaitable<void> {
            if (me.generation() > 1 && !fails)
                co_await until_said(&holds);
            if (fails)
                throw std::runtime_error("not this one");
            me.ready();
            co_await until_cancelled();
        };
        f.it().add(service("group", one_for_one,
                           {service("x", x).backoff(at_once()),
                            service("y", y).ready_when(readiness::told()).backoff(at_once())},
                           {.restarts = 1, .window = 1h}));
        f.it().start();
        f.until("group", service_state::ready);
        const auto last = [&](const std::string& path) {
            return std::find_if(f.events.rbegin(), f.events.rend(),
                                [&](const auto& event) { return event.service == path; });
        };
        f.it().replace("group");
        run_until(f.ctx, [&] { return last("group/y")->generation == 2; });

        SUBCASE("the second one serves, and its member has the lower number")
        {
            poison.cancel();  // that of the first one is started again meanwhile
            f.until("group/x", service_state::ready, 3);
            holds.cancel();
            f.until("group", service_state::ready, 2);
            CHECK(f.of("group/x").generation == 2);
            run_until(f.ctx, [&] {
                return last("group")->generation == 1 && last("group")->to == service_state::exited;
            });
            f.it().stop("group");
            f.until("group", service_state::exited);
            CHECK(f.of("group/x").generation == 2);
        }
        SUBCASE("the second one fails, and the first one serves on")
        {
            fails = true;
            holds.cancel();
            run_until(f.ctx, [&] {
                return last("group")->generation == 2 && last("group")->to == service_state::failed;
            });
            fails = false;
            CHECK(f.state("group") == service_state::ready);
            f.it().stop("group");
            f.until("group", service_state::exited);
            CHECK(f.of("group/x").generation == 1);
            CHECK(f.of("group/y").generation == 1);
        }
        f.it().start("group");
        run_until(f.ctx, [&] { return last("group/x")->to == service_state::ready; });
        holds.cancel();
        CHECK_FALSE(f.stop().failed);
        CHECK(gap_in(f.events) == "");
    }

    TEST_CASE("who asks for something while he hears of a member is not called meanwhile")
    {
        asio::io_context ctx;
        std::optional<procyard::supervisor> all;
        int depth = 0;
        int deepest = 0;
        bool asked = false;
        supervisor_options options;
        options.on_event = [&](const service_event& event) {
            deepest = std::max(deepest, ++depth);
            if (event.service == "group/x" && event.to == service_state::ready
                && !std::exchange(asked, true)) {
                all->restart("group/x");
                all->add(sleeper("new"));
                all->stop("other");
            }
            --depth;
        };
        all.emplace(ctx.get_executor(), std::move(options));
        all->add(service("group", one_for_one, {sleeper("x")}));
        all->add(sleeper("other"));
        all->start();
        run_until(ctx, [&] {
            const auto now = all->snapshot();
            return now.size() == 4 && now[0].state == service_state::ready && now[1].generation == 2
                && now[1].state == service_state::ready && now[2].state == service_state::exited
                && now[3].state == service_state::ready;
        });
        CHECK(deepest == 1);
    }

    TEST_CASE("who hears of a member may destroy the supervisor")
    {
        asio::io_context ctx;
        std::optional<procyard::supervisor> all;
        supervisor_options options;
        std::string heard;
        options.on_event = [&](const service_event& event) {
            heard += event.service + ' ';
            if (event.service == "group/inner/x" && event.to == service_state::starting)
                all.reset();
        };
        all.emplace(ctx.get_executor(), std::move(options));
        bool ran = false;
        all->add(service("group", one_for_one,
                         {service("inner", one_for_one,
                                  {service("x", [&](service_context) -> asio::awaitable<void> {
                                      ran = true;
                                      co_return;
                                  })})}));
        all->start();
        run(ctx);
        CHECK_FALSE(all.has_value());
        CHECK_FALSE(ran);
        CHECK(heard.ends_with("group/inner/x "));
    }

    TEST_CASE("refuses a path that leads nowhere, and what cannot be asked of a member")
    {
        fixture f;
        f.it().add(sleeper("a"));
        f.it().add(service("group", one_for_one, {sleeper("x"), sleeper("y").depends_on({"x"})}));
        const std::string_view idle = "supervisor: \"group/x\": its group does not run";
        CHECK(refusal([&] { f.it().start("group/x"); }) == idle);
        f.it().start();
        f.until("group", service_state::ready);
        CHECK(refusal([&] { f.it().stop("group/z"); })
              == "supervisor: there is no service \"group/z\"");
        CHECK(refusal([&] { f.it().stop("group/"); })
              == "supervisor: there is no service \"group/\"");
        CHECK(refusal([&] { f.it().restart("a/x"); })
              == "supervisor: \"a/x\": only a group has members");
        CHECK(refusal([&] { f.it().restart("group/x/y"); })
              == "supervisor: \"group/x/y\": only a group has members");
        CHECK(refusal([&] { f.it().remove("group/y"); })
              == "supervisor: \"group/y\": a member is removed with its group alone");
        const std::string_view slash =
            "a name has no slash, which stands between a group and its member";
        CHECK(refusal([&] { f.it().add(sleeper("b/c")); })
              == "supervisor: service \"b/c\": " + std::string(slash));
        CHECK(refusal([&] { f.it().add(service("g", one_for_one, {sleeper("b/c")})); })
              == "supervisor: service \"g\": its member \"b/c\": " + std::string(slash));
        CHECK(refusal([&] { f.it().add(sleeper("b").depends_on({"group/x"})); })
              == "supervisor: service \"b\": depends on \"group/x\", which was not added before "
                 "it");
        f.it().stop("group");
        f.until("group", service_state::exited);
        CHECK(refusal([&] { f.it().start("group/x"); }) == idle);
        f.stop();
    }

    TEST_CASE("a member that does not end is named by its path")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        asio::steady_timer release(f.ctx, asio::steady_timer::time_point::max());
        f.it().add(
            service("group", one_for_one,
                    {sleeper("x"), service("deaf", [&](service_context) -> asio::awaitable<void> {
                         co_await deaf_until_said(&release);
                     })}));
        f.it().start();
        f.until("group", service_state::ready);
        outcome<error_code, supervisor_result> got;
        f.it().async_stop(got.handler());
        run_until(f.ctx, [&] { return f.state("group/x") == service_state::exited; });
        clock->advance(10s);
        run_until(f.ctx, [&] { return got.done(); });
        CHECK(got.result().left == std::vector<std::string>{"group/deaf"});
        release.cancel();
        run(f.ctx);
    }

    TEST_CASE("a group is ready when all of it are, and fails as one (nested supervisors)")
    {
        supervisor_options options;
        options.intensity = {5, 1h};
        fixture f(options);
        f.it().add(service("group", restart_strategy::one_for_all,
                           {service("x", helper({"--mode=pause"})),
                            service("y", command("false")).backoff(at_once())},
                           {2, 1h})
                       .backoff({.first = 1h, .cap = 1h}));
        f.it().start();
        f.until("group", service_state::backoff);
        const auto text = f.last(service_state::backoff).to_string();
        CHECK_MESSAGE(text.find("too many restarts, the last of \"y\"") != std::string::npos, text);
        CHECK(children() == 0);
        CHECK(f.state("group/y") == service_state::failed);
        CHECK(f.of("group/y").last_death->status->code() == 1);
        CHECK(f.state("group/x") == service_state::exited);
        f.stop();
    }

    TEST_CASE("who throws when he hears that a group stops does not keep it from its members")
    {
        asio::io_context ctx;
        auto options = by(std::make_shared<manual_clock>());  // so that no deadline ends them
        bool is_ready = false;
        int thrown = 0;
        options.on_event = [&](const service_event& event) {
            is_ready |= event.service == "group" && event.to == service_state::ready;
            if (event.service == "group" && event.to == service_state::stopping)
                throw std::runtime_error("a full disk");
        };
        procyard::supervisor all(ctx.get_executor(), std::move(options));
        bool asked = false;
        all.add(service("group", one_for_one,
                        {service("x", [&](service_context) -> asio::awaitable<void> {
                            try {
                                co_await until_cancelled();
                            } catch (const boost::system::system_error&) {
                                asked = true;
                            }
                        })}));
        all.start();
        run_until(ctx, [&] { return is_ready; });
        const auto until_asked = [&] {
            try {
                all.stop("group");
                run_until(ctx, [&] { return asked; });
            } catch (const std::runtime_error&) {
                ++thrown;
            }
        };
        until_asked();
        CHECK(thrown == 1);
        run_until(ctx, [&] { return asked; });
    }

    TEST_CASE("stopping a group stops its members, with its own grace")
    {
        fixture f;
        f.it().add(service("group", restart_strategy::one_for_one,
                           {service("x", helper({"--mode=pause"})), sleeper("y")}));
        f.it().add(sleeper("after").depends_on({"group"}));
        f.it().start();
        f.until("after", service_state::ready);
        CHECK_FALSE(f.stop().failed);
        CHECK(f.came_to(service_state::exited) == "after.1 group/y.1 group/x.1 group.1");
        CHECK(children() == 0);
    }

    TEST_CASE("a group gets its part of the budget: its members are asked before they are killed")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        std::string asked;
        const auto member = [&](const std::string& name, std::vector<std::string> after) {
            service made(name, [&asked, name](service_context) -> asio::awaitable<void> {
                try {
                    co_await until_cancelled();
                } catch (const boost::system::system_error&) {
                    asked += name;
                }
            });
            made.depends_on(std::move(after));
            return made;
        };
        auto deaf = service("z", helper({"--mode=ignore-term"}));
        deaf.depends_on({"y"}).ready_when(readiness::line_with("ready")).stop_grace(30s);
        f.it().add(service("group", restart_strategy::one_for_one,
                           {member("x", {}), member("y", {"x"}), deaf})
                       .stop_grace(30s));
        f.it().start();
        f.until("group", service_state::ready);

        outcome<error_code, supervisor_result> got;
        SUBCASE("a stop of all, whose budget is less than its grace")
        {
            f.it().async_stop(got.handler());
        }
        SUBCASE("a stop of all while it is stopped with its grace")
        {
            f.it().stop("group");
            f.until("group", service_state::stopping);
            f.it().async_stop(got.handler());
        }
        run_until(f.ctx, [&] { return f.state("group") == service_state::stopping; });
        CHECK(asked == "");
        // The group has 9.5 s, and what is killed in it has a reserve, too: 9 s for three levels.
        clock->advance(3s);
        run_until(f.ctx, [&] { return got.done(); });
        CHECK(asked == "yx");
        CHECK(f.came_to(service_state::killing) == "group/z.1");
        CHECK(got.result().stop_time == 3s);
        CHECK(got.result().left.empty());
    }
}
