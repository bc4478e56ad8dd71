// SPDX-License-Identifier: BSL-1.0
// The rules on every file of this source tree.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "documents.hpp"
#include "rules.hpp"

namespace {

namespace fs = std::filesystem;

// Not hidden, except for what is ours, and no build tree, whatever its name.
bool is_ours(const fs::path& directory)
{
    const auto name = directory.filename().string();
    return (name == ".ci" || !name.starts_with('.')) && !fs::exists(directory / "CMakeCache.txt")
        && name != "build";
}

bool is_text(const fs::path& path)
{
    static const std::vector<std::string> extensions = {
        ".cpp", ".hpp", ".txt", ".cmake", ".in", ".sh", ".py", ".md", ".json", ".pml", ""};
    const auto extension = path.extension().string();
    return std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
}

std::vector<fs::path> files_below(const fs::path& root)
{
    std::vector<fs::path> files;
    for (auto at = fs::recursive_directory_iterator(root); at != fs::end(at); ++at) {
        if (at->is_directory() && at.depth() == 0 && !is_ours(at->path()))
            at.disable_recursion_pending();
        else if (at->is_regular_file() && is_text(at->path()))
            files.push_back(at->path());
    }
    std::sort(files.begin(), files.end());
    return files;
}

std::string content(const fs::path& path)
{
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

TEST_SUITE("tidy")
{
    TEST_CASE("documents quote what the sources say, and link to what is there")
    {
        const fs::path root = PROCYARD_SOURCE_DIR;
        const auto below = [](const fs::path& directory) {
            return [directory](std::string_view path) {
                const auto file = directory / path;
                if (fs::is_directory(file))
                    return std::optional(std::string());  // can be linked to, not quoted
                return fs::exists(file) ? std::optional(content(file)) : std::nullopt;
            };
        };
        for (const auto& file : files_below(root)) {
            if (file.extension() != ".md")
                continue;
            for (const auto& f :
                 tidy::check_document(content(file), below(root), below(file.parent_path())))
                ADD_FAIL_CHECK_AT(file.c_str(), static_cast<int>(f.line), f.reason);
        }
    }

    TEST_CASE("no file of the tree breaks a house rule")
    {
        const fs::path root = PROCYARD_SOURCE_DIR;
        const auto files = files_below(root);
        REQUIRE(files.size() > 20);
        for (const auto& file : files) {
            const auto path = file.lexically_relative(root).generic_string();
            for (const auto& f : tidy::check_file(path, content(file))) {
                ADD_FAIL_CHECK_AT(file.c_str(), static_cast<int>(f.line),
                                  f.reason << " (rule " << f.rule << ")");
            }
        }
    }
}
