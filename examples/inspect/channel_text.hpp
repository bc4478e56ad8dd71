// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_INSPECT_CHANNEL_TEXT_HPP
#define PROCYARD_EXAMPLES_INSPECT_CHANNEL_TEXT_HPP

#include <string>
#include <string_view>
#include <vector>

#include "channel_rows.hpp"

namespace inspect {

/// A table for a person: a line for each end, under a line of titles.
[[nodiscard]] std::string to_table(const std::vector<channel_row>& rows);

/// An array, with an object on a line of its own for each end. What is not known is null.
[[nodiscard]] std::string to_json(const std::vector<channel_row>& rows);

}  // namespace inspect

#endif
