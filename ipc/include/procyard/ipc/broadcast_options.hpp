// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_BROADCAST_OPTIONS_HPP
#define PROCYARD_IPC_BROADCAST_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How many subscribers a broadcast can have at once.
inline constexpr std::size_t max_subscribers = 256;

/// How a broadcast is made.
struct broadcast_options {
    /// How many messages are kept, rounded up to a power of two, 2 at least. 0: as many as
    /// `capacity_bytes` holds. Only for messages of one length (fixed_bytes); refused for others.
    std::size_t capacity_messages = 0;
    /// How many bytes of messages are kept, rounded up to a power of two. A message of no fixed
    /// length takes 16 bytes more than its own, rounded up to 8, and a quarter of this at most.
    std::size_t capacity_bytes = 256 * 1024;
    /// How long an operation of the writer's that waits for its subscribers may look again and
    /// again before it sleeps; see channel_options::spin.
    std::chrono::nanoseconds spin{0};
};

/// What becomes of a subscriber that is as far behind as messages are kept.
enum class slow_reader : std::uint8_t {
    /// It loses the oldest messages, is told exactly how many, and goes on.
    loses,
    /// It is told how many it has lost, and that is the end of its subscription: what it has
    /// received has no gap.
    is_dropped,
    /// The writer waits for it: it loses nothing.
    holds_back
};

/// How a subscription is made.
struct subscription_options {
    /// So many of the messages that were sent before are received first, or as many as are still
    /// kept.
    std::size_t history = 0;
    slow_reader when_slow = slow_reader::loses;
    /// How long an operation of the subscriber's may look again and again before it sleeps; see
    /// channel_options::spin. Of one that goes to a child, inherited() says it.
    std::chrono::nanoseconds spin{0};
    /// The subscriber runs as another user; see channel_options::across_users.
    bool across_users = false;
};

PROCYARD_NAMESPACE_END

#endif
