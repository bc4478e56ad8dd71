// SPDX-License-Identifier: BSL-1.0
//
// The main job: a survey of what there is to do, then the pipeline with a line of progress, then
// the result, and the same once more through the shell if that is asked for.
#include "top_job.hpp"

#include <fmt/core.h>
#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include <procyard/runtime.hpp>

#include "commands.hpp"
#include "duration.hpp"
#include "line_counts.hpp"
#include "progress_line.hpp"
#include "say.hpp"
#include "stage_monitor.hpp"
#include "stage_table.hpp"
#include "top_commands.hpp"
#include "whole_tree.hpp"

namespace demo {

namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using namespace procyard;
using clock = std::chrono::steady_clock;

constexpr auto quietly = asio::as_tuple(asio::use_awaitable);

// Exit codes of the main job beside 0, timed_out and 128 + signal.
constexpr int incomplete = 1;
constexpr int unable = 2;

class top_job {
public:
    top_job(const top_options& options, const asio::any_io_executor& ex)
        : options_(options),
          directory_(std::filesystem::absolute(options.input).string()),
          signals_(ex, SIGINT, SIGTERM, SIGHUP),
          repaint_(ex)
    {
    }

    asio::awaitable<int> run()
    {
        follow_signals();
        const int code = co_await work();
        signals_.cancel();
        co_return code;
    }

private:
    // A completion token that lets a signal stop the operation.
    auto stoppable() { return asio::bind_cancellation_slot(stop_.slot(), quietly); }

    asio::awaitable<int> work()
    {
        if (const int code = co_await survey(); code != 0)
            co_return code;
        // Between two runs nobody hears the signal.
        if (interrupted_by_ != 0)
            co_return ended_by(run_reason::cancelled);
        const auto result = co_await count();
        // Also when it was cut short: that is when one wants to know.
        say("\n{}", stage_table(result.status, *monitor_));
        if (result.stop)
            say("stopped: {} (tree: {})\n", result.stop->to_string(), to_string(result.stop->tree));
        const int code = judge(result);
        if (!options_.check || (code != 0 && code != incomplete))
            co_return code;
        if (interrupted_by_ != 0)
            co_return ended_by(run_reason::cancelled);
        const int checked = co_await check(result.std_out.data);
        co_return checked != 0 ? checked : code;
    }

    asio::awaitable<int> survey()
    {
        const int code = co_await (list_files() && show_survey());
        line_.clear();
        co_return code;
    }

    /// The files and their sizes, for the time that is left to be told.
    asio::awaitable<int> list_files()
    {
        auto options = limited()
                           .std_err(run_output::discard())
                           .std_out(run_output().each_line([this](std::string_view line) {
                               std::uint64_t bytes = 0;
                               std::from_chars(line.data(), line.data() + line.size(), bytes);
                               all_.add_file(bytes);
                           }));
        auto [ec, result] = co_await async_run(list_sizes(directory_, mode_),
                                               repaint_.get_executor(), options, stoppable());
        // The first program of all: what holds for it holds for the others.
        if (ec && means_no_cgroup(result.failure)) {
            mode_ = tree_mode::subreaper;
            std::tie(ec, result) = co_await async_run(
                list_sizes(directory_, mode_), repaint_.get_executor(), options, stoppable());
        }
        surveyed_ = true;
        repaint_.cancel();
        if (ec && result.failure)
            throw spawn_error(result.failure);
        if (result.reason != run_reason::exited)
            co_return ended_by(result.reason);
        if (all_.files() == 0) {
            say("demo: no C or C++ header under {}\n", directory_);
            co_return incomplete;
        }
        co_return 0;
    }

    /// A large or a slow file system takes its time.
    asio::awaitable<void> show_survey()
    {
        while (!surveyed_) {
            repaint_.expires_after(line_.interval());
            co_await repaint_.async_wait(quietly);
            if (!surveyed_)
                line_.show(describe_survey(directory_, all_));
        }
    }

    asio::awaitable<pipeline_result> count()
    {
        auto ex = repaint_.get_executor();
        monitor_ = std::make_shared<stage_monitor>();
        set_observer(ex, monitor_);
        begun_ = clock::now();
        auto result = co_await (run_pipeline() && show_progress());
        set_observer(ex, nullptr);
        line_.clear();
        co_return result;
    }

    asio::awaitable<pipeline_result> run_pipeline()
    {
        auto options = limited().std_err(
            run_output().each_line([this](std::string_view line) { complain(line); }));
        auto [ec, result] = co_await async_run(
            top_pipeline(directory_, mode_, stage_monitor::counted(monitor_, count_lines)),
            repaint_.get_executor(), options, stoppable());
        done_ = true;
        repaint_.cancel();
        if (ec && result.failure)
            throw spawn_error(result.failure);
        co_return std::move(result);
    }

