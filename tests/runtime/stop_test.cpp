// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/stop.hpp>

#include <doctest/doctest.h>

#include <sstream>

#include "duration_text.hpp"

using namespace std::chrono_literals;
using procyard::stop_action;
using procyard::stop_ladder;
using procyard::stop_result;
using procyard::stop_scope;
using procyard::stop_step;

TEST_SUITE("stop_ladder")
{
    TEST_CASE("the named ladders are what they say")
    {
        const stop_step close{.action = stop_action::close_stdin, .signal = 0};
        CHECK(stop_ladder::polite().steps
              == std::vector<stop_step>{close, {.signal = SIGTERM, .grace = 5s}});
        CHECK(stop_ladder::terminate(1s).steps
              == std::vector<stop_step>{{.signal = SIGTERM, .grace = 1s}});
        CHECK(stop_ladder::interrupt_first(1s, 3s).steps
              == std::vector<stop_step>{{.signal = SIGINT, .grace = 1s},
                                        {.signal = SIGTERM, .grace = 3s}});
        CHECK(stop_ladder::end_of_input(4s, 2s).steps
              == std::vector<stop_step>{
                  {.action = stop_action::close_stdin, .signal = 0, .grace = 4s},
                  {.signal = SIGTERM, .grace = 2s}});
        CHECK(stop_ladder::kill().steps.empty());
    }

    TEST_CASE("a step prints as what it does and to whom")
    {
        CHECK(to_string(stop_step{.action = stop_action::close_stdin}) == "close stdin");
        CHECK(to_string(stop_step{}) == "SIGTERM to the tree");
        CHECK(to_string(stop_step{.signal = SIGINT, .scope = stop_scope::child})
              == "SIGINT to the child");
        CHECK(to_string(stop_step{.action = stop_action::kill}) == "SIGKILL to the tree");
    }
}

TEST_SUITE("stop_result")
{
    TEST_CASE("tells the story of the stop")
    {
        const auto ladder = stop_ladder::polite(5s);
        const procyard::timer_clock::time_point begin(1h);
        stop_result result{.tree_empty = true, .started = begin, .finished = begin + 5010ms};
        CHECK(result.to_string() == "nothing to stop");
        result.taken.push_back({ladder.steps[0], begin, {}});
        result.taken.push_back({ladder.steps[1], begin + 30us, {}});  // as soon as it could
        CHECK_FALSE(result.forced());
        result.taken.push_back({{.action = stop_action::kill}, begin + 5s, {}});
        CHECK(result.forced());
        CHECK(result.duration() == 5010ms);
        std::ostringstream out;
        out << result;
        CHECK(out.str()
              == "close stdin, SIGTERM to the tree; after 5 s SIGKILL to the tree; "
                 "empty after 5.01 s");
    }

    TEST_CASE("names a signal that could not be sent")
    {
        stop_result result;
        CHECK(result.to_string() == "not started");
        result.taken.push_back(
            {stop_step{}, {}, make_error_code(boost::system::errc::operation_not_permitted)});
        CHECK(result.to_string()
              == "SIGTERM to the tree (Operation not permitted); given up after 0 s");
    }
}

TEST_SUITE("duration text")
{
    TEST_CASE("three digits and the unit that fits")
    {
        using procyard::detail::to_text;
        CHECK(to_text(0ns) == "0 s");
        CHECK(to_text(-5s) == "0 s");
        CHECK(to_text(17ns) == "17 ns");
        CHECK(to_text(850us) == "850 us");
        CHECK(to_text(12500us) == "12.5 ms");
        CHECK(to_text(999900us) == "1 s");
        CHECK(to_text(90123ms) == "90.1 s");
        CHECK(to_text(3600s) == "3600 s");
    }
}
