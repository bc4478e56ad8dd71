// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_FAN_IN_OPTIONS_HPP
#define PROCYARD_IPC_FAN_IN_OPTIONS_HPP

#include <chrono>
#include <cstdint>
#include <string>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Names a source of a fan-in; never used twice by one. 0 is none.
enum class source_id : std::uint64_t { };

/// How many lanes a fan-in has.
inline constexpr unsigned fan_in_lanes = 8;

/// How a fan-in behaves.
struct fan_in_options {
    /// So many messages of one source are received before the next one's turn comes, if it has any.
    /// At least 1; the smaller, the fairer, and the larger, the cheaper.
    unsigned burst = 16;
    /// How long an operation may look again and again at the sources that have had something since
    /// it slept last, before it sleeps; see channel_options::spin. That of a source counts for
    /// nothing here. One that has slept on is heard meanwhile, by a system call now and then.
    std::chrono::nanoseconds spin{0};
    /// Without any source, operations fail with `channel_errc::closed`. Else they wait for another.
    bool ends_with_last_source = false;
};

/// How a source of a fan-in is treated.
struct source_options {
    /// 0 to 7: the sources of a lower number go first, and those of a higher one only when these
    /// have nothing.
    unsigned lane = 0;
    /// For a person; nobody looks at it here.
    std::string name{};
};

PROCYARD_NAMESPACE_END

#endif
