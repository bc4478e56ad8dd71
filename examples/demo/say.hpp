// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_SAY_HPP
#define PROCYARD_EXAMPLES_DEMO_SAY_HPP

#include <fmt/format.h>

#include <cstdio>
#include <utility>

namespace demo {

/// Writes to standard error. Nothing depends on somebody reading it, so unlike fmt::print it does
/// not throw when nobody does.
template <class... Arguments>
void say(fmt::format_string<Arguments...> format, Arguments&&... arguments)
{
    const auto text = fmt::format(format, std::forward<Arguments>(arguments)...);
    (void)std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace demo

#endif
