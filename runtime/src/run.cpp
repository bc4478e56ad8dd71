// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run.hpp>

#include <boost/asio/deferred.hpp>

#include <utility>

#include "run_access.hpp"
#include "run_operation.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void start_run(command what, asio::any_io_executor ex, run_options options, run_handler handler)
{
    std::make_shared<run_operation>(std::move(what), std::move(ex), std::move(options),
                                    std::move(handler))
        ->start();
}

void start_output(command what, asio::any_io_executor ex, run_options options,
                  output_handler handler)
{
    if (!run_access::captures(run_access::std_out(options)))
        run_access::std_out(options).capture({.on_limit = limit_policy::stop});
    if (run_access::is_automatic(run_access::std_err(options)))
        options.std_err(run_output::as_command());
    auto run = async_run(std::move(what), std::move(ex), std::move(options), asio::deferred);
    auto output = std::move(run)(asio::deferred([](error_code ec, run_result result) {
        return asio::deferred.values(ec ? ec : result.error(), std::move(result.std_out.data));
    }));
    std::move(output)(std::move(handler));
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
