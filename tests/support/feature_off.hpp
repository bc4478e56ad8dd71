// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_FEATURE_OFF_HPP
#define PROCYARD_TESTS_SUPPORT_FEATURE_OFF_HPP

// For tests with INTERNALS runtime (the header below is private to the library).
#include "kernel_features.hpp"

/// Takes a kernel feature away for as long as it lives:
/// `feature_off no_pidfd(&kernel_features::pidfd);`
class feature_off {
public:
    using flag = procyard::detail::kernel_features::flag;

    explicit feature_off(flag procyard::detail::kernel_features::* feature) noexcept
        : flag_(procyard::detail::kernel().*feature),
          before_(flag_.exchange(false))
    {
    }
    feature_off(const feature_off&) = delete;
    feature_off& operator=(const feature_off&) = delete;
    ~feature_off() { flag_.store(before_); }

private:
    flag& flag_;
    bool before_;
};

#endif
