// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/task_group.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/system_error.hpp>

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "operation_contract.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

// What keeps a task until it is opened, or cancelled.
class gate {
public:
    explicit gate(const asio::any_io_executor& ex)
        : timer_(std::make_shared<asio::steady_timer>(ex, asio::steady_timer::time_point::max()))
    {
    }

    void open() { timer_->cancel(); }

    // Throws operation_aborted when it is cancelled instead of opened.
    [[nodiscard]] asio::awaitable<void> passed() const { return pass(timer_); }

private:
    static asio::awaitable<void> pass(std::shared_ptr<asio::steady_timer> timer)
    {
        co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
        const auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none)
            throw boost::system::system_error(asio::error::operation_aborted);
    }

    std::shared_ptr<asio::steady_timer> timer_;
};

asio::awaitable<void> fail(std::string what)
{
    throw std::runtime_error(what);
    co_return;
}

asio::awaitable<void> nothing()
{
    co_return;
}

error_code code_of(const std::exception_ptr& failure)
{
    if (!failure)
        return {};
    try {
        std::rethrow_exception(failure);
    } catch (const boost::system::system_error& error) {
        return error.code();
    } catch (...) {
        return make_error_code(boost::system::errc::io_error);
    }
}

// Of the contract's handler, which wants an error code.
template <class Token>
auto join_with_code(task_group& group, Token&& token)
{
    return asio::async_initiate<Token, void(error_code)>(
        [](auto handler, task_group* which) {
            const auto ex = asio::get_associated_executor(handler, which->get_executor());
            const auto slot = asio::get_associated_cancellation_slot(handler);
            which->async_join(asio::bind_executor(
                ex,
                asio::bind_cancellation_slot(
                    slot, [done = std::move(handler)](std::exception_ptr failure) mutable {
                        std::move(done)(code_of(failure));
                    })));
        },
        token, &group);
}

// async_join, for the contract.
class join_group {
public:
    explicit join_group(asio::io_context& ctx)
        : gate_(ctx.get_executor()),
          group_(std::in_place, ctx.get_executor())
    {
        group_->spawn("waits", gate_.passed());
        ctx.poll();
    }

    void start(auto&& token) { join_with_code(*group_, std::forward<decltype(token)>(token)); }
    void satisfy() { gate_.open(); }
    void break_it() { group_->spawn("fails", fail("broken")); }
    [[nodiscard]] error_code breakage() const
    {
        return make_error_code(boost::system::errc::io_error);
    }
    void destroy() { group_.reset(); }

private:
    gate gate_;
    std::optional<task_group> group_;
};

task_group_options limited(std::size_t limit)
{
    task_group_options options;
    options.limit = limit;
    return options;
}

// async_spawn, for the contract: there is one place, and it is taken.
class spawn_in_full_group {
public:
    explicit spawn_in_full_group(asio::io_context& ctx)
        : gate_(ctx.get_executor()),
          group_(std::in_place, ctx.get_executor(), limited(1))
    {
        group_->spawn("has the place", gate_.passed());
        ctx.poll();
    }

    void start(auto&& token)
    {
        group_->async_spawn("wants it", nothing, std::forward<decltype(token)>(token));
    }
    void satisfy() { gate_.open(); }
    void break_it() { group_->cancel(); }
    [[nodiscard]] error_code breakage() const { return asio::error::operation_aborted; }
    void destroy() { group_.reset(); }

private:
    gate gate_;
    std::optional<task_group> group_;
};

}  // namespace

