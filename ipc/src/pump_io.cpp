// SPDX-License-Identifier: BSL-1.0
#include "pump_io.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>

#include <procyard/ipc/sigpipe_guard.hpp>
#include <procyard/ipc/syscall.hpp>

#include "descriptor_io.hpp"
#include "io_features.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// After EAGAIN, which does not say which side it was. `more` when neither would wait by now.
pump_status who_waits(int source, int sink) noexcept
{
    std::array<pollfd, 2> ends{{{source, POLLIN, 0}, {sink, POLLOUT, 0}}};
    (void)retry_eintr([&] { return ::poll(ends.data(), ends.size(), 0); });
    if (ends[0].revents == 0)
        return pump_status::source_empty;
    return ends[1].revents == 0 ? pump_status::sink_full : pump_status::more;
}

pump_step failure(int error_number, int sink) noexcept
{
    switch (error_number) {
    case EPIPE: return {pump_status::sink_failed, 0, make_errno(EPIPE)};
    case ENOSYS:
        io().splice.store(false, std::memory_order_relaxed);
        return {pump_status::unsupported};
    case EINVAL:      // neither is a pipe, a file opened for appending, a device without splice
    case EPERM:       // a filter, a sealed file
    case EBADF:       // wrong direction
    case EOPNOTSUPP:  // by the file system
        return {pump_status::unsupported};
    default: break;
    }
    // One side is a pipe, and a pipe has no other errors than EPIPE.
    const bool into_pipe = kind_of(sink) == descriptor_kind::pipe;
    return {into_pipe ? pump_status::source_failed : pump_status::sink_failed, 0,
            make_errno(error_number)};
}

}  // namespace

pump_step splice_now(int source, int sink, std::uint64_t most) noexcept
{
    if (!io().splice.load(std::memory_order_relaxed))
        return {pump_status::unsupported};
    sigpipe_guard quiet;  // splice has no flag against SIGPIPE, neither for pipes nor for sockets
    std::uint64_t bytes = 0;
    bool retried = false;
    for (int call = 0; call < pump_calls_per_turn && bytes < most; ++call) {
        const auto size = static_cast<std::size_t>(std::min(most - bytes, splice_bytes_per_call));
        const ssize_t n = retry_eintr([&] {
            return ::splice(source, nullptr, sink, nullptr, size,
                            SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        });
        if (n > 0) {
            bytes += static_cast<std::uint64_t>(n);
            retried = false;
            continue;
        }
        pump_step step{pump_status::end};
        if (n == -1 && errno == EAGAIN)
            step.status = who_waits(source, sink);
        else if (n == -1)
            step = failure(errno, sink);
        // Neither waits: it was too early, or poll and splice disagree about this pair for good.
        if (step.status == pump_status::more && !std::exchange(retried, true))
            continue;
        if (step.status == pump_status::more)
            step.status = pump_status::unsupported;
        if (step.status != pump_status::sink_failed)
            quiet.nothing_raised();
        step.bytes = bytes;
        return step;
    }
    quiet.nothing_raised();
    return {pump_status::more, bytes};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
