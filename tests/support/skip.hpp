// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_SKIP_HPP
#define PROCYARD_TESTS_SUPPORT_SKIP_HPP

#include <cstdio>
#include <string>

#include <doctest/doctest.h>

namespace procyard_test {

/// Says that the rest of the running test case is left out, and why: a line `skipped: CASE:
/// REASON`. .ci/run collects these, and fails for one that it does not expect. (A binary of which
/// nothing can run exits with 77 instead.)
///
/// On standard error, which a case in a process of its own shares with its parent; doctest's
/// MESSAGE would be seen by nobody, since ctest shows only what a failed test has said.
inline void skip(const std::string& reason)
{
    const auto* const test = doctest::getContextOptions()->currentTest;
    std::fprintf(stderr, "skipped: %s: %s\n", test->m_name, reason.c_str());
}

}  // namespace procyard_test

#endif
