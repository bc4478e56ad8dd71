// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_INSPECT_CHANNEL_ROWS_HPP
#define PROCYARD_EXAMPLES_INSPECT_CHANNEL_ROWS_HPP

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "maps_line.hpp"
#include "ring_view.hpp"

namespace inspect {

/// A side of a channel or a broadcast where a process has it mapped: writable, if it is its own.
struct seen_memory {
    mapping place;
    std::string name;  ///< printable
    ring_view view;
};

struct seen_process {
    pid_t pid = 0;
    std::string program;  ///< printable
    std::vector<seen_memory> memories;
};

/// An end of a channel or a broadcast, in a process. The other side of a writer are all readers
/// that it has mapped: its depth is that of the one that is furthest behind.
struct channel_row {
    pid_t pid = 0;
    std::string program;
    std::uint64_t inode = 0;  ///< of the end's own memory
    std::string name;         ///< empty: it has none
    std::string type;
    ring_role role = ring_role::producer;
    std::uint64_t capacity = 0;    ///< messages, or bytes of records
    std::uint64_t unit_bytes = 0;  ///< 1: of records
    /// Where it stands in its ring, in units: what it has sent or received since that was made, or
    /// passed without having received it. After a resume() of a sender that drops the oldest also
    /// what was lost and the receiver before had not noticed, up to the next multiple of the
    /// capacity.
    std::uint64_t position = 0;
    std::uint64_t sleeps = 0;
    bool asleep = false;
    bool closed = false;
    std::uint64_t dropped = 0;
    ring_counts counts{};

    bool connected = false;  ///< the other side is there, or was; else nothing of the following
    std::optional<std::uint64_t> depth{};  ///< nothing also when the positions make no sense
    std::uint64_t peer_sleeps = 0;
    ring_counts peer_counts{};
    bool peer_asleep = false;
    bool peer_closed = false;
    std::vector<pid_t> peers{};  ///< processes that have the other side; those that may be seen
    std::size_t readers = 0;     ///< a writer's

    // Since readings were made of it:
    std::uint64_t deepest = 0;
    std::optional<double> units_per_second{};  ///< that its position has passed
    std::optional<double> stalls_per_second{};
};

/// The ends in `pids`; of all processes, `processes` are those that could be looked into.
[[nodiscard]] std::vector<channel_row> find_channels(const std::vector<seen_process>& processes,
                                                     const std::vector<pid_t>& pids);

/// What takes more than one reading to know.
class history {
public:
    using time_point = std::chrono::steady_clock::time_point;

    /// Fills in the rates and the greatest depth. Forgets ends that are not in `rows`.
    void note(std::vector<channel_row>& rows, time_point now);

private:
    struct entry {
        std::uint64_t position;
        std::uint64_t deepest;
        std::optional<std::uint64_t> stalls;
        time_point when;
    };
    std::map<std::pair<pid_t, std::uint64_t>, entry> entries_;
};

}  // namespace inspect

#endif
