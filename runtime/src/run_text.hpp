// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_RUN_TEXT_HPP
#define PROCYARD_RUNTIME_SRC_RUN_TEXT_HPP

#include <string>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/run_reason.hpp>
#include <procyard/runtime/run_result.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What the results of runs have in common, of a child and of a pipeline.

// The error a run is that was ended for this reason; none for `exited`.
[[nodiscard]] error_code error_of(run_reason reason) noexcept;
// The error an output is that is not complete.
[[nodiscard]] error_code error_of(const stream_result& stream) noexcept;
// Adds what is to be said about an output: `; stdout truncated (3 of 5 bytes)`.
void describe(std::string& text, std::string_view name, const stream_result& stream);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
