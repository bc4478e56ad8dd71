// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run_result.hpp>

#include <boost/asio/error.hpp>

#include <ostream>

#include "run_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

error_code error_of(run_reason reason) noexcept
{
    switch (reason) {
    case run_reason::exited: return {};
    case run_reason::deadline: return make_run_error(run_errc::deadline);
    case run_reason::idle: return make_run_error(run_errc::idle);
    case run_reason::output_limit: return make_run_error(run_errc::output_limit);
    case run_reason::cancelled: return asio::error::operation_aborted;
    case run_reason::sink_failed: return make_run_error(run_errc::sink_failed);
    case run_reason::input_failed: return make_run_error(run_errc::input_failed);
    }
    return {};
}

error_code error_of(const stream_result& stream) noexcept
{
    if (stream.truncated)
        return make_run_error(run_errc::output_limit);
    if (!stream.sink_failures.empty() || stream.aborted)
        return make_run_error(run_errc::sink_failed);
    if (stream.long_lines > 0)
        return make_run_error(run_errc::line_too_long);
    if (stream.held_by_descendant)
        return make_run_error(run_errc::held_by_descendant);
    return stream.read_error;
}

void describe(std::string& text, const told_output& output)
{
    const auto& stream = output.stream;
    const auto add = [&](const std::string& what) {
        text += "; ";
        text += output.name;
        if (!output.program.empty())
            (text += " of \"").append(output.program) += '"';
        text += ' ' + what;
    };
    if (stream.truncated) {
        add("truncated (" + std::to_string(stream.bytes_kept()) + " of "
            + std::to_string(stream.bytes_seen) + " bytes)");
    }
    if (stream.long_lines > 0)
        add("cut in " + std::to_string(stream.long_lines)
            + (stream.long_lines == 1 ? " long line" : " long lines"));
    if (stream.held_by_descendant)
        add("held open by a descendant");
    if (stream.aborted)
        add("aborted");
    if (stream.read_error)
        add(stream.read_error.message());
    for (const auto& failure : stream.sink_failures)
        add("to " + failure.sink + ": " + failure.error.message());
}

}  // namespace detail

namespace {

constexpr auto each_output = [](const run_result& result, auto visit) {
    visit(detail::told_output{"stdout", {}, result.std_out});
    visit(detail::told_output{"stderr", {}, result.std_err});
};

}  // namespace

bool stream_result::complete() const noexcept
{
    return !truncated && !held_by_descendant && !aborted && long_lines == 0 && !read_error
        && sink_failures.empty();
}

bool run_result::success() const noexcept
{
    return detail::is_success(*this, each_output);
}

error_code run_result::error() const noexcept
{
    return detail::error_of_run(*this, make_run_error(status), each_output);
}

std::string run_result::to_string() const
{
    return detail::text_of(*this, each_output);
}

std::ostream& operator<<(std::ostream& out, const run_result& result)
{
    return out << result.to_string();
}

PROCYARD_NAMESPACE_END
