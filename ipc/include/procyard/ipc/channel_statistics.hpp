// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_STATISTICS_HPP
#define PROCYARD_IPC_CHANNEL_STATISTICS_HPP

#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What an end of a channel has done since it was opened.
struct channel_statistics {
    std::uint64_t messages = 0;    ///< sent or received
    std::uint64_t depth = 0;       ///< units in the ring now: messages, or bytes of records
    std::uint64_t high_water = 0;  ///< the most that were seen in it when somebody had to wait
    std::uint64_t capacity = 0;    ///< units that it can hold
    std::uint64_t stalls = 0;      ///< times that an operation found no message, or no room
    std::uint64_t rung = 0;        ///< system calls to wake the peer
    std::uint64_t woken = 0;       ///< times that the peer has woken this end
    std::uint64_t spins = 0;       ///< waits that ended by looking again, without a sleep
    std::uint64_t sleeps = 0;      ///< waits for the peer's ring

    friend bool operator==(const channel_statistics&, const channel_statistics&) = default;
};

PROCYARD_NAMESPACE_END

#endif
