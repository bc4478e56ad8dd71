// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_NAMED_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_NAMED_FIXTURE_HPP

// For tests of named segments: names that no other test has, and what dead creators leave.

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

#include "forked.hpp"
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

/// What is in a directory, without what other tests make at the same time.
inline std::vector<std::string> names_in(const std::filesystem::path& directory)
{
    std::vector<std::string> names;
    const auto ours = name_prefix();
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        const auto name = entry.path().filename().string();
        if (!name.starts_with("procyard-test-") || name.starts_with(ours))
            names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

/// Runs `body(name)` for a name in shared memory and for a file, and checks that nothing is left in
/// either directory.
template <class Body>
void each_place(Body body)
{
    const temporary_directory directory;
    std::filesystem::permissions(directory.path(), std::filesystem::perms(0711));
    const auto file = (directory.path() / fresh_name()).string();
    for (const auto& name : {procyard::segment_name::shared_memory(fresh_name()),
                             procyard::segment_name::file(file)}) {
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
