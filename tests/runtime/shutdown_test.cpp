// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/shutdown.hpp>

#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "operation_contract.hpp"
#include "shutdown_fixture.hpp"

using namespace procyard;
using namespace procyard_test;
using namespace std::chrono_literals;
using phase = shutdown_phase;
using fixture = shutdown_fixture;

namespace {

asio::awaitable<void> wait_for_ever()
{
    asio::steady_timer timer(co_await asio::this_coro::executor,
                             asio::steady_timer::time_point::max());
    co_await timer.async_wait(asio::use_awaitable);
}

// Heeds no cancellation; ends when `timer` is cancelled.
asio::awaitable<void> be_stubborn(std::shared_ptr<asio::steady_timer> timer)
{
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
}

// async_wait, for the contract.
class wait_for_end {
public:
    explicit wait_for_end(asio::io_context& ctx) : stop_(std::in_place, ctx.get_executor()) { }

    void start(auto&& token) { stop_->async_wait(std::forward<decltype(token)>(token)); }
    void satisfy() { stop_->request(); }
    void destroy() { stop_.reset(); }

private:
    std::optional<shutdown_coordinator> stop_;
};

using log_type = std::vector<std::string>;

}  // namespace

TEST_SUITE("shutdown_coordinator::async_wait")
{
    TEST_CASE("succeeds, in a later turn")
    {
        check_success<wait_for_end>();
    }
    TEST_CASE("waits until it can succeed")
    {
        check_success_after_a_wait<wait_for_end>();
    }
    TEST_CASE("cancelled, it has done nothing, and the shutdown goes on")
    {
        using type = asio::cancellation_type;
        for (const auto each : {type::terminal, type::partial, type::total}) {
            check_cancellation<wait_for_end>(each, false);
            check_cancellation<wait_for_end>(each, true);
        }
    }
    TEST_CASE("completes with operation_aborted when its object is destroyed")
    {
        check_destruction<wait_for_end>(false);
        check_destruction<wait_for_end>(true);
    }
    TEST_CASE("runs its handler on the handler's executor")
    {
        check_other_executor<wait_for_end>();
    }
    TEST_CASE("goes down with its io_context without a call")
    {
        check_context_destruction<wait_for_end>(false);
        check_context_destruction<wait_for_end>(true);
    }
    TEST_CASE("completes at once when it is over, for any number of waits")
    {
        fixture f;
        f.stop.request();
        f.run_out();
        for (int n = 0; n < 2; ++n) {
            outcome<error_code, shutdown_report> late;
            f.stop.async_wait(late.handler());
            CHECK_FALSE(late.done());
            f.poll();
            CHECK_FALSE(late.error());
            CHECK(late.result().phases.size() == shutdown_phase_count);
        }
    }
}

