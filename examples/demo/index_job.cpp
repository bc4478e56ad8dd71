// SPDX-License-Identifier: BSL-1.0
//
// `demo index`: the identifiers of the main job, counted by a pool of processes. The text is cut
// into parts of some files each; a part goes to a worker through shared memory, and its counts come
// back in the same way. Workers may be killed meanwhile: their parts are counted again by others.
#include "index_job.hpp"

#include <fmt/core.h>
#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <exception>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <procyard/runtime.hpp>
#include <procyard/runtime/process_pool.hpp>

#include "commands.hpp"
#include "duration.hpp"
#include "index_part.hpp"
#include "index_words.hpp"
#include "progress_line.hpp"
#include "say.hpp"
#include "top_commands.hpp"
#include "whole_tree.hpp"

namespace demo {

namespace {

namespace asio = boost::asio;
using namespace procyard;
using clock = std::chrono::steady_clock;

constexpr auto quietly = asio::as_tuple(asio::use_awaitable);

// Exit codes beside 0, timed_out and 128 + signal.
constexpr int incomplete = 1;
constexpr int unable = 2;

// A part is as many files as make so much. Large enough that a part is work, small enough that a
// worker that is killed costs little.
constexpr std::uint64_t part_bytes = std::uint64_t{1} << 20;
constexpr std::size_t part_files = 256;
constexpr std::size_t printed_words = 20;

unsigned workers_of(const index_options& options)
{
    return options.workers != 0 ? options.workers
                                : std::max(std::thread::hardware_concurrency(), 1u);
}

pool_options pool_of(unsigned workers)
{
    pool_options options;
    options.min_workers = workers;
    options.max_workers = workers;
    options.high_water = std::size_t{2} * workers;
    options.channels.capacity_bytes = std::size_t{1} << 20;
    // Whoever kills workers is not their parts' fault.
    options.strikes = 1000;
    return options;
}

shutdown_options shutdown_of()
{
    shutdown_options options;
    options.budget = std::chrono::seconds(5);
    return options;
}

class index_job {
public:
    index_job(const index_options& options, const asio::any_io_executor& ex)
        : options_(options),
          directory_(std::filesystem::absolute(options.input).string()),
          stop_(ex, shutdown_of()),
          pool_(ex, index_entry, pool_of(workers_of(options))),
          text_(0),
          deadline_(ex),
          repaint_(ex)
    {
    }

    asio::awaitable<int> run()
    {
        prepare();
        int code = own_failure;
        try {
            code = co_await work();
        } catch (...) {
            failure_ = std::current_exception();
        }
        done_ = true;
        line_.clear();
        stop_.request();  // unless somebody has asked already
        const auto report = co_await stop_.async_wait(asio::use_awaitable);
        for (const auto& left : report.leftovers)
            say("demo: not stopped in time: {}\n", left.name.text);
        // Cancelled by the shutdown: that has been said.
        if (failure_ && report.reason.cause == cancellation_cause::requested)
            std::rethrow_exception(failure_);
        co_return failure_ ? ended() : code;
    }

private:
    void prepare()
    {
        stop_.on_signals({SIGINT, SIGTERM, SIGHUP});
        stop_.add_pool("pool", pool_);
        if (options_.timeout)
            stop_.tasks().spawn("timeout", end_in_time());
    }

    asio::awaitable<void> end_in_time()
    {
        deadline_.expires_after(*options_.timeout);
        const auto [ec] = co_await deadline_.async_wait(quietly);
        if (ec)
            co_return;
        const cancellation_reason reason{.cause = cancellation_cause::deadline};
        stop_.request(shutdown_request(reason));
    }

    // What takes new work ends here when a signal has come, or the time is over.
    auto until_stopped() { return bind_token(stop_.token(shutdown_phase::close_intake), quietly); }

    asio::awaitable<int> work()
    {
        if (const int code = co_await survey(); code != 0)
            co_return code;
        const auto [ec] = co_await pool_.async_start(until_stopped());
        if (ec && !stop_.requested())
            throw std::runtime_error("a worker cannot be started: " + pool_.explanation());
        begun_ = clock::now();
        stop_.tasks().spawn("progress", show_progress());
        co_await count();
        done_ = true;
        line_.clear();
        if (parts_done_ != parts_.size())
            co_return ended();
        took_ = clock::now() - begun_;
        text_.finish();
        const auto result = text_.counts().top(printed_words);
        if (!print(result))
            co_return unable;
        summarize();
        const int code = complaints_ == 0 ? 0 : incomplete;
        const int checked = options_.check ? co_await check(result) : 0;
        co_return checked != 0 ? checked : code;
    }

