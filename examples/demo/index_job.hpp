// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_INDEX_JOB_HPP
#define PROCYARD_EXAMPLES_DEMO_INDEX_JOB_HPP

#include <chrono>
#include <filesystem>
#include <optional>

namespace demo {

struct index_options {
    std::filesystem::path input = "/usr/include";
    /// 0: one for each processor.
    unsigned workers = 0;
    std::optional<std::chrono::nanoseconds> timeout{};
    bool check = false;
    bool chaos = false;
};

/// The identifiers of the demo's main job, counted by a pool of processes. Returns the exit code.
int run_index(const index_options& options);

}  // namespace demo

#endif
