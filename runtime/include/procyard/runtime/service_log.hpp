// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SERVICE_LOG_HPP
#define PROCYARD_RUNTIME_SERVICE_LOG_HPP

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Where a line of a service's output came from.
enum class service_output : std::uint8_t { out, err };

/// Gets the lines of a service's outputs, without their ends; a line of more than 64 KiB in pieces.
/// Runs on the supervisor's executor: one that blocks holds up the supervisor, and what takes its
/// time is for a `service_log_task`. A line with which it throws counts as lost.
using service_log = std::function<void(service_output from, std::string_view line)>;

/// One line, without its end.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct log_line {
    service_output from = service_output::out;
    std::string_view text{};
};

/// What has come since a `service_log_task` was called the last time.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
/// @par Lifetime        The lines are there until the coroutine that got them has ended: keep
///                      copies, not views.
struct log_batch {
    /// The oldest first.
    std::span<const log_line> lines{};
    /// How many were lost for want of room, or of memory, since the batch before, as a rule the
    /// ones right before the first of these.
    std::uint64_t lost = 0;
};

/// Takes the lines of a service's outputs at its own pace, as many at a time as have come. Called
/// on the supervisor's executor, again when the coroutine has ended, and never twice at a time,
/// whatever becomes of the service: its next incarnation's lines come after those of this one. The
/// lines with which it throws count as lost, and the next ones are handed to it as if nothing had
/// been.
using service_log_task = std::function<asio::awaitable<void>(log_batch)>;

/// What becomes of a line for which there is no room before a `service_log_task`.
enum class full_log : std::uint8_t {
    /// The oldest lines that wait make room, and are counted: the service never waits for its log.
    drop_oldest,
    /// The output is not read until there is room, so the service stands still when its pipe is
    /// full. What one that has ended leaves in its pipes is kept besides, up to 8 MiB.
    block,
};

/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct log_options {
    /// How much may wait: the lines, and 16 bytes for each. The task has as much again in its hands
    /// at most; `block` reads up to 16 KiB of each output more. A line for which this is too little
    /// is lost as soon as it comes.
    std::size_t most_bytes = std::size_t{1} << 20;
    full_log when_full = full_log::drop_oldest;
};

PROCYARD_NAMESPACE_END

#endif
