// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_SUPERVISE_VALUES_HPP
#define PROCYARD_EXAMPLES_SUPERVISE_VALUES_HPP

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// The values of a configuration. Each throws std::invalid_argument, which says what is wrong.
namespace supervise {

// `500ms`, `5s`, `2m`, `1h`, `7d`
[[nodiscard]] std::chrono::nanoseconds to_duration(std::string_view text);
// `4096`, `64K`, `10M`, `2G`
[[nodiscard]] std::uint64_t to_bytes(std::string_view text);
[[nodiscard]] std::uint64_t to_number(std::string_view text, std::uint64_t least,
                                      std::uint64_t most);
// `yes`, `no`
[[nodiscard]] bool to_bool(std::string_view text);
// Words between commas and spaces.
[[nodiscard]] std::vector<std::string> to_words(std::string_view text);

}  // namespace supervise

#endif
