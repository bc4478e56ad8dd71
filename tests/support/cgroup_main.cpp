// SPDX-License-Identifier: BSL-1.0
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <procyard/runtime/guardian.hpp>

#include "cgroup_main.hpp"
#include "skip.hpp"

namespace fs = std::filesystem;

namespace {

// A case of this program that it runs as a process of its own has the same cgroup: one that is
// killed would leave its own.
constexpr const char* directory_variable = "PROCYARD_TEST_CGROUP";

std::string directory;
bool delegates_memory = false;  // that of the root, which had not done so

std::string text_of(const fs::path& path)
{
    std::string line;
    std::ifstream file(path);
    std::getline(file, line);
    return line;
}

bool try_to_write(const fs::path& path, const std::string& text)
{
    std::ofstream file(path);
    file << text << std::flush;
    return file.good();
}

void write(const fs::path& path, const std::string& text)
{
    REQUIRE_MESSAGE(try_to_write(path, text), path.string(), " takes no ", text);
}

// The machine is left as it was. False: it is not.
bool take_memory_back()
{
    const fs::path own(directory);
    return !delegates_memory
        || (try_to_write(own / "cgroup.subtree_control", "-memory")
            && try_to_write(own.parent_path() / "cgroup.subtree_control", "-memory"));
}

}  // namespace

const std::string& test_cgroup()
{
    return directory;
}

bool limit_memory(const fs::path& place, std::size_t most)
{
    const fs::path own(directory);
    const auto root = own.parent_path();
    if (text_of(root / "cgroup.controllers").find("memory") == std::string::npos) {
        procyard_test::skip("no memory controller in this hierarchy");
        return false;
    }
    if (text_of(root / "cgroup.subtree_control").find("memory") == std::string::npos)
        delegates_memory = true;
    // From the root down: who is not given it cannot give it on.
    for (const auto& above : {root, own, place})
        write(above / "cgroup.subtree_control", "+memory");
    write(place / "memory.max", std::to_string(most));
    if (fs::exists(place / "memory.swap.max"))
        write(place / "memory.swap.max", "0");
    return true;
}

int main(int argc, char** argv)
{
    if (const auto code = procyard::run_if_guardian())
        return *code;
    if (const char* const given = std::getenv(directory_variable)) {
        directory = given;
        return doctest::Context(argc, argv).run();
    }
    const procyard_test::private_cgroup cgroup;
    if (cgroup.directory().empty()) {
        std::printf("skipped: no cgroup of our own to test in: %s\n", cgroup.refusal().c_str());
        return procyard_test::skipped;
    }
    directory = cgroup.directory();
    ::setenv(directory_variable, directory.c_str(), 1);
    const int failed = doctest::Context(argc, argv).run();
    if (take_memory_back())
        return failed;
    std::printf("the root of the hierarchy still delegates the memory controller\n");
    return 1;
}
