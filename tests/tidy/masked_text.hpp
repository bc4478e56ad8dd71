// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_TIDY_MASKED_TEXT_HPP
#define PROCYARD_TESTS_TIDY_MASKED_TEXT_HPP

#include <cstddef>
#include <string>
#include <string_view>

namespace tidy {

/// C++ source in which nothing but code is left: every character of a comment, of a string or of a
/// character literal is a blank, so offsets and line numbers stay what they were.
[[nodiscard]] std::string mask_text(std::string_view source);

/// The same without preprocessor directives: a macro's body may hold braces that do not match.
[[nodiscard]] std::string mask_directives(std::string masked);

/// Counted from 1.
[[nodiscard]] std::size_t line_of(std::string_view text, std::size_t offset);

[[nodiscard]] inline bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// The offset behind the bracket that closes the one at `open`; npos when none does.
[[nodiscard]] std::size_t behind_matching(std::string_view masked, std::size_t open);

}  // namespace tidy

#endif
