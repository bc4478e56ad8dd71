// SPDX-License-Identifier: BSL-1.0
// What is left of cgroups in the one that cgroup_main.cpp makes for a test.
#ifndef PROCYARD_TESTS_SUPPORT_CGROUP_CHECK_HPP
#define PROCYARD_TESTS_SUPPORT_CGROUP_CHECK_HPP

#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "cgroup_main.hpp"
#include "procyard_test.hpp"

namespace procyard_test {

/// The names of the cgroups there are.
inline std::vector<std::string> leaves()
{
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(test_cgroup())) {
        if (entry.is_directory())
            names.push_back(entry.path().filename());
    }
    return names;
}

/// Fails the test when a scope leaves a cgroup or a descriptor behind.
struct nothing_left {
    nothing_left() = default;
    nothing_left(const nothing_left&) = delete;
    nothing_left& operator=(const nothing_left&) = delete;
    ~nothing_left() { CHECK(leaves().empty()); }

    descriptor_check descriptors;
};

}  // namespace procyard_test

#endif
