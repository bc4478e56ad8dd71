// SPDX-License-Identifier: BSL-1.0
// Every operation of a pipeline with every kind of completion token, and with handlers that bring
// an allocator or cannot be copied. What each operation does, is in the tests of its name.
#include <procyard/runtime/pipeline.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <future>
#include <memory>
#include <new>
#include <utility>

#include "operation_contract.hpp"
#include "pipeline_fixture.hpp"

using namespace procyard_test::pipes;
using procyard_test::ending;
using procyard_test::run;

namespace {

// Programs alone: a coroutine would keep the context at work before anything was awaited.
pipeline ends()
{
    return command("true") | pipeline(command("cat")).std_out(stdio::null());
}

pipeline stays()
{
    return helper({"--mode=pause"}) | pipeline(command("cat")).std_out(stdio::null());
}

// The operations: each can be started more than once, and succeeds by itself.

struct on_running {
    on_running(asio::io_context& ctx, const pipeline& what)
        : running(spawn(what, ctx.get_executor()))
    {
    }
    void satisfy() { }

    running_pipeline running;
};

struct wait_for_all : on_running {
    explicit wait_for_all(asio::io_context& ctx) : on_running(ctx, ends()) { }
    auto start(auto&&... token)
    {
        return running.async_wait(std::forward<decltype(token)>(token)...);
    }
};

struct stop_by_default : on_running {
    explicit stop_by_default(asio::io_context& ctx) : on_running(ctx, stays()) { }
    auto start(auto&&... token)
    {
        return running.async_stop(std::forward<decltype(token)>(token)...);
    }
};

struct stop_by_ladder : on_running {
    explicit stop_by_ladder(asio::io_context& ctx) : on_running(ctx, stays()) { }
    auto start(auto&&... token)
    {
        return running.async_stop(stop_ladder::kill(), std::forward<decltype(token)>(token)...);
    }
};

struct on_context {
    explicit on_context(asio::io_context& ctx) : ex(ctx.get_executor()) { }
    void satisfy() { }

    asio::any_io_executor ex;
};

struct spawn_it : on_context {
    using on_context::on_context;
    auto start(auto&&... token)
    {
        return async_spawn(ends(), ex, std::forward<decltype(token)>(token)...);
    }
};

struct spawn_and_tell : on_context {
    using on_context::on_context;
    auto start(auto&&... token)
    {
        return async_spawn(ends(), ex, failure, std::forward<decltype(token)>(token)...);
    }

    spawn_failure failure;
};

struct run_it : on_context {
    using on_context::on_context;
    auto start(auto&&... token)
    {
        return async_run(ends(), ex, std::forward<decltype(token)>(token)...);
    }
};

struct run_with_options : on_context {
    using on_context::on_context;
    auto start(auto&&... token)
    {
        return async_run(ends(), ex, run_options().std_in("text"),
                         std::forward<decltype(token)>(token)...);
    }
};

// Memory of the heap, and how much of it is out.
struct account {
    std::size_t taken = 0;
    std::size_t out = 0;
};

template <class T>
struct counting_allocator {
    using value_type = T;

    explicit counting_allocator(account& a) noexcept : book(&a) { }
    template <class U>
    counting_allocator(const counting_allocator<U>& other) noexcept : book(other.book)
    {
    }

    T* allocate(std::size_t count)
    {
        ++book->taken;
        ++book->out;
        return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(alignof(T))));
    }
    void deallocate(T* memory, std::size_t) noexcept
    {
        --book->out;
        ::operator delete(memory, std::align_val_t(alignof(T)));
    }

    template <class U>
    friend bool operator==(const counting_allocator& a, const counting_allocator<U>& b) noexcept
    {
        return a.book == b.book;
    }

    account* book;
};

template <class Operation>
awaitable<int> in_a_coroutine(std::shared_ptr<Operation> operation)
{
    int good = 0;
    (void)co_await operation->start();
    ++good;
    (void)co_await operation->start(use_awaitable);
    ++good;
    const auto [ec, result] = co_await operation->start(as_tuple(use_awaitable));
    good += ec ? 0 : 1;
    error_code redirected = asio::error::eof;
    (void)co_await operation->start(asio::redirect_error(use_awaitable, redirected));
    good += redirected ? 0 : 1;
    co_return good;
}

}  // namespace

