// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_RUN_FSM_HPP
#define PROCYARD_RUNTIME_SRC_RUN_FSM_HPP

#include <cstdint>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/run_reason.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

enum class run_event : std::uint8_t {
    exited,       // every child of the run was reaped
    tree_empty,   // and no descendant of theirs is left (only needed by descendant_policy::wait)
    stop_done,    // the ladder has ended: reaped, and the tree is empty
    input_done,   // the feeder has ended, one way or the other
    output_done,  // one pump has ended: end of file, cut or aborted, and its sinks have let go
    drain_over,   // the grace of the last arm_drain has passed
    deadline,     // the causes to stop: each may come at any time
    idle,
    output_limit,
    sink_failed,
    input_failed,
    cancelled,
};

// What the shell shall do, several at a time, in the order of the bits.
enum class run_action : std::uint8_t {
    none = 0,
    start_ladder = 1,    // answers with stop_done
    hurry_ladder = 2,    // skip to SIGKILL
    arm_drain = 4,       // answers with drain_over; replaces an earlier arm
    close_input = 8,     // end the feeder; answers with input_done
    cut_outputs = 16,    // take what is in the pipes now and end; each answers with output_done
    abort_outputs = 32,  // let go of the sinks, too
    complete = 64,       // report; nothing of the run is alive any more
};

