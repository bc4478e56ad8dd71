// SPDX-License-Identifier: BSL-1.0
// A supervisor, what it has told, and bounded ways to wait until something is so.
#ifndef PROCYARD_TESTS_SUPPORT_SUPERVISOR_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_SUPERVISOR_FIXTURE_HPP

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "procyard_test.hpp"
#include "spawning.hpp"

namespace procyard_test {

inline procyard::restart_backoff at_once()
{
    return {.first = std::chrono::nanoseconds(0), .cap = std::chrono::nanoseconds(0), .jitter = 0};
}

// A supervisor, what it has told, and a bounded way to wait until something is so.
struct supervised {
    explicit supervised(procyard::supervisor_options options = {})
    {
        options.on_event = [this](const procyard::service_event& event) {
            const auto before = std::exchange(heard, event.sequence);
            CHECK_MESSAGE((may_lose_events ? heard > before : heard == before + 1),
                          "a gap in the events");
            events.push_back(event);
        };
        guarded.emplace(ctx.get_executor(), std::move(options));
    }

    procyard::supervisor& it() { return *guarded; }

    procyard::service_state state(const std::string& name) { return of(name).state; }
    procyard::service_snapshot of(const std::string& name)
    {
        for (const auto& one : it().snapshot()) {
            if (one.name == name)
                return one;
        }
        FAIL("no such service: ", name);
        return {};
    }
    void until(const std::string& name, procyard::service_state wanted,
               std::uint64_t generation = 0)
    {
        CAPTURE(name);
        CAPTURE(story());
        run_until(ctx, [&] {
            const auto now = of(name);
            return now.state == wanted && now.generation >= generation;
        });
    }
    void until_removed(const std::string& name)
    {
        CAPTURE(name);
        CAPTURE(story());
        run_until(ctx, [&] {
            const auto all = it().snapshot();
            return std::none_of(all.begin(), all.end(),
                                [&](const auto& one) { return one.name == name; });
        });
    }
    procyard::supervisor_result stop()
    {
        outcome<procyard::error_code, procyard::supervisor_result> got;
        it().async_stop(got.handler());
        run_until(ctx, [&] { return got.done(); });
        CHECK(got.error() == procyard::error_code());
        return got.result();
    }
    std::string story() const
    {
        std::string text;
        for (const auto& event : events)
            text += event.to_string() + '\n';
        return text;
    }
    // In the order in which they came to it: "a.1 b.1".
    std::string came_to(procyard::service_state state) const
    {
        std::string text;
        for (const auto& event : events) {
            if (event.to == state)
                text += (text.empty() ? "" : " ") + event.service + '.'
                    + std::to_string(event.generation);
        }
        return text;
    }
    const procyard::service_event& last(procyard::service_state state) const
    {
        const auto found = std::find_if(events.rbegin(), events.rend(),
                                        [&](const auto& event) { return event.to == state; });
        REQUIRE(found != events.rend());
        return *found;
    }

    descriptor_check descriptors;
    boost::asio::io_context ctx{};
    std::vector<procyard::service_event> events{};
    std::uint64_t heard = 0;
    bool may_lose_events = false;  // where there is no memory for one
    std::optional<procyard::supervisor> guarded{};
};

inline boost::asio::awaitable<void> until_cancelled()
{
    boost::asio::steady_timer never(co_await boost::asio::this_coro::executor,
                                    boost::asio::steady_timer::time_point::max());
    co_await never.async_wait(boost::asio::use_awaitable);
}

// Until the timer, which is never due, is cancelled by hand; or the coroutine is.
inline boost::asio::awaitable<void> until_said(boost::asio::steady_timer* moment)
{
    procyard::error_code ec;
    co_await moment->async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ec));
}

// Heeds no cancellation of its own.
inline boost::asio::awaitable<void> deaf_until_said(boost::asio::steady_timer* moment)
{
    co_await boost::asio::this_coro::reset_cancellation_state(boost::asio::disable_cancellation());
    co_await until_said(moment);
}

// All its time is the test's.
inline procyard::supervisor_options by(const std::shared_ptr<procyard::manual_clock>& clock,
                                       procyard::supervisor_options options = {})
{
    options.clock = clock;
    return options;
}

// A process that is ready when it says so.
inline procyard::service pausing(std::string name, std::vector<std::string> after = {})
{
    procyard::service made(std::move(name), helper({"--mode=pause"}));
    made.depends_on(std::move(after))
        .ready_when(procyard::readiness::line_with("ready"))
        .backoff(at_once());
    return made;
}

inline procyard::service sleeper(std::string name)
{
    procyard::service made(std::move(name),
                           [](procyard::service_context) { return until_cancelled(); });
    made.backoff(at_once());
    return made;
}

}  // namespace procyard_test

#endif
