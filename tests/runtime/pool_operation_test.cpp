// SPDX-License-Identifier: BSL-1.0
// The contract of every operation, for those of a pool.
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <signal.h>
#include <sys/wait.h>

#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "operation_contract.hpp"
#include "pool_fixture.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using namespace std::chrono_literals;
using procyard::error_code;
using procyard::pool_errc;

namespace {

using handle = procyard::pool_task<answer>;

// Of all pools here.
bool on_strand = false;

// Runs until something is thrown, as a handler of a user may, or until `done`.
template <class Predicate>
int throws_until(asio::io_context& ctx, Predicate done)
{
    int thrown = 0;
    const auto end = std::chrono::steady_clock::now() + deadlock_guard;
    while (!done()) {
        REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "hung");
        ctx.restart();
        try {
            ctx.run_one_for(1ms);
        } catch (const std::exception&) {  // several of them are one of Asio's
            ++thrown;
        }
    }
    return thrown;
}

struct with_pool {
    explicit with_pool(asio::io_context& in, const std::string& entry = "later",
                       std::size_t high_water = 1024)
        : ctx(in)
    {
        auto options = of_workers(1);
        options.high_water = high_water;
        options.prefetch = 0;
        it.emplace(on_strand ? asio::any_io_executor(asio::make_strand(ctx)) : ctx.get_executor(),
                   pool_worker(), entry, options);
    }
    void warm()
    {
        outcome<error_code> got;
        it->async_start(got.handler());
        run_until(ctx, [&] { return got.done(); });
        REQUIRE_FALSE(got.error());
        ctx.restart();
    }
    handle submit(const work& what)
    {
        error_code ec;
        auto task = it->try_submit(what, {}, ec);
        REQUIRE_FALSE(ec);
        return task;
    }
    void destroy() { it.reset(); }

    asio::io_context& ctx;
    std::optional<work_pool> it{};
};

// Its task waits for one that ends when the gate is opened.
struct waits_for_a_result : with_pool {
    explicit waits_for_a_result(asio::io_context& in) : with_pool(in)
    {
        warm();
        before = submit(make_work("wait"));
        task = submit(make_work("square", 3));
    }
    template <class Token>
    void start(Token&& token)
    {
        task.async_result(std::forward<Token>(token));
    }
    void satisfy() { before.cancel(); }

    handle before{};
    handle task{};
};

struct waits_for_room : with_pool {
    explicit waits_for_room(asio::io_context& in) : with_pool(in, "later", 1)
    {
        warm();
        before = submit(make_work("wait"));
        filling = submit(make_work("square", 2));
    }
    template <class Token>
    void start(Token&& token)
    {
        it->async_submit(make_work("square", 3), {}, std::forward<Token>(token));
    }
    void satisfy() { before.cancel(); }

    handle before{};
    handle filling{};
};

struct waits_for_a_start : with_pool {
    explicit waits_for_a_start(asio::io_context& in) : with_pool(in) { }
    template <class Token>
    void start(Token&& token)
    {
        it->async_start(std::forward<Token>(token));
    }
    void satisfy() { }
};

struct waits_for_a_stop : with_pool {
    explicit waits_for_a_stop(asio::io_context& in) : with_pool(in)
    {
        warm();
        before = submit(make_work("wait"));
    }
    template <class Token>
    void start(Token&& token)
    {
        it->async_stop(std::chrono::hours(1), std::forward<Token>(token));
    }
    void satisfy() { before.cancel(); }

    handle before{};
};

struct waits_for_an_item : with_pool {
    explicit waits_for_an_item(asio::io_context& in) : with_pool(in, "later")
    {
        warm();
        before = submit(make_work("wait"));
        outcome<error_code, procyard::pool_stream<answer>> got;
        it->async_submit_stream(make_work("square", 3), {}, got.handler());
        run_until(ctx, [&] { return got.done(); });
        REQUIRE_FALSE(got.error());
        stream = std::move(got.result());
        ctx.restart();
    }
    template <class Token>
    void start(Token&& token)
    {
        stream.async_next(std::forward<Token>(token));
    }
    void satisfy() { before.cancel(); }