TEST_SUITE("task_group::async_join")
{
    PROCYARD_OPERATION_CONTRACT(join_group)

    TEST_CASE("an empty group is joined at once")
    {
        asio::io_context ctx;
        task_group group(ctx.get_executor());
        outcome<std::exception_ptr> joined;
        group.async_join(joined.handler());
        CHECK_FALSE(joined.done());
        run(ctx);
        CHECK_FALSE(joined.error());
    }

    TEST_CASE("waits for all, those too that tasks begin")
    {
        asio::io_context ctx;
        task_group group(ctx.get_executor());
        std::vector<std::string> log;
        const gate late(ctx.get_executor());
        group.spawn("first", [&]() -> asio::awaitable<void> {
            group.spawn("second", [&]() -> asio::awaitable<void> {
                co_await late.passed();
                log.emplace_back("second");
            });
            log.emplace_back("first");
            co_return;
        });
        group.async_join([&](std::exception_ptr) { log.emplace_back("joined"); });
        ctx.poll();
        CHECK(log == std::vector<std::string>{"first"});
        gate(late).open();
        run(ctx);
        CHECK(log == std::vector<std::string>{"first", "second", "joined"});
    }

    TEST_CASE("the first failure cancels the others, which are waited for, and is handed out")
    {
        asio::io_context ctx;
        task_group group(ctx.get_executor());
        bool cancelled = false;
        const gate held(ctx.get_executor());
        group.spawn("victim", [&]() -> asio::awaitable<void> {
            try {
                co_await held.passed();
            } catch (const boost::system::system_error&) {
                cancelled = true;
                throw std::runtime_error("a later failure");
            }
        });
        ctx.poll();
        group.spawn("culprit", fail("the first failure"));
        std::string thrown;
        auto join = [](task_group& of) -> asio::awaitable<void> { co_await of.async_join(); };
        asio::co_spawn(ctx, join(group), [&](std::exception_ptr failure) {
            REQUIRE(failure);
            try {
                std::rethrow_exception(failure);
            } catch (const std::runtime_error& error) {
                thrown = error.what();
            }
            CHECK(cancelled);
            CHECK(group.size() == 0);
        });
        run(ctx);
        CHECK(thrown == "the first failure");
        CHECK(group.token().reason()->cause == cancellation_cause::failure);

        error_code ec;
        group.spawn("too late", nothing(), ec);
        CHECK(ec == asio::error::operation_aborted);
        CHECK_THROWS_AS(group.spawn("too late", nothing()), boost::system::system_error);
    }

    TEST_CASE("failures that concern nobody leave the others alone")
    {
        asio::io_context ctx;
        task_group_options options;
        options.on_failure = task_failure::concerns_nobody;
        task_group group(ctx.get_executor(), options);
        int finished = 0;
        group.spawn("fails", fail("first"));
        group.spawn("fails too", fail("second"));
        const gate held(ctx.get_executor());
        group.spawn("goes on", [&]() -> asio::awaitable<void> {
            co_await held.passed();
            ++finished;
        });
        outcome<std::exception_ptr> joined;
        group.async_join(joined.handler());
        ctx.poll();
        CHECK_FALSE(joined.done());
        gate(held).open();
        run(ctx);
        CHECK(finished == 1);
        REQUIRE(joined.error());
        CHECK_THROWS_WITH(std::rethrow_exception(joined.error()), "first");
    }

    TEST_CASE("each failure is heard of with its task's name, before the join")
    {
        asio::io_context ctx;
        std::vector<std::string> heard;
        task_group_options options;
        options.on_failure = task_failure::concerns_nobody;
        options.on_task_failed = [&](const task_name& name, const std::exception_ptr& failure) {
            try {
                std::rethrow_exception(failure);
            } catch (const std::exception& error) {
                heard.push_back(name.text + ": " + error.what());
            }
        };
        task_group group(ctx.get_executor(), options);
        const gate held(ctx.get_executor());
        group.spawn("one", fail("first"));
        group.spawn("two", fail("second"));
        group.spawn("three", nothing());
        group.spawn("cancelled", [&] { return held.passed(); });
        ctx.poll();
        group.cancel();
        std::vector<std::string> before_join;
        group.async_join([&](const std::exception_ptr&) { before_join = heard; });
        run(ctx);
        CHECK(before_join == std::vector<std::string>{"one: first", "two: second"});
        CHECK(heard == before_join);
    }

    TEST_CASE("a group that was joined can be used again")
    {
        asio::io_context ctx;
        task_group group(ctx.get_executor());
        for (int round = 0; round < 3; ++round) {
            group.spawn("task", nothing());
            outcome<std::exception_ptr> joined;
            group.async_join(joined.handler());
            run(ctx);
            CHECK(joined.done());
            CHECK_FALSE(joined.error());
        }
    }

    TEST_CASE("a task that ends with operation_aborted has failed, unless the group was cancelled")
    {
        bool cancel = false;
        SUBCASE("cancelled")
        {
            cancel = true;
        }
        SUBCASE("not cancelled") { }
        asio::io_context ctx;
        task_group group(ctx.get_executor());
        const gate held(ctx.get_executor());
        group.spawn("task", held.passed());
        ctx.poll();
        if (cancel)
            group.cancel();
        else
            group.spawn("aborted by itself", []() -> asio::awaitable<void> {
                throw boost::system::system_error(asio::error::operation_aborted);
                co_return;
            });
        outcome<std::exception_ptr> joined;
        group.async_join(joined.handler());
        run(ctx);
        CHECK(code_of(joined.error())
              == (cancel ? error_code{} : error_code{asio::error::operation_aborted}));
    }
}

