// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_STOP_FSM_HPP
#define PROCYARD_RUNTIME_SRC_STOP_FSM_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/stop.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

enum class stop_event : std::uint8_t {
    started,    // first of all, once
    performed,  // what `perform`, `perform_resume` or `perform_kill` asked for was done (or failed)
    grace_over,  // the time of the last `arm` has passed
    exited,      // the child was reaped: its status is known
    tree_empty,  // no member of the tree is left
    hurried,     // somebody has lost patience: skip what is left of the grace
    cancelled,   // somebody no longer wants to know
};

enum class stop_order_kind : std::uint8_t {
    wait,            // nothing to do until the next event
    perform,         // do `step`, then resume(performed)
    perform_resume,  // send SIGCONT to the scope of `step`, then resume(performed)
    perform_kill,    // SIGKILL the tree, then resume(performed)
    arm,             // resume(grace_over) after `delay`; replaces an earlier arm
    complete,        // the tree is empty and the status known: report it
    abandon,         // cancelled: report how far it went
};

/// Whether a process may decide what a signal of a ladder does to it.
constexpr bool asks_to_end(int number) noexcept
{
    return number != SIGKILL && number != SIGSTOP && number != SIGCONT;
}

struct stop_order {
    stop_order_kind kind = stop_order_kind::wait;
    stop_step step{};
    std::chrono::nanoseconds delay{};

    friend bool operator==(const stop_order&, const stop_order&) = default;
};

// Decides what a ladder does next.
//
//   idle --started--> stepping --performed--> resuming --performed--> waiting --grace_over--+
//                      ^   \________(not a signal that asks)_________^                      |
//                      +------------------(one more rung)-----------------------------------+
//                      |
//                      +--(no more rungs, or hurried)--> killing --performed--> swept
//                                                          ^-----grace_over------+
//   any but done --tree_empty--> emptied --exited--> done
//                                (done at once when exited came first)
//   any but done --cancelled--> done
//
//   idle:     nothing was sent.
//   stepping: the shell carries out rung `next_ - 1`; nothing is armed.
//   resuming: the same rung's SIGCONT is being sent.
//   waiting:  the rung's grace is armed.
//   killing:  the shell kills the tree.
//   swept:    SIGKILL was sent; the re-sweep is armed. A tree without a cgroup can have forked
//             while it was walked, so the sweep is repeated, ever more slowly, until it is empty.
//   emptied:  no member is left, so nobody may be signalled any more (the numbers may be somebody
//             else's by now); the reaper still owes the status.
//   done:     reported; every further event is answered with `wait`.
//
// `exited` by itself changes nothing but what it says: rungs for the child alone are skipped from
// then on, and the grace of such a rung is over.
class stop_fsm {
public:
    explicit stop_fsm(std::vector<stop_step> steps) : steps_(std::move(steps)) { }

    stop_order resume(stop_event event) noexcept
    {
        if (state_ == state::done)
            return {};
        switch (event) {
        case stop_event::started: return on_started();
        case stop_event::performed: return on_performed();
        case stop_event::grace_over: return on_grace_over();
        case stop_event::exited: return on_exited();
        case stop_event::tree_empty: return on_tree_empty();
        case stop_event::hurried: return on_hurried();
        case stop_event::cancelled: state_ = state::done; return {stop_order_kind::abandon, {}, {}};
        }
        BOOST_ASSERT_MSG(false, "stop_fsm: no such event");
        return {};
    }

    [[nodiscard]] bool done() const noexcept { return state_ == state::done; }

    static constexpr std::chrono::nanoseconds first_sweep = std::chrono::milliseconds(20);
    static constexpr std::chrono::nanoseconds slowest_sweep = std::chrono::seconds(1);

private:
    enum class state : std::uint8_t {
        idle,
        stepping,
        resuming,
        waiting,
        killing,
        swept,
        emptied,
        done
    };

    static constexpr bool asks(const stop_step& step) noexcept
    {
        return step.action == stop_action::signal && asks_to_end(step.signal);
    }

    [[nodiscard]] bool for_the_dead(const stop_step& step) const noexcept
    {
        return exited_ && step.scope == stop_scope::child
            && step.action != stop_action::close_stdin;
    }

    stop_order on_started() noexcept
    {
        if (state_ != state::idle)  // the tree was empty before the start
            return {};
        return next_rung();
    }

    stop_order next_rung() noexcept
    {
        while (next_ < steps_.size() && for_the_dead(steps_[next_]))
            ++next_;
        if (next_ == steps_.size() || hurried_)
            return kill();
        state_ = state::stepping;
        current_ = steps_[next_++];
        return {stop_order_kind::perform, current_, {}};
    }

    stop_order kill() noexcept
    {
        state_ = state::killing;
        return {stop_order_kind::perform_kill,
                {.action = stop_action::kill, .signal = SIGKILL, .scope = stop_scope::tree},
                {}};
    }

    stop_order on_performed() noexcept
    {
        switch (state_) {
        case state::stepping:
            if (asks(current_) && !for_the_dead(current_)) {
                state_ = state::resuming;
                return {stop_order_kind::perform_resume, current_, {}};
            }
            return begin_grace();
        case state::resuming: return begin_grace();
        case state::killing: {
            state_ = state::swept;
            const auto delay = sweep_;
            sweep_ = std::min(sweep_ * 2, slowest_sweep);
            return {stop_order_kind::arm, {}, delay};
        }
        case state::idle:
        case state::waiting:
        case state::swept:
        case state::emptied:
        case state::done: return {};
        }
        BOOST_ASSERT_MSG(false, "stop_fsm: unreachable state");
        return {};
    }

    stop_order begin_grace() noexcept
    {
        if (hurried_ || for_the_dead(current_)
            || current_.grace <= std::chrono::nanoseconds::zero())
            return next_rung();
        state_ = state::waiting;
        return {stop_order_kind::arm, {}, current_.grace};
    }

    stop_order on_grace_over() noexcept
    {
        if (state_ == state::waiting)
            return next_rung();
        return state_ == state::swept ? kill() : stop_order{};
    }

    stop_order on_exited() noexcept
    {
        exited_ = true;
        if (state_ == state::emptied)
            return finish();
        return state_ == state::waiting && for_the_dead(current_) ? next_rung() : stop_order{};
    }

    stop_order on_tree_empty() noexcept
    {
        state_ = state::emptied;
        return exited_ ? finish() : stop_order{};
    }

    stop_order on_hurried() noexcept
    {
        hurried_ = true;
        return state_ == state::waiting ? kill() : stop_order{};
    }

    stop_order finish() noexcept
    {
        state_ = state::done;
        return {stop_order_kind::complete, {}, {}};
    }

    std::vector<stop_step> steps_;
    std::size_t next_ = 0;
    stop_step current_{};
    state state_ = state::idle;
    bool exited_ = false;
    bool hurried_ = false;
    std::chrono::nanoseconds sweep_ = first_sweep;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
