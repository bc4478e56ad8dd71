// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/observer.hpp>

#include <sys/ioctl.h>

#include <optional>
#include <ostream>
#include <string>

#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/syscall.hpp>

#include "child_core.hpp"
#include "child_service.hpp"
#include "proc_fs.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

using detail::child_core;

const char* state_name(char letter) noexcept
{
    switch (letter) {
    case 'R': return "running";
    case 'S': return "sleeping";
    case 'D': return "in uninterruptible sleep";
    case 'T': return "stopped";
    case 't': return "traced";
    case 'Z': return "ended, not reaped";
    default: return "in an unknown state";
    }
}

// A child that stands before a full pipe waits for us, whatever else it seems to do.
bool is_full(const std::optional<pipe_reader>& reader)
{
    if (!reader || !reader->is_open())
        return false;
    error_code ec;
    int held = 0;
    const auto capacity = pipe_capacity(reader->native_handle(), ec);
    // A writer of up to PIPE_BUF bytes stops when they do not fit as a whole.
    constexpr std::size_t page = 4096;
    return !ec && ::ioctl(reader->native_handle(), FIONREAD, &held) == 0
        && static_cast<std::size_t>(held) + page >= capacity;
}

// It may well be busy with something else; but if it waits, then for us.
bool is_empty(const std::optional<pipe_writer>& writer)
{
    int held = 0;
    return writer && writer->is_open() && ::ioctl(writer->native_handle(), FIONREAD, &held) == 0
        && held == 0;
}

void write_line(const child_core& core, std::ostream& out)
{
    const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - core.info.started);
    out << '[' << core.pid << "] " << core.program << ": "
        << state_name(detail::read_stat(core.pid).value_or(detail::process_record{}).state) << ", "
        << age.count() << " ms old, tree " << to_string(core.info.tree) << ", " << core.waiters()
        << " waiting";
    if (is_empty(core.std_in))
        out << ", its standard input pipe is empty";
    if (is_full(core.std_out))
        out << ", its standard output pipe is full: nobody reads it";
    if (is_full(core.std_err))
        out << ", its standard error pipe is full: nobody reads it";
    out << '\n';
}

}  // namespace

void dump(const asio::any_io_executor& executor, std::ostream& out)
{
    auto* const service = detail::child_service::find(executor);
    if (service == nullptr)
        return;
    for (const auto& core : service->children())
        write_line(*core, out);
}

PROCYARD_NAMESPACE_END
