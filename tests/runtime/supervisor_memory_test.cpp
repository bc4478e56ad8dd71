// SPDX-License-Identifier: BSL-1.0
//
// This program lets allocations fail: what becomes of a service for which there is no memory.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <new>
#include <string>
#include <tuple>
#include <utility>

#include "allocations.hpp"
#include "busy_program.hpp"
#include "each_allocation.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::readiness;
using procyard::restart_kind;
using procyard::service;
using procyard::service_context;
using procyard::service_state;

namespace {

// How many allocations a turn takes until a coroutine that has awaited a spawn goes on. They cannot
// fail: Asio 1.81 has an empty executor then, and uses it.
std::size_t allocations_of_asio()
{
    asio::io_context ctx;
    warm_up(ctx);
    busy_program busy(PROCYARD_TEST_HELPER);
    std::size_t seen = 0;
    procyard::child made;
    const auto spawned = [](procyard::command what, std::size_t* at,
                            procyard::child* to) -> asio::awaitable<void> {
        const auto ex = co_await asio::this_coro::executor;
        auto got = co_await procyard::async_spawn(std::move(what), ex,
                                                  asio::as_tuple(asio::use_awaitable));
        *at = allocations();
        *to = std::move(std::get<1>(got));
    };
    asio::co_spawn(ctx, spawned(busy.run().arg("--mode=pause"), &seen, &made),
                   [](const std::exception_ptr&) { });
    ctx.restart();
    ctx.poll();
    const auto before = allocations();
    busy.release();
    (void)ctx.run_one_for(deadlock_guard);
    REQUIRE(seen > before);
    REQUIRE(made);
    made = {};
    run_until(ctx, [] { return children() == 0; });
    return seen - before;
}

// The service comes to run, or to its end, and the supervisor to its own; nothing is left.
void come_to_an_end(supervised& f)
{
    CAPTURE(f.story());
    run_until(f.ctx, [&] {
        const auto now = f.state("a");
        return now == service_state::ready || now == service_state::failed;
    });
    f.stop();
    run_until(f.ctx, [&] { return children() == 0; });
}

// A service whose program does not run before `release()`: until then no turn is its.
struct starting_service {
    starting_service()
    {
        warm_up(it.ctx);
        it.ctx.restart();
        it.ctx.poll();
        it.it().add(service("a", busy.run().arg("--mode=pause")).restart(restart_kind::temporary));
        it.it().start();
    }
    supervised it{};
    busy_program busy{PROCYARD_TEST_HELPER};
};

// An operation that cannot be begun.
asio::awaitable<void> without_memory()
{
    return asio::async_initiate<const asio::use_awaitable_t<>, void()>(
        [](auto&&) { throw std::bad_alloc(); }, asio::use_awaitable);
}

}  // namespace

TEST_SUITE("supervisor: allocations")
{
    TEST_CASE("a command that finds no memory to be spawned has failed")
    {
        const auto failures = fail_each([](std::size_t nth) {
            CAPTURE(nth);
            starting_service f;
            // Until the spawn has begun, which does not end.
            const bool failed = fail_in(nth, f.it.ctx, [&] { f.it.ctx.poll(); });
            f.busy.release();
            come_to_an_end(f.it);
            return failed;
        });
        CHECK(failures > 3);
    }

    TEST_CASE("a command that finds no memory to be waited for has failed, and is killed")
    {
        const auto trial = [](std::size_t nth) {
            CAPTURE(nth);
            starting_service f;
            f.it.ctx.restart();
            f.it.ctx.poll();
            f.busy.release();
            const bool failed =
                fail_in(nth, f.it.ctx, [&] { (void)f.it.ctx.run_one_for(deadlock_guard); });
            come_to_an_end(f.it);
            return failed;
        };
        CHECK(fail_each(trial, allocations_of_asio() + 1) > 3);
    }

    TEST_CASE("a coroutine that finds no memory for an operation has ended")
    {
        supervised f;
        f.it().add(
            service("a",
                    [](service_context) -> asio::awaitable<void> { co_await without_memory(); })
                .ready_when(readiness::told())
                .restart(restart_kind::temporary));
        f.it().start();
        CHECK_THROWS_AS(f.ctx.run_one(), std::bad_alloc);
        f.until("a", service_state::failed);
        f.stop();
    }

    TEST_CASE("a probe that finds no memory is a no, and is asked again")
    {
        supervised f;
        int asked = 0;
        f.it().add(sleeper("a").ready_when(readiness::probe(
            [&]() -> asio::awaitable<bool> {
                if (++asked == 1)
                    co_await without_memory();
                co_return true;
            },
            std::chrono::milliseconds(1), deadlock_guard)));
        f.it().start();
        CHECK_THROWS_AS(f.ctx.run_for(deadlock_guard), std::bad_alloc);
        f.until("a", service_state::ready);
        CHECK(asked == 2);
        f.stop();
    }

    TEST_CASE("a group that finds no memory to be started may be stopped in the same turn")
    {
        const auto failures = fail_each([](std::size_t nth) {
            CAPTURE(nth);
            supervised f;
            f.may_lose_events = true;
            f.it().add(service("a", procyard::restart_strategy::one_for_one,
                               {sleeper("one"), sleeper("two")})
                           .restart(restart_kind::temporary));
            bool failed = false;
            bool is_refused = false;
            {
                const failing_allocation none(nth);
                try {
                    f.it().start();
                } catch (const std::bad_alloc&) {  // who asks is told
                    is_refused = true;
                }
                failed = none.has_failed();
            }
            if (!is_refused) {
                f.it().stop("a");
                f.stop();
            }
            return failed;
        });
        CHECK(failures > 3);
    }
}
