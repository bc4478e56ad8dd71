// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_CONNECT_OPTIONS_HPP
#define PROCYARD_IPC_CHANNEL_CONNECT_OPTIONS_HPP

#include <cstdint>
#include <string>

#include <procyard/ipc/allowed_peers.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unix_peer.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How one connects to a channel_listener.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct channel_connect_options {
    /// Of this end. The capacity is the listener's, up to `max_peer_bytes`.
    channel_options channel{};
    /// Whose listener it may be.
    allowed_peers allowed{};
    /// For the program at an end_listener (end_request::ticket()): who this is, so that it may go
    /// on where it was before it died. A channel_listener does not look at it.
    std::uint64_t ticket = 0;
};

/// Why an async_connect() has failed.
struct connect_failure {
    error_code code{};
    std::string explanation{};  ///< for a person; empty where the code says it all
    unix_peer peer{};           ///< the listener's process, if there was a connection
};

PROCYARD_NAMESPACE_END

#endif
