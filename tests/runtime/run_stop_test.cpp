// SPDX-License-Identifier: BSL-1.0
// How a run ends that does not end by itself, and what becomes of descendants. On a manual clock.
#include <procyard/runtime/run.hpp>

#include <signal.h>
#include <sys/wait.h>

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>

#include <procyard/runtime/observer.hpp>

#include "run_fixture.hpp"

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;
using procyard_test::mode;
using procyard_test::reported_pid;
using procyard_test::run_fixture;
using procyard_test::run_until;

namespace {

// Ends a descendant that a run has left alone.
class survivor {
public:
    explicit survivor(pid_t pid) : pid_(pid) { }
    survivor(const survivor&) = delete;
    survivor& operator=(const survivor&) = delete;
    ~survivor()
    {
        if (pid_ > 0)
            ::kill(pid_, SIGKILL);
    }
    [[nodiscard]] bool lives() const { return procyard_test::lives(pid_); }

private:
    pid_t pid_;
};

}  // namespace

TEST_SUITE("async_run stops")
{
    TEST_CASE_FIXTURE(run_fixture, "in the moment the child ends, and says so once")
    {
        struct look final : observer {
            pid_t pid = 0;
            void on_event(const child_event& event) noexcept override { pid = event.pid; }
        };
        const auto seen_by = std::make_shared<look>();
        set_observer(ctx.get_executor(), seen_by);
        start(command("true"),
              run_options()
                  .descendants(descendant_policy::stop)
                  .std_out(run_output::discard())
                  .std_err(run_output::discard()));
        run_until(ctx, [&] { return seen_by->pid != 0; });
        // In a handler: the ladder begins, and then the reaper's turn comes before the ladder's.
        asio::post(ctx, [&] {
            siginfo_t ended{};
            REQUIRE(::waitid(P_PID, static_cast<id_t>(seen_by->pid), &ended, WEXITED | WNOWAIT)
                    == 0);
            signal.emit(asio::cancellation_type::terminal);
        });
        finish();
        CHECK(got.error() == asio::error::operation_aborted);
    }

    TEST_CASE_FIXTURE(run_fixture, "at the deadline, and delivers what came before (case 37)")
    {
        start(mode({"pause"}), run_options().deadline(1h).std_out(tap()));
        wait_for("ready");
        clock->advance(1h - 1ns);
        ctx.poll();
        CHECK_FALSE(got.done());
        clock->advance(1ns);
        auto& result = finish();
        CHECK_FALSE(got.error());  // a deadline is a result
        CHECK(result.reason == run_reason::deadline);
        CHECK(result.status == exit_status::signaled(SIGTERM));
        CHECK(result.std_out.data == seen);
        CHECK(result.std_out.complete());
        CHECK(result.times.total == 1h);
        CHECK(result.error() == run_errc::deadline);
        CHECK(result.to_string() == "deadline: killed by SIGTERM");
        CHECK(clock->pending() == 0);
    }

    TEST_CASE_FIXTURE(run_fixture, "a deadline for ever is none")
    {
        auto& result = (*this)(command("true"),
                               run_options()
                                   .deadline(timer_clock::duration::max())
                                   .idle_deadline(timer_clock::duration::max()));
        CHECK(result.success());
    }

    TEST_CASE_FIXTURE(run_fixture,
                      "with SIGKILL after the grace if the child does not listen (case 54)")
    {
        start(mode({"ignore-term"}),
              run_options().deadline(1s).std_out(tap()).ladder(stop_ladder::polite(7s)));
        wait_for("ready");
        clock->advance(1s);
        fire_next_timer();  // the grace
        auto& result = finish();
        CHECK(result.reason == run_reason::deadline);
        CHECK(result.status == exit_status::signaled(SIGKILL));
        REQUIRE(result.stop);
        CHECK(result.stop->forced());
        CHECK(result.times.stop == 7s);
        CHECK(result.stop->to_string()
              == "close stdin, SIGTERM to the tree; after 7 s SIGKILL to the tree; "
                 "empty after 7 s");
    }

    TEST_CASE_FIXTURE(run_fixture, "without SIGKILL if it does, and at once then (case 54)")
    {
        start(mode({"obey", "4"}), run_options().deadline(1s).std_out(tap()));
        wait_for("ready");
        clock->advance(1s);
        auto& result = finish();  // the clock stands: no grace has passed
        CHECK(result.status == exit_status::exited(4));
        REQUIRE(result.stop);
        CHECK_FALSE(result.stop->forced());
        CHECK(result.times.stop == 0s);
    }

    TEST_CASE_FIXTURE(run_fixture, "exit 0 in answer to a cancellation is no success (case 55)")
    {
        for (const int code : {0, 3}) {
            start(mode({"obey", std::to_string(code)}), run_options().std_out(tap()));
            wait_for("ready");
            signal.emit(asio::cancellation_type::terminal);
            auto& result = finish();
            CHECK(got.error() == asio::error::operation_aborted);
            CHECK(result.reason == run_reason::cancelled);
            CHECK(result.status == exit_status::exited(code));  // what it said is preserved
            CHECK_FALSE(result.success());
            CHECK(result.error() == asio::error::operation_aborted);
        }
    }

    TEST_CASE_FIXTURE(run_fixture, "a second cancellation skips the grace")
    {
        start(mode({"ignore-term"}), run_options().std_out(tap()));
        wait_for("ready");
        signal.emit(asio::cancellation_type::terminal);
        while (ctx.poll() > 0) { }
        CHECK_FALSE(got.done());
        signal.emit(asio::cancellation_type::terminal);
        auto& result = finish();
        CHECK(result.status == exit_status::signaled(SIGKILL));
        CHECK(result.times.stop == 0s);
    }

    TEST_CASE_FIXTURE(run_fixture, "a suspended child, which gets SIGCONT to see its SIGTERM")
    {
        start(mode({"stop-self"}), run_options().deadline(1s).std_out(tap()));
        wait_for("ready");
        clock->advance(1s);
        CHECK(finish().status == exit_status::exited(7));
    }

    TEST_CASE_FIXTURE(run_fixture, "a filter by the end of its input, if the ladder begins so")
    {
        auto pipe = make_pipe(ctx.get_executor());
        start(mode({"until-eof", "8"}),
              run_options()
                  .deadline(1s)
                  .std_out(tap())
                  .std_in(run_input::stream(std::ref(pipe.reader)))
                  .ladder(stop_ladder::end_of_input()));
        wait_for("ready");
        clock->advance(1s);
        auto& result = finish();
        CHECK(result.status == exit_status::exited(8));
        CHECK(result.stop->taken.size() == 1);
        CHECK(result.input.rejected);
    }

    TEST_CASE_FIXTURE(run_fixture, "the whole tree")
    {
        start(mode({"family", "3"}), run_options().deadline(1s).std_out(tap()));
        wait_for("ready");
        wait_for("member");
        clock->advance(1s);
        auto& result = finish();
        REQUIRE(result.stop);
        CHECK(result.stop->tree_empty);
        CHECK_FALSE(result.std_out.held_by_descendant);
        CHECK_FALSE(procyard_test::lives(reported_pid(result.std_out.data, "member")));
    }

    TEST_CASE_FIXTURE(run_fixture, "silence that nobody could hear is refused before the spawn")
    {
        auto options = run_options().idle_deadline(10s);
        options.std_out(run_output::as_command()).std_err(run_output::as_command());
        auto& result = (*this)(command("true"), options);
        CHECK(got.error() == boost::system::errc::invalid_argument);
        CHECK(step_of(got.error()) == spawn_step::options);
        CHECK(result.pid == 0);
        CHECK(result.failure.to_string()
              == "spawn \"true\": options \"idle deadline, and no output that comes through this "
                 "process\": Invalid argument");
    }

    TEST_CASE_FIXTURE(run_fixture, "after a silence, counted from the last output")
    {
        auto gate = make_pipe(ctx.get_executor());
        // Each line makes `cat` say something.
        const auto lines = [&gate]() -> asio::awaitable<std::optional<std::string>> {
            std::string text(1, '\0');
            co_await gate.reader.async_read_some(asio::buffer(text), asio::use_awaitable);
            co_return text;
        };
        start(command("cat"),
              run_options().idle_deadline(10s).std_out(tap()).std_in(run_input::generator(lines)));
        for (const std::string word : {"a", "b", "c"}) {
            error_code ec;
            gate.writer.try_write_some(asio::buffer(word), ec);
            wait_for(word);
            clock->advance(7s);
            while (ctx.poll() > 0) { }
            CHECK_FALSE(got.done());
        }
        clock->advance(3s);
        auto& result = finish();
        CHECK(result.reason == run_reason::idle);
        CHECK(result.std_out.data == "abc");
        CHECK(result.times.total == 24s);
        CHECK(result.error() == run_errc::idle);
    }

    TEST_CASE_FIXTURE(run_fixture, "not for a silence that is a sink's, until it has let go")
    {
        auto gate = make_pipe(ctx.get_executor());
        bool held = false;
        const auto slow = [&](std::string_view) -> asio::awaitable<void> {
            held = true;
            co_await gate.reader.async_wait_readable(asio::use_awaitable);  // once open, always
            held = false;
        };
        start(mode({"pause"}),
              run_options().idle_deadline(10s).std_out(run_output().to_coroutine(slow)));
        procyard_test::run_until(ctx, [&] { return held; });
        for (int i = 0; i < 3; ++i) {
            clock->advance(10s);
            while (ctx.poll() > 0) { }
            CHECK_FALSE(got.done());
        }
        error_code ec;
        gate.writer.try_write_some(asio::buffer("x", 1), ec);
        procyard_test::run_until(ctx, [&] { return !held; });
        while (ctx.poll() > 0) { }
        clock->advance(10s);
        auto& result = finish();
        CHECK(result.reason == run_reason::idle);
        CHECK(result.times.total == 40s);
    }

    TEST_CASE_FIXTURE(run_fixture, "for the first reason, and says it even if others follow")
    {
        start(mode({"ignore-term"}),
              run_options().deadline(2s).idle_deadline(1s).std_out(tap()).ladder(
                  stop_ladder::terminate(5s)));
        wait_for("ready");
        clock->advance(1s);
        while (ctx.poll() > 0) { }
        clock->advance(1s);  // the deadline, in the middle of the ladder
        while (ctx.poll() > 0) { }
        signal.emit(asio::cancellation_type::total);
        fire_next_timer();
        auto& result = finish();
        CHECK(result.reason == run_reason::idle);
        CHECK(got.error() == asio::error::operation_aborted);
    }
}

