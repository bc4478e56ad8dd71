// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_DOCS_MARKDOWN_HPP
#define PROCYARD_TESTS_DOCS_MARKDOWN_HPP

#include <cstddef>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace docs {

/// The whole file; throws when it cannot be read.
std::string read(const std::filesystem::path& file);

/// A code block that says where it comes from, in the comment on the line before it:
/// `<!-- snippet: examples/01_hello_child.cpp hello -->`; without a tag it is the whole file.
struct snippet {
    std::string file;
    std::string tag;
    std::string code;
    std::size_t line = 0;
};
std::vector<snippet> snippets(std::string_view markdown);

/// What stands between the two comments `// [tag]`, without the indentation that all lines share;
/// without a tag everything but a licence line. Empty when the tag is not there twice.
std::string tagged_code(std::string_view source, const std::string& tag);

/// A test that a document names: `` `spawn_test` "runs a program" ``.
struct test_reference {
    std::string file;
    std::string name;
    std::size_t line = 0;
};
std::vector<test_reference> test_references(std::string_view markdown);

/// The names of all doctest cases of a source; literals that stand side by side are one name.
std::set<std::string> test_names(std::string_view source);

/// The targets of the document's links that are files of this tree, without their anchors.
std::vector<std::string> local_links(std::string_view markdown);

}  // namespace docs

#endif
