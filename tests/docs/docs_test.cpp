// SPDX-License-Identifier: BSL-1.0
//
// The tests that documents name exist, and the umbrella headers are complete. (Quotations of code
// and links are held to the tree by tests/tidy.)
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "markdown.hpp"

namespace fs = std::filesystem;

namespace {

const fs::path root = PROCYARD_SOURCE_DIR;

std::vector<fs::path> documents()
{
    std::vector<fs::path> files;
    for (const auto& directory : {root, root / "docs"}) {
        if (!fs::exists(directory))
            continue;
        for (const auto& entry : fs::directory_iterator(directory))
            if (entry.path().extension() == ".md")
                files.push_back(entry.path());
    }
    return files;
}

// The names of the test cases, by the name of the file that holds them.
std::map<std::string, std::set<std::string>> tests_of_the_tree()
{
    std::map<std::string, std::set<std::string>> tests;
    const auto contract = docs::read(root / "tests/support/operation_contract.hpp");
    for (const auto& entry : fs::recursive_directory_iterator(root / "tests")) {
        if (entry.path().extension() != ".cpp")
            continue;
        const auto source = docs::read(entry.path());
        auto& names = tests[entry.path().stem()];
        names.merge(docs::test_names(source));
        names.merge(docs::contract_names(source, contract));
    }
    tests["demo_test"] = docs::shell_test_names(docs::read(root / "examples/demo/demo_test.sh"));
    return tests;
}

}  // namespace

TEST_SUITE("the documents")
{
    TEST_CASE("the guarantees name their tests")
    {
        const auto page = docs::read(root / "docs/guarantees.md");
        CHECK(docs::test_references(page).size() > 150);
        for (const char* chapter : {"## Promises", "## Options of a command", "## Cancellation",
                                    "## Cases", "## Complaints"})
            CHECK_MESSAGE(page.find(chapter) != std::string::npos, chapter);
    }

    TEST_CASE("every test that is named exists")
    {
        const auto tests = tests_of_the_tree();
        for (const auto& file : documents()) {
            for (const auto& reference : docs::test_references(docs::read(file))) {
                const auto found = tests.find(reference.file);
                const bool exists =
                    found != tests.end() && found->second.count(reference.name) != 0;
                CHECK_MESSAGE(exists,
                              file << ":" << reference.line << ": `" << reference.file << "` \""
                                   << reference.name << "\"");
            }
        }
    }

    TEST_CASE("a module's umbrella header names all of its headers")
    {
        for (const std::string module : {"ipc", "signals", "runtime"}) {
            const auto include = root / module / "include" / "procyard";
            const auto umbrella = docs::read(include / (module + ".hpp"));
            for (const auto& entry : fs::directory_iterator(include / module)) {
                if (entry.path().extension() != ".hpp")
                    continue;
                const auto line =
                    "#include <procyard/" + module + "/" + entry.path().filename().string() + ">";
                CHECK_MESSAGE(umbrella.find(line) != std::string::npos, line);
            }
        }
    }
}

TEST_SUITE("the reader of documents")
{
    TEST_CASE("finds tests and the references to them")
    {
        const auto names =
            docs::test_names("TEST_CASE(\"one \"\n    \"two\") { }\n"
                             "TEST_CASE_FIXTURE(fixture, \"says \\\"three\\\"\") { }\n");
        CHECK(names == std::set<std::string>{"one two", "says \"three\""});

        CHECK(docs::contract_names("PROCYARD_OPERATION_CONTRACT(a)\n"
                                   "PROCYARD_OPERATION_CONTRACT(b)\n",
                                   "TEST_CASE(#Operation \": one\")\n"
                                   "TEST_CASE(#Operation \": two\")\n")
              == std::set<std::string>{"a: one", "a: two", "b: one", "b: two"});

        CHECK(docs::shell_test_names("test_one() {\n    x\n}\nhelper() {\n}\ntest_two() {\n}\n")
              == std::set<std::string>{"one", "two"});

        const auto references =
            docs::test_references("x\n| `a_test` \"one\", `b_test` \"two\" |\n");
        REQUIRE(references.size() == 2);
        CHECK(references[1].file == "b_test");
        CHECK(references[1].name == "two");
        CHECK(references[1].line == 2);
    }
}
