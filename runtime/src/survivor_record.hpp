// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SURVIVOR_RECORD_HPP
#define PROCYARD_RUNTIME_SRC_SURVIVOR_RECORD_HPP

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// One incarnation that would outlive a supervisor that is killed.
struct survivor_record {
    std::string service{};
    std::uint64_t generation = 0;
    pid_t pid = 0;
    // With the pid it names a process for good, as long as the machine runs.
    std::uint64_t start_ticks = 0;
    // As /proc/PID/cgroup says it; empty: no leaf of its own.
    std::string cgroup{};
    // It leads the group, or the session, of its number. The kernel gives that number to nobody as
    // long as one of them has a member, so they are found when the leader has gone.
    bool leads_group = false;
    bool leads_session = false;
    // The session of its group, for as long as that has a member; 0: not known, as in a file.
    pid_t session = 0;

    friend bool operator==(const survivor_record&, const survivor_record&) = default;
};

// What a supervisor leaves for the next one.
struct survivor_file {
    // Stands in the environment of all that its services have ever started.
    std::string marker{};
    // Where the pids mean something: this run of the machine, this pid namespace.
    std::string machine{};
    std::vector<survivor_record> records{};
};

[[nodiscard]] std::string to_text(const survivor_file& file);
// Empty, and in `fault` the number of the line and what is wrong with it, when it is none. What it
// says is killed: so nothing of it is guessed.
[[nodiscard]] std::optional<survivor_file> parse_survivors(std::string_view text,
                                                           std::string& fault);

// Of a text that is none: whether it is the beginning of one, of which the rest has not come to the
// disk when a machine lost its power, and not while this `machine` ran. Bytes that were never
// written read as zeros.
[[nodiscard]] bool is_cut_off(std::string_view text, std::string_view machine);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
