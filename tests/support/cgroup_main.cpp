// SPDX-License-Identifier: BSL-1.0
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "cgroup_main.hpp"

namespace {
std::string directory;
}

const std::string& test_cgroup()
{
    return directory;
}

int main(int argc, char** argv)
{
    const procyard_test::private_cgroup cgroup;
    if (cgroup.directory().empty()) {
        std::printf("skipped: no cgroup of our own to test in: %s\n", cgroup.refusal().c_str());
        return procyard_test::skipped;
    }
    directory = cgroup.directory();
    return doctest::Context(argc, argv).run();
}
