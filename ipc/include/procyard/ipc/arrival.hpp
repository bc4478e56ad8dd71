// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_ARRIVAL_HPP
#define PROCYARD_IPC_ARRIVAL_HPP

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/fan_in_options.hpp>
#include <procyard/ipc/message_batch.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What a fan-in receives: a message of a source, or that the source has ended.
template <class T>
struct arrival {
    source_id source{};
    /// Set: there is no message, nor will there be one of this source. `channel_errc::closed`: its
    /// sender has closed; `peer_died`, `peer_broke_rules`, `bad_message`, `other_type`, …
    error_code ended{};
    T message{};
};

/// The same of all the messages that one source has, read in place.
template <class T>
struct arrivals {
    source_id source{};
    error_code ended{};
    message_batch<T> messages{};
};

PROCYARD_NAMESPACE_END

#endif
