// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_HELD_PROCESS_HPP
#define PROCYARD_RUNTIME_SRC_HELD_PROCESS_HPP

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// One process that cannot be mistaken for another, however numbers are reused.
///
/// Held by a pidfd. Where a filter forbids that, by its directory in /proc, which is as much its
/// own but cannot be waited for; where no descriptor is left, by pid and start time. In both cases
/// a signal goes to a number that was right the moment before. Move-only; a moved-from object may
/// only be destroyed or assigned to.
class held_process {
public:
    enum class condition : std::uint8_t {
        alive,  ///< at least one thread runs
        dead,   ///< all threads have ended; not reaped, so the number is still its own
        gone,   ///< reaped: the number may be somebody else's
    };

    /// Takes hold of whoever has this number now; empty when nobody has.
    [[nodiscard]] static std::optional<held_process> hold(pid_t pid);

    /// Refers to a process whose pidfd (or -1) belongs to somebody else, who keeps it open and says
    /// when the process was reaped.
    [[nodiscard]] static held_process borrow(pid_t pid, int pidfd) noexcept;

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    /// The pidfd, or -1.
    [[nodiscard]] int descriptor() const noexcept { return pidfd_ ? pidfd_.get() : borrowed_; }

    /// Alive, too, when that cannot be seen for want of a descriptor.
    [[nodiscard]] condition look() const;
    [[nodiscard]] bool alive() const { return look() == condition::alive; }
    /// Not reaped: its number, and the group and session that it may lead, are its own.
    [[nodiscard]] bool owns_number() const { return look() != condition::gone; }
    /// A borrowed process was reaped; it is never signalled again.
    void set_reaped() noexcept { reaped_ = true; }

    /// Sends a signal. That it is dead or gone is no error.
    [[nodiscard]] error_code signal(int number) const noexcept;

    /// Sends a signal to every member of the group that it leads or has led. Works when it is gone
    /// as well: the group keeps its name. `no_such_process` when the group has no member (a dead
    /// one that is not reaped is one); `not_supported` when it cannot be done without a race.
    [[nodiscard]] error_code signal_group(int number) const noexcept;

    /// Takes the status of a child of ours that is dead. False when there is none to take.
    bool reap() const noexcept;

private:
    held_process() = default;
    [[nodiscard]] condition look(error_code& ec) const;
    [[nodiscard]] bool has_own_number(error_code& ec) const noexcept;

    pid_t pid_ = -1;
    unique_fd pidfd_;
    int borrowed_ = -1;
    bool is_borrowed_ = false;
    bool reaped_ = false;
    unique_fd directory_;            // in /proc, without a pidfd
    std::uint64_t start_ticks_ = 0;  // without either
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
