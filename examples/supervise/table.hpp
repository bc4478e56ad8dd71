// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_SUPERVISE_TABLE_HPP
#define PROCYARD_EXAMPLES_SUPERVISE_TABLE_HPP

#include <string>
#include <vector>

#include <procyard/runtime/supervisor.hpp>

namespace supervise {

// A line for each service, below a line of titles.
[[nodiscard]] std::string table_of(const std::vector<procyard::service_snapshot>& all,
                                   procyard::timer_clock::time_point now);

// With `?` for what a terminal would obey: a service may write what it likes.
[[nodiscard]] std::string printable(std::string text);

// `7 s`, `3 m`, `5 h`, `2 d`
[[nodiscard]] std::string age_of(std::chrono::nanoseconds time);

}  // namespace supervise

#endif
