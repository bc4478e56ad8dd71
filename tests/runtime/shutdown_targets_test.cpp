// SPDX-License-Identifier: BSL-1.0
//
// A shutdown with supervisors and pools among its children.
#include <procyard/runtime/shutdown.hpp>

#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <procyard/runtime/process_pool.hpp>
#include <procyard/runtime/rotating_file.hpp>
#include <procyard/runtime/spawn.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "operation_contract.hpp"
#include "pool_fixture.hpp"
#include "procyard_test.hpp"
#include "shutdown_fixture.hpp"
#include "supervisor_fixture.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;
using namespace std::chrono_literals;
namespace asio = boost::asio;
using kind = shutdown_leftover::kind;
using log_type = std::vector<std::string>;

namespace {

// All time is for what is stopped.
shutdown_options for_targets(std::chrono::nanoseconds budget)
{
    shutdown_options options;
    options.budget = budget;
    options.weights = {0, 0, 0, 0, 0, 1, 0};
    return options;
}

shutdown_report ended(asio::io_context& ctx, shutdown_coordinator& stop)
{
    outcome<error_code, shutdown_report> got;
    stop.async_wait(got.handler());
    stop.request();
    run_until(ctx, [&] { return got.done(); });
    return got.result();
}

std::string story_of(const shutdown_report& report)
{
    std::ostringstream text;
    for (const auto& left : report.leftovers)
        text << to_string(left.what) << ' ' << left.name.text << '\n';
    for (const auto& failed : report.failures)
        text << failed.name.text << ": " << failed.what << '\n';
    return text.str();
}

asio::awaitable<void> heed_nothing()
{
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    co_await until_cancelled();
}

// A child, a supervisor and a pool; each writes down when it has ended.
struct one_of_each {
    explicit one_of_each(log_type& log)
    {
        supervisor_options all;
        all.on_event = [&](const service_event& event) {
            if (event.to == service_state::exited)
                log.emplace_back("supervisor");
        };
        services.emplace(f.ctx.get_executor(), std::move(all));
        services->add(sleeper("a"));
        services->start();
        auto options = of_workers(1);
        options.spans.end = [&](const pool_span& span) {
            if (span.task == 0)
                log.emplace_back("pool");
        };
        f.it.emplace(f.ctx.get_executor(), pool_worker(), "work", options);
        f.must_start();
        sleeping = spawn(command("sleep").arg("1000"), f.ctx.get_executor());
        sleeping.async_wait([&](error_code, const exit_status&) { log.emplace_back("child"); });
    }
    void add_to(shutdown_coordinator& stop, const std::string& what)
    {
        if (what == "pool")
            stop.add_pool("pool", *f.it);
        else if (what == "supervisor")
            stop.add_supervisor("supervisor", *services);
        else
            stop.add_child("child", sleeping);
    }

    pooled f{};
    std::optional<supervisor> services{};
    child sleeping{};
};

}  // namespace

