// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/bind_token.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_future.hpp>

#include <future>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "operation_contract.hpp"

#include <procyard/ipc/pipe.hpp>

using namespace procyard;
using namespace procyard_test;

namespace {

using namespace asio::experimental::awaitable_operators;

// A read of a pipe under a token that nobody cancels: as without it.
class read_under_token {
public:
    explicit read_under_token(asio::io_context& ctx)
        : ex_(ctx.get_executor()),
          pipe_(make_pipe(ex_))
    {
    }

    void start(auto&& token)
    {
        const auto ex = asio::get_associated_executor(token, ex_);
        pipe_.reader.async_read_some(
            asio::buffer(&byte_, 1),
            bind_token(source_.token(),
                       asio::bind_executor(ex, std::forward<decltype(token)>(token))));
    }
    void satisfy()
    {
        error_code ec;
        pipe_.writer.write_some(asio::buffer("x", 1), ec);
    }
    void break_it() { pipe_.writer.close(); }
    [[nodiscard]] error_code breakage() const { return asio::error::eof; }
    void destroy() { pipe_.reader.close(); }

private:
    asio::any_io_executor ex_;
    pipe_pair pipe_;
    cancellation_source source_;
    char byte_ = 0;
};

asio::steady_timer never(const asio::any_io_executor& ex)
{
    return asio::steady_timer(ex, asio::steady_timer::time_point::max());
}

asio::awaitable<void> wait_for_ever()
{
    auto timer = never(co_await asio::this_coro::executor);
    co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace

TEST_SUITE("bind_token")
{
    PROCYARD_OPERATION_CONTRACT(read_under_token)

    TEST_CASE("the token cancels the operation, in a later turn of its executor")
    {
        asio::io_context ctx;
        cancellation_source source;
        auto timer = never(ctx.get_executor());
        outcome<error_code> got;
        timer.async_wait(bind_token(source.token(), asio::bind_executor(ctx, got.handler())));
        ctx.poll();
        source.request_cancel();
        CHECK_FALSE(got.done());
        run(ctx);
        CHECK(got.count == 1);
        CHECK(got.error() == asio::error::operation_aborted);
    }

    TEST_CASE("a token that is cancelled already cancels the operation in its first turn")
    {
        asio::io_context ctx;
        cancellation_source source;
        source.request_cancel();
        auto timer = never(ctx.get_executor());
        outcome<error_code> got;
        timer.async_wait(bind_token(source.token(), asio::bind_executor(ctx, got.handler())));
        CHECK_FALSE(got.done());
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
    }

    TEST_CASE("the handler's own slot counts as before")
    {
        asio::io_context ctx;
        const cancellation_source source;
        asio::cancellation_signal signal;
        auto timer = never(ctx.get_executor());
        outcome<error_code> got;
        timer.async_wait(bind_token(
            source.token(),
            asio::bind_executor(ctx, asio::bind_cancellation_slot(signal.slot(), got.handler()))));
        ctx.poll();
        signal.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
    }

    TEST_CASE("an operation that is over hears of nothing more")
    {
        asio::io_context ctx;
        cancellation_source source;
        outcome<error_code> got;
        {
            asio::steady_timer timer(ctx, std::chrono::seconds(0));
            timer.async_wait(bind_token(source.token(), asio::bind_executor(ctx, got.handler())));
            run(ctx);
        }
        CHECK_FALSE(got.error());
        // The timer is gone, and the reaction in its slot would point into it.
        source.request_cancel();
        run(ctx);
        CHECK(got.count == 1);
    }

    TEST_CASE("a cancellation that is on its way when the operation completes reaches nobody")
    {
        asio::io_context ctx;
        cancellation_source source;
        outcome<error_code> got;
        auto timer = std::make_unique<asio::steady_timer>(ctx, std::chrono::seconds(0));
        timer->async_wait(bind_token(source.token(), asio::bind_executor(ctx, [&](error_code ec) {
                                         timer.reset();
                                         got.handler()(ec);
                                     })));
        asio::post(ctx, [&] {
            // Both in one turn: the completion is queued first, the cancellation behind it.
            timer->expires_at(asio::steady_timer::time_point::min());
            source.request_cancel();
        });
        run(ctx);
        CHECK(got.count == 1);
    }

    TEST_CASE("the type of the reason is what the operation hears")
    {
        asio::io_context ctx;
        cancellation_source source;
        auto seen = asio::cancellation_type::none;
        const auto operation = [&](auto token) {
            return asio::async_initiate<decltype(token), void(error_code)>(
                [&](auto handler) {
                    auto slot = asio::get_associated_cancellation_slot(handler);
                    auto kept = std::make_shared<decltype(handler)>(std::move(handler));
                    slot.assign([&seen, kept](asio::cancellation_type type) mutable {
                        seen = type;
                        auto done = std::exchange(kept, nullptr);
                        if (done)
                            std::move (*done)(asio::error::operation_aborted);
                    });
                },
                token);
        };
        outcome<error_code> got;
        operation(bind_token(source.token(), asio::bind_executor(ctx, got.handler())));
        source.request_cancel({.type = asio::cancellation_type::partial});
        run(ctx);
        CHECK(got.count == 1);
        CHECK(seen == asio::cancellation_type::partial);
    }

    TEST_CASE("works with every kind of completion token, and with the default one")
    {
        asio::io_context ctx;
        cancellation_source source;
        auto all = [](cancellation_token token) -> asio::awaitable<int> {
            const auto ex = co_await asio::this_coro::executor;
            auto timer = never(ex);
            int aborted = 0;
            const auto count = [&](error_code ec) {
                aborted += ec == asio::error::operation_aborted ? 1 : 0;
            };
            auto [first] =
                co_await timer.async_wait(bind_token(token, asio::as_tuple(asio::use_awaitable)));
            count(first);
            auto [second] =
                co_await timer.async_wait(asio::as_tuple(bind_token(token, asio::use_awaitable)));
            count(second);
            error_code third;
            co_await timer.async_wait(
                bind_token(token, asio::redirect_error(asio::use_awaitable, third)));
            count(third);
            try {
                co_await timer.async_wait(bind_token(token));
            } catch (const boost::system::system_error& error) {
                count(error.code());
            }
            const auto later = timer.async_wait(bind_token(token, asio::deferred));
            try {
                co_await later(asio::use_awaitable);
            } catch (const boost::system::system_error& error) {
                count(error.code());
            }
            co_return aborted;
        };
        auto result = asio::co_spawn(ctx, all(source.token()), asio::use_future);
        auto timer = never(ctx.get_executor());
        auto future = timer.async_wait(asio::bind_executor(
            ctx, bind_token(source.token(), asio::bind_executor(ctx, asio::use_future))));
        ctx.poll();
        source.request_cancel();
        run(ctx);
        CHECK(result.get() == 5);
        CHECK_THROWS(future.get());
    }

    TEST_CASE("goes with a coroutine that loses a race")
    {
        asio::io_context ctx;
        const cancellation_source source;
        auto race = [](cancellation_token token) -> asio::awaitable<std::size_t> {
            const auto ex = co_await asio::this_coro::executor;
            auto loser = never(ex);
            asio::steady_timer winner(ex, std::chrono::seconds(0));
            auto first = co_await (loser.async_wait(bind_token(token, asio::use_awaitable))
                                   || winner.async_wait(asio::use_awaitable));
            co_return first.index();
        };
        auto result = asio::co_spawn(ctx, race(source.token()), asio::use_future);
        run(ctx);
        CHECK(result.get() == 1);
    }

    TEST_CASE("is cancelled from other threads, in the operation's strand alone")
    {
        asio::io_context ctx;
        auto work = asio::make_work_guard(ctx);
        std::vector<std::jthread> loops;
        for (int n = 0; n < 2; ++n)
            loops.emplace_back([&] { ctx.run(); });
        for (int round = 0; round < 300; ++round) {
            const auto strand = asio::make_strand(ctx);
            cancellation_source source;
            std::latch ready(2);
            std::promise<error_code> ended;
            {
                const std::jthread canceller([&] {
                    ready.arrive_and_wait();
                    source.request_cancel();
                });
                const std::jthread starter([&] {
                    ready.arrive_and_wait();
                    asio::post(strand, [&] {
                        auto timer = std::make_shared<asio::steady_timer>(never(strand));
                        timer->async_wait(bind_token(
                            source.token(), asio::bind_executor(strand, [&, timer](error_code ec) {
                                CHECK(strand.running_in_this_thread());
                                ended.set_value(ec);
                            })));
                    });
                });
            }
            CHECK(ended.get_future().get() == asio::error::operation_aborted);
        }
        work.reset();
    }
}

TEST_SUITE("run_under")
{
    TEST_CASE("a coroutine hears of its token, and its caller of what it throws")
    {
        asio::io_context ctx;
        cancellation_source source;
        auto caller = [](cancellation_token token) -> asio::awaitable<bool> {
            try {
                co_await run_under(token, wait_for_ever());
            } catch (const boost::system::system_error& error) {
                co_return error.code() == asio::error::operation_aborted;
            }
            co_return false;
        };
        auto result = asio::co_spawn(ctx, caller(source.token()), asio::use_future);
        ctx.poll();
        source.request_cancel();
        run(ctx);
        CHECK(result.get());
    }

    TEST_CASE("hands on the result, and an exception")
    {
        asio::io_context ctx;
        const cancellation_source source;
        auto answer = [](cancellation_token token, int number) -> asio::awaitable<int> {
            auto body = [](int n) -> asio::awaitable<int> {
                if (n == 0)
                    throw std::runtime_error("nothing");
                co_return n;
            };
            co_return co_await run_under(token, body(number));
        };
        auto seven = asio::co_spawn(ctx, answer(source.token(), 7), asio::use_future);
        auto none = asio::co_spawn(ctx, answer(source.token(), 0), asio::use_future);
        run(ctx);
        CHECK(seven.get() == 7);
        CHECK_THROWS_AS(none.get(), std::runtime_error);
    }

    TEST_CASE("is cancelled with the coroutine that awaits it")
    {
        asio::io_context ctx;
        const cancellation_source source;
        asio::cancellation_signal signal;
        std::exception_ptr ended;
        asio::co_spawn(ctx, run_under(source.token(), wait_for_ever()),
                       asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr error) {
                           ended = std::move(error);
                       }));
        ctx.poll();
        signal.emit(asio::cancellation_type::terminal);
        run(ctx);
        REQUIRE(ended);
        CHECK_THROWS_AS(std::rethrow_exception(ended), boost::system::system_error);
    }
}
