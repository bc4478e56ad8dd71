// SPDX-License-Identifier: BSL-1.0
// What the tests of async_run(pipeline) share; see run_fixture.hpp.
#ifndef PROCYARD_TESTS_SUPPORT_PIPELINE_RUN_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_PIPELINE_RUN_FIXTURE_HPP

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/runtime/pipeline.hpp>

#include "pipeline_fixture.hpp"
#include "procyard_test.hpp"

namespace procyard_test {

class pipeline_run_fixture {
public:
    boost::asio::io_context ctx;
    std::shared_ptr<procyard::manual_clock> clock = std::make_shared<procyard::manual_clock>();
    boost::asio::cancellation_signal signal;
    outcome<procyard::error_code, procyard::pipeline_result> got;
    std::string seen;  // by tap()

    void start(procyard::pipeline what, procyard::run_options options = {})
    {
        procyard::async_run(std::move(what), ctx.get_executor(), options.clock(clock),
                            boost::asio::bind_cancellation_slot(signal.slot(), got.handler()));
        CHECK_MESSAGE(!got.done(), "completed inside the initiating function");
    }

    /// Runs until the run has completed. The context has nothing left to do then.
    procyard::pipeline_result& finish()
    {
        run_until(ctx, [&] { return got.done(); });
        run(ctx);
        CHECK(got.count == 1);
        return got.result();
    }

    procyard::pipeline_result& operator()(procyard::pipeline what,
                                          procyard::run_options options = {})
    {
        got = {};
        start(std::move(what), std::move(options));
        return finish();
    }

    /// Captures, and shows in `seen` what has come so far: the rendez-vous with the last stage.
    procyard::run_output tap()
    {
        return procyard::run_output().capture().to_callback(
            [this](std::string_view bytes) { seen += bytes; });
    }

    /// Runs until the pipeline has said `word`.
    void wait_for(std::string_view word)
    {
        run_until(ctx, [&] { return seen.find(word) != std::string::npos; });
    }

    /// Runs until a timer is pending on the clock, then moves it there.
    void fire_next_timer()
    {
        run_until(ctx, [&] { return clock->pending() > 0; });
        clock->advance_to_next();
    }
};

}  // namespace procyard_test

#endif
