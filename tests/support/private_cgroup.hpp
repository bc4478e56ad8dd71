// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_PRIVATE_CGROUP_HPP
#define PROCYARD_TESTS_SUPPORT_PRIVATE_CGROUP_HPP

#include <string>

namespace procyard_test {

/// A cgroup v2 directory for the tests of one binary: `test-<pid>` in the hierarchy's root, seen
/// through a mount of its own in a mount namespace of its own. Needs root, and nothing of systemd.
///
/// Make it in `main`, before there is a thread.
class private_cgroup {
public:
    private_cgroup();
    private_cgroup(const private_cgroup&) = delete;
    private_cgroup& operator=(const private_cgroup&) = delete;
    ~private_cgroup();

    /// Empty when it could not be made; `refusal` says why.
    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
    [[nodiscard]] const std::string& refusal() const noexcept { return refusal_; }

private:
    void make();

    std::string mount_;
    std::string directory_;
    std::string refusal_;
};

/// The exit code that ctest shows as "skipped".
inline constexpr int skipped = 77;

}  // namespace procyard_test

#endif
