// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_ACCEPT_FSM_HPP
#define PROCYARD_IPC_SRC_ACCEPT_FSM_HPP

#include <cstdint>

#include <procyard/ipc/config.hpp>

#include "connection_messages.hpp"

// A listener's side of the handshake with one client. Knows no socket and no clock.
//
//   greeting --fits--> opening --opened--> meeting --met--> over: it is ours
//      |                  |                   |
//      +---- unfit -------+----- failed ------+-----------> over: it is told why
//      +---- gone -----------------------------+----------> over: nobody is there to be told
//      +---- applies -------------------------------------> over: it is the program's to answer
//      +---- too_late, cut_off ----------------+----------> over: it is told why
//
//   greeting: its request is awaited; nothing has been made for it.
//   opening:  its rings are being made. In one turn, so nothing can come between.
//   meeting:  it has been told that it fits, and has been given the other ends of our rings; its
//             hellos are awaited.
//   over:     nothing more is read or written; the shell lets go of everything.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

enum class accept_event : std::uint8_t {
    begun,     // or the client may have said something
    not_yet,   // there was nothing
    fits,      // its request is good
    applies,   // the same, and what it gets is made by the program
    opened,    // our rings are there, and it has been told
    met,       // its rings are there
    unfit,     // its request, or its rings, are not what they should be; or ours cannot be made
    gone,      // it has hung up
    too_late,  // the deadline is over
    cut_off,   // others need its place, or the listener ends
};

enum class accept_action : std::uint8_t {
    read_request,
    open_rings,
    look_for_rings,
    wait,     // until the client says something
    confirm,  // that it is in; then hand it over
    hand_over,
    refuse,  // with status()
    drop,
};

class accept_fsm {
public:
    // `why` is what an unfit client is told.
    [[nodiscard]] accept_action
    resume(accept_event event, connection_status why = connection_status::bad_hello) noexcept
    {
        switch (event) {
        case accept_event::begun:
            return state_ == state::greeting ? accept_action::read_request
                                             : accept_action::look_for_rings;
        case accept_event::not_yet: return accept_action::wait;
        case accept_event::fits: state_ = state::opening; return accept_action::open_rings;
        case accept_event::applies: state_ = state::over; return accept_action::hand_over;
        case accept_event::opened: state_ = state::meeting; return accept_action::look_for_rings;
        case accept_event::met: state_ = state::over; return accept_action::confirm;
        case accept_event::unfit: return refuse(why);
        case accept_event::gone: state_ = state::over; return accept_action::drop;
        case accept_event::too_late: return refuse(connection_status::too_slow);
        case accept_event::cut_off: return refuse(connection_status::unavailable);
        }
        PROCYARD_ASSERT(false && "accept_fsm: an event that does not exist");
        return accept_action::drop;
    }

    // Nothing has been heard of the client, so it costs nothing and is the first to be cut off.
    [[nodiscard]] bool is_silent() const noexcept { return state_ == state::greeting; }
    [[nodiscard]] connection_status status() const noexcept { return status_; }

private:
    enum class state : std::uint8_t { greeting, opening, meeting, over };

    accept_action refuse(connection_status why) noexcept
    {
        state_ = state::over;
        status_ = why;
        return accept_action::refuse;
    }

    state state_ = state::greeting;
    connection_status status_ = connection_status::accepted;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
