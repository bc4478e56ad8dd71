// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_SUPERVISE_TABLE_HPP
#define PROCYARD_EXAMPLES_SUPERVISE_TABLE_HPP

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/runtime/supervisor.hpp>

namespace supervise {

// A line for each service, below a line of titles.
[[nodiscard]] std::string table_of(const std::vector<procyard::service_snapshot>& all,
                                   procyard::timer_clock::time_point now);

struct terminal_size {
    std::size_t lines = 24;
    std::size_t columns = 80;
};
// The table, and below it as many of the last events as there is room for. A line that is wider
// than the terminal would become two there, and the first ones scroll away.
[[nodiscard]] std::string screen_of(std::string_view table, const std::deque<std::string>& events,
                                    terminal_size size);
// Its first characters, of UTF-8.
[[nodiscard]] std::string_view clipped(std::string_view line, std::size_t characters);

// With `?` for what a terminal would obey: a service may write what it likes.
[[nodiscard]] std::string printable(std::string text);

// `7 s`, `3 m`, `5 h`, `2 d`
[[nodiscard]] std::string age_of(std::chrono::nanoseconds time);

}  // namespace supervise

#endif
