// SPDX-License-Identifier: BSL-1.0
// Groups that take over from the one before: where their members stand then, and what tells of it.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "procyard_test.hpp"
#include "supervisor_events.hpp"
#include "supervisor_fixture.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::readiness;
using procyard::restart_kind;
using procyard::restart_strategy;
using procyard::service;
using procyard::service_cause;
using procyard::service_context;
using procyard::service_event;
using procyard::service_state;
using procyard::supervisor_options;

namespace {

using fixture = supervised;
constexpr auto one_for_one = restart_strategy::one_for_one;

}  // namespace

TEST_SUITE("supervisor")
{
    TEST_CASE("a group that dies while its successor starts: each member says where it stands now")
    {
        fixture f(patient());
        asio::steady_timer holds(f.ctx, asio::steady_timer::time_point::max());
        asio::steady_timer poison(f.ctx, asio::steady_timer::time_point::max());
        const auto x = [&](service_context me) -> asio::awaitable<void> {
            if (me.generation() == 1) {
                me.ready();
                co_await until_said(&poison);
                throw std::runtime_error("poisoned");
            }
            co_await until_said(&holds);
            me.ready();
            co_await until_cancelled();
        };
        f.it().add(
            service("group", one_for_one,
                    {service("x", x).ready_when(readiness::told()),
                     service("inner", one_for_one, {sleeper("y")}), sleeper("z").depends_on({"x"})},
                    {.restarts = 0}));
        f.it().start();
        f.until("group", service_state::ready);
        CHECK(untold(f) == "");
        f.it().replace("group");
        run_until(f.ctx, [&] {
            const auto& last = f.events.back();
            return last.service == "group/inner" && last.generation == 2
                && last.to == service_state::ready;
        });
        poison.cancel();
        f.until("group", service_state::starting, 2);
        CHECK_MESSAGE(untold(f) == "", f.story());
        CHECK(f.state("group/x") == service_state::starting);
        CHECK(f.state("group/inner/y") == service_state::ready);
        CHECK(f.state("group/z") == service_state::waiting);
        CHECK(f.of("group/z").generation == 1);
        const auto& told = f.last(service_state::waiting);
        CHECK(told.service == "group/z");
        CHECK(told.from == service_state::exited);
        CHECK(told.cause == service_cause::replaced);
        CHECK(f.came_to(service_state::exited).ends_with(" group.1"));
        SUBCASE("and goes on from there")
        {
            holds.cancel();
            f.until("group", service_state::ready, 2);
            CHECK(untold(f) == "");
            CHECK(f.of("group").restarts == 0);
            CHECK(f.of("group/z").generation == 2);
        }
        SUBCASE("and keeps its number if it is never started there")
        {
            f.it().stop("group");
            f.until("group", service_state::exited);
            CHECK(f.of("group/z").generation == 1);
            const auto& last = f.last(service_state::exited);
            CHECK(f.came_to(service_state::exited).find("group/z.0") == std::string::npos);
            CHECK(last.service == "group");
            holds.expires_at(asio::steady_timer::time_point::min());
            f.it().start("group");
            f.until("group", service_state::ready, 3);
            CHECK(f.of("group/z").generation == 2);
        }
        CHECK_FALSE(f.stop().failed);
        CHECK(untold(f) == "");
        CHECK_MESSAGE(gap_in(f.events) == "", f.story());
    }

    TEST_CASE("a group that is replaced while a member is not ready: the next one's is told to be")
    {
        fixture f(patient());
        asio::steady_timer poison(f.ctx, asio::steady_timer::time_point::max());
        const auto x = [&](service_context me) -> asio::awaitable<void> {
            if (me.generation() > 1)
                co_return co_await until_cancelled();
            co_await until_said(&poison);
            throw std::runtime_error("poisoned");
        };
        f.it().add(service("group", one_for_one,
                           {service("x", x).backoff({.first = 1h, .cap = 1h, .jitter = 0})},
                           {.restarts = 5, .window = 1h}));
        f.it().start();
        f.until("group", service_state::ready);
        poison.cancel();
        f.until("group/x", service_state::backoff);
        f.until("group", service_state::unready);
        f.it().replace("group");
        f.until("group", service_state::ready, 2);
        CHECK(f.state("group/x") == service_state::ready);
        CHECK_MESSAGE(untold(f) == "", f.story());
        CHECK_FALSE(f.stop().failed);
        CHECK_MESSAGE(gap_in(f.events) == "", f.story());
    }

    TEST_CASE("a group that dies, and the next one's inner group has failed: its members say so")
    {
        fixture f(patient());
        asio::steady_timer holds(f.ctx, asio::steady_timer::time_point::max());
        asio::steady_timer poison(f.ctx, asio::steady_timer::time_point::max());
        const auto x = [&](service_context me) -> asio::awaitable<void> {
            if (me.generation() == 1) {
                me.ready();
                co_await until_said(&poison);
                throw std::runtime_error("poisoned");
            }
            co_await until_said(&holds);
            me.ready();
            co_await until_cancelled();
        };
        const auto y = [](service_context me) -> asio::awaitable<void> {
            if (me.generation() == 2)
                throw std::runtime_error("not this one");
            co_await until_cancelled();
        };
        f.it().add(
            service("group", one_for_one,
                    {service("x", x).ready_when(readiness::told()),
                     service("inner", one_for_one,
                             {service("deep", one_for_one, {service("y", y)}, {.restarts = 0})},
                             {.restarts = 0})
                         .restart(restart_kind::temporary)},
                    {.restarts = 0}));
        f.it().start();
        f.until("group", service_state::ready);
        f.it().replace("group");
        run_until(f.ctx,
                  [&] { return f.came_to(service_state::failed).ends_with(" group/inner.2"); });
        CHECK(f.state("group/inner/deep/y") == service_state::ready);
        poison.cancel();
        f.until("group", service_state::starting, 2);
        CHECK(f.state("group/inner/deep/y") == service_state::failed);
        CHECK(f.of("group/inner/deep/y").generation == 2);
        CHECK_MESSAGE(untold(f) == "", f.story());
        const auto told = f.last(service_state::failed);
        CHECK(told.from == service_state::exited);
        CHECK(told.cause == service_cause::replaced);
        f.it().start("group/inner");
        f.until("group/inner/deep/y", service_state::ready, 3);
        holds.cancel();
        f.until("group", service_state::ready, 2);
        CHECK_FALSE(f.stop().failed);
        CHECK_MESSAGE(untold(f) == "", f.story());
        CHECK_MESSAGE(gap_in(f.events) == "", f.story());
    }

    TEST_CASE("a group that is ready without its inner group: the members of that say so")
    {
        fixture f(patient());
        asio::steady_timer poison(f.ctx, asio::steady_timer::time_point::max());
        const auto x = [&](service_context me) -> asio::awaitable<void> {
            if (me.generation() == 2) {
                co_await until_said(&poison);
                throw std::runtime_error("poisoned");
            }
            me.ready();
            co_await until_cancelled();
        };
        // Who is temporary is stopped with its siblings, and not started again.
        f.it().add(service(
            "group", restart_strategy::one_for_all,
            {service("x", x).ready_when(readiness::told()).backoff(at_once()),
             service("inner", one_for_one, {sleeper("y")}).restart(restart_kind::temporary)},
            {.restarts = 1, .window = 1h}));
        f.it().start();
        f.until("group", service_state::ready);
        f.it().replace("group");
        run_until(f.ctx,
                  [&] { return f.came_to(service_state::ready).ends_with(" group/inner.2"); });
        poison.cancel();
        f.until("group", service_state::ready, 2);
        CHECK(f.state("group/inner/y") == service_state::exited);
        CHECK_MESSAGE(untold(f) == "", f.story());
        f.it().start("group/inner");
        f.until("group/inner/y", service_state::ready, 3);
        CHECK_FALSE(f.stop().failed);
        CHECK_MESSAGE(untold(f) == "", f.story());
        CHECK_MESSAGE(gap_in(f.events) == "", f.story());
    }

    TEST_CASE("a takeover that nobody hears of is seen in the snapshot")
    {
        asio::io_context ctx;
        asio::steady_timer poison(ctx, asio::steady_timer::time_point::max());
        procyard::supervisor all(ctx.get_executor(), patient());
        const auto x = [&](service_context me) -> asio::awaitable<void> {
            if (me.generation() == 2) {
                co_await until_said(&poison);
                throw std::runtime_error("poisoned");
            }
            me.ready();
            co_await until_cancelled();
        };
        const auto y = [&](service_context me) -> asio::awaitable<void> {
            if (me.generation() == 2)
                poison.expires_at(asio::steady_timer::time_point::min());
            co_await until_cancelled();
        };
        all.add(service(
            "group", restart_strategy::one_for_all,
            {service("x", x).ready_when(readiness::told()).backoff(at_once()),
             service("inner", one_for_one, {service("y", y)}).restart(restart_kind::temporary)},
            {.restarts = 1, .window = 1h}));
        all.start();
        run_until(ctx, [&] { return all.snapshot().front().state == service_state::ready; });
        all.replace("group");
        run_until(ctx, [&] {
            const auto now = all.snapshot().front();
            return now.state == service_state::ready && now.generation == 2;
        });
        const auto now = all.snapshot().back();
        CHECK(now.name == "group/inner/y");
        CHECK(now.state == service_state::exited);
        CHECK(now.generation == 2);
        outcome<procyard::error_code, procyard::supervisor_result> got;
        all.async_stop(got.handler());
        run_until(ctx, [&] { return got.done(); });
    }

    TEST_CASE("who hears that a member takes over may destroy the supervisor")
    {
        asio::io_context ctx;
        std::optional<procyard::supervisor> all;
        supervisor_options options;
        options.intensity = {.restarts = 5, .window = 1h};
        int heard = 0;
        bool replaced = false;
        asio::steady_timer poison(ctx, asio::steady_timer::time_point::max());
        asio::steady_timer holds(ctx, asio::steady_timer::time_point::max());
        options.on_event = [&](const service_event& event) {
            if (event.service == "group" && event.to == service_state::ready
                && !std::exchange(replaced, true))
                all->replace("group");
            if (event.replacement && event.service == "group/inner/x"
                && event.to == service_state::starting)
                poison.cancel();
            if (event.service == "group/inner" && event.to == service_state::failed)
                holds.cancel();
            if (event.cause != service_cause::replaced || event.service == "group")
                return;
            ++heard;
            all.reset();
        };
        all.emplace(ctx.get_executor(), std::move(options));
        const auto x = [&](service_context me) -> asio::awaitable<void> {
            if (me.generation() > 1)
                co_await until_said(&holds);
            me.ready();
            co_await until_said(&poison);
            throw std::runtime_error("poisoned");
        };
        all->add(service(
            "group", one_for_one,
            {service("inner", one_for_one,
                     {service("x", x).ready_when(readiness::told()), sleeper("y")}, {.restarts = 0})
                 .restart(restart_kind::temporary),
             sleeper("z")},
            {.restarts = 0}));
        all->start();
        run(ctx);
        CHECK(heard == 1);
        CHECK_FALSE(all.has_value());
    }
}
