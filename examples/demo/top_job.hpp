// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_TOP_JOB_HPP
#define PROCYARD_EXAMPLES_DEMO_TOP_JOB_HPP

#include <chrono>
#include <filesystem>
#include <optional>

namespace demo {

/// What the main job is to do.
struct top_options {
    std::filesystem::path input = "/usr/include";
    /// From the start; empty: as long as it takes.
    std::optional<std::chrono::nanoseconds> timeout{};
    /// Runs the same through `sh -c` and compares.
    bool check = false;
};

/// Prints the 20 most frequent identifiers of the headers below a directory. Returns the exit code.
int run_top(const top_options& options);

}  // namespace demo

#endif