    handle before{};
    procyard::pool_stream<answer> stream{};
};

// Contexts in which a pool has lived are not run to their end: its workers are.
template <class Operation>
void check_end(Operation& operation, ending& got)
{
    run_until(operation.ctx, [&] { return got.count > 0; });
    operation.ctx.restart();
}

template <class Operation>
void check_waits()
{
    asio::io_context ctx;
    Operation operation(ctx);
    ending got;
    operation.start(got.handler());
    CHECK_MESSAGE(got.count == 0, "completed inside the initiating function");
    ctx.poll();
    CHECK_MESSAGE(got.count == 0, "did not wait");
    operation.satisfy();
    check_end(operation, got);
    CHECK(got.count == 1);
    CHECK_MESSAGE(!got.ec, got.ec.message());
}

// Cancelled, it has done nothing: the next one does the whole work.
template <class Operation>
void check_that_cancelled_does_nothing(asio::cancellation_type type, bool waiting)
{
    asio::io_context ctx;
    Operation operation(ctx);
    asio::cancellation_signal signal;
    ending first;
    operation.start(asio::bind_cancellation_slot(signal.slot(), first.handler()));
    if (waiting)
        ctx.poll();
    signal.emit(type);
    CHECK_MESSAGE(first.count == 0, "completed inside emit()");
    check_end(operation, first);
    CHECK(first.count == 1);
    CHECK(first.ec == asio::error::operation_aborted);
    operation.satisfy();
    ending second;
    operation.start(second.handler());
    check_end(operation, second);
    CHECK_MESSAGE(!second.ec, second.ec.message());
    signal.emit(type);  // late
    CHECK(first.count == 1);
}

template <class Operation>
void check_that_cancelled_does_nothing()
{
    using type = asio::cancellation_type;
    for (const auto each : {type::terminal, type::partial, type::total}) {
        check_that_cancelled_does_nothing<Operation>(each, false);
        check_that_cancelled_does_nothing<Operation>(each, true);
    }
}

// The handler belongs to a context that is run when the operation has ended.
template <class Operation>
void check_handlers_place()
{
    asio::io_context ctx;
    asio::io_context other;
    const auto there = other.get_executor();
    Operation operation(ctx);
    bool right_place = false;
    int count = 0;
    operation.start(asio::bind_executor(there, [&](error_code, auto&&...) {
        right_place = there.running_in_this_thread();
        ++count;
    }));
    operation.satisfy();
    const auto end = std::chrono::steady_clock::now() + deadlock_guard;
    while (count == 0) {
        REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "hung");
        ctx.restart();
        ctx.run_one_for(1ms);
        CHECK_MESSAGE(count == 0, "ran on the wrong executor");
        other.restart();
        other.poll();
    }
    CHECK(right_place);
    CHECK(count == 1);
}

// A context that is destroyed has killed its children, and is not there to reap them.
void check_that_none_lives()
{
    const auto end = std::chrono::steady_clock::now() + deadlock_guard;
    while (children() != zombie_children())
        REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "a worker lives on");
    while (::waitpid(-1, nullptr, WNOHANG) > 0) { }  // tidy: allow wait-any: nobody else reaps them
}

template <class Operation>
void check_contract()
{
    check_waits<Operation>();
    check_destruction<Operation>(false);
    check_destruction<Operation>(true);
    check_handlers_place<Operation>();
    check_context_destruction<Operation>(false);
    check_context_destruction<Operation>(true);
    check_that_none_lives();
}

}  // namespace

