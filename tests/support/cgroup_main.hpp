// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_CGROUP_MAIN_HPP
#define PROCYARD_TESTS_SUPPORT_CGROUP_MAIN_HPP

// For test binaries with `support/cgroup_main.cpp` among their sources: their `main` makes a cgroup
// before the tests, and skips all of them, visibly, where that is not permitted.

#include <cstddef>
#include <filesystem>
#include <string>

#include "private_cgroup.hpp"

/// The directory of a cgroup v2 of the test's own.
[[nodiscard]] const std::string& test_cgroup();

/// Has the kernel kill in `place` for more than so many bytes, and count that there and in what is
/// made there. False, and the rest of the case is said to be skipped: it cannot.
/// @pre `place` is a directory in test_cgroup()
[[nodiscard]] bool limit_memory(const std::filesystem::path& place, std::size_t most);

#endif
