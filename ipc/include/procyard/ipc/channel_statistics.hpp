// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_STATISTICS_HPP
#define PROCYARD_IPC_CHANNEL_STATISTICS_HPP

#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What an end of a channel has done since it was opened.
///
/// Room is counted in units: messages, where all have one length, else bytes.
struct channel_statistics {
    std::uint64_t messages = 0;  ///< sent or received
    /// Messages that the sender has dropped for want of room. At the receiver: all that were
    /// dropped before what it has received last; when it has received everything, exactly all.
    /// One that is resumed counts on, those of all its senders. With when_full::drop_oldest, at
    /// both ends: those that a receiver has found to be gone, exactly; where the sender's has not
    /// come yet, those that it will find, too. There the sender counts on as well when it is
    /// resumed, those of all its receivers; see receiver::lost().
    std::uint64_t dropped = 0;
    std::uint64_t depth = 0;       ///< messages in the ring now
    std::uint64_t used = 0;        ///< units in the ring now
    std::uint64_t high_water = 0;  ///< the most units that this end has found in it
    std::uint64_t capacity = 0;    ///< units that it can hold
    std::uint64_t stalls = 0;      ///< times that an operation had to wait for a message, or room
    std::uint64_t rung = 0;        ///< system calls to wake the peer
    std::uint64_t elided = 0;      ///< publications that needed none, since the peer was awake
    std::uint64_t woken = 0;       ///< times that the peer has woken this end
    std::uint64_t spins = 0;       ///< waits that ended by looking again, without a sleep
    std::uint64_t sleeps = 0;      ///< waits for the peer's ring

    friend bool operator==(const channel_statistics&, const channel_statistics&) = default;
};

PROCYARD_NAMESPACE_END

#endif
