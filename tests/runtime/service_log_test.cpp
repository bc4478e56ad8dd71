// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/service_log.hpp>

#include <doctest/doctest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/runtime/supervisor.hpp>

#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::command;
using procyard::error_code;
using procyard::full_log;
using procyard::log_batch;
using procyard::manual_clock;
using procyard::service;
using procyard::service_output;
using procyard::service_state;
using procyard::supervisor_options;
using procyard::supervisor_result;

namespace {

// A sink that is stuck until it is let go, and then takes what comes.
struct sluggish {
    explicit sluggish(asio::io_context& ctx) : gate(ctx, asio::steady_timer::time_point::max()) { }

    procyard::service_log_task task()
    {
        return [this](log_batch batch) { return take(batch); };
    }
    asio::awaitable<void> take(log_batch batch)
    {
        ++calls;
        ++inside;
        most_inside = std::max(most_inside, inside);
        lost += batch.lost;
        if (!open) {
            error_code ec;
            co_await gate.async_wait(asio::redirect_error(asio::use_awaitable, ec));
            cancelled = cancelled || !open;
        }
        for (const auto& line : batch.lines) {
            ++seen;
            last = line.text;
        }
        --inside;
    }
    void let_go()
    {
        open = true;
        gate.cancel();
    }

    asio::steady_timer gate;
    bool open = false;
    bool cancelled = false;
    int calls = 0;
    int inside = 0;
    int most_inside = 0;
    std::uint64_t lost = 0;
    std::uint64_t seen = 0;
    std::string last{};
};

service writer(const std::string& script)
{
    return service("a", command::shell(script)).one_shot();
}

}  // namespace

