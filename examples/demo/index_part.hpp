// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_INDEX_PART_HPP
#define PROCYARD_EXAMPLES_DEMO_INDEX_PART_HPP

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <procyard/runtime/worker_entries.hpp>

namespace demo {

/// Files whose text is one part of the whole.
struct index_request {
    std::vector<std::string> files;
};

/// See part_words.
struct index_response {
    std::string front;
    std::string back;
    std::uint8_t uncut;
    std::vector<std::pair<std::string, std::uint64_t>> counts;
    std::uint64_t bytes;
    /// Of the process that has read them.
    std::int64_t worker;
    /// What could not be read, and why.
    std::vector<std::string> complaints;
};

/// What the pool calls the worker's entry.
constexpr auto index_entry = "index";

/// Says what this program does as a worker of `demo index`.
void add_index_entry(procyard::worker_entries& entries);

}  // namespace demo

#endif
