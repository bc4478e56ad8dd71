// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CALL_OPTIONS_HPP
#define PROCYARD_IPC_CALL_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/framed_options.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How a single call is made.
struct call_options {
    /// How long it may take, from its start on: waiting for a place among the open calls counts.
    /// The responder gets to know what is left. `max()`: as long as it takes. Not more than 0: it
    /// fails at once, and is not sent.
    std::chrono::nanoseconds deadline = std::chrono::nanoseconds::max();
};

/// How a caller or a responder uses its stream.
struct calls_options {
    /// Most calls that are open at once; at least 1, at most 2^32 - 1. The lower one of both sides
    /// holds. A caller lets further calls wait; a responder cuts off a peer that opens more, and
    /// keeps at most as many requests, and as many answers that the peer does not take.
    std::size_t max_open_calls = 256;
    /// Of the messages, as in framed.
    framed_options frames{};
};

/// What a caller has done.
struct caller_statistics {
    std::uint64_t replies = 0;    ///< calls that were answered by a value
    std::uint64_t failures = 0;   ///< calls that the responder has failed or dropped
    std::uint64_t timed_out = 0;  ///< calls whose deadline came first
    std::uint64_t cancelled = 0;  ///< calls that were cancelled
    std::uint64_t late = 0;       ///< answers to calls nobody waited for any more; dropped
    std::uint64_t waiting = 0;    ///< calls that wait for a place, now
    std::uint64_t open = 0;       ///< calls that are sent and not answered, now

    friend bool operator==(const caller_statistics&, const caller_statistics&) = default;
};

/// What a responder has done.
struct responder_statistics {
    std::uint64_t calls = 0;      ///< requests that have come
    std::uint64_t replies = 0;    ///< answered by a value
    std::uint64_t failures = 0;   ///< answered by call::fail()
    std::uint64_t abandoned = 0;  ///< dropped without an answer, or cancelled before they had one
    std::uint64_t cancelled = 0;  ///< cancelled by the caller while they were open
    std::uint64_t open = 0;       ///< not answered, now
    std::uint64_t unsent = 0;     ///< answers that wait for the stream, now

    friend bool operator==(const responder_statistics&, const responder_statistics&) = default;
};

PROCYARD_NAMESPACE_END

#endif
