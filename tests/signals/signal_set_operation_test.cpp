// SPDX-License-Identifier: BSL-1.0
// async_wait as an operation of Asio: the tests that every operation has to pass, by each of the
// two mechanisms.
#include <procyard/signals/signal_set.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <signal.h>
#include <sys/time.h>

#include <cstddef>
#include <exception>
#include <memory>

#include <doctest/doctest.h>

#include <procyard/signals/signal_error.hpp>
#include <procyard/signals/signal_mask_guard.hpp>

#include "allocations.hpp"
#include "operation_contract.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::signal_errc;
using procyard::signal_info;
using procyard::signal_mask_guard;
using procyard::signal_mechanism;
using procyard::signal_set;
using procyard_test::run;

namespace {

struct wait_by_handler {
    explicit wait_by_handler(asio::io_context& ctx)
        : set(std::make_unique<signal_set>(ctx.get_executor(), std::initializer_list{SIGUSR1}))
    {
    }
    template <class Token>
    void start(Token&& token)
    {
        set->async_wait(std::forward<Token>(token));
    }
    void satisfy() { ::raise(SIGUSR1); }
    void break_it() { set->clear(); }
    [[nodiscard]] error_code breakage() const { return signal_errc::no_signals; }
    void destroy() { set.reset(); }

    std::unique_ptr<signal_set> set;
};

struct wait_by_descriptor {
    explicit wait_by_descriptor(asio::io_context& ctx)
        : set(std::make_unique<signal_set>(ctx.get_executor(), std::initializer_list{SIGUSR1}))
    {
        REQUIRE(set->mechanism() == signal_mechanism::signalfd);
    }
    ~wait_by_descriptor()
    {
        // What was not taken would end this process when the mask is restored.
        const timespec at_once{};
        sigset_t signals;
        ::sigemptyset(&signals);
        ::sigaddset(&signals, SIGUSR1);
        while (::sigtimedwait(&signals, nullptr, &at_once) == SIGUSR1) { }
    }
    template <class Token>
    void start(Token&& token)
    {
        set->async_wait(std::forward<Token>(token));
    }
    void satisfy() { ::raise(SIGUSR1); }
    void break_it() { set->clear(); }
    [[nodiscard]] error_code breakage() const { return signal_errc::no_signals; }
    void destroy() { set.reset(); }

    signal_mask_guard blocked{SIGUSR1};
    std::unique_ptr<signal_set> set;
};

// Sends SIGALRM again and again. Not by the loop, whose own allocations are counted.
class ticking {
public:
    ticking()
    {
        const itimerval every{{0, 300}, {0, 300}};
        REQUIRE(::setitimer(ITIMER_REAL, &every, nullptr) == 0);
    }
    ticking(const ticking&) = delete;
    ticking& operator=(const ticking&) = delete;
    ~ticking()
    {
        const itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
    }
};

}  // namespace

TEST_SUITE("signal_set::async_wait")
{
    PROCYARD_OPERATION_CONTRACT(wait_by_handler)
    PROCYARD_OPERATION_CONTRACT(wait_by_descriptor)

    TEST_CASE("serves coroutines, futures and plain functions")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1});
        int told = 0;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                const auto first = co_await set.async_wait(asio::use_awaitable);
                told += first.number;
                const auto second = co_await set.async_wait();
                told += second.number;
            },
            [](std::exception_ptr error) { CHECK(error == nullptr); });
        ctx.poll();
        for (int i = 0; i < 2; ++i) {
            ::raise(SIGUSR1);
            procyard_test::run_until(ctx, [&] { return told >= (i + 1) * SIGUSR1; });
        }
        run(ctx);
        CHECK(told == 2 * SIGUSR1);
        auto future = set.async_wait(asio::use_future);
        ::raise(SIGUSR1);
        run(ctx);
        CHECK(future.get().number == SIGUSR1);
    }

    TEST_CASE("several waits of one set: each signal goes to one, the first first")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1, SIGUSR2});
        procyard_test::outcome<error_code, signal_info> first;
        procyard_test::outcome<error_code, signal_info> second;
        set.async_wait(first.handler());
        set.async_wait(second.handler());
        ctx.poll();
        ::raise(SIGUSR2);
        procyard_test::run_until(ctx, [&] { return first.done(); });
        CHECK_FALSE(second.done());
        ::raise(SIGUSR1);
        run(ctx);
        CHECK(first.result().number == SIGUSR2);
        CHECK(second.result().number == SIGUSR1);
    }

    TEST_CASE("cancelled between the signal and its turn, a wait has taken nothing")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1});
        procyard_test::outcome<error_code, signal_info> first;
        set.async_wait(first.handler());
        ctx.poll();
        ::raise(SIGUSR1);
        set.cancel();
        run(ctx);
        CHECK(first.error() == asio::error::operation_aborted);
        const auto kept = set.try_wait();
        REQUIRE(kept.has_value());
        CHECK(kept->number == SIGUSR1);
        CHECK_FALSE(set.try_wait().has_value());
    }

    TEST_CASE("a set that is emptied ends its waits")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1, SIGUSR2});
        procyard_test::outcome<error_code, signal_info> first;
        procyard_test::outcome<error_code, signal_info> second;
        set.async_wait(first.handler());
        set.async_wait(second.handler());
        ctx.poll();
        set.remove(SIGUSR1);
        ctx.poll();
        CHECK_FALSE(first.done());
        set.remove(SIGUSR2);
        run(ctx);
        CHECK(first.error() == signal_errc::no_signals);
        CHECK(second.error() == signal_errc::no_signals);
    }

    TEST_CASE("takes no memory once it has warmed up")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGALRM});
        constexpr int warm_up = 10;
        constexpr int counted = 100;
        const ticking clock;
        int told = 0;
        std::size_t before = 0;
        std::size_t spent = 1;
        const auto record = [](std::exception_ptr error) { CHECK(error == nullptr); };
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                for (; told < warm_up + counted; ++told) {
                    if (told == warm_up)
                        before = procyard_test::allocations();
                    co_await set.async_wait();
                }
                spent = procyard_test::allocations() - before;
            },
            record);
        ctx.run();  // run_for() keeps no memory from one handler to the next
        CHECK(told == warm_up + counted);
        CHECK(spent == 0);
    }
}
