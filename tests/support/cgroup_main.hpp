// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_CGROUP_MAIN_HPP
#define PROCYARD_TESTS_SUPPORT_CGROUP_MAIN_HPP

// For test binaries with `support/cgroup_main.cpp` among their sources: their `main` makes a cgroup
// before the tests, and skips all of them, visibly, where that is not permitted.

#include <string>

#include "private_cgroup.hpp"

/// The directory of a cgroup v2 of the test's own.
[[nodiscard]] const std::string& test_cgroup();

#endif
