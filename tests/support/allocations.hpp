// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_ALLOCATIONS_HPP
#define PROCYARD_TESTS_SUPPORT_ALLOCATIONS_HPP

#include <cstddef>

namespace procyard_test {

/// How many times this process has taken memory from the heap with `new` or, as Asio does, with
/// `aligned_alloc`. Only in tests that link procyard_test_allocations, which replaces both.
[[nodiscard]] std::size_t allocations() noexcept;

}  // namespace procyard_test

#endif
