// SPDX-License-Identifier: BSL-1.0
// The contract of every operation, for those of a supervisor.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <exception>
#include <future>
#include <optional>
#include <utility>

#include "operation_contract.hpp"
#include "procyard_test.hpp"
#include "supervisor_fixture.hpp"
#include "token_kinds.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::supervisor;
using procyard::supervisor_result;

namespace {

struct waits_for_the_end {
    explicit waits_for_the_end(asio::io_context& ctx) : it(std::in_place, ctx.get_executor())
    {
        it->add(sleeper("a"));
        it->start();
        while (it->snapshot().front().state != procyard::service_state::ready)
            ctx.run_one();
        ctx.poll();
    }
    auto start(auto&& token) { return it->async_wait(std::forward<decltype(token)>(token)); }
    void satisfy()
    {
        it->async_stop([](procyard::error_code, const supervisor_result&) { });
    }
    void destroy() { it.reset(); }

    std::optional<supervisor> it;
};

struct stops : waits_for_the_end {
    using waits_for_the_end::waits_for_the_end;
    auto start(auto&& token) { return it->async_stop(std::forward<decltype(token)>(token)); }
    void satisfy() { }
};

}  // namespace

TEST_SUITE("supervisor::async_wait")
{
    TEST_CASE("succeeds in a later turn, and waits until it can")
    {
        check_success<waits_for_the_end>();
        check_success_after_a_wait<waits_for_the_end>();
    }

    TEST_CASE("cancelled, it leaves the supervisor as it is")
    {
        for (const auto type : {asio::cancellation_type::terminal, asio::cancellation_type::partial,
                                asio::cancellation_type::total}) {
            check_cancellation<waits_for_the_end>(type, true);
            check_cancellation<waits_for_the_end>(type, false);
        }
    }

    TEST_CASE("completes with operation_aborted when the supervisor is destroyed")
    {
        asio::io_context ctx;
        waits_for_the_end operation(ctx);
        ending got;
        operation.start(got.handler());
        operation.destroy();
        CHECK_MESSAGE(got.count == 0, "completed inside the destructor");
        run(ctx);
        CHECK(got.count == 1);
        CHECK(got.ec == asio::error::operation_aborted);
    }

    TEST_CASE("serves every kind of completion token, and so does async_stop")
    {
        check_every_token<waits_for_the_end>();
        check_every_token<stops>();
    }

    TEST_CASE("runs its handler on the handler's executor")
    {
        check_other_executor<waits_for_the_end>();
        check_other_executor<stops>();
    }

    TEST_CASE("goes down with its io_context without a call")
    {
        ending got;
        {
            asio::io_context ctx;
            waits_for_the_end operation(ctx);
            operation.start(got.handler());
        }
        CHECK(got.count == 0);
    }

    TEST_CASE("serves coroutines, futures and deferred alike, early and late")
    {
        asio::io_context ctx;
        waits_for_the_end operation(ctx);
        auto& it = *operation.it;
        int coroutines = 0;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                auto [ec, result] = co_await it.async_wait(asio::as_tuple(asio::use_awaitable));
                CHECK(!ec);
                CHECK_FALSE(result.failed);
                ++coroutines;
                const auto again = co_await it.async_stop(asio::use_awaitable);
                CHECK_FALSE(again.failed);
                ++coroutines;
            },
            [](const std::exception_ptr& error) { CHECK(error == nullptr); });
        auto future = it.async_wait(asio::use_future);
        auto later = it.async_wait();
        operation.satisfy();
        run(ctx);
        CHECK(coroutines == 2);
        CHECK(future.get().left.empty());
        ending got;
        std::move(later)(got.handler());
        run(ctx);
        CHECK(got.count == 1);
    }
}
