// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_NAMED_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_NAMED_FIXTURE_HPP

// For tests of named segments: names that no other test has, and what dead creators leave.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/named_segment.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "forked.hpp"
#include "skip.hpp"
#include "temporary_directory.hpp"

namespace procyard_test {

inline std::string name_prefix()
{
    return "procyard-test-" + std::to_string(::getpid()) + "-";
}

inline std::string fresh_name()
{
    static int count = 0;
    return name_prefix() + std::to_string(++count);
}

/// What is in a directory of the names that this process makes, and of those that contain one.
/// Others may come and go in it at any time, those of other tests and of the machine's programs.
inline std::vector<std::string> names_in(const std::filesystem::path& directory)
{
    std::vector<std::string> names;
    const auto ours = name_prefix();
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        const auto name = entry.path().filename().string();
        if (name.find(ours) != name.npos)
            names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

/// Whether named segments can be made in a directory: it has to be there, and its file system to
/// know O_TMPFILE.
inline bool takes_segments(const std::filesystem::path& directory)
{
    const procyard::unique_fd probe(
        ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    return static_cast<bool>(probe);
}

/// The same of /dev/shm, asked once. Where not, it says that the rest of the test case is skipped.
inline bool has_shared_memory()
{
    static const bool there = takes_segments("/dev/shm");
    if (!there)
        skip("no /dev/shm for segments");
    return there;
}

/// The same of the directory for temporary files.
inline bool has_segment_files()
{
    static const bool there = takes_segments(std::filesystem::temp_directory_path());
    if (!there)
        skip("no O_TMPFILE in the directory for temporary files");
    return there;
}

/// Runs `body(name)` for a name in shared memory and for a file, and checks that nothing is left in
/// either directory. A place that this machine does not have is skipped.
template <class Body>
void each_place(Body body)
{
    const temporary_directory directory;
    std::filesystem::permissions(directory.path(), std::filesystem::perms(0711));
    std::vector<procyard::segment_name> places;
    if (has_shared_memory())
        places.push_back(procyard::segment_name::shared_memory(fresh_name()));
    if (has_segment_files())
        places.push_back(procyard::segment_name::file((directory.path() / fresh_name()).string()));
    for (const auto& name : places) {
        CAPTURE(name.path());
        const auto where = std::filesystem::path(name.path()).parent_path();
        const auto before = names_in(where);
        body(name);
        CHECK(names_in(where) == before);
    }
}

/// A name whose creator was killed, after it had published or before.
inline void leave_behind(const procyard::segment_name& name, std::size_t size_bytes,
                         bool published = true)
{
    forked creator([&] {
        auto made = procyard::named_segment::create(name, size_bytes);
        made.writable_data()[0] = std::byte{0xDE};
        if (published)
            made.publish();
        ::kill(::getpid(), SIGKILL);
        return 0;
    });
    REQUIRE(creator.result() == -SIGKILL);
    REQUIRE(std::filesystem::exists(name.path()));
}

}  // namespace procyard_test

#endif