TEST_SUITE("process_pool: operations")
{
    TEST_CASE("pool_task::async_result keeps the contract")
    {
        check_contract<waits_for_a_result>();
        // terminal cancels the task: see pool_cancel_test.
        using type = asio::cancellation_type;
        for (const auto each : {type::partial, type::total}) {
            check_that_cancelled_does_nothing<waits_for_a_result>(each, false);
            check_that_cancelled_does_nothing<waits_for_a_result>(each, true);
        }
    }

    TEST_CASE("pool_task::async_result, cancelled as terminal, cancels the task")
    {
        asio::io_context ctx;
        waits_for_a_result operation(ctx);
        asio::cancellation_signal signal;
        ending got;
        operation.start(asio::bind_cancellation_slot(signal.slot(), got.handler()));
        signal.emit(asio::cancellation_type::terminal);
        CHECK_MESSAGE(got.count == 0, "completed inside emit()");
        check_end(operation, got);
        CHECK(got.ec == asio::error::operation_aborted);
        CHECK(operation.task.report().outcome == procyard::pool_outcome::cancelled);
    }

    TEST_CASE("pool_task::async_result hands its result out once, and waits for one")
    {
        asio::io_context ctx;
        waits_for_a_result operation(ctx);
        ending first;
        ending second;
        operation.start(first.handler());
        operation.start(second.handler());
        check_end(operation, second);
        CHECK(second.ec == asio::error::already_started);
        operation.satisfy();
        check_end(operation, first);
        CHECK(!first.ec);
        ending third;
        operation.start(third.handler());
        check_end(operation, third);
        CHECK(third.ec == asio::error::already_started);
    }

    TEST_CASE("process_pool::async_submit keeps the contract")
    {
        check_contract<waits_for_room>();
        check_that_cancelled_does_nothing<waits_for_room>();
    }

    TEST_CASE("process_pool::async_start keeps the contract")
    {
        check_contract<waits_for_a_start>();
        check_that_cancelled_does_nothing<waits_for_a_start>();
    }

    TEST_CASE("process_pool::async_stop keeps the contract")
    {
        check_contract<waits_for_a_stop>();
        check_that_cancelled_does_nothing<waits_for_a_stop>();
    }

    TEST_CASE("pool_stream::async_next keeps the contract")
    {
        check_contract<waits_for_an_item>();
        check_that_cancelled_does_nothing<waits_for_an_item>();
    }

    TEST_CASE("all of them keep the contract on a strand")
    {
        struct guard {
            guard() { on_strand = true; }
            ~guard() { on_strand = false; }
        };
        const guard here;
        check_contract<waits_for_a_result>();
        check_contract<waits_for_room>();
        check_contract<waits_for_a_start>();
        check_contract<waits_for_a_stop>();
        check_contract<waits_for_an_item>();
    }

    TEST_CASE("options that no task can have are thrown where a coroutine can catch them")
    {
        asio::io_context ctx;
        with_pool pool(ctx);
        bool caught = false;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                procyard::submit_options bad;
                bad.run_deadline = -1ns;
                const procyard::submit_terms terms(bad);
                const work request = make_work("square", 1);
                try {
                    (void)co_await pool.it->async_call(request, terms, asio::use_awaitable);
                } catch (const std::invalid_argument&) {
                    caught = true;
                }
            },
            [](const std::exception_ptr& error) { CHECK(error == nullptr); });
        ctx.poll();
        CHECK(caught);
    }

    TEST_CASE("what a handler throws is thrown by run(), and the pool goes on")
    {
        for (const bool strand : {false, true}) {
            asio::io_context ctx;
            const asio::any_io_executor ex =
                strand ? asio::any_io_executor(asio::make_strand(ctx)) : ctx.get_executor();
            work_pool pool(ex, pool_worker(), "work", of_workers(1));
            outcome<error_code> started;
            pool.async_start(started.handler());
            CHECK(throws_until(ctx, [&] { return started.done(); }) == 0);
            int done = 0;
            const auto fails = [&](error_code, const answer&) {
                ++done;
                throw std::runtime_error("the user's");
            };
            pool.async_call(make_work("square", 3), {}, fails);
            pool.async_call(make_work("square", 4), {}, fails);
            CHECK(throws_until(ctx, [&] { return done == 2; }) >= 1);
            pool.async_call(make_work("die", SIGKILL), {}, fails);
            (void)throws_until(ctx, [&] { return done == 3; });
            outcome<error_code, answer> got;
            pool.async_call(make_work("square", 5), {}, got.handler());
            (void)throws_until(ctx, [&] { return got.done(); });
            CHECK_MESSAGE(!got.error(), got.error().message(), ": ", pool.explanation());
            CHECK(got.result().number == 25);
            CHECK(pool.workers().size() == 1);
            CHECK(pool.explanation().empty());
            outcome<error_code> stopped;
            pool.async_stop(std::chrono::hours(1), stopped.handler());
            (void)throws_until(ctx, [&] { return stopped.done(); });
        }
    }

    TEST_CASE("an async_call that is cancelled in any way cancels its task")
    {
        using type = asio::cancellation_type;
        for (const auto each : {type::terminal, type::partial, type::total}) {
            temporary_directory place;
            const auto notes = (place.path() / "notes").string();
            pooled pool(of_workers(1), "later");
            pool.must_start();
            asio::cancellation_signal signal;
            ending got;
            pool.it->async_call(make_work("wait", 0, notes), {},
                                asio::bind_cancellation_slot(signal.slot(), got.handler()));
            pool.until_lines(notes, 1);
            signal.emit(each);
            CHECK_MESSAGE(got.count == 0, "completed inside emit()");
            run_until(pool.ctx, [&] { return got.count > 0; });
            CHECK(got.ec == asio::error::operation_aborted);
            pool.stop();
        }
    }

    TEST_CASE("serves coroutines, futures and deferred alike")
    {
        pooled pool(of_workers(2));
        auto& it = *pool.it;
        int done = 0;
        asio::co_spawn(
            pool.ctx,
            [&]() -> asio::awaitable<void> {
                co_await it.async_start(asio::use_awaitable);
                const work request = make_work("square", 4);
                auto task = co_await it.async_submit(request, {}, asio::use_awaitable);
                const auto got = co_await task.async_result(asio::use_awaitable);
                CHECK(got.number == 16);
                auto [ec, again] =
                    co_await it.async_call(request, {}, asio::as_tuple(asio::use_awaitable));
                CHECK(!ec);
                CHECK(again.number == 16);
                ++done;
            },
            [](const std::exception_ptr& error) { CHECK(error == nullptr); });
        auto future = it.async_call(make_work("square", 5), {}, asio::use_future);
        auto later = it.async_call(make_work("square", 6));
        outcome<error_code, answer> got;
        std::move(later)(got.handler());
        // get() would wait for ever: nobody runs the context meanwhile.
        const auto is_there = [&] { return future.wait_for(0s) == std::future_status::ready; };
        run_until(pool.ctx, [&] { return done == 1 && got.done() && is_there(); });
        CHECK(got.result().number == 36);
        CHECK(future.get().number == 25);
        pool.stop();
    }

    TEST_CASE("a context that goes takes a coroutine with it that owns the pool it waits for")
    {
        const auto alive = std::make_shared<int>(0);
        {
            asio::io_context ctx;
            bool waits = false;
            asio::co_spawn(
                ctx,
                [](std::shared_ptr<int> held, bool* said) -> asio::awaitable<void> {
                    const auto ex = co_await asio::this_coro::executor;
                    work_pool pool(ex, pool_worker(), "later", of_workers(1));
                    co_await pool.async_start(asio::use_awaitable);
                    *said = true;
                    const work request = make_work("wait");
                    (void)co_await pool.async_call(request, {}, asio::use_awaitable);
                    *held = 1;
                }(alive, &waits),
                [](const std::exception_ptr&) {});
            run_until(ctx, [&] { return waits; });
            ctx.restart();
            ctx.poll();
        }
        CHECK(alive.use_count() == 1);
        CHECK(*alive == 0);
        check_that_none_lives();
    }
}
