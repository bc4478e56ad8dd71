// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_COMMANDS_HPP
#define PROCYARD_EXAMPLES_DEMO_COMMANDS_HPP

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
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

struct channel_command_options {
    std::vector<std::size_t> sizes{8, 64, 1024, 65536};
    std::chrono::nanoseconds step = std::chrono::seconds(1);
    std::chrono::nanoseconds spin = std::chrono::microseconds(50);
    std::optional<std::chrono::nanoseconds> timeout{};
    bool kill = false;
};

/// Compares a channel with a pipe, or shows what becomes of a channel when a process is killed.
/// Returns the exit code.
int run_channel(const channel_command_options& options);
/// The other process of run_channel, in one of its roles.
int run_channel_peer(std::string_view role, std::size_t size);

}  // namespace demo

#endif
