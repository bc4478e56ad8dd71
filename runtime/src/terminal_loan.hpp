// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_TERMINAL_LOAN_HPP
#define PROCYARD_RUNTIME_SRC_TERMINAL_LOAN_HPP

#include <sys/types.h>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The terminal at descriptor 0 belongs to one process group at a time. One that reads it from
// elsewhere is stopped (SIGTTIN), and we have given the main child a group of its own.
//
//   kept --our group has it--> lent --the child stops, or *this goes--> kept
//
// A ^Z stops the child's group alone, of which whoever waits for us would never hear. So we stop as
// well, and lend it again when we go on. Whether that is possible the kernel decides: nobody could
// let the first process of a container, or an orphaned group, go on, so there SIGTSTP does nothing,
// and the child goes on at once.
class terminal_loan {
public:
    // `to` is a child that has not been reaped.
    explicit terminal_loan(pid_t to) noexcept;
    terminal_loan(const terminal_loan&) = delete;
    terminal_loan& operator=(const terminal_loan&) = delete;
    ~terminal_loan() { take_back(); }

    // The child, not reaped as yet, was stopped by this signal. Returns when it goes on, or when it
    // is somebody else's to let it.
    void on_stop(int number) noexcept;

private:
    [[nodiscard]] bool lend() noexcept;
    void take_back() noexcept;

    const pid_t to_;
    bool lent_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
