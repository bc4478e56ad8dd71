// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_DURATION_HPP
#define PROCYARD_EXAMPLES_DEMO_DURATION_HPP

#include <chrono>
#include <string>
#include <string_view>

namespace demo {

/// `5`, `5s`, `1.5s`, `500ms`, `50us`, `2m`, `1h`; a number alone counts seconds.
/// @throws std::invalid_argument   when it is none of these, negative, or more than 366 days; says
///                                 which
std::chrono::nanoseconds parse_duration(std::string_view text);

/// `820 ms`, `2.5 s`, `3:07`: short enough for a column.
std::string format_duration(std::chrono::nanoseconds duration);

/// `3:07`, `1:02:03`: for what is left.
std::string format_clock(std::chrono::seconds duration);

/// `512 B`, `4.0 KB`, `270.8 MB`: powers of ten, as file managers and dd count.
std::string format_bytes(double bytes);

}  // namespace demo

#endif
