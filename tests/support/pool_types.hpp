// SPDX-License-Identifier: BSL-1.0
// What the pools of the tests and their workers say to each other.
#ifndef PROCYARD_TESTS_SUPPORT_POOL_TYPES_HPP
#define PROCYARD_TESTS_SUPPORT_POOL_TYPES_HPP

#include <cstdint>
#include <string>

namespace pool_test {

/// What the worker is to do, see tests/runtime/pool_worker.cpp.
struct work {
    std::string what;
    std::uint64_t number = 0;
    std::string text;
};

struct answer {
    std::uint64_t number = 0;
    std::int64_t pid = 0;
    std::uint64_t slot = 0;
    std::string text;
};

}  // namespace pool_test

#endif
