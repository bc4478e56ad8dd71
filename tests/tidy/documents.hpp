// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_TIDY_DOCUMENTS_HPP
#define PROCYARD_TESTS_TIDY_DOCUMENTS_HPP

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rules.hpp"

namespace tidy {

/// What a document may refer to: the text of a file, given by its path relative to the document;
/// nothing when there is no such file or folder.
using read_file = std::function<std::optional<std::string>(std::string_view path)>;

/// The lines between the two `// [tag]` of a source, without their common indentation.
[[nodiscard]] std::optional<std::string> snippet_of(std::string_view source, std::string_view tag);

/// Quotations that are not what the file says (`<!-- snippet FILE TAG -->` and a code block), code
/// blocks that begin inside others or have no end, and relative links that lead nowhere.
/// FILE is relative to the root, a link to the document.
[[nodiscard]] std::vector<finding> check_document(std::string_view markdown,
                                                  const read_file& from_root,
                                                  const read_file& from_document);

}  // namespace tidy

#endif
