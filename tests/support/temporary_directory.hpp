// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_TEMPORARY_DIRECTORY_HPP
#define PROCYARD_TESTS_SUPPORT_TEMPORARY_DIRECTORY_HPP

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

#include <doctest/doctest.h>

namespace procyard_test {

/// A fresh directory that goes with the object.
class temporary_directory {
public:
    temporary_directory()
    {
        auto name = (std::filesystem::temp_directory_path() / "procyard-test-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    temporary_directory(const temporary_directory&) = delete;
    temporary_directory& operator=(const temporary_directory&) = delete;
    ~temporary_directory()
    {
        std::error_code ec;
        std::filesystem::remove_all(path_, ec);
    }

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

    /// Writes a file into it and returns its path.
    std::filesystem::path write(const std::string& name, const std::string& text) const
    {
        const auto path = path_ / name;
        std::ofstream(path, std::ios::binary) << text;
        return path;
    }

    /// The content of a file in it.
    [[nodiscard]] std::string read(const std::string& name) const
    {
        std::ifstream file(path_ / name, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

private:
    std::filesystem::path path_;
};

}  // namespace procyard_test

#endif