TEST_SUITE("task_group::async_spawn")
{
    PROCYARD_OPERATION_CONTRACT(spawn_in_full_group)

    TEST_CASE("never more tasks run than may, and each gets its turn in order")
    {
        asio::io_context ctx;
        task_group group(ctx.get_executor(), limited(2));
        std::vector<std::unique_ptr<gate>> gates;
        std::vector<int> begun;
        std::vector<int> granted;
        for (int n = 0; n < 5; ++n) {
            gates.push_back(std::make_unique<gate>(ctx.get_executor()));
            group.async_spawn(
                "task",
                [&, n]() -> asio::awaitable<void> {
                    begun.push_back(n);
                    co_await gates[static_cast<std::size_t>(n)]->passed();
                },
                [&, n](error_code ec) {
                    CHECK_FALSE(ec);
                    granted.push_back(n);
                });
        }
        error_code ec;
        group.spawn("no place", nothing(), ec);
        CHECK(ec == boost::system::errc::resource_unavailable_try_again);
        outcome<std::exception_ptr> joined;
        group.async_join(joined.handler());
        for (int n = 0; n < 5; ++n) {
            ctx.poll();
            CHECK(group.size() == static_cast<std::size_t>(std::min(2, 5 - n)));
            CHECK_FALSE(joined.done());
            gates[static_cast<std::size_t>(n)]->open();
        }
        run(ctx);
        CHECK(begun == std::vector<int>{0, 1, 2, 3, 4});
        CHECK(granted == begun);
        CHECK(joined.done());
    }

    TEST_CASE("who waits for a place is sent away when the group is cancelled, or fails")
    {
        asio::io_context ctx;
        cancellation_source parent;
        auto options = limited(1);
        options.parent = parent.token();
        task_group group(ctx.get_executor(), options);
        const gate held(ctx.get_executor());
        group.spawn("has the place", held.passed());
        bool begun = false;
        outcome<error_code> waiting;
        group.async_spawn(
            "waits",
            [&]() -> asio::awaitable<void> {
                begun = true;
                co_return;
            },
            waiting.handler());
        outcome<std::exception_ptr> joined;
        group.async_join(joined.handler());
        ctx.poll();
        CHECK_FALSE(waiting.done());
        parent.request_cancel({.cause = cancellation_cause::deadline});
        run(ctx);
        CHECK(waiting.error() == asio::error::operation_aborted);
        CHECK_FALSE(begun);
        CHECK(joined.done());
        CHECK_FALSE(joined.error());
        CHECK(group.token().reason()->cause == cancellation_cause::deadline);
    }
}

