// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemonizing.hpp"
#include "procyard_test.hpp"
#include "run_fixture.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::command;
using procyard::error_code;
using procyard::manual_clock;
using procyard::readiness;
using procyard::restart_kind;
using procyard::restart_strategy;
using procyard::service;
using procyard::service_context;
using procyard::service_event;
using procyard::service_state;
using procyard::supervisor;
using procyard::supervisor_options;
using procyard::supervisor_result;

namespace {

using fixture = supervised;

}  // namespace

TEST_SUITE("supervisor")
{
    TEST_CASE("starts commands in the order of their dependencies, and stops them in the reverse")
    {
        fixture f;
        f.it().add(service("a", helper({"--mode=pause"})));
        f.it().add(service("b", helper({"--mode=pause"})).depends_on({"a"}));
        f.it().start();
        f.until("b", service_state::ready);
        CHECK(f.came_to(service_state::ready) == "a.1 b.1");
        const auto a = f.of("a").pid;
        CHECK(a > 0);
        const auto result = f.stop();
        CHECK_FALSE(result.failed);
        CHECK(result.left.empty());
        CHECK(f.came_to(service_state::stopping) == "b.1 a.1");
        CHECK(f.came_to(service_state::exited) == "b.1 a.1");
        CHECK(::kill(a, 0) == -1);
        CHECK(f.last(service_state::exited).death->status->signal() == SIGTERM);
        CHECK(f.last(service_state::exited).death->asked);
    }

    TEST_CASE("one that dies by a signal waits to be started again, and its death is reported")
    {
        fixture f;
        f.it().add(service("a", command::shell("echo before >&2; echo the end >&2; kill -SEGV $$"))
                       .backoff({.first = 1h, .cap = 1h}));
        f.it().start();
        f.until("a", service_state::backoff);
        const auto& death = *f.last(service_state::backoff).death;
        CHECK(death.status->signal() == SIGSEGV);
        CHECK(death.error_tail == "before\nthe end\n");
        CHECK_FALSE(death.asked);
        const auto text = f.last(service_state::backoff).to_string();
        CHECK_MESSAGE(text.find("stderr ends with: \"the end\"") != std::string::npos, text);
        CHECK(f.of("a").restarts == 1);
        f.stop();
    }

    TEST_CASE("what cannot be started says why")
    {
        fixture f;
        f.it().add(service("a", command("/no/such/program")).restart(restart_kind::temporary));
        f.it().start();
        f.until("a", service_state::failed);
        const auto& text = f.last(service_state::failed).death->text;
        CHECK_MESSAGE(text.find("/no/such/program") != std::string::npos, text);
        CHECK_FALSE(f.last(service_state::failed).death->status);
    }

    TEST_CASE("too many restarts: everything stops, and whoever waits hears who it was (case 42)")
    {
        supervisor_options options;
        options.intensity = {3, 1h};
        fixture f(options);
        f.it().add(service("good", helper({"--mode=pause"})));
        f.it().add(service("bad", command("false")).backoff(at_once()));
        outcome<error_code, supervisor_result> got;
        f.it().async_wait(got.handler());
        f.it().start();
        run_until(f.ctx, [&] { return got.done(); });
        CHECK(got.result().failed);
        CHECK(got.result().culprit == "bad");
        CHECK(got.result().left.empty());
        CHECK(f.of("bad").restarts == 3);
        CHECK(f.came_to(service_state::failed) == "bad.4");
        CHECK(f.state("good") == service_state::exited);
        CHECK(children() == 0);
    }

    TEST_CASE("one that daemonizes is stopped with everything it started (case 44)")
    {
        fixture f;
        std::vector<pid_t> daemons;
        f.it().add(daemonizing("a", helper({"--mode=daemon"}), daemons));
        f.it().start();
        run_until(f.ctx, [&] { return daemons.size() == 1; });
        f.until("a", service_state::ready);
        REQUIRE(lives(daemons[0]));
        f.it().restart("a");
        f.until("a", service_state::ready, 2);
        CHECK_MESSAGE(!lives(daemons[0]), "the first daemon is there beside the second");
        run_until(f.ctx, [&] { return daemons.size() == 2; });
        REQUIRE(lives(daemons[1]));
        f.stop();
        CHECK_FALSE(lives(daemons[1]));
        CHECK(children() == 0);
    }

    TEST_CASE("one whose command has chosen how its tree is held keeps it")
    {
        fixture f;
        std::vector<pid_t> daemons;
        f.it().add(daemonizing(
            "a", helper({"--mode=daemon"}).tree(procyard::tree_mode::process_group), daemons));
        f.it().start();
        run_until(f.ctx, [&] { return daemons.size() == 1; });
        f.until("a", service_state::ready);
        f.stop();
        // It has left the group for a session of its own.
        CHECK(lives(daemons[0]));
        ::kill(daemons[0], SIGKILL);
        // Ours, if this process has become a subreaper before; else ECHILD.
        ::waitpid(daemons[0], nullptr, 0);
    }

    TEST_CASE("fifty that ignore SIGTERM are killed together when their grace is over (case 45)")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        constexpr std::size_t count = 50;
        for (std::size_t i = 0; i < count; ++i)
            f.it().add(service("s" + std::to_string(i), helper({"--mode=ignore-term"}))
                           .ready_when(readiness::line_with("ready")));
        const auto in = [&](service_state state) {
            const auto all = f.it().snapshot();
            return static_cast<std::size_t>(std::count_if(
                all.begin(), all.end(), [&](const auto& one) { return one.state == state; }));
        };
        f.it().start();
        run_until(f.ctx, [&] { return in(service_state::ready) == count; });
        outcome<error_code, supervisor_result> got;
        f.it().async_stop(got.handler());
        run_until(f.ctx, [&] { return in(service_state::stopping) == count; });
        CHECK(f.came_to(service_state::killing).empty());
        // The grace of one, and all of them have had theirs.
        clock->advance(5s);
        run_until(f.ctx, [&] { return got.done(); });
        CHECK(got.result().left.empty());
        CHECK(in(service_state::exited) == count);
        CHECK(f.last(service_state::exited).death->status->signal() == SIGKILL);
    }

    TEST_CASE("more output than a pipe holds never blocks the child, whoever reads it (case 46)")
    {
        fixture f;
        f.it().add(service("a", command::shell("head -c 4000000 /dev/zero; echo; echo over >&2"))
                       .one_shot());
        f.it().start();
        f.until("a", service_state::exited);
        CHECK(f.last(service_state::exited).death->error_tail == "over\n");
    }

    TEST_CASE("who was given its output and is none of its tree holds up its end no longer")
    {
        fixture f;
        const temporary_directory where;
        const auto there = (where.path() / "there").string();
        const auto number = (where.path() / "number").string();
        // It writes for ever, in a session of its own and without a mark, and seldom.
        f.it().add(service("a",
                           command::shell("setsid env -i /bin/bash -c 'echo $$ > " + number
                                          + "; while echo x; do : > " + there
                                          + "; read -rt 0.05 _ <> <(:); done' & until [ -e " + there
                                          + " ]; do :; done; exit 3"))
                       .one_shot()
                       .restart(procyard::restart_kind::temporary));
        f.it().start();
        run_until(f.ctx, [&] { return f.of("a").last_death != nullptr; });
        CHECK(f.of("a").last_death->status == procyard::exit_status::exited(3));
        f.stop();
        // Nobody reads it any more, which ends it. It is ours if this process is a subreaper, and
        // so is what it has just started in its group.
        pid_t stranger = 0;
        std::ifstream(number) >> stranger;
        REQUIRE(stranger > 0);
        while (::waitpid(-stranger, nullptr, 0) > 0) { }
    }

    TEST_CASE("hands each line of both outputs to the log, and the last one without its end")
    {
        fixture f;
        std::vector<std::string> lines;
        f.it().add(service("a", command::shell("echo one; echo two >&2; printf three"))
                       .one_shot()
                       .log([&](procyard::service_output from, std::string_view line) {
                           lines.push_back((from == procyard::service_output::err ? "err " : "out ")
                                           + std::string(line));
                       }));
        f.it().start();
        f.until("a", service_state::exited);
        std::sort(lines.begin(), lines.end());
        CHECK(lines == std::vector<std::string>{"err two", "out one", "out three"});
    }

    TEST_CASE("ready by a newline on a descriptor of its own")
    {
        fixture f;
        f.it().add(
            service("a",
                    command::shell("printf 'up\\n' >&7; exec 7>&-; exec " PROCYARD_TEST_HELPER
                                   " --mode=pause"))
                .ready_when(readiness::newline_on(7)));
        f.it().start();
        f.until("a", service_state::ready);
        f.stop();
    }

    TEST_CASE("not ready in its time: stopped, and that is a failure")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        f.it().add(service("a", helper({"--mode=pause"}))
                       .ready_when(readiness::told())
                       .restart(restart_kind::temporary)
                       .start_timeout(3s));
        f.it().start();
        clock->advance(3s);
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).cause == procyard::service_cause::start_timeout);
    }

    TEST_CASE("ready by a probe, which may fail and throw first")
    {
        fixture f;
        int asked = 0;
        f.it().add(service("a", helper({"--mode=pause"}))
                       .ready_when(readiness::probe(
                           [&]() -> asio::awaitable<bool> {
                               if (++asked == 1)
                                   throw std::runtime_error("not yet");
                               co_return asked == 3;
                           },
                           1ms)));
        f.it().start();
        f.until("a", service_state::ready);
        CHECK(asked == 3);
        f.stop();
    }

    TEST_CASE(
        "coroutines: say when they are ready, are cancelled to stop, and fail when they throw")
    {
        fixture f;
        bool throws = true;
        f.it().add(service("a",
                           [&](service_context me) -> asio::awaitable<void> {
                               if (std::exchange(throws, false))
                                   throw std::runtime_error("no luck");
                               me.ready();
                               co_await until_cancelled();
                           })
                       .ready_when(readiness::told())
                       .backoff(at_once()));
        f.it().start();
        f.until("a", service_state::ready);
        CHECK(f.came_to(service_state::backoff) == "a.1");
        CHECK(f.last(service_state::backoff).to_string().find("threw: no luck")
              != std::string::npos);
        CHECK_FALSE(f.stop().failed);
        CHECK(f.came_to(service_state::exited) == "a.2");
    }

    TEST_CASE("a coroutine that does not listen is named when the budget is over")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        asio::steady_timer release(f.ctx, asio::steady_timer::time_point::max());
        f.it().add(service("deaf", [&](service_context) -> asio::awaitable<void> {
            co_await deaf_until_said(&release);
        }));
        f.it().start();
        f.until("deaf", service_state::ready);
        outcome<error_code, supervisor_result> got;
        f.it().async_stop(got.handler());
        run_until(f.ctx, [&] { return f.state("deaf") == service_state::stopping; });
        clock->advance(10s);
        run_until(f.ctx, [&] { return got.done(); });
        CHECK(got.result().left == std::vector<std::string>{"deaf"});
        release.cancel();
        run(f.ctx);
    }

    TEST_CASE("a watchdog that is fed, and then not: stopped, and it says why (case 48)")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        std::optional<service_context> inside;
        f.it().add(service("a",
                           [&](service_context me) -> asio::awaitable<void> {
                               inside.emplace(me);
                               co_await until_cancelled();
                           })
                       .watchdog(10s)
                       .restart(restart_kind::temporary));
        f.it().start();
        f.until("a", service_state::ready);
        for (int i = 0; i < 5; ++i) {
            clock->advance(9s);
            inside->alive();
            bool turned = false;
            asio::post(f.ctx, [&] { turned = true; });
            run_until(f.ctx, [&] { return turned; });
        }
        CHECK(f.state("a") == service_state::ready);
        clock->advance(10s);
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).cause == procyard::service_cause::watchdog);
    }

    TEST_CASE("a command whose watchdog goes hungry gets SIGABRT")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        f.it().add(service("a", helper({"--mode=pause"}))
                       .watchdog(10s)
                       .ready_when(readiness::line_with("ready"))
                       .restart(restart_kind::temporary));
        f.it().start();
        f.until("a", service_state::ready);
        clock->advance(10s);
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).death->status->signal() == SIGABRT);
    }

    TEST_CASE("a death says why: by itself, for a fault, or since it was asked to")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        const auto temporary = [](service one) { return one.restart(restart_kind::temporary); };
        f.it().add(temporary(service("ends", command::shell("exit 0"))));
        f.it().add(temporary(service("fails", command::shell("exit 3"))));
        f.it().add(temporary(service("none", command("/nonexistent"))));
        f.it().add(temporary(sleeper("asked")));
        f.it().add(temporary(service("late", helper({"--mode=pause"}))
                                 .ready_when(readiness::line_with("never said"))
                                 .start_timeout(10s)));
        f.it().start();
        f.until("ends", service_state::exited);
        f.until("fails", service_state::failed);
        f.until("none", service_state::failed);
        f.until("asked", service_state::ready);
        clock->advance(10s);
        f.until("late", service_state::failed);
        f.stop();
        const auto cause = [&](const std::string& name) { return f.of(name).last_death->cause; };
        CHECK(cause("ends") == procyard::service_cause::ended);
        CHECK(cause("fails") == procyard::service_cause::crashed);
        CHECK(cause("none") == procyard::service_cause::crashed);
        CHECK(cause("asked") == procyard::service_cause::asked);
        CHECK(cause("late") == procyard::service_cause::start_timeout);
        const auto text = f.of("late").last_death->to_string();
        CHECK_MESSAGE(text.find("(it was not ready in time)") != std::string::npos, text);
        const auto event = f.last(service_state::failed).to_string();
        CHECK_MESSAGE(event.find("not ready in time") == event.rfind("not ready in time"), event);
    }

    TEST_CASE("a watchdog runs from readiness, also that of one that takes another's place")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        std::vector<service_context> inside;
        f.it().add(service("a",
                           [&](service_context me) -> asio::awaitable<void> {
                               inside.push_back(me);
                               co_await until_cancelled();
                           })
                       .ready_when(readiness::told())
                       .watchdog(10s)
                       .restart(restart_kind::temporary));
        const auto pass = [&](std::chrono::nanoseconds time) {
            f.ctx.restart();
            f.ctx.poll();  // what was said before
            clock->advance(time);
            f.ctx.restart();
            f.ctx.poll();
        };
        f.it().start();
        run_until(f.ctx, [&] { return inside.size() == 1; });
        pass(60s);
        CHECK(f.state("a") == service_state::starting);
        inside[0].ready();
        f.until("a", service_state::ready);
        f.it().replace("a");
        run_until(f.ctx, [&] { return inside.size() == 2; });
        for (int i = 0; i < 5; ++i) {
            pass(9s);
            inside[0].alive();
        }
        inside[1].ready();
        f.until("a", service_state::ready, 2);
        pass(9s);
        CHECK(f.state("a") == service_state::ready);
        pass(1s);
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).generation == 2);
        CHECK(f.last(service_state::failed).cause == procyard::service_cause::watchdog);
    }

    TEST_CASE("a command that starts for longer than its watchdog is left alone")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        const temporary_directory where;
        const auto gate = (where.path() / "gate").string();
        f.it().add(service("a",
                           command::shell("until [ -e " + gate
                                          + " ]; do :; done; echo ready; exec " PROCYARD_TEST_HELPER
                                            " --mode=pause"))
                       .watchdog(10s)
                       .ready_when(readiness::line_with("ready"))
                       .restart(restart_kind::temporary));
        f.it().start();
        f.until("a", service_state::starting);
        clock->advance(60s);
        f.ctx.poll();
        CHECK(f.state("a") == service_state::starting);
        std::ofstream(gate) << "open";
        f.until("a", service_state::ready);
        clock->advance(10s);
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).death->status->signal() == SIGABRT);
    }

    TEST_CASE("health that is asked and fails three times in a row ends a service")
    {
        fixture f;
        int asked = 0;
        auto one = sleeper("a");
        one.health(
            [&]() -> asio::awaitable<bool> {
                ++asked;
                co_return asked == 2;
            },
            1ms, 3);
        one.restart(restart_kind::temporary);
        f.it().add(one);
        f.it().start();
        f.until("a", service_state::failed);
        CHECK(asked == 5);
    }

    TEST_CASE("replaced: the new process is ready before the old one is asked to go")
    {
        fixture f;
        std::vector<std::string> lines;
        f.it().add(service("a",
                           command::shell("trap 'echo asked; exit' TERM; echo ready; "
                                          "while :; do tail -f /dev/null & wait; done"))
                       .ready_when(readiness::line_with("ready"))
                       .log([&](procyard::service_output, std::string_view line) {
                           lines.emplace_back(line);
                       }));
        f.it().start();
        f.until("a", service_state::ready);
        const auto before = f.of("a").pid;
        f.it().replace("a");
        f.until("a", service_state::ready, 2);
        const auto after = f.of("a").pid;
        CHECK(after != before);
        run_until(f.ctx, [&] { return children() == 1; });
        CHECK(lines == std::vector<std::string>{"ready", "ready", "asked"});
        CAPTURE(f.story());
        const auto place_of = [&](service_state to, std::uint64_t generation) {
            return std::find_if(f.events.begin(), f.events.end(), [&](const service_event& event) {
                return event.to == to && event.generation == generation;
            });
        };
        const auto is_asked = place_of(service_state::stopping, 1);
        REQUIRE(is_asked != f.events.end());
        CHECK(place_of(service_state::ready, 2) < is_asked);
        CHECK(f.state("a") == service_state::ready);
        CHECK(f.of("a").restarts == 0);
        f.stop();
    }

    TEST_CASE("destroyed while everything runs: nothing of it is left")
    {
        fixture f;
        f.it().add(
            service("a", helper({"--mode=pause"})).ready_when(readiness::line_with("ready")));
        f.it().add(sleeper("b"));
        f.it().start();
        f.until("a", service_state::ready);
        outcome<error_code, supervisor_result> got;
        f.it().async_wait(got.handler());
        f.guarded.reset();
        run(f.ctx);
        CHECK(got.error() == asio::error::operation_aborted);
        CHECK(children() == 0);
    }

    TEST_CASE("a wait that is cancelled leaves the supervisor alone")
    {
        fixture f;
        f.it().add(sleeper("a"));
        f.it().start();
        outcome<error_code, supervisor_result> got;
        asio::cancellation_signal signal;
        f.it().async_wait(asio::bind_cancellation_slot(signal.slot(), got.handler()));
        signal.emit(asio::cancellation_type::terminal);
        run_until(f.ctx, [&] { return got.done(); });
        CHECK(got.error() == asio::error::operation_aborted);
        f.until("a", service_state::ready);
        f.stop();
        CHECK(got.count == 1);
        signal.emit(asio::cancellation_type::terminal);
    }

    TEST_CASE("an observer may destroy the supervisor: nothing is started after that")
    {
        asio::io_context ctx;
        std::optional<supervisor> guarded;
        std::string seen;
        supervisor_options options;
        options.on_event = [&, text = std::string("seen")](const service_event& event) {
            if (event.to == service_state::starting)
                guarded.reset();
            seen = text;
        };
        guarded.emplace(ctx.get_executor(), options);
        guarded->add(service("a", helper({"--mode=pause"})));
        guarded->add(service("b", helper({"--mode=pause"})));
        guarded->start();
        run(ctx);
        CHECK(seen == "seen");
        CHECK(children() == 0);
    }

    TEST_CASE("health is not asked before the service is ready")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        int asked = 0;
        f.it().add(sleeper("a")
                       .ready_when(readiness::told())
                       .health(
                           [&]() -> asio::awaitable<bool> {
                               ++asked;
                               co_return false;
                           },
                           1s, 1));
        f.it().start();
        f.until("a", service_state::starting);
        for (int i = 0; i < 5; ++i) {
            clock->advance(1s);
            f.ctx.poll();
        }
        CHECK(asked == 0);
        CHECK(f.state("a") == service_state::starting);
        f.stop();
    }

    TEST_CASE("a probe that hears no cancellation counts as a no, and is not asked twice at a time")
    {
        const auto clock = std::make_shared<manual_clock>();
        fixture f(by(clock));
        asio::steady_timer release(f.ctx, asio::steady_timer::time_point::max());
        int asked = 0;
        f.it().add(sleeper("a")
                       .restart(restart_kind::temporary)
                       .health(
                           [&]() -> asio::awaitable<bool> {
                               ++asked;
                               co_await deaf_until_said(&release);
                               co_return true;
                           },
                           1s, 2, 3s));
        f.it().start();
        f.until("a", service_state::ready);
        for (int i = 0; i < 20 && f.state("a") != service_state::failed; ++i) {
            clock->advance(1s);
            f.ctx.restart();
            f.ctx.poll();
        }
        f.until("a", service_state::failed);
        CHECK(asked == 1);
        release.cancel();
        run(f.ctx);
    }

    TEST_CASE("a child does not inherit what our own supervisor has given us")
    {
        fixture f;
        ::setenv("NOTIFY_SOCKET", "/somewhere", 1);
        ::setenv("WATCHDOG_PID", "1", 1);
        std::vector<std::string> lines;
        f.it().add(service("a",
                           command::shell("echo ${NOTIFY_SOCKET-none} ${WATCHDOG_PID-none} $MINE")
                               .env("MINE", "1"))
                       .one_shot()
                       .log([&](procyard::service_output, std::string_view line) {
                           lines.emplace_back(line);
                       }));
        f.it().start();
        f.until("a", service_state::exited);
        ::unsetenv("NOTIFY_SOCKET");
        ::unsetenv("WATCHDOG_PID");
        CHECK(lines == std::vector<std::string>{"none none 1"});
    }

    TEST_CASE("what another service needs is not removed")
    {
        fixture f;
        f.it().add(sleeper("a"));
        f.it().add(sleeper("b").depends_on({"a"}));
        f.it().start();
        f.until("b", service_state::ready);
        CHECK_THROWS_WITH(f.it().remove("a"), "supervisor: service \"a\" is needed by \"b\"");
        f.it().remove("b");
        f.until_removed("b");
        f.it().remove("a");
        f.until_removed("a");
        f.stop();
    }

    TEST_CASE("what is being removed is no dependency any more")
    {
        fixture f;
        f.it().add(sleeper("a"));
        f.it().start();
        f.until("a", service_state::ready);
        f.it().remove("a");
        CHECK_THROWS_WITH(f.it().add(sleeper("b").depends_on({"a"})),
                          "supervisor: service \"b\": depends on \"a\", which is being removed");
        f.until_removed("a");
        f.stop();
    }

    TEST_CASE("10,000 services that were added, have run and were removed leave nothing behind")
    {
        asio::io_context ctx;
        supervisor all(ctx.get_executor());
        all.add(sleeper("stays"));
        all.start();
        for (int i = 0; i < 10'000; ++i) {
            auto token = std::make_shared<int>(i);
            const std::weak_ptr<int> kept = token;
            all.add(service("job",
                            [token = std::move(token)](service_context) -> asio::awaitable<void> {
                                co_return;
                            })
                        .restart(restart_kind::temporary));
            run_until(ctx, [&] { return all.snapshot().at(1).state == service_state::exited; });
            all.remove("job");
            run_until(ctx, [&] { return all.snapshot().size() == 1; });
            REQUIRE(kept.expired());
        }
        CHECK(all.snapshot().at(0).state == service_state::ready);
    }

    TEST_CASE("who was removed speaks for nobody: not for one that has taken its name")
    {
        fixture f;
        std::vector<service_context> all;
        const auto told = [&] {
            return service("a",
                           [&](service_context me) {
                               all.push_back(me);
                               return until_cancelled();
                           })
                .ready_when(readiness::told());
        };
        f.it().add(told());
        f.it().start();
        run_until(f.ctx, [&] { return all.size() == 1; });
        f.it().remove("a");
        f.until_removed("a");
        f.it().add(told());
        run_until(f.ctx, [&] { return all.size() == 2; });
        all[0].ready();
        all[0].alive();
        f.ctx.poll();
        CHECK(f.state("a") == service_state::starting);
        all[1].ready();
        f.until("a", service_state::ready);
        f.stop();
    }

    TEST_CASE("the log of one that was removed gets what waits for it, and the stop waits for that")
    {
        fixture f;
        asio::steady_timer gate(f.ctx, asio::steady_timer::time_point::max());
        std::size_t lines = 0;
        auto token = std::make_shared<int>(0);
        const std::weak_ptr<int> kept = token;
        f.it().add(service("a", command::shell("echo one; echo two; echo three"))
                       .one_shot()
                       .log([&, token](procyard::log_batch batch) -> asio::awaitable<void> {
                           co_await until_said(&gate);
                           lines += batch.lines.size();
                       }));
        token.reset();
        f.it().start();
        f.until("a", service_state::exited);
        f.it().remove("a");
        f.until_removed("a");
        outcome<error_code, supervisor_result> got;
        f.it().async_stop(got.handler());
        f.ctx.poll();
        CHECK_FALSE(got.done());
        CHECK_FALSE(kept.expired());
        gate.expires_at(asio::steady_timer::time_point::min());
        run_until(f.ctx, [&] { return got.done(); });
        CHECK(lines == 3);
        run_until(f.ctx, [&] { return kept.expired(); });
    }

    TEST_CASE("refuses what cannot be, and says which service and why")
    {
        fixture f;
        f.it().add(sleeper("a"));
        const auto refusal = [&](service what) -> std::string {
            try {
                f.it().add(std::move(what));
            } catch (const std::invalid_argument& e) {
                return e.what();
            }
            return "accepted";
        };
        CHECK(refusal(sleeper("a")) == "supervisor: service \"a\": there is one of that name");
        CHECK(refusal(sleeper("b").depends_on({"c"}))
              == "supervisor: service \"b\": depends on \"c\", which was not added before it");
        CHECK(refusal(sleeper("")) == "supervisor: service \"\": a service has no name");
        CHECK(refusal(sleeper("b").watchdog(0s))
              == "supervisor: service \"b\": the time of its watchdog is not positive");
        CHECK(
            refusal(sleeper("b").ready_when(readiness::newline_on(3)))
            == "supervisor: service \"b\": only a command has outputs and descriptors by which it "
               "could be ready");
        CHECK(refusal(service("b", procyard::service_body()))
              == "supervisor: service \"b\": its coroutine is empty");
        CHECK(refusal(service("g", restart_strategy::one_for_all, {sleeper("x"), sleeper("x")}))
              == "supervisor: service \"g\": its member \"x\": there is one of that name");
        CHECK(refusal(service("g", restart_strategy::one_for_all, {sleeper("x").depends_on({"a"})}))
              == "supervisor: service \"g\": its member \"x\": depends on \"a\", which was not "
                 "added before it");
        CHECK(refusal(service("g", restart_strategy::one_for_all, {sleeper("x")}).one_shot())
              == "supervisor: service \"g\": a group is ready when its members are, does not end, "
                 "and has no watchdog");
        CHECK_THROWS_WITH(f.it().restart("zz"), "supervisor: there is no service \"zz\"");
        CHECK(f.it().snapshot().size() == 1);
    }
}