TEST_SUITE("shutdown_coordinator::add_supervisor, add_pool")
{
    TEST_CASE("supervisors, pools and children are stopped in the reverse order of adding")
    {
        for (const auto& order :
             {log_type{"child", "supervisor", "pool"}, log_type{"pool", "child", "supervisor"},
              log_type{"supervisor", "pool", "child"}}) {
            log_type log;
            one_of_each all(log);
            shutdown_coordinator stop(all.f.ctx.get_executor());
            for (const auto& what : order)
                all.add_to(stop, what);
            stop.on(shutdown_phase::stop_children, "handler", [&]() -> asio::awaitable<void> {
                log.emplace_back("handler");
                co_return;
            });
            const auto report = ended(all.f.ctx, stop);
            INFO(report);
            CHECK(report.clean());
            CHECK(log == log_type{order[2], order[1], order[0], "handler"});
        }
    }

    TEST_CASE("a service that is left is in the report, with its supervisor's name")
    {
        shutdown_fixture f;
        supervisor_options options;
        options.clock = f.clock;
        options.stop_budget = 1h;
        supervisor services(f.ctx.get_executor(), options);
        services.add(sleeper("good"));
        services.add(
            service("deaf", [](service_context) { return heed_nothing(); }).stop_grace(1h));
        services.start();
        f.poll();
        f.stop.add_supervisor("services", services);
        const auto began = f.clock->now();
        f.stop.request();
        f.run_out();
        CHECK(story_of(f.report()) == "service services/deaf\n");
        REQUIRE_FALSE(f.report().leftovers.empty());
        // Of 10 s its phase has two thirds of what is left, and it nine tenths of that.
        CHECK(f.report().leftovers.front().running_for < 6670ms);
        CHECK(f.report().leftovers.front().running_for >= 5990ms);
        CHECK(f.report().ended - began < 10s);
        CHECK(f.report().exit_code() == 1);
    }

    TEST_CASE("a supervisor that is given up is told to kill all, and named")
    {
        shutdown_fixture f;
        supervisor_options options;
        options.clock = f.clock;
        supervisor services(f.ctx.get_executor(), options);
        bool ready = false;
        services.add(
            service("stubborn",
                    command::shell("trap '' TERM; echo ready; while :; do sleep 1000; done"))
                .log([&](service_output, std::string_view) { ready = true; }));
        services.start();
        run_until(f.ctx, [&] { return ready; });
        f.stop.add_supervisor("services", services);
        f.stop.request();
        f.poll();
        CHECK_FALSE(f.ended.done());
        shutdown_request hurry;
        hurry.budget = 0s;
        f.stop.request(hurry);
        const auto death = [&] { return services.snapshot().front().last_death; };
        run_until(f.ctx, [&] {
            // Its outputs are closed some time after that.
            f.clock->advance_to_next();
            return f.ended.done() && death();
        });
        CHECK(story_of(f.report()) == "supervisor services\n");
        CHECK(death()->status->signal() == SIGKILL);
    }

    TEST_CASE("a supervisor that has given up before is a failure in the report")
    {
        supervised f([] {
            supervisor_options options;
            options.intensity = {.restarts = 1, .window = 1h};
            return options;
        }());
        f.it().add(service("a", [](service_context) -> asio::awaitable<void> {
                       throw std::runtime_error("no");
                       co_return;
                   }).backoff(at_once()));
        outcome<error_code, supervisor_result> over;
        f.it().async_wait(over.handler());
        f.it().start();
        run_until(f.ctx, [&] { return over.done(); });
        shutdown_coordinator stop(f.ctx.get_executor());
        stop.add_supervisor("services", f.it());
        const auto report = ended(f.ctx, stop);
        CHECK(story_of(report) == "services: it has given up: a\n");
        CHECK(report.exit_code() == 1);
    }

    TEST_CASE("a pool runs what it has, and refuses the rest, which is no failure")
    {
        const temporary_directory where;
        pool_gate gate((where.path() / "gate").string());
        auto options = of_workers(1);
        options.high_water = 5;
        pooled f(options);
        f.must_start();
        std::vector<pool_task<answer>> tasks;
        tasks.push_back(f.submit(make_work("gate", 0, gate.path())));
        f.until([&] { return gate.is_reached(); });
        for (std::uint64_t n = 0; n < 5; ++n)
            tasks.push_back(f.submit(make_work("square", n)));
        shutdown_coordinator stop(f.ctx.get_executor());
        stop.add_pool("pool", *f.it);
        // Most of these wait for room.
        std::size_t refused = 0;
        const auto submit = [&] {
            f.it->async_submit(make_work("square"), {}, [&](error_code ec, pool_task<answer> task) {
                task.detach();
                refused += ec == pool_errc::stopped ? 1 : 0;
            });
        };
        for (int i = 0; i < 30; ++i)
            submit();
        outcome<error_code, shutdown_report> got;
        stop.async_wait(got.handler());
        stop.request();
        run_until(f.ctx, [&] { return refused > 0; });
        const auto before = refused;
        submit();
        run_until(f.ctx, [&] { return refused == before + 1; });
        gate.open();
        run_until(f.ctx, [&] { return got.done(); });
        INFO(got.result());
        CHECK(got.result().clean());
        for (auto& task : tasks)
            CHECK(!f.error(task));
        CHECK(f.it->workers().empty());
    }

    TEST_CASE("a pool whose tasks are cut off is in the report, within the time")
    {
        const temporary_directory where;
        pool_gate gate((where.path() / "gate").string());
        const auto clock = std::make_shared<manual_clock>();
        auto all = of_workers(1);
        all.clock = clock;
        pooled f(all);
        f.must_start();
        auto task = f.submit(make_work("gate", 0, gate.path()));
        f.until([&] { return gate.is_reached(); });
        auto options = for_targets(10s);
        options.clock = clock;
        shutdown_coordinator stop(f.ctx.get_executor(), options);
        stop.add_pool("pool", *f.it);
        outcome<error_code, shutdown_report> got;
        stop.async_wait(got.handler());
        stop.request();
        // What it runs is cancelled, and then killed, in nine tenths of the 10 s: no time passes
        // after these.
        move_until(f.ctx, *clock, clock->now() + 9s, [&] { return got.done(); });
        gate.open();
        const auto& report = got.result();
        CHECK(story_of(report) == "pool pool\n");
        CHECK(f.error(task) == pool_errc::stopped);
        CHECK(f.it->workers().empty());
        CHECK(report.duration() >= 7s);
        CHECK(report.duration() <= 9s);
    }

    TEST_CASE("what has been destroyed before its turn is nobody's concern")
    {
        log_type log;
        std::optional<one_of_each> all(std::in_place, log);
        shutdown_coordinator stop(all->f.ctx.get_executor());
        std::optional<work_pool> second(std::in_place, all->f.ctx.get_executor(), pool_worker(),
                                        "work", of_workers(1));
        stop.add_pool("pool", *all->f.it);
        stop.add_supervisor("supervisor", *all->services);
        stop.add_pool("second", *second);
        second.reset();
        stop.on(
            shutdown_phase::stop_children, "destroys",
            [&]() -> asio::awaitable<void> {
                asio::post(all->f.ctx, [&] { all->services.reset(); });
                co_return;
            },
            -3);
        const auto report = ended(all->f.ctx, stop);
        INFO(report);
        CHECK(report.clean());
        CHECK(all->f.it->workers().empty());
    }

    TEST_CASE("what is destroyed while it is stopped is nobody's concern")
    {
        const temporary_directory where;
        pool_gate gate((where.path() / "gate").string());
        pooled f(of_workers(1));
        f.must_start();
        f.submit(make_work("gate", 0, gate.path())).detach();
        f.until([&] { return gate.is_reached(); });
        bool stops = false;
        supervisor_options options;
        options.on_event = [&](const service_event& event) {
            stops = stops || event.to == service_state::stopping;
        };
        std::optional<supervisor> services(std::in_place, f.ctx.get_executor(), std::move(options));
        services->add(service("deaf", [](service_context) { return heed_nothing(); }));
        services->start();
        f.until([&] { return services->snapshot().front().state == service_state::ready; });
        shutdown_coordinator stop(f.ctx.get_executor());
        stop.add_pool("pool", *f.it);
        stop.add_supervisor("supervisor", *services);
        // Each in the step of what it destroys: neither would end by itself.
        const auto end_supervisor = [&]() -> asio::awaitable<void> {
            while (!stops)
                co_await asio::post(f.ctx, asio::use_awaitable);
            asio::post(f.ctx, [&] { services.reset(); });
        };
        const auto end_pool = [&]() -> asio::awaitable<void> {
            const auto what = make_work("square");
            const submit_options how;
            for (error_code ec; ec != pool_errc::stopped;) {
                auto [refused, task] =
                    co_await f.it->async_submit(what, how, asio::as_tuple(asio::use_awaitable));
                task.detach();
                ec = refused;
            }
            asio::post(f.ctx, [&] { f.it.reset(); });
        };
        stop.on(shutdown_phase::stop_children, "ends the supervisor", end_supervisor, -2);
        stop.on(shutdown_phase::stop_children, "ends the pool", end_pool, -1);
        const auto report = ended(f.ctx, stop);
        gate.open();
        INFO(report);
        CHECK(report.clean());
        CHECK_FALSE(services);
        CHECK_FALSE(f.it);
    }

    TEST_CASE("the last words of a child and of the flush arrive, in a file, a sink and a socket "
              "(case 55)")
    {
        const temporary_directory where;
        const auto path = (where.path() / "log").string();
        asio::io_context ctx;
        asio::local::stream_protocol::socket collector(ctx);
        asio::local::stream_protocol::socket telemetry(ctx);
        asio::local::connect_pair(collector, telemetry);
        rotating_file file(path);
        std::string sink;
        // One that takes its time for what it is given.
        const auto slow = [&](log_batch batch) -> asio::awaitable<void> {
            for (int turn = 0; turn < 10; ++turn)
                co_await asio::post(ctx, asio::use_awaitable);
            for (const auto& line : batch.lines)
                sink += std::string(line.text) + '\n';
        };
        const auto talker = [](const std::string& who) {
            return command::shell(
                "trap 'echo last words of " + who
                + "; exit' TERM; echo ready; while :; do sleep 1000 & wait; done");
        };
        supervisor services(ctx.get_executor());
        services.add(service("one", talker("one")).log([&](service_output, std::string_view line) {
            file.write(line);
        }));
        services.add(service("two", talker("two")).depends_on({"one"}).log(slow));
        services.start();
        run_until(ctx, [&] { return lines_of(path) == log_type{"ready"} && sink == "ready\n"; });
        shutdown_coordinator stop(ctx.get_executor());
        stop.add_supervisor("services", services);
        stop.on(shutdown_phase::flush, "telemetry", [&]() -> asio::awaitable<void> {
            const std::string words = "last words of the flush\n";
            co_await asio::async_write(telemetry, asio::buffer(words), asio::use_awaitable);
            file.write("last words of the flush");
        });
        const auto report = ended(ctx, stop);
        INFO(report);
        CHECK(report.clean());
        // All is there when the shutdown is over: nothing is run after it.
        CHECK(lines_of(path) == log_type{"ready", "last words of one", "last words of the flush"});
        CHECK(sink == "ready\nlast words of two\n");
        std::string heard(100, '\0');
        error_code ec;
        collector.non_blocking(true);
        heard.resize(collector.read_some(asio::buffer(heard), ec));
        CHECK(heard == "last words of the flush\n");
    }

    TEST_CASE("a supervisor of another thread is stopped there")
    {
        asio::io_context elsewhere;
        std::thread::id stopped_in;
        supervisor_options options;
        options.on_event = [&](const service_event& event) {
            if (event.to == service_state::exited)
                stopped_in = std::this_thread::get_id();
        };
        supervisor services(elsewhere.get_executor(), options);
        services.add(sleeper("a"));
        services.start();
        auto work = asio::make_work_guard(elsewhere);
        asio::io_context ctx;
        shutdown_coordinator stop(ctx.get_executor());
        stop.add_supervisor("services", services);
        std::thread other([&] { elsewhere.run(); });
        const auto other_id = other.get_id();
        shutdown_report report;
        try {
            report = ended(ctx, stop);
        } catch (...) {  // it is a failure then, and not the end of all tests
            elsewhere.stop();
            other.join();
            throw;
        }
        work.reset();
        other.join();
        INFO(report);
        CHECK(report.clean());
        CHECK(stopped_in == other_id);
    }
}