constexpr run_action operator|(run_action a, run_action b) noexcept
{
    return static_cast<run_action>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr run_action& operator|=(run_action& a, run_action b) noexcept
{
    return a = a | b;
}
constexpr bool has(run_action set, run_action one) noexcept
{
    return (static_cast<unsigned>(set) & static_cast<unsigned>(one)) != 0;
}

// Decides how a run ends. It is made when the child has been spawned.
//
//   running --exited--> draining --(all outputs done)--> closing --(all done)--> done
//      |                 |    \-----drain_over------------^  ^
//      |<cause>  <cause> |                                   |
//      v                 |                                   |
//   stopping <-----------+                                   |
//      \--------stop_done--> draining (again) ---------------+
//
//   <cause>: deadline, idle, output_limit, sink_failed, input_failed, cancelled. The first one is
//   the reason; from `draining` only if no ladder has run, and idle not at all.
//
//   running:  the child lives (or with descendant_policy::wait: one of its tree does).
//   stopping: the ladder climbs; pumps and feeder go on, so that a child that writes its last words
//             does not block on a full pipe. A second cancellation hurries the ladder.
//   draining: the child is reaped, its status known. Exit is not end-of-file: the outputs have the
//             drain grace to reach theirs. The input has as long as there is an output to wait for.
//   closing:  feeder and pumps were told to end. A sink that does not let go is aborted by a cause,
//             or by a second drain grace if there was one before.
//   done:     reported; every further event is answered with `none`.
class run_fsm {
public:
    struct setup {
        unsigned inputs = 0;   // feeders: 0 or 1
        unsigned outputs = 0;  // pumps
        descendant_policy descendants = descendant_policy::leave;
    };

    explicit run_fsm(setup what) noexcept
        : inputs_(what.inputs),
          outputs_(what.outputs),
          descendants_(what.descendants)
    {
    }

    run_action resume(run_event event) noexcept
    {
        if (state_ == state::done)
            return run_action::none;
        switch (event) {
        case run_event::exited: exited_ = true; return on_end_of_child();
        case run_event::tree_empty: tree_empty_ = true; return on_end_of_child();
        case run_event::stop_done: return on_stop_done();
        case run_event::input_done: inputs_ -= inputs_ > 0 ? 1U : 0U; return progress();
        case run_event::output_done: outputs_ -= outputs_ > 0 ? 1U : 0U; return progress();
        case run_event::drain_over: return on_drain_over();
        case run_event::deadline: return on_cause(run_reason::deadline);
        case run_event::idle: return on_cause(run_reason::idle);
        case run_event::output_limit: return on_cause(run_reason::output_limit);
        case run_event::sink_failed: return on_cause(run_reason::sink_failed);
        case run_event::input_failed: return on_cause(run_reason::input_failed);
        case run_event::cancelled: return on_cancelled();
        }
        BOOST_ASSERT_MSG(false, "run_fsm: no such event");
        return run_action::none;
    }

    [[nodiscard]] run_reason reason() const noexcept { return reason_; }
    // The caller has cancelled, whatever the reason was: it gets operation_aborted.
    [[nodiscard]] bool cancelled() const noexcept { return cancelled_; }
    [[nodiscard]] bool done() const noexcept { return state_ == state::done; }

private:
    enum class state : std::uint8_t { running, stopping, draining, closing, done };

    run_action on_end_of_child() noexcept
    {
        if (state_ != state::running || !exited_)
            return run_action::none;
        switch (descendants_) {
        case descendant_policy::leave: return settle();
        case descendant_policy::stop: return tree_empty_ ? settle() : start_ladder();
        case descendant_policy::wait: return tree_empty_ ? settle() : run_action::none;
        }
        BOOST_ASSERT_MSG(false, "run_fsm: no such policy");
        return run_action::none;
    }

    run_action on_stop_done() noexcept
    {
        return state_ == state::stopping ? settle() : run_action::none;
    }

    run_action start_ladder() noexcept
    {
        state_ = state::stopping;
        ladder_ran_ = true;
        return run_action::start_ladder;
    }

    run_action settle() noexcept
    {
        state_ = state::draining;
        if (outputs_ > 0)
            return run_action::arm_drain;
        return progress();
    }

    run_action progress() noexcept
    {
        run_action actions = run_action::none;
        if (state_ == state::draining && outputs_ == 0) {
            state_ = state::closing;
            if (inputs_ > 0)
                actions |= run_action::close_input;
        }
        if (state_ == state::closing && outputs_ == 0 && inputs_ == 0) {
            state_ = state::done;
            actions |= run_action::complete;
        }
        return actions;
    }

    // Only from draining with an output left.
    run_action close() noexcept
    {
        state_ = state::closing;
        run_action actions = run_action::cut_outputs;
        if (inputs_ > 0)
            actions |= run_action::close_input;
        // After an exit the sinks may take their time over what the child has written. After a stop
        // nobody waits for them longer than another grace.
        if (reason_ != run_reason::exited)
            actions |= run_action::arm_drain;
        return actions;
    }

    run_action abort() noexcept
    {
        return outputs_ > 0 ? run_action::abort_outputs : run_action::none;
    }

    run_action on_drain_over() noexcept
    {
        if (state_ == state::draining)
            return close();
        return state_ == state::closing && reason_ != run_reason::exited ? abort()
                                                                         : run_action::none;
    }

    void blame(run_reason reason) noexcept
    {
        if (reason_ == run_reason::exited)
            reason_ = reason;
    }

    run_action on_cause(run_reason reason) noexcept
    {
        switch (state_) {
        case state::running: blame(reason); return start_ladder();
        case state::draining:
            if (ladder_ran_ || reason == run_reason::idle)
                return run_action::none;
            blame(reason);
            return start_ladder();
        case state::closing:
            if (reason != run_reason::deadline)
                return run_action::none;
            blame(reason);
            return abort();
        case state::stopping:
            // The ladder of descendant_policy::stop runs without a cause so far. Silence is none:
            // the child has ended.
            if (reason != run_reason::idle)
                blame(reason);
            return run_action::none;
        case state::done: return run_action::none;
        }
        BOOST_ASSERT_MSG(false, "run_fsm: unreachable state");
        return run_action::none;
    }

    run_action on_cancelled() noexcept
    {
        const bool again = cancelled_;
        cancelled_ = true;
        switch (state_) {
        case state::stopping:
            blame(run_reason::cancelled);
            return again ? run_action::hurry_ladder : run_action::none;
        case state::draining:
            if (!ladder_ran_)
                return on_cause(run_reason::cancelled);
            blame(run_reason::cancelled);
            return close();
        case state::closing: blame(run_reason::cancelled); return abort();
        case state::running:
        case state::done: return on_cause(run_reason::cancelled);
        }
        BOOST_ASSERT_MSG(false, "run_fsm: unreachable state");
        return run_action::none;
    }

    unsigned inputs_;
    unsigned outputs_;
    descendant_policy descendants_;
    state state_ = state::running;
    run_reason reason_ = run_reason::exited;
    bool exited_ = false;
    bool tree_empty_ = false;
    bool ladder_ran_ = false;
    bool cancelled_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
