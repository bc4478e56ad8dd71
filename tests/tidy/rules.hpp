// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_TIDY_RULES_HPP
#define PROCYARD_TESTS_TIDY_RULES_HPP

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tidy {

struct finding {
    std::size_t line;
    std::string rule;
    std::string reason;
};

/// What breaks a house rule in the file `path` (relative to the root of the tree) with this text.
///
/// A line that must break one says so, on itself or on a comment line above it, with a reason:
/// `tidy: allow cloexec: the test wants a descriptor that leaks`.
[[nodiscard]] std::vector<finding> check_file(std::string_view path, std::string_view text);

}  // namespace tidy

#endif
