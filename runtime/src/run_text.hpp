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

// What is to be said of the result of a run, of a child and of a pipeline alike. What differs is
// handed in:
//
//   for_each_output(result, visit)   calls visit(told_output) for each output, stdout first
//   status_error                     the error that the ends of the programs are, if any

// An output of a run, and whose it is where there are several of that name.
struct told_output {
    std::string_view name;
    std::string_view program;
    const stream_result& stream;
};

// The error a run is that was ended for this reason; none for `exited`.
[[nodiscard]] error_code error_of(run_reason reason) noexcept;
// The error an output is that is not complete.
[[nodiscard]] error_code error_of(const stream_result& stream) noexcept;
// Adds what is to be said about an output: `; stdout truncated (3 of 5 bytes)`.
void describe(std::string& text, const told_output& output);

template <class Result, class ForEachOutput>
[[nodiscard]] bool is_success(const Result& result, ForEachOutput for_each_output) noexcept
{
    bool complete = true;
    for_each_output(result,
                    [&](const told_output& output) { complete &= output.stream.complete(); });
    return !result.failure && result.reason == run_reason::exited && result.status.success()
        && complete;
}

template <class Result, class ForEachOutput>
[[nodiscard]] error_code error_of_run(const Result& result, error_code status_error,
                                      ForEachOutput for_each_output) noexcept
{
    if (result.failure)
        return result.failure.code;
    if (const auto ec = error_of(result.reason))
        return ec;
    error_code first = status_error;
    for_each_output(result, [&](const told_output& output) {
        if (!first)
            first = error_of(output.stream);
    });
    return first;
}

template <class Result, class ForEachOutput>
[[nodiscard]] std::string text_of(const Result& result, ForEachOutput for_each_output)
{
    if (result.failure)
        return result.failure.to_string();
    std::string text;
    if (result.reason != run_reason::exited) {
        text += to_string(result.reason);
        text += ": ";
    }
    text += result.status.to_string();
    for_each_output(result, [&](const told_output& output) { describe(text, output); });
    if (result.input.error)
        text += "; stdin: " + result.input.error.message();
    return text;
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