#define PROCYARD_PIPELINE_OPERATIONS                                                               \
    wait_for_all, stop_by_default, stop_by_ladder, spawn_it, spawn_and_tell, run_it,               \
        run_with_options

TEST_SUITE("pipeline tokens")
{
    TEST_CASE_TEMPLATE("a callback that can only be moved", Operation, PROCYARD_PIPELINE_OPERATIONS)
    {
        asio::io_context ctx;
        Operation operation(ctx);
        ending got;
        operation.start([once = std::make_unique<int>(1),
                         record = got.handler()](error_code ec, auto&& result) mutable {
            CHECK(*once == 1);
            record(ec, std::move(result));
        });
        CHECK_MESSAGE(got.count == 0, "completed inside the initiating function");
        run(ctx);
        CHECK(got.count == 1);
        CHECK_MESSAGE(!got.ec, got.ec.message());
    }

    TEST_CASE_TEMPLATE("use_future", Operation, PROCYARD_PIPELINE_OPERATIONS)
    {
        asio::io_context ctx;
        Operation operation(ctx);
        auto future = operation.start(asio::use_future);
        run(ctx);
        REQUIRE(future.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
        CHECK_NOTHROW((void)future.get());
    }

    TEST_CASE_TEMPLATE("in coroutines: the default, use_awaitable, as_tuple, redirect_error",
                       Operation, PROCYARD_PIPELINE_OPERATIONS)
    {
        asio::io_context ctx;
        auto good =
            asio::co_spawn(ctx, in_a_coroutine(std::make_shared<Operation>(ctx)), asio::use_future);
        run(ctx);
        CHECK(good.get() == 4);
    }

    TEST_CASE_TEMPLATE("deferred starts nothing until it is asked to", Operation,
                       PROCYARD_PIPELINE_OPERATIONS)
    {
        asio::io_context ctx;
        Operation operation(ctx);
        auto later = operation.start(asio::deferred);
        run(ctx);
        ending got;
        std::move(later)(got.handler());
        CHECK_MESSAGE(got.count == 0, "completed inside the initiating function");
        run(ctx);
        CHECK(got.count == 1);
        CHECK_MESSAGE(!got.ec, got.ec.message());
    }

    TEST_CASE_TEMPLATE("the handler's allocator is used, and has all back before the call",
                       Operation, PROCYARD_PIPELINE_OPERATIONS)
    {
        account book;
        std::size_t out_in_call = 1;
        {
            asio::io_context ctx;
            Operation operation(ctx);
            ending got;
            operation.start(
                asio::bind_allocator(counting_allocator<void*>(book),
                                     [&, record = got.handler()](error_code ec, auto&& result) {
                                         out_in_call = book.out;
                                         record(ec, std::forward<decltype(result)>(result));
                                     }));
            run(ctx);
            CHECK(got.count == 1);
            CHECK_MESSAGE(!got.ec, got.ec.message());
        }
        CHECK(book.taken > 0);
        CHECK(out_in_call == 0);
        CHECK(book.out == 0);
    }

    TEST_CASE_TEMPLATE("the handler's executor is where it is called", Operation,
                       PROCYARD_PIPELINE_OPERATIONS)
    {
        procyard_test::check_other_executor<Operation>();
    }
}

TEST_SUITE("running_pipeline::async_stop")
{
    TEST_CASE("without a ladder closes the input and asks, as stop_ladder::polite() does")
    {
        asio::io_context ctx;
        auto running = spawn((command("cat") | helper({"--mode=pause"}))
                                 .std_in(stdio::pipe())
                                 .std_out(stdio::null()),
                             ctx.get_executor());
        procyard_test::outcome<error_code, stop_result> got;
        running.async_stop(got.handler());
        procyard_test::run_until(ctx, [&] { return got.done(); });
        CHECK_FALSE(got.error());
        const auto& taken = got.result().taken;
        const auto steps = stop_ladder::polite().steps;
        REQUIRE(taken.size() == steps.size());
        for (std::size_t i = 0; i < steps.size(); ++i)
            CHECK(taken[i].step == steps[i]);
        CHECK_FALSE(running.std_in().is_open());
        CHECK(got.result().tree_empty);
        CHECK_FALSE(got.result().forced());
        CHECK(got.result().status == exit_status::signaled(SIGTERM));
    }
}
