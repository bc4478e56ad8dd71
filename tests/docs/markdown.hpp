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

/// A test that a document names: `` `spawn_test` "runs a program" ``.
struct test_reference {
    std::string file;
    std::string name;
    std::size_t line = 0;
};
std::vector<test_reference> test_references(std::string_view markdown);

/// The names of all doctest cases of a source; literals that stand side by side are one name.
std::set<std::string> test_names(std::string_view source);

/// The names of the cases that a source takes from tests/support/operation_contract.hpp
/// (`contract`) with PROCYARD_OPERATION_CONTRACT.
std::set<std::string> contract_names(std::string_view source, std::string_view contract);

/// The cases of a shell script that tests: its functions `test_CASE`.
std::set<std::string> shell_test_names(std::string_view script);

}  // namespace docs

#endif
