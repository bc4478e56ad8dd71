// SPDX-License-Identifier: BSL-1.0
// The main() of tests that have guardians: those are the test's own program once more.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <procyard/runtime/guardian.hpp>

int main(int argc, char** argv)
{
    if (const auto code = procyard::run_if_guardian())
        return *code;
    return doctest::Context(argc, argv).run();
}