    asio::awaitable<int> survey()
    {
        auto options = limited();
        std::string list;
        options.std_out(run_output().to_callback([&](std::string_view piece) { list += piece; }));
        auto [ec, found] = co_await async_run(list_files(directory_, mode_),
                                              repaint_.get_executor(), options, until_stopped());
        if (ec && means_no_cgroup(found.failure)) {
            mode_ = tree_mode::subreaper;
            std::tie(ec, found) = co_await async_run(
                list_files(directory_, mode_), repaint_.get_executor(), options, until_stopped());
        }
        if (ec && found.failure)
            throw spawn_error(found.failure);
        if (found.reason != run_reason::exited)
            co_return ended();
        divide(list);
        if (all_.files() != 0)
            co_return 0;
        say("demo: no C or C++ header under {}\n", directory_);
        co_return incomplete;
    }

    /// The list is `SIZE NAME`, each with a NUL at its end.
    void divide(std::string_view list)
    {
        std::uint64_t bytes = part_bytes;
        while (!list.empty()) {
            const auto one = list.substr(0, list.find('\0'));
            list.remove_prefix(std::min(one.size() + 1, list.size()));
            std::uint64_t size = 0;
            std::from_chars(one.data(), one.data() + one.size(), size);
            if (bytes >= part_bytes || parts_.back().files.size() >= part_files) {
                parts_.emplace_back();
                bytes = 0;
            }
            parts_.back().files.emplace_back(one.substr(one.find(' ') + 1));
            bytes += size;
            all_.add_file(size);
        }
        text_ = whole_text(parts_.size());
    }

    asio::awaitable<void> count()
    {
        task_group_options together;
        together.parent = stop_.token();
        task_group parts(repaint_.get_executor(), together);
        submit_options how;
        how.idempotent = true;
        for (std::size_t n = 0; n < parts_.size() && !stop_.requested(); ++n) {
            auto work = std::make_shared<shutdown_work>(stop_.hold("a part"));
            // Waits where as many wait as are to.
            auto [ec, task] = co_await pool_.async_submit(parts_[n], how, until_stopped());
            if (ec && stop_.requested())
                break;
            if (ec)
                throw boost::system::system_error(ec, task.report().to_string());
            error_code refused;  // when a part before it has failed
            parts.spawn("a part", collect(n, std::move(task), std::move(work)), refused);
            if (refused)
                break;
        }
        co_await parts.async_join(asio::use_awaitable);
    }

    asio::awaitable<void> collect(std::size_t number, pool_task<index_response> task,
                                  std::shared_ptr<shutdown_work> work)
    {
        auto [ec, response] = co_await task.async_result(quietly);
        if (ec == asio::error::operation_aborted)
            co_return;
        if (ec)
            throw boost::system::system_error(ec, task.report().to_string());
        again_ += task.report().attempts - 1;
        take(number, std::move(response));
        work->release();
    }

    void take(std::size_t number, index_response response)
    {
        for (const auto& text : response.complaints)
            complain(text);
        ++parts_done_;
        files_done_ += parts_[number].files.size();
        bytes_done_ += response.bytes;
        // Its first part was begun before its clock.
        const auto [worker, is_new] = workers_.try_emplace(static_cast<pid_t>(response.worker));
        if (!is_new)
            worker->second.bytes += response.bytes;
        part_words words;
        words.front = std::move(response.front);
        words.back = std::move(response.back);
        words.uncut = response.uncut != 0;
        words.counts = std::move(response.counts);
        text_.add(number, std::move(words));
        if (options_.chaos && parts_done_ % 3 == 1)
            kill_one();
    }

    /// Any of them, whatever it does.
    void kill_one()
    {
        const auto living = pool_.workers();
        if (living.empty())
            return;
        const auto at = std::uniform_int_distribution<std::size_t>(0, living.size() - 1)(random_);
        if (::kill(living[at], SIGKILL) == 0)
            ++killed_;
    }

    asio::awaitable<void> show_progress()
    {
        while (!done_) {
            repaint_.expires_after(line_.interval());
            const auto [ec] = co_await repaint_.async_wait(quietly);
            if (done_ || ec)
                co_return;
            line_.show(describe_now());
        }
    }

    std::string describe_now() const
    {
        const double seconds = std::chrono::duration<double>(clock::now() - begun_).count();
        const auto rate = static_cast<double>(bytes_done_) / seconds;
        auto text =
            fmt::format("{}/{} files  {} of {}  {}/s", files_done_, all_.files(),
                        format_bytes(static_cast<double>(bytes_done_)),
                        format_bytes(static_cast<double>(all_.bytes())), format_bytes(rate));
        if (killed_ != 0)
            text += fmt::format("  {} killed", killed_);
        for (const auto pid : pool_.workers()) {
            const auto known = workers_.find(pid);
            if (known == workers_.end() || known->second.bytes == 0)
                continue;
            const auto& [bytes, since] = known->second;
            const std::chrono::duration<double> lived = clock::now() - since;
            text += fmt::format("  {}: {}/s", pid,
                                format_bytes(static_cast<double>(bytes) / lived.count()));
        }
        return text;
    }

