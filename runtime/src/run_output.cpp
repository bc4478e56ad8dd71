// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run_output.hpp>

PROCYARD_NAMESPACE_BEGIN

run_output& run_output::add(detail::sink_description sink)
{
    kind_ = kind::sinks;
    sinks_.push_back(std::move(sink));
    return *this;
}

run_output& run_output::capture(capture_options options)
{
    for (auto& sink : sinks_) {
        if (auto* earlier = std::get_if<detail::capture_sink>(&sink)) {
            earlier->options = options;
            return *this;
        }
    }
    return add(detail::capture_sink{options});
}

run_output& run_output::to_file(std::filesystem::path path, file_sink_options options)
{
    return add(detail::file_sink{std::move(path), options});
}

run_output& run_output::to_callback(std::function<void(std::string_view)> function)
{
    PROCYARD_ASSERT(function && "an output goes to a function that can be called");
    return add(detail::callback_sink{std::move(function)});
}

run_output& run_output::each_line(std::function<void(std::string_view)> function,
                                  line_options options)
{
    PROCYARD_ASSERT(function && "lines go to a function that can be called");
    PROCYARD_ASSERT(options.max_line_bytes > 0 && "a line of no bytes holds nothing");
    return add(detail::line_sink{std::move(function), options});
}

run_output&
run_output::to_coroutine(std::function<asio::awaitable<void>(std::string_view)> function)
{
    PROCYARD_ASSERT(function && "an output goes to a coroutine that can be called");
    return add(detail::coroutine_sink{std::move(function)});
}

PROCYARD_NAMESPACE_END
