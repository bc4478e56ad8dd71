// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_FAN_IN_SCHEDULE_HPP
#define PROCYARD_IPC_SRC_FAN_IN_SCHEDULE_HPP

#include <boost/intrusive/list.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Whose turn it is among the sources of a fan-in. Knows no channel: what a source has is asked of
// the caller.
//
//        --something is there-->          --it has nothing-->
//   quiet                       ready ----------------------> quiet
//     \--the sender is told--> asleep --it rings, or is seen to have something--> quiet or ready
//
//   ready:  has something, as far as we know. The highest lane's first one is served; after `burst`
//           messages it goes to the back, so nobody waits for more than burst messages of each
//           other.
//   quiet:  had nothing when it was looked at last. It is looked at before the fan-in sleeps.
//   asleep: its sender knows that it has to ring.
//
// Only sources that have become quiet since the last sleep cost anything when the fan-in sleeps,
// however many there are. And as long as some are ready, one of the others of each lane that is not
// below is looked at for each message: so one that becomes ready is found in time, whether or not
// its ring has been heard.
//
// Who only tries hears no ring: so when none is ready, it has all of them looked at.
//
// Rejected: to look at all sources before each message (a thousand loads), or to leave those that
// are not ready to their rings (a loop of try_receive would never hear one).
class fan_in_schedule {
public:
    static constexpr unsigned lanes = 8;
    enum class state : std::uint8_t { ready, quiet, asleep };

    class place {
    public:
        explicit place(unsigned lane) noexcept : lane_(lane) { }
        [[nodiscard]] unsigned lane() const noexcept { return lane_; }
        [[nodiscard]] detail::fan_in_schedule::state state() const noexcept { return state_; }

    private:
        friend class fan_in_schedule;
        using hook = boost::intrusive::list_member_hook<>;
        unsigned lane_;
        unsigned served_ = 0;
        detail::fan_in_schedule::state state_ = detail::fan_in_schedule::state::quiet;
        hook in_lane_;   // ready_ or idle_
        hook in_quiet_;  // quiet_, when quiet
    };

    explicit fan_in_schedule(unsigned burst) noexcept : burst_(burst == 0 ? 1 : burst) { }

    /// Quiet.
    void add(place& p) noexcept
    {
        idle_[p.lane_].push_back(p);
        quiet_.push_back(p);
        p.state_ = state::quiet;
        note(p.lane_);
    }
    void remove(place& p) noexcept
    {
        list_of(p).erase(lane_list::s_iterator_to(p));
        if (p.state_ == state::quiet)
            quiet_.erase(quiet_list::s_iterator_to(p));
        note(p.lane_);
    }
    void set(place& p, state to) noexcept
    {
        if (p.state_ == to)
            return;
        remove(p);
        p.state_ = to;
        p.served_ = 0;
        list_of(p).push_back(p);
        if (to == state::quiet)
            quiet_.push_back(p);
        note(p.lane_);
    }

    /// Whose turn it is. Null: nobody is ready.
    [[nodiscard]] place* first() noexcept
    {
        return ready_lanes_ == 0
            ? nullptr
            : &ready_[static_cast<unsigned>(std::countr_zero(ready_lanes_))].front();
    }
    /// A message of the first one has been taken, or as many as it had in one.
    void has_served(place& p, bool all = false) noexcept
    {
        if (p.state_ != state::ready || (!all && ++p.served_ < burst_))
            return;
        p.served_ = 0;
        auto& lane = ready_[p.lane_];
        lane.splice(lane.end(), lane, lane_list::s_iterator_to(p));
    }

    /// Asks `has_something(place&)` of one source that is not ready in each lane that is not below
    /// that of first(); another one each time. @pre first() is not null
    template <class Look>
    void look_ahead(Look has_something)
    {
        const auto here = static_cast<unsigned>(std::countr_zero(ready_lanes_));
        auto among = idle_lanes_ & ((2U << here) - 1);
        for (; among != 0; among &= among - 1) {
            auto& lane = idle_[static_cast<unsigned>(std::countr_zero(among))];
            auto& p = lane.front();
            if (has_something(p))
                set(p, state::ready);
            else
                lane.splice(lane.end(), lane, lane.begin());
        }
    }
    /// Asks it of all that are quiet.
    template <class Look>
    void look_at_quiet(Look has_something)
    {
        for (auto at = quiet_.begin(); at != quiet_.end();) {
            auto& p = *at++;
            if (has_something(p))
                set(p, state::ready);
        }
    }
    /// Asks it of all that are not ready.
    template <class Look>
    void look_at_idle(Look has_something)
    {
        for (auto& lane : idle_) {
            for (auto at = lane.begin(); at != lane.end();) {
                auto& p = *at++;
                if (has_something(p))
                    set(p, state::ready);
            }
        }
    }
    /// Calls `f(place&)` for all that are quiet; it may change the state of that one.
    template <class F>
    void for_each_quiet(F f)
    {
        for (auto at = quiet_.begin(); at != quiet_.end();)
            f(*at++);
    }

private:
    using lane_hook = boost::intrusive::member_hook<place, place::hook, &place::in_lane_>;
    using quiet_hook = boost::intrusive::member_hook<place, place::hook, &place::in_quiet_>;
    using lane_list = boost::intrusive::list<place, lane_hook>;
    using quiet_list = boost::intrusive::list<place, quiet_hook>;

    [[nodiscard]] lane_list& list_of(const place& p) noexcept
    {
        return p.state_ == state::ready ? ready_[p.lane_] : idle_[p.lane_];
    }
    void note(unsigned lane) noexcept
    {
        const auto bit = 1U << lane;
        ready_lanes_ = ready_[lane].empty() ? ready_lanes_ & ~bit : ready_lanes_ | bit;
        idle_lanes_ = idle_[lane].empty() ? idle_lanes_ & ~bit : idle_lanes_ | bit;
    }

    unsigned burst_;
    unsigned ready_lanes_ = 0;  // bit n: ready_[n] has somebody
    unsigned idle_lanes_ = 0;
    std::array<lane_list, lanes> ready_;
    std::array<lane_list, lanes> idle_;
    quiet_list quiet_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