TEST_SUITE("service_log_task")
{
    TEST_CASE("gets the lines of both outputs with where they came from, and the last one")
    {
        supervised f;
        std::string seen;
        f.it().add(writer("echo one; echo two >&2; printf three")
                       .log([&](log_batch batch) -> asio::awaitable<void> {
                           CHECK(batch.lost == 0);
                           for (const auto& line : batch.lines) {
                               seen += line.from == service_output::err ? "err " : "out ";
                               seen += std::string(line.text) + '\n';
                           }
                           co_return;
                       }));
        f.it().start();
        f.until("a", service_state::exited);
        f.stop();
        CHECK(seen.size() == 8 + 8 + 10);
        for (const char* const line : {"out one\n", "err two\n", "out three\n"})
            CHECK_MESSAGE(seen.find(line) != std::string::npos, seen);
        CHECK(f.of("a").lines_lost == 0);
    }

    TEST_CASE("100 MB into a sink that is stuck: the child never blocks, each lost line is counted "
              "(case 46, complaint 20)")
    {
        supervised f;
        sluggish sink(f.ctx);
        constexpr std::uint64_t lines = 100'000;
        f.it().add(writer("yes " + std::string(999, 'x') + " | head -n " + std::to_string(lines - 1)
                          + "; echo the end")
                       .log(sink.task()));
        f.it().start();
        f.until("a", service_state::exited);
        CHECK(sink.calls == 1);
        CHECK(f.of("a").lines_lost > lines / 2);
        sink.let_go();
        f.stop();
        CHECK(sink.seen + f.of("a").lines_lost == lines);
        CHECK(sink.lost == f.of("a").lines_lost);
        CHECK(sink.last == "the end");
        CHECK(sink.most_inside == 1);
    }

    TEST_CASE("block: the child waits for its log, and no line is lost")
    {
        supervised f;
        sluggish sink(f.ctx);
        f.it().add(writer("yes xxxxxxxxx | head -n 300000; echo written >&2")
                       .log(sink.task(), {.most_bytes = 10'000, .when_full = full_log::block}));
        f.it().start();
        // So much more than the pipe and the queue hold: it cannot end before the sink moves.
        run_until(f.ctx, [&] { return sink.calls == 1; });
        for (int i = 0; i < 100; ++i)
            f.ctx.poll();
        CHECK(f.state("a") != service_state::exited);
        sink.let_go();
        f.until("a", service_state::exited);
        f.stop();
        CHECK(sink.seen == 300'001);
        CHECK(f.of("a").lines_lost == 0);
        CHECK(sink.calls > 10);
    }

    TEST_CASE(
        "block: one that is stopped while it waits for its log ends, and nothing is uncounted")
    {
        supervised f;
        sluggish sink(f.ctx);
        f.it().add(service("a", command::shell("exec yes xxxxxxxxx"))
                       .log(sink.task(), {.most_bytes = 10'000, .when_full = full_log::block}));
        f.it().start();
        run_until(f.ctx, [&] { return sink.calls == 1; });
        outcome<error_code, supervisor_result> got;
        f.it().async_stop(got.handler());
        f.until("a", service_state::exited);
        CHECK_FALSE(got.done());
        sink.let_go();
        run_until(f.ctx, [&] { return got.done(); });
        CHECK(got.result().left.empty());
        CHECK(sink.lost == f.of("a").lines_lost);
    }

    TEST_CASE("one that throws loses what it was given, and gets what comes next")
    {
        supervised f;
        int calls = 0;
        std::string seen;
        f.it().add(writer("echo line").log([&](log_batch batch) -> asio::awaitable<void> {
            if (++calls == 1)
                throw std::runtime_error("no disk");
            for (const auto& line : batch.lines)
                seen += line.text;
            co_return;
        }));
        f.it().start();
        f.until("a", service_state::exited);
        run_until(f.ctx, [&] { return calls == 1; });
        f.it().start("a");
        f.until("a", service_state::exited, 2);
        f.stop();
        CHECK(calls == 2);
        CHECK(seen == "line");
        CHECK(f.of("a").lines_lost == 1);
    }

    TEST_CASE("a plain sink that throws loses that line alone, and harms nobody")
    {
        supervised f;
        std::string seen;
        f.it().add(writer("echo one; echo two; echo three")
                       .log([&](service_output, std::string_view line) {
                           if (line == "two")
                               throw std::runtime_error("not this one");
                           seen += std::string(line) + ' ';
                       }));
        f.it().start();
        f.until("a", service_state::exited);
        CHECK(seen == "one three ");
        CHECK(f.of("a").lines_lost == 1);
    }

    TEST_CASE("a stop waits for the log, and no longer than its budget")
    {
        supervisor_options options;
        const auto clock = std::make_shared<manual_clock>();
        options.clock = clock;
        supervised f(options);
        sluggish sink(f.ctx);
        f.it().add(service("a", command::shell("echo one; echo two; exec tail -f /dev/null"))
                       .ready_when(procyard::readiness::line_with("two"))
                       .log(sink.task()));
        f.it().start();
        f.until("a", service_state::ready);
        run_until(f.ctx, [&] { return sink.calls == 1; });
        outcome<error_code, supervisor_result> got;
        f.it().async_stop(5s, got.handler());
        f.until("a", service_state::exited);
        CHECK_FALSE(got.done());
        clock->advance(5s);
        run_until(f.ctx, [&] { return got.done(); });
        CHECK(got.result().left.empty());
        run_until(f.ctx, [&] { return sink.cancelled; });
    }

    TEST_CASE("a group's logs are flushed before the group has ended, within its grace")
    {
        supervisor_options options;
        const auto clock = std::make_shared<manual_clock>();
        options.clock = clock;
        supervised f(options);
        sluggish sink(f.ctx);
        f.it().add(service("group", procyard::restart_strategy::one_for_one,
                           {service("x", helper({"--mode=pause"}))
                                .ready_when(procyard::readiness::line_with("ready"))
                                .log(sink.task())}));
        f.it().start();
        f.until("group", service_state::ready);
        run_until(f.ctx, [&] { return sink.calls == 1; });
        outcome<error_code, supervisor_result> got;
        f.it().async_stop(got.handler());
        run_until(f.ctx, [&] { return children() == 0; });
        f.ctx.poll();
        CHECK(f.state("group") == service_state::stopping);
        clock->advance(5s);
        run_until(f.ctx, [&] { return got.done() && sink.cancelled; });
        CHECK(got.result().left.empty());
    }

    TEST_CASE("destroyed while the sink is at work: it is cancelled")
    {
        supervised f;
        sluggish sink(f.ctx);
        f.it().add(service("a", helper({"--mode=pause"})).log(sink.task()));
        f.it().start();
        run_until(f.ctx, [&] { return sink.calls == 1; });
        f.guarded.reset();
        run(f.ctx);
        CHECK(sink.cancelled);
        CHECK(children() == 0);
    }

    TEST_CASE("refuses a log without room, and one for what has no outputs")
    {
        supervised f;
        const auto nothing = [](log_batch) -> asio::awaitable<void> { co_return; };
        CHECK_THROWS_WITH(f.it().add(writer("true").log(nothing, {.most_bytes = 0})),
                          "supervisor: service \"a\": there is no room before its log");
        CHECK_THROWS_WITH(f.it().add(sleeper("b").log(nothing)),
                          "supervisor: service \"b\": only a command has outputs to log");
    }
}
