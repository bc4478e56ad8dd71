// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_IO_FEATURE_OFF_HPP
#define PROCYARD_TESTS_SUPPORT_IO_FEATURE_OFF_HPP

#include <atomic>

// For tests with INTERNALS ipc (the header below is private to the library).
#include "io_features.hpp"

namespace procyard_test {

/// Takes a kernel feature away for as long as it lives:
/// `io_feature_off no_splice(&io_features::splice);`
class io_feature_off {
public:
    explicit io_feature_off(std::atomic<bool> procyard::detail::io_features::* feature) noexcept
        : flag_(procyard::detail::io().*feature),
          before_(flag_.exchange(false))
    {
    }
    io_feature_off(const io_feature_off&) = delete;
    io_feature_off& operator=(const io_feature_off&) = delete;
    ~io_feature_off() { flag_.store(before_); }

private:
    std::atomic<bool>& flag_;
    bool before_;
};

}  // namespace procyard_test

#endif
