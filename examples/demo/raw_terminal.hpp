// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_RAW_TERMINAL_HPP
#define PROCYARD_EXAMPLES_DEMO_RAW_TERMINAL_HPP

#include <termios.h>

#include <optional>

#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/stdio.hpp>

namespace demo {

/// The size of the terminal at `fd`; empty when there is none, or it has no size.
std::optional<procyard::window_size> window_size_of(int fd) noexcept;

/// The file behind `fd`, opened once more if it is a terminal, else a duplicate.
///
/// An event loop wants non-blocking descriptors. That flag belongs to the open file description,
/// which a terminal shares with the shell that started us: it would stay when we are gone.
procyard::unique_fd open_again(int fd);

/// While it lives, every key goes to the program as it is. The destructor restores the terminal.
class raw_terminal {
public:
    /// Does nothing when `fd`, which must stay open, is no terminal.
    explicit raw_terminal(int fd) noexcept;
    raw_terminal(const raw_terminal&) = delete;
    raw_terminal& operator=(const raw_terminal&) = delete;
    ~raw_terminal() { restore(); }

    /// Once more, after a shell took the terminal back (SIGCONT).
    void apply() noexcept;
    void restore() noexcept;

private:
    int fd_;
    std::optional<termios> before_;
};

}  // namespace demo

#endif
