// SPDX-License-Identifier: BSL-1.0
//
// `demo channel`: messages to another process through a channel and through a pipe. The table goes
// to standard output while it grows, the step that runs is shown on standard error.
#include <fmt/format.h>
#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/multiple_exceptions.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <procyard/runtime.hpp>

#include "channel_flow.hpp"
#include "channel_kill.hpp"
#include "channel_rally.hpp"
#include "channel_stage.hpp"
#include "commands.hpp"
#include "duration.hpp"
#include "progress_line.hpp"
#include "say.hpp"

namespace demo {

namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using namespace procyard;

// Exit codes beside 0, timed_out and 128 + signal.
constexpr int not_in_order = 1;
constexpr int unable = 2;

class channel_job {
public:
    channel_job(const channel_command_options& options, const asio::any_io_executor& ex)
        : options_(options),
          stage_(ex),
          signals_(ex, SIGINT, SIGTERM, SIGHUP),
          deadline_(ex, asio::steady_timer::time_point::max()),
          repaint_(ex)
    {
        signals_.add(SIGQUIT);
        if (options_.timeout)
            deadline_.expires_after(*options_.timeout);
    }

    asio::awaitable<int> run()
    {
        const int code = co_await work_or_end();
        // Whatever was cut short, nobody stays behind.
        if (stage_.peer())
            co_await stop();
        if (failure_)
            std::rethrow_exception(failure_);
        co_return code;
    }

private:
    asio::awaitable<int> work_or_end()
    {
        auto first = co_await (work() || signals_.async_wait(asio::use_awaitable)
                               || deadline_.async_wait(asio::use_awaitable) || show());
        line_.clear();
        if (first.index() == 0)
            co_return std::get<0>(first);
        failure_ = nullptr;  // it was cancelled
        if (first.index() == 1) {
            say("demo: interrupted by {}\n", signal_name(std::get<1>(first)));
            co_return 128 + std::get<1>(first);
        }
        say("demo: timeout after {}\n", format_duration(*options_.timeout));
        co_return timed_out;
    }

    /// Never throws: to `||`, who fails has not won, and the others would go on.
    asio::awaitable<int> work()
    {
        try {
            // No conditional operator: GCC 12 would make both coroutines, and destroy one twice.
            if (options_.kill)
                co_return co_await kill();
            co_return co_await compare();
        } catch (const asio::multiple_exceptions& several) {
            failure_ = several.first_exception();  // the others follow from it, and it says more
        } catch (...) {
            failure_ = std::current_exception();
        }
        co_return own_failure;
    }

    /// If it has failed by itself, that may be the reason for our failure: it is let end.
    asio::awaitable<void> stop()
    {
        auto ladder = stop_ladder::kill();
        if (failure_)
            ladder = stop_ladder{}.close_stdin(std::chrono::seconds(1));
        const auto end = co_await stage_.peer().async_stop(ladder, asio::use_awaitable);
        if (failure_ && !end.status.success())
            say("demo: the other process: {}\n", end.status.to_string());
    }

    asio::awaitable<int> compare()
    {
        if (!print(flow_heading()))
            co_return unable;
        for (const auto size : options_.sizes) {
            // One by one, and as many together as are worth a system call to a pipe.
            std::vector<std::size_t> portions{1};
            if (const auto together = pipe_buffer_bytes / size; together > 1)
                portions.push_back(together);
            for (const auto at_once : portions)
                if (!take(co_await channel_flow(stage_, size, options_.step, at_once)))
                    co_return unable;
            for (const auto at_once : portions)
                if (!take(co_await pipe_flow(stage_, size, options_.step, at_once)))
                    co_return unable;
        }
        if (!print('\n' + rally_heading())
            || !take(co_await channel_rally(stage_, options_.step, std::chrono::nanoseconds(0)))
            || (options_.spin.count() > 0
                && !take(co_await channel_rally(stage_, options_.step, options_.spin)))
            || !take(co_await pipe_rally(stage_, options_.step)))
            co_return unable;
        co_return conclude("\ncalls: of a channel, those to wake the other side; of a pipe, its "
                           "reads and writes\n");
    }

    asio::awaitable<int> kill()
    {
        if (!print(kill_heading()))
            co_return unable;
        for (const auto size : options_.sizes)
            if (!take(co_await kill_the_sender(stage_, size, options_.step / 2))
                || !take(co_await kill_the_receiver(stage_, size, options_.step / 2)))
                co_return unable;
        co_return conclude(
            "\nafter the kill: what we have received, or sent, since then; lost: what "
            "the sender had\nsaid it had sent, and did not arrive\n");
    }

    [[nodiscard]] bool take(const flow_figures& f)
    {
        messages_ += f.received;
        wrong_ += f.is_right() ? 0 : std::max<std::uint64_t>(f.wrong, 1);
        return print(flow_row(f));
    }
    [[nodiscard]] bool take(const rally_figures& f)
    {
        messages_ += 2 * f.round_trips.total();
        wrong_ += f.wrong;
        return print(rally_row(f));
    }
    [[nodiscard]] bool take(const kill_figures& f)
    {
        messages_ += f.received;
        wrong_ += f.wrong + f.lost + (f.heard ? 0 : 1);
        return print(kill_row(f));
    }

    int conclude(const std::string& legend)
    {
        const auto verdict = wrong_ == 0
            ? fmt::format("{} messages, each in its place\n", messages_)
            : fmt::format("{} messages; {} WRONG OR LOST\n", messages_, wrong_);
        if (!print(legend + verdict))
            return unable;
        return wrong_ == 0 ? 0 : not_in_order;
    }

    // Whoever reads it may have left; that is worth a word only if it is no reader.
    [[nodiscard]] bool print(const std::string& text)
    {
        line_.clear();
        if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size()
            && std::fflush(stdout) == 0)
            return true;
        if (errno != EPIPE)
            say("demo: standard output: {}\n",
                std::error_code(errno, std::generic_category()).message());
        return false;
    }

    /// For ever, but at least once in each step.
    asio::awaitable<void> show()
    {
        for (;;) {
            repaint_.expires_after(
                std::min<std::chrono::nanoseconds>(line_.interval(), options_.step / 2));
            co_await repaint_.async_wait(asio::use_awaitable);
            if (const auto text = stage_.live(); !text.empty())
                line_.show(text);
        }
    }

    const channel_command_options& options_;
    channel_stage stage_;
    asio::signal_set signals_;
    asio::steady_timer deadline_;
    asio::steady_timer repaint_;
    progress_line line_;
    std::exception_ptr failure_;
    std::uint64_t messages_ = 0;
    std::uint64_t wrong_ = 0;
};

}  // namespace

int run_channel(const channel_command_options& options)
{
    asio::io_context context;
    channel_job job(options, context.get_executor());
    int code = own_failure;
    asio::co_spawn(context, job.run(), [&](std::exception_ptr error, int result) {
        if (error)
            std::rethrow_exception(error);
        code = result;
    });
    context.run();
    return code;
}

}  // namespace demo