TEST_SUITE("task_group")
{
    TEST_CASE("a function object lives as long as its task, and is given the group's token")
    {
        asio::io_context ctx;
        const auto alive = std::make_shared<int>(0);
        {
            task_group group(ctx.get_executor());
            const gate held(ctx.get_executor());
            bool same = false;
            group.spawn(
                "lambda",
                [alive, held, &same, &group](cancellation_token token) -> asio::awaitable<void> {
                    same = token == group.token();
                    co_await held.passed();
                });
            ctx.poll();
            CHECK(same);
            CHECK(alive.use_count() == 2);
            gate(held).open();
            run(ctx);
            CHECK(alive.use_count() == 1);
        }
    }

    TEST_CASE("says what runs, where it was begun, and since when")
    {
        asio::io_context ctx;
        const auto clock = std::make_shared<manual_clock>();
        task_group_options options;
        options.clock = clock;
        task_group group(ctx.get_executor(), options);
        const gate held(ctx.get_executor());
        clock->advance(std::chrono::seconds(3));
        const auto line = std::source_location::current().line() + 1;
        group.spawn("reader", held.passed());
        ctx.poll();
        const auto running = group.running();
        REQUIRE(running.size() == 1);
        CHECK(running.front().name.text == "reader");
        CHECK(running.front().name.where.line() == line);
        CHECK(running.front().since == clock->now());
        std::ostringstream text;
        text << running.front().name;
        CHECK(text.str() == "reader (task_group_test.cpp:" + std::to_string(line) + ")");
        gate(held).open();
        run(ctx);
        CHECK(group.running().empty());
    }

    TEST_CASE("a task that was cancelled before its first turn does not begin")
    {
        asio::io_context ctx;
        task_group group(ctx.get_executor());
        bool begun = false;
        group.spawn("task", [&]() -> asio::awaitable<void> {
            begun = true;
            co_return;
        });
        group.cancel();
        run(ctx);
        CHECK_FALSE(begun);
        CHECK(group.size() == 0);
    }

    TEST_CASE("no task begins inside spawn")
    {
        asio::io_context ctx;
        task_group group(ctx.get_executor());
        bool begun = false;
        asio::post(ctx, [&] {
            group.spawn("task", [&]() -> asio::awaitable<void> {
                begun = true;
                co_return;
            });
            CHECK_FALSE(begun);
        });
        run(ctx);
        CHECK(begun);
    }

    TEST_CASE("dropped while tasks run, it cancels them and leaves them to the loop")
    {
        asio::io_context ctx;
        std::optional<task_group> group(std::in_place, ctx.get_executor());
        const gate held(ctx.get_executor());
        bool cancelled = false;
        group->spawn("task", [held, &cancelled]() -> asio::awaitable<void> {
            try {
                co_await held.passed();
            } catch (const boost::system::system_error&) {
                cancelled = true;
                throw std::logic_error("nobody hears this");
            }
        });
        ctx.poll();
        group.reset();
        CHECK_FALSE(cancelled);
        run(ctx);
        CHECK(cancelled);
    }

    TEST_CASE("assigned to, it drops what it held")
    {
        asio::io_context ctx;
        task_group group(ctx.get_executor());
        const auto token = group.token();
        group = task_group(ctx.get_executor());
        CHECK(token.reason()->cause == cancellation_cause::dropped);
        CHECK_FALSE(group.token().cancelled());
        task_group moved(std::move(group));
        moved.spawn("task", nothing());
        run(ctx);
    }

    TEST_CASE("goes down with its context while tasks run, and is dropped afterwards")
    {
        const auto alive = std::make_shared<int>(0);
        std::optional<asio::io_context> ctx(std::in_place);
        task_group group(ctx->get_executor());
        group.spawn("task", [alive]() -> asio::awaitable<void> {
            asio::steady_timer timer(co_await asio::this_coro::executor,
                                     asio::steady_timer::time_point::max());
            co_await timer.async_wait(asio::use_awaitable);
        });
        bool called = false;
        group.async_join([alive, &called](std::exception_ptr) { called = true; });
        ctx->poll();
        ctx.reset();
        CHECK_FALSE(called);
        CHECK(alive.use_count() == 1);
    }

    TEST_CASE("is used from several threads at once")
    {
        asio::io_context ctx;
        std::atomic<int> ran{0};
        for (int round = 0; round < 20; ++round) {
            task_group group(ctx.get_executor(), limited(3));
            std::atomic<int> together{0};
            std::atomic<int> most{0};
            for (int n = 0; n < 30; ++n)
                group.async_spawn(
                    "task",
                    [&]() -> asio::awaitable<void> {
                        const int now = ++together;
                        int seen = most;
                        while (seen < now && !most.compare_exchange_weak(seen, now)) { }
                        co_await asio::post(co_await asio::this_coro::executor,
                                            asio::use_awaitable);
                        --together;
                        ++ran;
                    },
                    [](error_code ec) { CHECK_FALSE(ec); });
            auto joined = group.async_join(asio::use_future);
            ctx.restart();
            {
                std::vector<std::jthread> threads;
                for (int n = 0; n < 3; ++n)
                    threads.emplace_back([&] { ctx.run(); });
            }
            CHECK_NOTHROW(joined.get());
            CHECK(most <= 3);
        }
        CHECK(ran == 600);
    }

    TEST_CASE("is cancelled, joined and filled by different threads")
    {
        for (int round = 0; round < 100; ++round) {
            asio::io_context ctx;
            task_group group(ctx.get_executor());
            std::atomic<int> over{0};
            int begun = 0;
            {
                std::vector<std::jthread> threads;
                auto work = asio::make_work_guard(ctx);
                for (int n = 0; n < 2; ++n)
                    threads.emplace_back([&] { ctx.run(); });
                const std::jthread canceller([&] { group.cancel(); });
                for (int n = 0; n < 10; ++n) {
                    error_code ec;
                    group.spawn(
                        "task",
                        [&]() -> asio::awaitable<void> {
                            asio::steady_timer timer(co_await asio::this_coro::executor,
                                                     asio::steady_timer::time_point::max());
                            co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
                            ++over;
                        },
                        ec);
                    begun += ec ? 0 : 1;
                }
                auto joined = group.async_join(asio::use_future);
                joined.get();
                CHECK(group.size() == 0);
                work.reset();
            }
            CHECK(over <= begun);
        }
    }
}
