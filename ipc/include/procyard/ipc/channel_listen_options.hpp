// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_LISTEN_OPTIONS_HPP
#define PROCYARD_IPC_CHANNEL_LISTEN_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include <procyard/ipc/allowed_peers.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unix_listener.hpp>
#include <procyard/ipc/unix_peer.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

/// A client that has not become one.
struct channel_refusal {
    unix_peer peer{};
    /// What was wrong: `refused`, `other_type`, `too_slow`, EMFILE, …; `peer_died`: it has hung up.
    error_code why{};
    std::string explanation{};  ///< for a person; of `other_type`, both sides' types
};

/// How a channel_listener is made.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct channel_listen_options {
    /// Of the channels: the clients take the capacity over.
    channel_options channel{};
    /// Of the socket: for whom the file system lets it be reached.
    unix_listen_options socket{};
    /// Who is let in, of those that reach it.
    allowed_peers allowed{};
    /// How long a client may take, from when its connection is taken out of the socket's queue to
    /// the end of the handshake.
    std::chrono::nanoseconds deadline = std::chrono::seconds(5);
    /// How many handshakes there may be at once, at least 1. When one more client comes, the one
    /// that has been silent for longest is cut off; if all have asked, the first of them, but not
    /// before it has had a tenth of its time.
    std::size_t max_handshakes = 16;
    /// Told of each client that is sent away, on the listener's executor; not of those that close()
    /// sends away. Must not throw, and may use the listener.
    std::function<void(const channel_refusal&)> on_refusal{};
};

/// What a channel_listener has done since it was made.
struct channel_listener_statistics {
    std::uint64_t accepted = 0;  ///< handshakes that were completed
    std::uint64_t refused = 0;   ///< clients that are not allowed
    std::uint64_t unfit = 0;     ///< of another type, direction or version, or no honest ones
    std::uint64_t too_slow = 0;  ///< cut off by the deadline
    std::uint64_t lost = 0;      ///< hung up, or cut off for want of descriptors, memory or places
    std::size_t pending = 0;     ///< handshakes under way now
    std::size_t ready = 0;       ///< ends that the next accept can have at once

    friend bool operator==(const channel_listener_statistics&,
                           const channel_listener_statistics&) = default;
};

PROCYARD_NAMESPACE_END

#endif
