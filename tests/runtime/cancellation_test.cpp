// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/cancellation.hpp>

#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <future>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "operation_contract.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

// async_wait, for the contract: cancelled is its success.
class wait_for_cancellation {
public:
    explicit wait_for_cancellation(asio::io_context& ctx)
        : ex_(ctx.get_executor()),
          source_(std::in_place),
          token_(source_->token())
    {
    }

    void start(auto&& token) { token_.async_wait(ex_, std::forward<decltype(token)>(token)); }
    void satisfy() { source_->request_cancel(); }
    void break_it() { destroy(); }
    [[nodiscard]] error_code breakage() const { return asio::error::operation_aborted; }
    void destroy() { source_.reset(); }

private:
    asio::any_io_executor ex_;
    std::optional<cancellation_source> source_;
    cancellation_token token_;
};

constexpr cancellation_reason by_signal{.cause = cancellation_cause::signal, .signal = SIGTERM};

}  // namespace

TEST_SUITE("cancellation_token")
{
    PROCYARD_OPERATION_CONTRACT(wait_for_cancellation)

    TEST_CASE("is cancelled once, and the first reason stands")
    {
        cancellation_source source;
        const auto token = source.token();
        CHECK_FALSE(token.cancelled());
        CHECK_FALSE(token.reason());
        CHECK(token.can_be_cancelled());
        CHECK_NOTHROW(token.throw_if_cancelled());

        CHECK(source.request_cancel(by_signal));
        CHECK_FALSE(source.request_cancel({.cause = cancellation_cause::deadline}));
        CHECK(token.cancelled());
        REQUIRE(token.reason());
        CHECK(*token.reason() == by_signal);
        CHECK_THROWS_AS(token.throw_if_cancelled(), boost::system::system_error);
    }

    TEST_CASE("keeps every part of a reason")
    {
        for (const auto cause : {cancellation_cause::requested, cancellation_cause::deadline,
                                 cancellation_cause::signal, cancellation_cause::failure,
                                 cancellation_cause::shutdown, cancellation_cause::dropped}) {
            for (const auto type :
                 {asio::cancellation_type::terminal, asio::cancellation_type::partial,
                  asio::cancellation_type::total, asio::cancellation_type::all}) {
                const cancellation_reason reason{cause, SIGRTMAX, type};
                cancellation_source source;
                source.request_cancel(reason);
                CHECK(source.token().reason() == reason);
            }
        }
        CHECK(to_string(by_signal) == "SIGTERM");
        CHECK(to_string(cancellation_reason{.cause = cancellation_cause::deadline}) == "deadline");
    }

    TEST_CASE("without a source it is never cancelled, and nobody waits for it in vain")
    {
        const cancellation_token none;
        CHECK_FALSE(none.cancelled());
        CHECK_FALSE(none.can_be_cancelled());
        CHECK_FALSE(none.stop_token().stop_possible());

        asio::io_context ctx;
        outcome<error_code, cancellation_reason> got;
        none.async_wait(ctx.get_executor(), got.handler());
        CHECK_FALSE(got.done());
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
    }

    TEST_CASE("a listener that comes late hears at once")
    {
        asio::io_context ctx;
        cancellation_source source;
        source.request_cancel(by_signal);
        outcome<error_code, cancellation_reason> got;
        source.token().async_wait(ctx.get_executor(), got.handler());
        CHECK_FALSE(got.done());
        run(ctx);
        CHECK_FALSE(got.error());
        CHECK(got.result() == by_signal);
    }

    TEST_CASE("goes on to be cancelled by a copy of its source")
    {
        std::optional<cancellation_source> first(std::in_place);
        auto second = *first;
        const auto token = first->token();
        first.reset();
        CHECK(token.can_be_cancelled());
        second.request_cancel();
        CHECK(token.cancelled());
    }

    TEST_CASE("cannot be cancelled when its last source has gone")
    {
        std::optional<cancellation_source> source(std::in_place);
        const auto token = source->token();
        source.reset();
        CHECK_FALSE(token.can_be_cancelled());
        CHECK_FALSE(token.cancelled());
    }

    TEST_CASE("a wait is dropped with its context when the source lives on")
    {
        const auto alive = std::make_shared<int>(0);
        cancellation_source source;
        bool called = false;
        {
            asio::io_context ctx;
            source.token().async_wait(ctx.get_executor(),
                                      [alive, &called](error_code, auto) { called = true; });
            ctx.poll();
            CHECK(alive.use_count() == 2);
        }
        CHECK(alive.use_count() == 1);
        source.request_cancel();
        CHECK_FALSE(called);
    }

    TEST_CASE("is awaited by coroutines, futures and callbacks alike")
    {
        asio::io_context ctx;
        cancellation_source source;
        auto future = source.token().async_wait(ctx.get_executor(), asio::use_future);
        auto coroutine = [](cancellation_token token,
                            asio::any_io_executor ex) -> asio::awaitable<cancellation_reason> {
            co_return co_await token.async_wait(ex);
        };
        auto by_default =
            asio::co_spawn(ctx, coroutine(source.token(), ctx.get_executor()), asio::use_future);
        ctx.poll();
        source.request_cancel(by_signal);
        run(ctx);
        CHECK(future.get() == by_signal);
        CHECK(by_default.get() == by_signal);
    }
}