    void summarize() const
    {
        const auto count = workers_of(options_);
        say("{} files, {} in {} by {} worker{}\n", all_.files(),
            format_bytes(static_cast<double>(all_.bytes())), format_duration(took_), count,
            count == 1 ? "" : "s");
        if (options_.chaos)
            say("{} workers were killed; {} parts were begun more than once\n", killed_, again_);
        if (complaints_ != 0)
            say("demo: {} complaint{}; what could not be read is not counted\n", complaints_,
                complaints_ == 1 ? "" : "s");
    }

    /// What a worker says about an unreadable file. The first ones are enough.
    void complain(std::string_view text)
    {
        constexpr std::size_t shown = 5;
        if (++complaints_ <= shown)
            line_.print_above(text);
    }

    asio::awaitable<int> check(const std::string& ours)
    {
        auto [reason, theirs] = co_await run_script("sh -c", top_script(directory_, mode_));
        if (reason != run_reason::exited)
            co_return ended();
        const bool same = theirs == ours;
        say("check: the results {}\n", same ? "are the same" : "DIFFER");
        if (!same)
            say("{}", theirs);
        // Only for the time: it cuts words at the ends of files.
        const auto workers = workers_of(options_);
        std::tie(reason, theirs) = co_await run_script(fmt::format("xargs -P {}", workers),
                                                       parallel_script(directory_, workers, mode_));
        if (reason != run_reason::exited)
            co_return ended();
        co_return same ? 0 : incomplete;
    }

    asio::awaitable<std::pair<run_reason, std::string>> run_script(std::string name, command script)
    {
        const auto start = clock::now();
        auto options = limited();
        auto [ec, result] =
            co_await async_run(script, repaint_.get_executor(), options, until_stopped());
        if (ec && result.failure)
            throw spawn_error(result.failure);
        const auto took = clock::now() - start;
        if (result.reason == run_reason::exited)
            say("{} took {}, {:.1f} times as long\n", name, format_duration(took),
                std::chrono::duration<double>(took) / took_);
        co_return std::pair(result.reason, std::move(result.std_out.data));
    }

    static run_options limited()
    {
        run_options options;
        options.ladder(stop_ladder::polite(std::chrono::seconds(2)));
        options.std_err(run_output::discard());
        return options;
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

    int ended()
    {
        const auto reason = stop_.token(shutdown_phase::announce).reason();
        if (!reason)
            return unable;
        const bool late = reason->cause == cancellation_cause::deadline;
        line_.clear();
        if (late)
            say("demo: timeout after {}", format_duration(*options_.timeout));
        else
            say("demo: interrupted by {}", signal_name(reason->signal));
        say("; {} of {} files were counted\n", files_done_, all_.files());
        return late ? int{timed_out} : 128 + reason->signal;
    }

    struct worker_figures {
        std::uint64_t bytes = 0;
        clock::time_point since = clock::now();
    };

    const index_options& options_;
    std::string directory_;
    tree_mode mode_ = tree_mode::cgroup;
    shutdown_coordinator stop_;
    process_pool<index_request, index_response> pool_;
    workload all_;
    std::vector<index_request> parts_;
    whole_text text_;
    asio::steady_timer deadline_;
    asio::steady_timer repaint_;
    progress_line line_;
    std::map<pid_t, worker_figures> workers_;
    std::mt19937 random_{std::random_device{}()};
    std::exception_ptr failure_;
    clock::time_point begun_;
    clock::duration took_{};
    std::uint64_t bytes_done_ = 0;
    std::size_t files_done_ = 0;
    std::size_t parts_done_ = 0;
    std::size_t complaints_ = 0;
    std::size_t again_ = 0;
    std::size_t killed_ = 0;
    bool done_ = false;
};

}  // namespace

int run_index(const index_options& options)
{
    std::error_code ec;
    const auto status = std::filesystem::status(options.input, ec);
    if (!std::filesystem::is_directory(status)) {
        if (!ec && std::filesystem::exists(status))
            ec = std::make_error_code(std::errc::not_a_directory);
        say("demo: {}: {}\n", options.input.string(), ec.message());
        return unable;
    }
    asio::io_context context(1);
    index_job job(options, context.get_executor());
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
