// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_ALLOWED_PEERS_HPP
#define PROCYARD_IPC_ALLOWED_PEERS_HPP

#include <sys/types.h>

#include <functional>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unix_peer.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Which processes may be at the other end of a connection.
///
/// Nothing given: those of this process's effective user, and of root, whom nothing can be hidden
/// from. Else those, and only those, that are in one of the lists or that the predicate wants.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
/// @par Limits          As unix_peer: who connected, or called listen(), at that time. A process
///                      may hand its connection on. In a user namespace all users that have no
///                      number there are one, 65534: a process that runs as that user lets in all
///                      of them, unless it is told whom.
/// @par Example         `allowed_peers{.uids = {own_uid, service_uid}}`
struct PROCYARD_IPC_EXPORT allowed_peers {
    std::vector<uid_t> uids{};  ///< effective users
    std::vector<gid_t> gids{};  ///< effective groups, not the supplementary ones
    std::vector<pid_t> pids{};
    /// Must not throw.
    std::function<bool(const unix_peer&)> predicate{};

    [[nodiscard]] bool allows(const unix_peer& peer) const;

    /// Everybody who gets as far as to connect.
    [[nodiscard]] static allowed_peers everybody()
    {
        return {.predicate = [](const unix_peer&) { return true; }};
    }
};

PROCYARD_NAMESPACE_END

#endif
