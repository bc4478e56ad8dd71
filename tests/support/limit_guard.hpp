// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_LIMIT_GUARD_HPP
#define PROCYARD_TESTS_SUPPORT_LIMIT_GUARD_HPP

#include <sys/resource.h>

#include <algorithm>
#include <cstddef>

#include <doctest/doctest.h>

namespace procyard_test {

/// Lowers a limit of this process for as long as it lives (the soft one only, so it can go back).
class limit_guard {
public:
    using resource_type = decltype(RLIMIT_NOFILE);  // an enumeration in glibc, an int in musl

    limit_guard(resource_type resource, rlim_t value) : resource_(resource)
    {
        REQUIRE(::getrlimit(resource_, &before_) == 0);
        const rlimit lowered{value, before_.rlim_max};
        REQUIRE(::setrlimit(resource_, &lowered) == 0);
    }
    limit_guard(const limit_guard&) = delete;
    limit_guard& operator=(const limit_guard&) = delete;
    ~limit_guard() { ::setrlimit(resource_, &before_); }

private:
    resource_type resource_;
    rlimit before_{};
};

/// Whether this process may have so many descriptors; raises its limit if that is what it takes.
inline bool can_open(std::size_t descriptors)
{
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_max < descriptors) {
        const rlimit raised{descriptors, descriptors};
        return ::setrlimit(RLIMIT_NOFILE, &raised) == 0;
    }
    limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, descriptors);
    return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

}  // namespace procyard_test

#endif
