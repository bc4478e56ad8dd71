// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_TIDY_CALLS_HPP
#define PROCYARD_TESTS_TIDY_CALLS_HPP

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tidy {

struct call {
    std::string name;
    std::size_t offset;
    std::string_view arguments;  // of the unmasked source, with the brackets
    bool global;                 // written ::name(…)
};

/// Calls of free functions of C: `f(…)`, `::f(…)` and `std::f(…)`, but neither `x.f(…)` nor
/// `other::f(…)` nor a declaration `int f(…)`.
[[nodiscard]] std::vector<call> find_calls(std::string_view source, std::string_view masked);

}  // namespace tidy

#endif