TEST_SUITE("cancellation_source")
{
    TEST_CASE("a child is cancelled with its parent, for its reason, and not the other way round")
    {
        cancellation_source parent;
        cancellation_source first(parent.token());
        cancellation_source second(parent.token());
        first.request_cancel();
        CHECK_FALSE(parent.cancelled());
        CHECK_FALSE(second.cancelled());
        parent.request_cancel(by_signal);
        CHECK(second.token().reason() == by_signal);
        CHECK(first.token().reason() == cancellation_reason{});

        const cancellation_source late(parent.token());
        CHECK(late.token().reason() == by_signal);
    }

    TEST_CASE("reaches a grandchild whose parent's source has gone")
    {
        cancellation_source top;
        std::optional<cancellation_source> middle(std::in_place, top.token());
        const cancellation_source bottom(middle->token());
        middle.reset();
        top.request_cancel();
        CHECK(bottom.cancelled());
    }

    TEST_CASE("a token outlives its child source, and hears the parent")
    {
        cancellation_source parent;
        const auto token = cancellation_source(parent.token()).token();
        CHECK(token.can_be_cancelled());
        parent.request_cancel();
        CHECK(token.cancelled());
    }

    TEST_CASE("is abandoned when neither it nor its parent is left")
    {
        asio::io_context ctx;
        std::optional<cancellation_source> parent(std::in_place);
        const auto token = cancellation_source(parent->token()).token();
        outcome<error_code, cancellation_reason> got;
        token.async_wait(ctx.get_executor(), got.handler());
        ctx.poll();
        CHECK_FALSE(got.done());
        parent.reset();
        CHECK_FALSE(token.can_be_cancelled());
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
    }

    TEST_CASE("a child of no token is a root")
    {
        cancellation_source source{cancellation_token()};
        CHECK(source.token().can_be_cancelled());
        CHECK(source.request_cancel());
    }

    TEST_CASE("is stopped by a std::stop_token, and stops one")
    {
        std::stop_source above;
        cancellation_source source(above.get_token());
        const auto below = source.token().stop_token();
        int called = 0;
        const std::stop_callback callback(below, [&] { ++called; });
        CHECK_FALSE(below.stop_requested());
        above.request_stop();
        CHECK(source.cancelled());
        CHECK(below.stop_requested());
        CHECK(called == 1);
        CHECK(source.token().stop_token().stop_requested());

        const cancellation_source late(above.get_token());
        CHECK(late.cancelled());
    }

    TEST_CASE("no longer hears a std::stop_token when it has gone")
    {
        std::stop_source above;
        {
            const cancellation_source source(above.get_token());
        }
        CHECK(above.request_stop());
    }

    TEST_CASE("a wait that is registered while it is cancelled hears it, exactly once")
    {
        constexpr int rounds = 300;
        constexpr int waiters = 3;
        asio::io_context ctx;
        auto work = asio::make_work_guard(ctx);
        std::vector<std::jthread> loops;
        for (int n = 0; n < 2; ++n)
            loops.emplace_back([&] { ctx.run(); });
        for (int round = 0; round < rounds; ++round) {
            cancellation_source source;
            std::atomic<int> heard{0};
            std::latch ready(waiters + 1);
            {
                std::vector<std::jthread> threads;
                threads.emplace_back([&] {
                    ready.arrive_and_wait();
                    source.request_cancel(by_signal);
                });
                for (int n = 0; n < waiters; ++n)
                    threads.emplace_back([&] {
                        cancellation_source child(source.token());
                        ready.arrive_and_wait();
                        auto future =
                            child.token().async_wait(ctx.get_executor(), asio::use_future);
                        if (future.get() == by_signal)
                            ++heard;
                    });
            }
            CHECK(heard == waiters);
        }
        work.reset();
    }

    TEST_CASE("children that come and go while the parent is cancelled are no trouble")
    {
        for (int round = 0; round < 200; ++round) {
            cancellation_source parent;
            std::latch ready(3);
            std::vector<std::jthread> threads;
            for (int n = 0; n < 2; ++n)
                threads.emplace_back([&] {
                    ready.arrive_and_wait();
                    for (int children = 0; children < 20; ++children) {
                        const cancellation_source child(parent.token());
                        const bool before = parent.cancelled();
                        const cancellation_source late(parent.token());
                        CHECK((!before || late.cancelled()));
                    }
                });
            threads.emplace_back([&] {
                ready.arrive_and_wait();
                parent.request_cancel();
            });
        }
    }
}
