// SPDX-License-Identifier: BSL-1.0
// A listener's side of the handshake, as a script: this event, that action.
#include "accept_fsm.hpp"

#include <utility>
#include <vector>

#include <doctest/doctest.h>

using procyard::detail::accept_action;
using procyard::detail::accept_event;
using procyard::detail::accept_fsm;
using procyard::detail::connection_status;

namespace {

using step = std::pair<accept_event, accept_action>;

const std::vector<step> to_greeting{{accept_event::begun, accept_action::read_request},
                                    {accept_event::not_yet, accept_action::wait},
                                    {accept_event::begun, accept_action::read_request}};
const std::vector<step> to_meeting{{accept_event::begun, accept_action::read_request},
                                   {accept_event::fits, accept_action::open_rings},
                                   {accept_event::opened, accept_action::look_for_rings},
                                   {accept_event::not_yet, accept_action::wait},
                                   {accept_event::begun, accept_action::look_for_rings}};

accept_fsm after(const std::vector<step>& script)
{
    accept_fsm fsm;
    for (const auto& [event, action] : script)
        CHECK(fsm.resume(event) == action);
    return fsm;
}

}  // namespace

TEST_SUITE("accept_fsm")
{
    TEST_CASE("a client that does all there is to be done is in")
    {
        auto fsm = after(to_meeting);
        CHECK_FALSE(fsm.is_silent());
        CHECK(fsm.resume(accept_event::met) == accept_action::confirm);
        CHECK(fsm.status() == connection_status::accepted);
    }

    TEST_CASE("one whose end the program makes is handed over when it has asked")
    {
        auto fsm = after(to_greeting);
        CHECK(fsm.resume(accept_event::applies) == accept_action::hand_over);
        CHECK(fsm.status() == connection_status::accepted);
        CHECK_FALSE(fsm.is_silent());
    }

    TEST_CASE("one that has not asked is silent, one that has is not")
    {
        CHECK(accept_fsm().is_silent());
        CHECK(after(to_greeting).is_silent());
        CHECK_FALSE(after(to_meeting).is_silent());
    }

    TEST_CASE("in each state: one that is unfit, too late or cut off hears which")
    {
        for (const auto& script : {to_greeting, to_meeting}) {
            auto unfit = after(script);
            CHECK(unfit.resume(accept_event::unfit, connection_status::other_type)
                  == accept_action::refuse);
            CHECK(unfit.status() == connection_status::other_type);
            auto late = after(script);
            CHECK(late.resume(accept_event::too_late) == accept_action::refuse);
            CHECK(late.status() == connection_status::too_slow);
            auto cut = after(script);
            CHECK(cut.resume(accept_event::cut_off) == accept_action::refuse);
            CHECK(cut.status() == connection_status::unavailable);
        }
    }

    TEST_CASE("in each state: one that has hung up is told nothing")
    {
        for (const auto& script : {to_greeting, to_meeting}) {
            auto fsm = after(script);
            CHECK(fsm.resume(accept_event::gone) == accept_action::drop);
            CHECK(fsm.status() == connection_status::accepted);
        }
    }
}
