// SPDX-License-Identifier: BSL-1.0
// Coroutines that end, or are stopped, before their first wait.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>

#include <chrono>

#include "procyard_test.hpp"
#include "supervisor_fixture.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::readiness;
using procyard::service;
using procyard::service_context;
using procyard::service_state;

namespace {

// Started from outside, so that nothing of it has begun before the context runs.
void stops_in_order(supervised& f, const service& what)
{
    f.it().add(what);
    f.it().start();
    f.until("a", service_state::exited);
    CHECK_FALSE(f.stop().failed);
}

}  // namespace

TEST_SUITE("supervisor")
{
    TEST_CASE("a coroutine that is stopped before it has begun ends at its first wait")
    {
        supervised f;
        asio::post(f.ctx, [&] { f.it().stop("a"); });
        stops_in_order(f, sleeper("a"));
    }

    TEST_CASE("a coroutine may stop itself, and return without a wait")
    {
        supervised f;
        stops_in_order(f, service("a", [&](service_context) -> asio::awaitable<void> {
                           f.it().stop("a");
                           co_return;
                       }));
    }

    TEST_CASE("a coroutine may remove itself, and return without a wait")
    {
        supervised f;
        f.it().add(service("a", [&](service_context) -> asio::awaitable<void> {
            f.it().remove("a");
            co_return;
        }));
        f.it().start();
        f.until_removed("a");
        CHECK_FALSE(f.stop().failed);
    }

    TEST_CASE("a coroutine may destroy the supervisor, and return without a wait")
    {
        supervised f;
        f.it().add(service("a", [&](service_context) -> asio::awaitable<void> {
            f.guarded.reset();
            co_return;
        }));
        f.it().start();
        run(f.ctx);
        CHECK_FALSE(f.guarded.has_value());
    }

    TEST_CASE("a coroutine may stop itself before its probes have begun")
    {
        supervised f;
        service what("a", [&](service_context) -> asio::awaitable<void> {
            f.it().stop("a");
            co_await until_cancelled();
        });
        const auto no = []() -> asio::awaitable<bool> { co_return false; };
        SUBCASE("of its health")
        {
            what.health(no, 1h);
        }
        SUBCASE("of its readiness")
        {
            what.ready_when(readiness::probe(no, 1h));
        }
        stops_in_order(f, what);
    }

    TEST_CASE("a probe may stop the service for which it asks, and answer at once")
    {
        supervised f;
        stops_in_order(f,
                       sleeper("a").ready_when(readiness::probe(
                           [&]() -> asio::awaitable<bool> {
                               f.it().stop("a");
                               co_return true;
                           },
                           1h)));
    }
}
