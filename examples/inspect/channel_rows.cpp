// SPDX-License-Identifier: BSL-1.0
#include "channel_rows.hpp"

#include <algorithm>

namespace inspect {

namespace {

// The other side's memory as this process maps it. What our side says of it is only where to look:
// it has to be there, and to fit.
const seen_memory* peer_of(const seen_process& process, const seen_memory& own)
{
    if (own.view.peer_inode == 0)
        return nullptr;
    const auto found =
        std::find_if(process.memories.begin(), process.memories.end(), [&](const auto& each) {
            return each.place.inode == own.view.peer_inode && own.view.fits(each.view);
        });
    return found == process.memories.end() ? nullptr : &*found;
}

std::vector<pid_t> owners_of(const seen_memory& memory, const std::vector<seen_process>& processes)
{
    std::vector<pid_t> pids;
    for (const auto& process : processes)
        if (std::any_of(process.memories.begin(), process.memories.end(), [&](const auto& each) {
                return each.place.writable && each.place.same_file(memory.place);
            }))
            pids.push_back(process.pid);
    return pids;
}

channel_row row_of(const seen_process& process, const seen_memory& own)
{
    channel_row row;
    row.pid = process.pid;
    row.program = process.program;
    row.inode = own.place.inode;
    row.name = own.name;
    row.type = own.view.type;
    row.role = own.view.role;
    row.capacity = own.view.units;
    row.unit_bytes = own.view.unit_bytes;
    row.position = own.view.position;
    row.sleeps = own.view.sleeps;
    row.asleep = own.view.asleep;
    row.closed = own.view.closed;
    row.dropped = own.view.dropped;
    row.counts = own.view.counts;
    return row;
}

void add_peer(channel_row& row, const seen_memory& own, const seen_memory& peer,
              const std::vector<seen_process>& processes)
{
    row.connected = true;
    if (own.view.overwrites)
        row.dropped = peer.view.dropped;
    row.depth = sends(row.role) ? depth_of(own.view, peer.view) : depth_of(peer.view, own.view);
    row.deepest = row.depth.value_or(0);
    row.peer_sleeps = peer.view.sleeps;
    row.peer_counts = peer.view.counts;
    row.peer_asleep = peer.view.asleep;
    row.peer_closed = peer.view.closed;
    row.peers = owners_of(peer, processes);
    if (row.name.empty())
        row.name = peer.name;
}

// What a writer has mapped of its readers, who name it; it does not name them.
void add_readers(channel_row& row, const seen_process& process, const seen_memory& own,
                 const std::vector<seen_process>& processes)
{
    bool is_consistent = true;
    std::uint64_t lag = 0;
    for (const auto& each : process.memories) {
        if (each.view.role != ring_role::reader || each.view.peer_inode != own.place.inode
            || each.place.writable || !own.view.fits(each.view))
            continue;
        ++row.readers;
        const auto behind = depth_of(row.position, each.view.position, row.capacity);
        is_consistent = is_consistent && behind;
        lag = std::max(lag, behind.value_or(0));
        row.peer_sleeps += each.view.sleeps;
        for (const auto pid : owners_of(each, processes))
            if (std::find(row.peers.begin(), row.peers.end(), pid) == row.peers.end())
                row.peers.push_back(pid);
    }
    row.connected = row.readers > 0;
    if (row.connected && is_consistent)
        row.depth = lag;
    row.deepest = row.depth.value_or(0);
}

// Nothing also for what no honest end counts: backwards.
std::optional<double> rate(std::optional<std::uint64_t> before, std::optional<std::uint64_t> after,
                           std::chrono::duration<double> time)
{
    if (!before || !after || time.count() <= 0 || *after - *before > ~std::uint64_t{0} / 2)
        return std::nullopt;
    return static_cast<double>(*after - *before) / time.count();
}

}  // namespace

std::vector<channel_row> find_channels(const std::vector<seen_process>& processes,
                                       const std::vector<pid_t>& pids)
{
    std::vector<channel_row> rows;
    for (const auto& process : processes) {
        if (std::find(pids.begin(), pids.end(), process.pid) == pids.end())
            continue;
        for (const auto& own : process.memories) {
            if (!own.place.writable)
                continue;
            auto& row = rows.emplace_back(row_of(process, own));
            if (row.role == ring_role::writer)
                add_readers(row, process, own, processes);
            else if (const auto* const peer = peer_of(process, own))
                add_peer(row, own, *peer, processes);
        }
    }
    return rows;
}

void history::note(std::vector<channel_row>& rows, time_point now)
{
    std::map<std::pair<pid_t, std::uint64_t>, entry> next;
    for (auto& row : rows) {
        const auto key = std::pair(row.pid, row.inode);
        if (const auto before = entries_.find(key); before != entries_.end()) {
            row.deepest = std::max(row.deepest, before->second.deepest);
            const std::chrono::duration<double> time = now - before->second.when;
            row.units_per_second = rate(before->second.position, row.position, time);
            row.stalls_per_second = rate(before->second.stalls, row.counts.stalls, time);
        }
        next[key] = {row.position, row.deepest, row.counts.stalls, now};
    }
    entries_ = std::move(next);
}

}  // namespace inspect
