// SPDX-License-Identifier: BSL-1.0
// What this process has mapped of segments, its own and those of peers.
#ifndef PROCYARD_TESTS_IPC_MAPPED_SEGMENTS_HPP
#define PROCYARD_TESTS_IPC_MAPPED_SEGMENTS_HPP

#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <string>

namespace procyard_test {

struct segments {
    std::size_t mappings = 0;
    std::size_t bytes = 0;
};

[[nodiscard]] inline segments mapped_segments()
{
    segments found;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.find("/memfd:procyard") == line.npos)
            continue;
        char* rest = nullptr;
        const auto begin = std::strtoull(line.c_str(), &rest, 16);
        ++found.mappings;
        found.bytes += std::strtoull(rest + 1, nullptr, 16) - begin;
    }
    return found;
}

}  // namespace procyard_test

#endif
