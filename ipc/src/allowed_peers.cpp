// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/allowed_peers.hpp>

#include <unistd.h>

#include <algorithm>

PROCYARD_NAMESPACE_BEGIN

namespace {

template <class Id>
bool contains(const std::vector<Id>& list, Id id)
{
    return std::find(list.begin(), list.end(), id) != list.end();
}

}  // namespace

bool allowed_peers::allows(const unix_peer& peer) const
{
    if (uids.empty() && gids.empty() && pids.empty() && !predicate)
        return peer.uid == ::geteuid() || peer.uid == 0;
    // A process that has no number here is none of those that were named.
    return contains(uids, peer.uid) || contains(gids, peer.gid)
        || (peer.pid != 0 && contains(pids, peer.pid)) || (predicate && predicate(peer));
}

PROCYARD_NAMESPACE_END