TEST_SUITE("shutdown_coordinator")
{
    TEST_CASE("the phases come in their order, and what was written last arrives (case 55)")
    {
        fixture f;
        for (const auto each : {phase::flush, phase::stop_children, phase::cancel, phase::drain,
                                phase::close_intake, phase::announce})
            f.stop.on(each, "handler", f.note(std::string(to_string(each))));
        f.poll();
        CHECK(f.log.empty());
        CHECK_FALSE(f.stop.requested());
        f.stop.request();
        CHECK(f.stop.requested());
        CHECK(f.log.empty());
        f.run_out();
        // The drain begins with the linger.
        CHECK(f.log
              == log_type{"announce", "drain", "close intake", "cancel", "stop children", "flush"});
        CHECK(f.report().clean());
        CHECK(f.report().exit_code() == 0);
        CHECK(f.report().duration() == 0s);
        CHECK(f.report().phases.size() == shutdown_phase_count);
    }

    TEST_CASE("handlers of a phase run together, unless they have an order")
    {
        fixture f;
        f.stop.on(phase::flush, "last", f.note("last"), 2);
        f.stop.on(phase::flush, "first", f.note("first"), -1);
        int together = 0;
        for (int n = 0; n < 2; ++n)
            f.stop.on(phase::flush, "together", [&]() -> asio::awaitable<void> {
                ++together;
                // Each waits until the other one runs.
                while (together < 2)
                    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
                f.log.emplace_back("together");
            });
        f.stop.request();
        f.run_out();
        CHECK(f.log == log_type{"first", "together", "together", "last"});
    }

    TEST_CASE("tokens are cancelled when their phases begin, for the request's reason")
    {
        fixture f;
        f.stop.on(phase::close_intake, "look", [&]() -> asio::awaitable<void> {
            CHECK(f.stop.token(phase::announce).cancelled());
            CHECK(f.stop.token(phase::close_intake).cancelled());
            CHECK_FALSE(f.stop.token().cancelled());
            co_return;
        });
        CHECK_FALSE(f.stop.token(phase::announce).cancelled());
        f.stop.request(
            shutdown_request({.cause = cancellation_cause::signal, .signal = SIGTERM}, 3));
        f.run_out();
        CHECK(f.stop.token().reason()->signal == SIGTERM);
        CHECK(f.report().reason.signal == SIGTERM);
        CHECK(f.report().exit_code() == 3);
        CHECK(f.report().to_string() == "SIGTERM: stopped in 0 s of 10 s");
    }

    TEST_CASE("waits for the work in flight, and goes on at once when it is done")
    {
        fixture f;
        auto work = f.stop.hold("request");
        CHECK(work);
        f.stop.request();
        f.poll();
        CHECK_FALSE(f.ended.done());
        CHECK(f.stop.token(phase::close_intake).cancelled());
        CHECK_FALSE(f.stop.token().cancelled());
        f.clock->advance(1s);
        work.release();
        f.poll();
        CHECK(f.ended.done());
        CHECK(f.report().clean());
        CHECK(f.report().duration() == 1s);
    }

    TEST_CASE("work that never ends is cancelled at its share, and the report names it (case 52)")
    {
        fixture f;
        const auto line = std::source_location::current().line() + 1;
        f.stop.tasks().spawn("request 7",
                             [&, work = std::make_shared<shutdown_work>(f.stop.hold("GET /slow"))]()
                                 -> asio::awaitable<void> { co_await wait_for_ever(); });
        f.poll();
        f.clock->advance(2s);
        f.stop.request();
        f.run_out();
        CHECK(f.report().duration() < 10s);
        REQUIRE(f.report().leftovers.size() == 1);
        const auto& left = f.report().leftovers.front();
        CHECK(left.phase == phase::drain);
        CHECK(left.what == shutdown_leftover::kind::work);
        CHECK(left.name.text == "GET /slow");
        CHECK(left.name.where.line() >= line);
        CHECK(left.running_for > 7s);
        CHECK(f.report().exit_code() == 1);
        CHECK(
            f.report().to_string().find("not stopped in drain: work GET /slow (shutdown_test.cpp:")
            != std::string::npos);
    }

    TEST_CASE("each background task that failed is in the report, also if others did not end")
    {
        fixture f;
        const auto stubborn =
            std::make_shared<asio::steady_timer>(f.ctx, asio::steady_timer::time_point::max());
        const auto line = std::source_location::current().line();
        for (const char* name : {"ticker", "reader"})
            f.stop.tasks().spawn(name, [name]() -> asio::awaitable<void> {
                throw std::runtime_error(std::string(name) + " is lost");
                co_return;
            });
        f.stop.tasks().spawn("stubborn", be_stubborn(stubborn));
        f.poll();
        f.stop.request();
        f.run_out();
        stubborn->cancel();
        f.poll();
        log_type seen;
        for (const auto& failure : f.report().failures) {
            seen.push_back(failure.place + ' ' + failure.name.text + ": " + failure.what);
            CHECK(failure.name.where.line() > line);
        }
        CHECK(seen == log_type{"tasks ticker: ticker is lost", "tasks reader: reader is lost"});
    }

    TEST_CASE("of many background tasks that failed the report has the first, and how many more")
    {
        fixture f;
        for (int n = 0; n < 100; ++n)
            f.stop.tasks().spawn("task", []() -> asio::awaitable<void> {
                throw std::runtime_error("lost");
                co_return;
            });
        f.poll();
        f.stop.request();
        f.run_out();
        REQUIRE(f.report().failures.size() == 17);
        CHECK(f.report().failures.back().name.text == "others");
        CHECK(f.report().failures.back().what == "84 more have failed");
        CHECK(f.report().exit_code() == 1);
    }

    TEST_CASE("nobody holds it up: what heeds no cancellation is left behind, and named")
    {
        fixture f;
        const auto stubborn =
            std::make_shared<asio::steady_timer>(f.ctx, asio::steady_timer::time_point::max());
        f.stop.on(phase::announce, "announcer", [&] { return be_stubborn(stubborn); });
        f.stop.tasks().spawn("task", be_stubborn(stubborn));
        const auto work = f.stop.hold("work");
        f.stop.on(phase::flush, "flusher", wait_for_ever);
        f.stop.request();
        f.run_out();
        CHECK(f.report().duration() == 10s);
        log_type names;
        for (const auto& left : f.report().leftovers)
            names.push_back(std::string(to_string(left.phase)) + ' ' + left.name.text);
        CHECK(names
              == log_type{"announce announcer", "drain work", "cancel work", "cancel task",
                          "flush flusher"});
        stubborn->cancel();
        run(f.ctx);
    }

    TEST_CASE("linger takes new work until it is quiet; then no intake (case 51, complaint 22)")
    {
        fixture f([](shutdown_options& options) {
            options.linger = 5s;
            options.quiet = 500ms;
        });
        std::vector<shutdown_work> in_flight;
        for (int n = 0; n < 10; ++n)
            in_flight.push_back(f.stop.hold("request"));
        f.stop.request();
        f.poll();
        // New connections for 300 ms.
        for (int n = 0; n < 3; ++n) {
            f.clock->advance(100ms);
            f.poll();
            CHECK(f.stop.token(phase::announce).cancelled());
            CHECK_FALSE(f.stop.token(phase::close_intake).cancelled());
            in_flight.push_back(f.stop.hold("new request"));
        }
        f.clock->advance(499ms);
        f.poll();
        CHECK_FALSE(f.stop.token(phase::close_intake).cancelled());
        f.clock->advance(1ms);
        f.poll();
        CHECK(f.stop.token(phase::close_intake).cancelled());
        CHECK_FALSE(f.ended.done());
        in_flight.clear();
        f.poll();
        CHECK(f.ended.done());
        CHECK(f.report().clean());
        CHECK(f.report().exit_code() == 0);
        CHECK(f.report().duration() == 800ms);
    }

    TEST_CASE("a handler that fails stops nothing else, and is in the report")
    {
        fixture f;
        f.stop.on(phase::announce, "health", []() -> asio::awaitable<void> {
            throw std::runtime_error("no such endpoint");
            co_return;
        });
        f.stop.on(phase::flush, "flush", f.note("flush"));
        f.stop.request();
        f.run_out();
        CHECK(f.log == log_type{"flush"});
        REQUIRE(f.report().failures.size() == 1);
        CHECK(f.report().failures.front().place == "announce");
        CHECK(f.report().failures.front().what == "no such endpoint");
        CHECK(f.report().exit_code() == 1);
        CHECK(f.report().to_string().find("failed in announce: health (shutdown_test.cpp:")
              != std::string::npos);
    }

    TEST_CASE("a handler is told its deadline and the reason")
    {
        fixture f;
        shutdown_step told;
        f.stop.on(phase::announce, "handler", [&](shutdown_step step) -> asio::awaitable<void> {
            told = step;
            co_return;
        });
        f.stop.request(shutdown_request({.cause = cancellation_cause::deadline}));
        f.run_out();
        CHECK(told.phase == phase::announce);
        CHECK(told.remaining() == 1s);
        CHECK(told.reason.cause == cancellation_cause::deadline);
    }

    TEST_CASE("background tasks are cancelled, and waited for")
    {
        fixture f;
        bool cancelled = false;
        f.stop.tasks().spawn("ticker", [&]() -> asio::awaitable<void> {
            try {
                co_await wait_for_ever();
            } catch (const boost::system::system_error&) {
                cancelled = true;
                throw;
            }
        });
        f.poll();
        f.stop.request();
        f.run_out();
        CHECK(cancelled);
        CHECK(f.report().clean());
    }

    TEST_CASE("a request counts once; what comes too late for its phase is refused")
    {
        fixture f;
        CHECK(f.stop.request());
        CHECK_FALSE(f.stop.request());
        f.run_out();
        CHECK_FALSE(f.stop.request());
        const auto add = [&](phase to) { f.stop.on(to, "late", f.note("late")); };
        CHECK_THROWS_AS(add(phase::flush), boost::system::system_error);
        fixture other;
        CHECK_THROWS_AS(other.stop.on(phase::linger, "handler", f.note("linger")),
                        boost::system::system_error);
    }

    TEST_CASE("a second request with less time makes it end earlier")
    {
        fixture f;
        const auto work = f.stop.hold("work");
        f.stop.request();
        f.poll();
        shutdown_request hurry;
        hurry.budget = 0s;
        f.stop.request(hurry);
        f.run_out();
        CHECK(f.report().duration() == 0s);
        CHECK_FALSE(f.report().clean());
    }

    TEST_CASE("a part can be shut down alone; the rest goes on")
    {
        fixture f;
        shutdown_coordinator part(f.ctx.get_executor(), f.options);
        part.on(phase::flush, "part", f.note("part"));
        f.stop.add_part("part", part);
        f.stop.on(phase::flush, "whole", f.note("whole"));
        part.request();
        f.poll();
        CHECK(f.log == log_type{"part"});
        CHECK_FALSE(f.stop.requested());
        f.stop.request();
        f.run_out();
        CHECK(f.log == log_type{"part", "whole"});
        CHECK(f.report().clean());
    }

    TEST_CASE("a part ends with the whole, within its phase, and reports to it")
    {
        fixture f;
        shutdown_coordinator part(f.ctx.get_executor(), f.options);
        const auto work = part.hold("work of the part");
        f.stop.add_part("part", part);
        f.stop.request();
        f.run_out();
        CHECK(f.report().duration() < 10s);
        REQUIRE_FALSE(f.report().leftovers.empty());
        CHECK(f.report().leftovers.front().name.text == "work of the part");
    }

    TEST_CASE("a part that has been destroyed is nobody's concern")
    {
        fixture f;
        {
            shutdown_coordinator part(f.ctx.get_executor(), f.options);
            f.stop.add_part("part", part);
        }
        f.stop.request();
        f.run_out();
        CHECK(f.report().clean());
    }

    TEST_CASE("destroyed while it runs, it cancels its handlers and waits for nobody")
    {
        asio::io_context ctx;
        bool cancelled = false;
        outcome<error_code, shutdown_report> ended;
        {
            shutdown_coordinator stop(ctx.get_executor());
            stop.on(phase::announce, "handler", [&]() -> asio::awaitable<void> {
                try {
                    co_await wait_for_ever();
                } catch (const boost::system::system_error&) {
                    cancelled = true;
                }
            });
            stop.async_wait(ended.handler());
            stop.request();
            ctx.poll();
            CHECK_FALSE(cancelled);
        }
        run(ctx);
        CHECK(cancelled);
        CHECK(ended.error() == asio::error::operation_aborted);
    }

    TEST_CASE("is requested, and given work, from several threads")
    {
        for (int round = 0; round < 100; ++round) {
            asio::io_context ctx;
            shutdown_coordinator stop(ctx.get_executor());
            auto ended = stop.async_wait(asio::use_future);
            std::atomic<int> first{0};
            {
                std::vector<std::jthread> threads;
                for (int n = 0; n < 2; ++n)
                    threads.emplace_back([&] { ctx.run(); });
                for (int n = 0; n < 2; ++n)
                    threads.emplace_back([&] {
                        for (int work = 0; work < 20; ++work)
                            (void)stop.hold("work");
                        first += stop.request() ? 1 : 0;
                    });
            }
            CHECK(first == 1);
            CHECK(ended.get().clean());
        }
    }
}