    asio::awaitable<void> show_progress()
    {
        while (!done_) {
            repaint_.expires_after(line_.interval());
            co_await repaint_.async_wait(quietly);
            if (done_)
                co_return;
            progress now;
            if (const auto io = monitor_->io(extractor))
                now.bytes_done = io->bytes_read;
            now.stages_running = monitor_->running();
            now.elapsed = clock::now() - begun_;
            line_.show(describe(now, all_));
        }
    }

    /// What a program says about an unreadable directory or file. The first ones are enough.
    void complain(std::string_view line)
    {
        constexpr std::size_t shown = 5;
        if (++complaints_ <= shown)
            line_.print_above(line);
    }

    int judge(const pipeline_result& result)
    {
        if (result.reason != run_reason::exited)
            return ended_by(result.reason);
        if (!print(result.std_out.data))
            return unable;
        say("{} files, {} in {}\n", all_.files(), format_bytes(static_cast<double>(all_.bytes())),
            format_duration(clock::now() - begun_));
        if (result.success())
            return 0;
        say("demo: {}\n", result.to_string());
        if (complaints_ != 0)
            say("demo: {} complaint{}; what could not be read is not counted\n", complaints_,
                complaints_ == 1 ? "" : "s");
        return incomplete;
    }

    // Whoever reads it may have left; that is worth a word only if it is no reader.
    static bool print(const std::string& text)
    {
        if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size()
            && std::fflush(stdout) == 0)
            return true;
        if (errno != EPIPE)
            say("demo: standard output: {}\n",
                std::error_code(errno, std::generic_category()).message());
        return false;
    }

    asio::awaitable<int> check(const std::string& ours)
    {
        const auto start = clock::now();
        const auto [ec, result] =
            co_await async_run(top_script(directory_, mode_), repaint_.get_executor(),
                               limited().std_err(run_output::discard()), stoppable());
        if (ec && result.failure)
            throw spawn_error(result.failure);
        if (result.reason != run_reason::exited)
            co_return ended_by(result.reason);
        const bool same = result.std_out.data == ours && result.std_out.complete();
        say("check: sh -c took {}; the results {}\n", format_duration(clock::now() - start),
            same ? "are the same" : "DIFFER");
        if (!same)
            say("{}", result.std_out.data);
        co_return same ? 0 : incomplete;
    }

    int ended_by(run_reason reason)
    {
        if (interrupted_by_ != 0) {
            say("demo: interrupted by {}\n", signal_name(interrupted_by_));
            return 128 + interrupted_by_;
        }
        if (reason == run_reason::deadline)
            say("demo: timeout after {}\n", format_duration(*options_.timeout));
        else
            say("demo: {}\n", to_string(reason));
        return reason == run_reason::deadline ? int{timed_out} : unable;
    }

    run_options limited() const
    {
        run_options options;
        options.ladder(stop_ladder::polite(std::chrono::seconds(2)));
        if (options_.timeout)
            options.deadline(*options_.timeout - (clock::now() - started_));
        return options;
    }

    /// ^C reaches us alone: the programs have process groups of their own. A second one stops
    /// without waiting for anybody.
    void follow_signals()
    {
        signals_.async_wait([this](error_code ec, int number) {
            if (ec)
                return;
            if (interrupted_by_ == 0)
                line_.print_above("stopping; a second signal does not wait for anybody");
            interrupted_by_ = number;
            stop_.emit(asio::cancellation_type::terminal);
            follow_signals();
        });
    }

    const top_options& options_;
    std::string directory_;
    tree_mode mode_ = tree_mode::cgroup;
    asio::signal_set signals_;
    asio::steady_timer repaint_;
    asio::cancellation_signal stop_;
    clock::time_point started_ = clock::now();
    clock::time_point begun_;
    workload all_;
    progress_line line_;
    std::shared_ptr<stage_monitor> monitor_;
    std::size_t complaints_ = 0;
    int interrupted_by_ = 0;
    bool surveyed_ = false;
    bool done_ = false;
};

}  // namespace

int run_top(const top_options& options)
{
    std::error_code ec;
    const auto status = std::filesystem::status(options.input, ec);
    if (!std::filesystem::is_directory(status)) {
        if (!ec && std::filesystem::exists(status))
            ec = std::make_error_code(std::errc::not_a_directory);
        say("demo: {}: {}\n", options.input.string(), ec.message());
        return unable;
    }
    asio::io_context context;
    top_job job(options, context.get_executor());
    int code = unable;
    asio::co_spawn(context, job.run(), [&](std::exception_ptr error, int result) {
        if (error)
            std::rethrow_exception(error);
        code = result;
    });
    context.run();
    return code;
}

}  // namespace demo
