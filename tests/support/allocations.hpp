// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_ALLOCATIONS_HPP
#define PROCYARD_TESTS_SUPPORT_ALLOCATIONS_HPP

#include <cstddef>

namespace procyard_test {

/// How many times this process has taken memory from the heap with `new` or, as Asio does, with
/// `aligned_alloc`. Only in tests that link procyard_test_allocations, which replaces both.
[[nodiscard]] std::size_t allocations() noexcept;

/// Lets one allocation of this thread fail, as if there were no memory: the `nth` from now on,
/// counted from 1, and only as long as `*this` lives.
class failing_allocation {
public:
    explicit failing_allocation(std::size_t nth) noexcept;
    failing_allocation(const failing_allocation&) = delete;
    failing_allocation& operator=(const failing_allocation&) = delete;
    ~failing_allocation();

    /// Whether there were as many.
    [[nodiscard]] bool has_failed() const noexcept;
};

/// The same, but from the `nth` on all fail for which this thread has not given back as much with
/// `delete` meanwhile.
class exhausted_memory {
public:
    explicit exhausted_memory(std::size_t nth) noexcept;
    exhausted_memory(const exhausted_memory&) = delete;
    exhausted_memory& operator=(const exhausted_memory&) = delete;
    ~exhausted_memory();

    /// Whether there were as many.
    [[nodiscard]] bool has_failed() const noexcept;
};

}  // namespace procyard_test

#endif
