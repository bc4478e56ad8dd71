// SPDX-License-Identifier: BSL-1.0
// What the tests of async_run share: a context, a clock that stands still, a run and its result.
#ifndef PROCYARD_TESTS_SUPPORT_RUN_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_RUN_FIXTURE_HPP

#include <signal.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/run.hpp>

#include "procyard_test.hpp"

namespace procyard_test {

/// `helper --mode=first rest…`
inline procyard::command mode(std::initializer_list<std::string_view> words)
{
    procyard::command what(PROCYARD_TEST_HELPER);
    bool first = true;
    for (const auto word : words) {
        what.arg(std::exchange(first, false) ? "--mode=" + std::string(word) : std::string(word));
    }
    return what;
}

/// The pid in the first report "WORD PID" of a text; 0 if there is none.
inline pid_t reported_pid(std::string_view text, std::string_view word)
{
    const auto at = text.find(std::string(word) + ' ');
    if (at == std::string_view::npos)
        return 0;
    return std::stoi(std::string(text.substr(at + word.size() + 1)));
}

/// Whether a process runs. One that is dead and not reaped (by whoever inherited it) does not.
inline bool lives(pid_t pid)
{
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const auto name_end = text.rfind(") ");
    return name_end != std::string::npos && text[name_end + 2] != 'Z' && text[name_end + 2] != 'X';
}

/// A run of a `Described` (a command or a pipeline) that ends in a `Result`.
template <class Described, class Result>
class basic_run_fixture {
public:
    boost::asio::io_context ctx;
    std::shared_ptr<procyard::manual_clock> clock = std::make_shared<procyard::manual_clock>();
    boost::asio::cancellation_signal signal;
    outcome<procyard::error_code, Result> got;
    std::string seen;  // by tap()

    /// Starts the run; it can be cancelled through `signal`.
    void start(Described what, procyard::run_options options = {})
    {
        got = {};
        seen.clear();
        procyard::async_run(std::move(what), ctx.get_executor(), options.clock(clock),
                            boost::asio::bind_cancellation_slot(signal.slot(), got.handler()));
        CHECK_MESSAGE(!got.done(), "completed inside the initiating function");
    }

    /// Runs until the run has completed. The context has nothing left to do then.
    Result& finish()
    {
        run_until(ctx, [&] { return got.done(); });
        run(ctx);
        CHECK(got.count == 1);
        return got.result();
    }

    Result& operator()(Described what, procyard::run_options options = {})
    {
        start(std::move(what), std::move(options));
        return finish();
    }

    /// Captures, and shows in `seen` what has come so far: the rendez-vous with the child, or with
    /// the last stage.
    procyard::run_output tap(procyard::capture_options options = {})
    {
        return procyard::run_output().capture(options).to_callback(
            [this](std::string_view bytes) { seen += bytes; });
    }

    /// Runs until the child or the last stage has said `word`.
    void wait_for(std::string_view word)
    {
        run_until(ctx, [&] { return seen.find(word) != std::string::npos; });
    }

    /// Runs until a timer is pending on the clock, then moves it there.
    void fire_next_timer()
    {
        run_until(ctx, [&] { return clock->pending() > 0; });
        clock->advance_to_next();
    }

    /// Cancels the run after no turn, after one, after two, until it ends by itself: each time it
    /// was either cancelled or a success, and nothing is left. `make(gate)` describes what says
    /// something (through tap(), it gets a line to read), and does not end while anybody holds the
    /// other end of `gate`.
    template <class Make>
    void cancel_at_every_turn(bool off_loop, int most_turns, Make make)
    {
        const auto children_before = children();
        bool ended_by_itself = false;
        int certainly_cancelled = 0;
        for (int turns = 0; !ended_by_itself; ++turns) {
            REQUIRE(turns < most_turns);
            procyard::error_code ec;
            auto gate = procyard::make_raw_pipe(ec);
            REQUIRE_FALSE(ec);
            start(make(std::move(gate.read_end)),
                  procyard::run_options().std_in("y\n").std_out(tap()).spawn_off_loop(off_loop));
            ctx.restart();
            for (int i = 0; i < turns && !got.done(); ++i) {
                ctx.run_one_for(deadlock_guard);
                if (!seen.empty())
                    gate.write_end.reset();  // it has been heard, and may end
            }
            const bool could_end = !gate.write_end;
            ended_by_itself = got.done();
            signal.emit(boost::asio::cancellation_type::terminal);
            auto& result = finish();
            CHECK((got.error() == boost::asio::error::operation_aborted
                   || (could_end && result.success())));
            CHECK((got.error() == boost::asio::error::operation_aborted) != result.success());
            certainly_cancelled += could_end ? 0 : 1;
            CHECK(children() == children_before);
        }
        CHECK(certainly_cancelled >= 2);  // before the launch and behind it, at least
    }
};

using run_fixture = basic_run_fixture<procyard::command, procyard::run_result>;

}  // namespace procyard_test

#endif
