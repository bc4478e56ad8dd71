// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_FOREGROUND_HPP
#define PROCYARD_EXAMPLES_DEMO_FOREGROUND_HPP

#include <sys/types.h>

namespace demo {

/// The right to read from the terminal and to get its ^C, lent to a child.
///
/// A child that leads a process group is in the background of the terminal, where the first read
/// would stop it (SIGTTIN). A shell gives its job the foreground, and so do we, if we have it.
class foreground {
public:
    foreground();
    foreground(const foreground&) = delete;
    foreground& operator=(const foreground&) = delete;
    /// Takes the terminal back.
    ~foreground() { take_back(); }

    /// Does nothing when standard input is no terminal, or not ours at the moment. Tells whether
    /// the group has it.
    bool lend(pid_t group) noexcept;
    void take_back() noexcept;
    /// Whether a child that was stopped by the signal `number` was stopped at the terminal: while
    /// it had it, or because it wanted it.
    [[nodiscard]] bool concerns(int number) const noexcept;

private:
    bool lent_ = false;
};

}  // namespace demo

#endif
