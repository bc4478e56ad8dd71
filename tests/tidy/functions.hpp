// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_TIDY_FUNCTIONS_HPP
#define PROCYARD_TESTS_TIDY_FUNCTIONS_HPP

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tidy {

struct function {
    std::string name;
    std::size_t first_line;
    std::size_t line_count;  // with the signature
};

/// The outermost function bodies of a source (a lambda belongs to the function around it; a
/// TEST_CASE is a function). A brace matcher, no parser: enough to find what has grown too long.
[[nodiscard]] std::vector<function> find_functions(std::string_view source);

}  // namespace tidy

#endif
