// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_RUNTIME_SHUTDOWN_FIXTURE_HPP
#define PROCYARD_TESTS_RUNTIME_SHUTDOWN_FIXTURE_HPP

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <procyard/runtime/shutdown.hpp>

#include "operation_contract.hpp"
#include "procyard_test.hpp"

namespace procyard_test {

// Moves the clock to each alarm that comes before `end`, until it is over. What is real takes none
// of this time, and who needs the rest of it hangs.
inline void move_until(boost::asio::io_context& ctx, procyard::manual_clock& clock,
                       procyard::timer_clock::time_point end, const std::function<bool()>& over)
{
    while (!over()) {
        const auto is_next = [&] { return clock.next().value_or(end) < end; };
        run_until(ctx, [&] { return over() || is_next(); });
        if (!over())
            clock.advance_to_next();
    }
}

// A coordinator whose time stands still until it is told to move, and what has happened.
class shutdown_fixture {
public:
    explicit shutdown_fixture(const std::function<void(procyard::shutdown_options&)>& change = {})
        : options(with_clock(clock, change)),
          stop(ctx.get_executor(), options)
    {
        stop.async_wait(ended.handler());
    }

    // A handler that writes down that it ran.
    auto note(std::string what)
    {
        return [this, what]() -> boost::asio::awaitable<void> {
            log.push_back(what);
            co_return;
        };
    }
    // To the next alarm, until it is over.
    void run_out()
    {
        ctx.poll();
        for (int alarms = 0; !ended.done(); ++alarms) {
            REQUIRE(alarms < 100);
            REQUIRE(clock->advance_to_next() > 0);
            ctx.restart();
            ctx.poll();
        }
    }
    void poll()
    {
        ctx.restart();
        ctx.poll();
    }
    [[nodiscard]] procyard::shutdown_report& report() { return ended.result(); }

    boost::asio::io_context ctx;
    std::shared_ptr<procyard::manual_clock> clock = std::make_shared<procyard::manual_clock>();
    procyard::shutdown_options options;
    procyard::shutdown_coordinator stop;
    outcome<procyard::error_code, procyard::shutdown_report> ended;
    std::vector<std::string> log;

private:
    static procyard::shutdown_options
    with_clock(const std::shared_ptr<procyard::timer_clock>& clock,
               const std::function<void(procyard::shutdown_options&)>& change)
    {
        procyard::shutdown_options made;
        made.clock = clock;
        made.budget = std::chrono::seconds(10);
        made.weights = {1, 0, 1, 4, 1, 2, 1};
        if (change)
            change(made);
        return made;
    }
};

}  // namespace procyard_test

#endif
