// SPDX-License-Identifier: BSL-1.0
#include "stage_monitor.hpp"

#include <algorithm>
#include <fstream>
#include <new>
#include <utility>

namespace demo {

std::optional<process_io> io_of(pid_t pid)
{
    std::ifstream file("/proc/" + std::to_string(pid) + "/io");
    process_io io;
    std::string name;
    int found = 0;
    for (std::uint64_t value = 0; file >> name >> value;) {
        if (name == "rchar:") {
            io.bytes_read = value;
            ++found;
        } else if (name == "wchar:") {
            io.bytes_written = value;
            ++found;
        }
    }
    return found == 2 ? std::optional(io) : std::nullopt;
}

void stage_monitor::on_event(const procyard::child_event& event) noexcept
try {
    using kind = procyard::child_event::kind;
    if (event.what == kind::spawned) {
        processes_.push_back({.pid = event.pid, .program = std::string(event.program)});
        return;
    }
    const auto process = std::find_if(processes_.begin(), processes_.end(), [&](const auto& p) {
        return p.running && p.pid == event.pid;
    });
    // Between its end and the reaping a process can still be asked what it did.
    if (event.what == kind::exited && process != processes_.end()) {
        process->running = false;
        process->total = io_of(event.pid);
    }
} catch (const std::bad_alloc&) {
    // A progress line that knows less.
}

procyard::stage::function stage_monitor::counted(std::shared_ptr<stage_monitor> monitor,
                                                 procyard::stage::function body)
{
    return [monitor = std::move(monitor), body = std::move(body)](procyard::pipe_reader in,
                                                                  procyard::pipe_writer out) {
        return run_counted(monitor, body, std::move(in), std::move(out));
    };
}

boost::asio::awaitable<void> stage_monitor::run_counted(std::shared_ptr<stage_monitor> monitor,
                                                        procyard::stage::function body,
                                                        procyard::pipe_reader in,
                                                        procyard::pipe_writer out)
{
    struct counter {
        explicit counter(std::size_t& number) : number_(number) { ++number_; }
        counter(const counter&) = delete;
        counter& operator=(const counter&) = delete;
        ~counter() { --number_; }
        std::size_t& number_;
    };
    const counter counts(monitor->coroutines_);
    co_await body(std::move(in), std::move(out));
}

std::size_t stage_monitor::running() const noexcept
{
    const auto processes = std::count_if(processes_.begin(), processes_.end(),
                                         [](const auto& p) { return p.running; });
    return coroutines_ + static_cast<std::size_t>(processes);
}

std::optional<process_io> stage_monitor::io(std::string_view program) const
{
    const auto process = std::find_if(processes_.begin(), processes_.end(),
                                      [&](const auto& p) { return p.program == program; });
    if (process == processes_.end())
        return std::nullopt;
    return process->running ? io_of(process->pid) : process->total;
}

}  // namespace demo
