// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CLOCK_TIMER_HPP
#define PROCYARD_RUNTIME_SRC_CLOCK_TIMER_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <cstdint>
#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// One alarm of an operation, on any clock. A member of the operation; arm() hands the operation's
// ownership to the wait, so that the pending alarm keeps it alive.
//
// Arming again or cancelling makes an earlier alarm void even if it has fired already and its
// handler is queued: the operation never hears of an alarm it no longer wants.
// Not thread-safe: to be used in the strand of the operation, which must be `ex`.
class clock_timer {
public:
    template <class Owner>
    void arm(timer_clock& clock, const asio::any_io_executor& ex, timer_clock::time_point when,
             std::shared_ptr<Owner> owner, void (Owner::*on_alarm)())
    {
        cancel();
        auto fire = [this, owner = std::move(owner), on_alarm,
                     number = number_](const error_code& ec) {
            if (number != number_)
                return;  // void: the slot, if anything is in it, is a later alarm's
            // A timer's reaction to a cancellation points into the timer, which ends with this
            // wait.
            signal_.slot().clear();
            if (!ec)
                (owner.get()->*on_alarm)();
        };
        clock.async_wait_until(ex, when,
                               asio::bind_cancellation_slot(signal_.slot(), std::move(fire)));
    }

    void cancel()
    {
        ++number_;
        signal_.emit(asio::cancellation_type::terminal);
        signal_.slot().clear();
    }

private:
    std::uint64_t number_ = 0;
    asio::cancellation_signal signal_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