TEST_SUITE("async_run and descendants")
{
    TEST_CASE_FIXTURE(run_fixture, "one that holds an output delays it by the grace (case 57)")
    {
        std::string held;
        SUBCASE("stdout")
        {
            held = "1";
        }
        SUBCASE("stderr")
        {
            held = "2";
        }
        SUBCASE("both")
        {
            held = "12";
        }
        SUBCASE("all")
        {
            held = "012";
        }
        start(mode({"leave-holder", held}),
              run_options().drain_grace(3s).std_in(std::string(1'000'000, 'x')));
        fire_next_timer();
        auto& result = finish();
        const survivor descendant(reported_pid(result.std_out.data, "member"));
        CHECK(descendant.lives());  // nobody asked for its end
        CHECK_FALSE(got.error());
        CHECK(result.reason == run_reason::exited);
        CHECK(result.status.success());
        CHECK_FALSE(result.stop);
        CHECK(result.std_out.held_by_descendant == (held.find('1') != std::string::npos));
        CHECK(result.std_err.held_by_descendant == (held.find('2') != std::string::npos));
        CHECK(result.times.run == 0s);
        CHECK(result.times.drain == 3s);
        CHECK_FALSE(result.success());  // what it writes later is not here
        CHECK(result.error() == run_errc::held_by_descendant);
    }

    TEST_CASE_FIXTURE(run_fixture, "one that holds stdin alone delays nothing (case 57)")
    {
        auto& result =
            (*this)(mode({"leave-holder", "0"}), run_options().std_in(std::string(1'000'000, 'x')));
        const survivor descendant(reported_pid(result.std_out.data, "member"));
        CHECK(descendant.lives());
        CHECK(result.success());
        CHECK(result.input.rejected);
        CHECK(result.times.drain == 0s);
    }

    TEST_CASE_FIXTURE(run_fixture, "one that lets go within the grace: complete, and at once")
    {
        start(mode({"leave-holder", "1"}), run_options().std_out(tap()));
        wait_for("member");
        procyard_test::run_until(ctx, [&] { return clock->pending() > 0; });
        ::kill(reported_pid(seen, "member"), SIGKILL);
        auto& result = finish();
        CHECK(result.success());
        CHECK(result.times.drain == 0s);
    }

    TEST_CASE_FIXTURE(run_fixture, "the wait on a held output ends with a cancellation")
    {
        start(mode({"leave-holder", "1"}));
        procyard_test::run_until(ctx, [&] { return clock->pending() > 0; });
        signal.emit(asio::cancellation_type::terminal);
        auto& result = finish();
        CHECK(got.error() == asio::error::operation_aborted);
        CHECK(result.reason == run_reason::cancelled);
        CHECK(result.status.success());
        REQUIRE(result.stop);  // what was left of the tree
        CHECK(result.stop->tree_empty);
    }

    TEST_CASE_FIXTURE(run_fixture, "descendant_policy::stop: they are stopped when the child ends")
    {
        auto& result = (*this)(mode({"leave-holder", "12", "5"}),
                               run_options().descendants(descendant_policy::stop));
        CHECK(result.reason == run_reason::exited);
        CHECK(result.status == exit_status::exited(5));
        REQUIRE(result.stop);
        CHECK(result.stop->tree_empty);
        CHECK(result.std_out.complete());
        CHECK_FALSE(procyard_test::lives(reported_pid(result.std_out.data, "member")));
    }

    TEST_CASE_FIXTURE(run_fixture, "descendant_policy::stop: without any there is nothing to stop")
    {
        auto& result = (*this)(command("true"), run_options().descendants(descendant_policy::stop));
        CHECK(result.success());
        CHECK_FALSE(result.stop);
    }

    TEST_CASE_FIXTURE(run_fixture, "descendant_policy::wait: the run lasts as long as they do")
    {
        start(command::shell("exec 3<&0; (read x <&3; echo late) & exit 6"),
              run_options()
                  .descendants(descendant_policy::wait)
                  .std_in(run_input::generator([n = 0]() mutable {
                      return [](int turn) -> asio::awaitable<std::optional<std::string>> {
                          co_return turn == 0 ? std::optional<std::string>("x\n") : std::nullopt;
                      }(n++);
                  })));
        auto& result = finish();
        CHECK(result.status == exit_status::exited(6));
        CHECK(result.reason == run_reason::exited);
        CHECK(result.std_out.data == "late\n");
        CHECK_FALSE(result.std_out.held_by_descendant);
    }

    TEST_CASE_FIXTURE(run_fixture, "descendant_policy::wait: a deadline ends it")
    {
        start(mode({"leave-holder", "1"}),
              run_options().descendants(descendant_policy::wait).deadline(1s).std_out(tap()));
        wait_for("member");
        clock->advance(1s);
        auto& result = finish();
        CHECK(result.reason == run_reason::deadline);
        CHECK(result.stop->tree_empty);
    }
}
