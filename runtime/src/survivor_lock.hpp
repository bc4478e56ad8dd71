// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SURVIVOR_LOCK_HPP
#define PROCYARD_RUNTIME_SRC_SURVIVOR_LOCK_HPP

#include <sys/types.h>

#include <cstdint>
#include <string>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Who has taken the lock of a state directory.
struct lock_holder {
    pid_t pid = 0;  // 0: a program of another kind, or another version of this one
    // With the pid it names a process for good; only so many bits of it as fit.
    std::uint64_t start_ticks = 0;
    // In which pid namespace the pid means something: its inode.
    std::uint64_t pid_space = 0;

    friend bool operator==(const lock_holder&, const lock_holder&) = default;
};

// What a lock covers. All ranges have one byte in common, so each keeps out each other, and their
// two ends say who it is: that comes with the lock in one step, and is never that of the one
// before. What is written into the file says it a moment too late, and F_OFD_GETLK says it never.
struct lock_range {
    std::int64_t start = 0;
    std::int64_t length = 0;
};
[[nodiscard]] lock_range range_of(const lock_holder& holder) noexcept;
[[nodiscard]] lock_holder holder_of(const lock_range& range) noexcept;

[[nodiscard]] lock_holder this_process();

enum class lock_state : std::uint8_t {
    taken,  // ours, until the descriptor is closed everywhere
    lives,  // its holder lives, or may not be looked at
    // Its holder is dead, and a copy of it that has not exec'd yet has the descriptor still: the
    // lock belongs to the open file, as it has to (a lock of a process goes when any descriptor of
    // the file is closed there, and keeps out nobody of the same process).
    inherited,
};

// Takes the lock of an open file, without waiting, or says who has it.
// throws system_error
[[nodiscard]] lock_state take_lock(int file, lock_holder& holder);

[[nodiscard]] std::string to_text(const lock_holder& holder);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
