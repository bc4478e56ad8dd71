// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_COMMANDS_HPP
#define PROCYARD_EXAMPLES_DEMO_COMMANDS_HPP

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <procyard/runtime/spawn_error.hpp>

namespace demo {

/// Exit codes of the demo's own, those of timeout(1) and env(1).
enum exit_code : int {
    timed_out = 124,
    own_failure = 125,
    cannot_execute = 126,
    not_found = 127,
    killed = 128 + 9,
};

/// `cannot_execute` or `not_found` or, when it is not the program's fault, `own_failure`.
int exit_code_of(const procyard::spawn_failure& failure) noexcept;

struct run_command_options {
    std::vector<std::string> words{};
    std::optional<std::chrono::nanoseconds> timeout{};
    std::chrono::nanoseconds grace = std::chrono::seconds(5);
};

/// Runs a program until it ends, or stops its whole tree when its time is over. Returns the exit
/// code.
int run_command(const run_command_options& options);

/// Runs a program on a pseudo-terminal, which the user's terminal stands for. Returns the exit
/// code.
int run_pty(const std::vector<std::string>& words);

}  // namespace demo

#endif
