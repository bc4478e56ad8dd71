// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_NANOSECONDS_HPP
#define PROCYARD_RUNTIME_SRC_NANOSECONDS_HPP

#include <charconv>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// A time in a variable that one process sets for another: a number of nanoseconds that is not
// negative, and nothing else.
[[nodiscard]] inline std::optional<std::chrono::nanoseconds>
parse_nanoseconds(std::string_view text) noexcept
{
    std::int64_t count = 0;
    const auto* const last = text.data() + text.size();
    const auto [end, ec] = std::from_chars(text.data(), last, count);
    if (ec != std::errc() || end != last || count < 0)
        return std::nullopt;
    return std::chrono::nanoseconds(count);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
