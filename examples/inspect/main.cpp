// SPDX-License-Identifier: BSL-1.0
//
// procyard-inspect: the channels of running processes, like top. It looks, and touches nothing.
#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/core.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include <procyard/ipc/config.hpp>

#include "../demo/duration.hpp"
#include "channel_rows.hpp"
#include "channel_text.hpp"
#include "process_reader.hpp"

namespace {

using inspect::channel_row;
using procyard::error_code;

struct wishes {
    std::vector<pid_t> pids;  // none: all that may be seen
    std::chrono::nanoseconds interval = std::chrono::seconds(1);
    long count = 0;  // 0: until it is stopped
    bool once = false;
    bool json = false;
};

wishes parse(int argc, char** argv, CLI::App& app)
{
    wishes wanted;
    std::string interval = "1s";
    app.add_option("PID", wanted.pids, "the processes; without one, all that you may look into")
        ->check(CLI::PositiveNumber);
    app.add_option("--interval", interval, "time between two readings: 500ms, 2s")
        ->capture_default_str();
    app.add_option("--count", wanted.count, "end after so many readings")
        ->check(CLI::PositiveNumber);
    app.add_flag("--once", wanted.once, "one reading; it knows no rates");
    app.add_flag("--json", wanted.json, "JSON, an array for each reading");
    app.parse(argc, argv);
    try {
        wanted.interval = demo::parse_duration(interval);
    } catch (const std::invalid_argument& error) {
        throw CLI::ValidationError("--interval", error.what());
    }
    if (wanted.once)
        wanted.count = 1;
    return wanted;
}

std::string why(pid_t pid, const error_code& ec)
{
    namespace errc = boost::system::errc;
    if (ec == errc::no_such_process)
        return fmt::format("there is no process {}", pid);
    if (ec == errc::permission_denied || ec == errc::operation_not_permitted)
        return fmt::format(
            "process {} may not be looked into by user {}: it is another user's, has privileges of "
            "its own, or kernel.yama.ptrace_scope allows it to nobody but a debugger; root may",
            pid, ::geteuid());
    return fmt::format("process {}: {}", pid, ec.message());
}

// One reading; false when something that was asked for could not be looked into.
bool read(const wishes& wanted, std::vector<channel_row>& rows)
{
    bool good = true;
    // The peers of those that are asked for may be anybody.
    auto processes = inspect::read_all_processes();
    auto pids = wanted.pids;
    for (const auto pid : wanted.pids) {
        const bool seen = std::any_of(processes.begin(), processes.end(),
                                      [pid](const auto& each) { return each.pid == pid; });
        error_code ec;
        if (!seen)
            (void)inspect::read_process(pid, ec);
        if (ec) {
            fmt::print(stderr, "procyard-inspect: {}\n", why(pid, ec));
            good = false;
        }
    }
    if (pids.empty())
        for (const auto& each : processes)
            pids.push_back(each.pid);
    rows = inspect::find_channels(processes, pids);
    return good;
}

// False when nobody reads it any more.
bool show(const wishes& wanted, const std::vector<channel_row>& rows)
{
    const bool screen = !wanted.json && !wanted.once && ::isatty(STDOUT_FILENO) == 1;
    std::string text = screen ? "\x1b[H\x1b[2J" : "";
    if (wanted.json)
        text += inspect::to_json(rows);
    else if (rows.empty())
        text += "no channels\n";
    else
        text += inspect::to_table(rows);
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size()
        && std::fflush(stdout) == 0;
}

int run(const wishes& wanted)
{
    boost::asio::io_context context;
    boost::asio::steady_timer timer(context);
    inspect::history past;
    bool good = true;
    for (long i = 0; wanted.count == 0 || i < wanted.count; ++i) {
        if (i != 0) {
            timer.expires_after(wanted.interval);
            timer.wait();
        }
        std::vector<channel_row> rows;
        good = read(wanted, rows);
        past.note(rows, std::chrono::steady_clock::now());
        if (!show(wanted, rows)) {
            fmt::print(stderr, "procyard-inspect: standard output: {}\n", std::strerror(errno));
            return 1;
        }
        if (!good && rows.empty())
            break;  // nothing to look at any more
    }
    return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv)
{
    CLI::App app("The channels of running processes: what is in them, and who waits.",
                 "procyard-inspect");
    try {
        return run(parse(argc, argv, app));
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception& error) {
        fmt::print(stderr, "procyard-inspect: {}\n", error.what());
        return 1;
    }
}
