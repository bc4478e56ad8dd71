// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run.hpp>

#include <boost/asio/deferred.hpp>

#include <algorithm>
#include <string_view>
#include <utility>

#include "run_access.hpp"
#include "run_operation.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// The whole text is here, so that a line_buffer, which copies what it is given, would only add to
// the memory.
std::vector<std::string> lines_of(std::string_view text)
{
    std::vector<std::string> lines;
    lines.reserve(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1);
    while (!text.empty()) {
        const auto end = text.find('\n');
        lines.emplace_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return lines;
}

// What a function does to the options whose result is the captured output.
void want_output(run_options& options)
{
    if (!run_access::captures(run_access::std_out(options)))
        run_access::std_out(options).capture({.on_limit = limit_policy::stop});
    if (run_access::is_automatic(run_access::std_err(options)))
        options.std_err(run_output::as_command());
}

}  // namespace

void start_run(command what, asio::any_io_executor ex, run_options options, run_handler handler)
{
    std::make_shared<run_operation>(std::move(what), std::move(ex), std::move(options),
                                    std::move(handler))
        ->start();
}

void start_output(command what, asio::any_io_executor ex, run_options options,
                  output_handler handler)
{
    want_output(options);
    auto run = async_run(std::move(what), std::move(ex), std::move(options), asio::deferred);
    auto output = std::move(run)(asio::deferred([](error_code ec, run_result result) {
        return asio::deferred.values(ec ? ec : result.error(), std::move(result.std_out.data));
    }));
    std::move(output)(std::move(handler));
}

void start_lines(command what, asio::any_io_executor ex, run_options options, lines_handler handler)
{
    want_output(options);
    auto run = async_run(std::move(what), std::move(ex), std::move(options), asio::deferred);
    auto lines = std::move(run)(asio::deferred([](error_code ec, const run_result& result) {
        return asio::deferred.values(ec ? ec : result.error(), lines_of(result.std_out.data));
    }));
    std::move(lines)(std::move(handler));
}

void start_status(command what, asio::any_io_executor ex, run_options options,
                  status_handler handler)
{
    if (run_access::is_automatic(run_access::std_in(options)))
        options.std_in(run_input::as_command());
    for (auto* output : {&run_access::std_out(options), &run_access::std_err(options)}) {
        if (run_access::is_automatic(*output))
            *output = run_output::as_command();
    }
    auto run = async_run(std::move(what), std::move(ex), std::move(options), asio::deferred);
    auto status = std::move(run)(asio::deferred([](error_code ec, run_result result) {
        if (!ec && result.reason != run_reason::exited)
            ec = result.error();
        return asio::deferred.values(ec, result.status);
    }));
    std::move(status)(std::move(handler));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