TEST_SUITE("shutdown_coordinator::on_reload")
{
    TEST_CASE("requests while one runs are one more reload, and never two at a time")
    {
        fixture f;
        int running = 0;
        int reloads = 0;
        asio::steady_timer gate(f.ctx, asio::steady_timer::time_point::max());
        f.stop.on_reload("configuration", [&]() -> asio::awaitable<void> {
            CHECK(++running == 1);
            co_await gate.async_wait(asio::as_tuple(asio::use_awaitable));
            ++reloads;
            --running;
        });
        f.stop.request_reload();
        f.poll();
        for (int n = 0; n < 5; ++n)
            f.stop.request_reload();
        f.poll();
        CHECK(reloads == 0);
        gate.cancel();
        f.poll();
        CHECK(reloads == 1);
        gate.cancel();
        f.poll();
        CHECK(reloads == 2);
        CHECK(running == 0);
        gate.cancel();
        f.poll();
        CHECK(reloads == 2);
    }

    TEST_CASE(
        "a failure is in the report, and the next one is tried; after a request there is none")
    {
        fixture f;
        int tried = 0;
        f.stop.on_reload("configuration", [&]() -> asio::awaitable<void> {
            if (++tried == 1)
                throw std::runtime_error("line 3");
            co_return;
        });
        f.stop.on_reload("second", f.note("second"));
        f.stop.request_reload();
        f.poll();
        CHECK(f.log.empty());
        f.stop.request_reload();
        f.poll();
        CHECK(f.log == log_type{"second"});
        f.stop.request();
        f.stop.request_reload();
        f.run_out();
        CHECK(tried == 2);
        REQUIRE(f.report().failures.size() == 1);
        CHECK(f.report().failures.front().place == "reload");
        CHECK(f.report().failures.front().what == "line 3");
    }

    TEST_CASE("a reload that the shutdown cancels is no failure")
    {
        fixture f;
        f.stop.on_reload("configuration", wait_for_ever);
        f.stop.request_reload();
        f.poll();
        f.stop.request();
        f.run_out();
        INFO(f.report());
        CHECK(f.report().clean());
        CHECK(f.report().exit_code() == 0);
    }
}
