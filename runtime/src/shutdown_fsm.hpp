// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SHUTDOWN_FSM_HPP
#define PROCYARD_RUNTIME_SRC_SHUTDOWN_FSM_HPP

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/shutdown_report.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

struct shutdown_timing {
    std::chrono::nanoseconds linger{};
    std::chrono::nanoseconds quiet{};
    std::array<unsigned, shutdown_phase_count> weights{};
};

enum class shutdown_event : std::uint8_t {
    requested,  // with the deadline of it all; a later one that ends earlier counts as well
    step_done,  // of `phase`: its handlers have returned, or been given up by the shell
    changed,    // one of the facts has
    alarm,      // the time of the last `arm` has come
};

struct shutdown_feed {
    shutdown_event event;
    timer_clock::time_point now;
    shutdown_phase phase = shutdown_phase::announce;
    timer_clock::time_point deadline = timer_clock::time_point::max();
};

// What holds at this moment; only the shell can know.
struct shutdown_facts {
    // How many steps each phase has: handlers of one order are one step.
    std::array<unsigned, shutdown_phase_count> steps{};
    bool work_left = false;
    bool tasks_left = false;
    // When new work came last.
    timer_clock::time_point last_activity = timer_clock::time_point::min();
};

enum class shutdown_order_kind : std::uint8_t {
    begin,    // `phase` begins, and is given up at `when`
    run,      // start step `step` of `phase`; it has until `when`
    give_up,  // cancel what runs of `phase`'s step, and go on without
    end,      // `phase` is over; `late`: with work or tasks left
    arm,      // feed `alarm` at `when`; replaces an earlier arm
    finish,   // all is over
};

struct shutdown_order {
    shutdown_order_kind kind{};
    shutdown_phase phase = shutdown_phase::announce;
    unsigned step = 0;
    timer_clock::time_point when{};
    bool late = false;

    friend bool operator==(const shutdown_order&, const shutdown_order&) = default;
};

// Decides when which phase of a shutdown begins and ends.
//
//   idle --requested--> announcing --over--> lingering --long enough, or quiet--> closing
//     --over--> draining --nothing left, or its time over--> cancelling
//     --nothing left, or its time over--> stopping --over--> flushing --over--> done
//
//   idle:       nobody has asked.
//   announcing: new work comes as ever.
//   lingering:  new work still comes. The steps of `drain` have begun, and their time runs: linger
//               and drain share one window, so that the longer of both counts and not the sum.
//   closing:    the intake is being closed; the drain's steps go on.
//   draining:   no new work comes; some is left, or a step of the drain runs.
//   cancelling: everything was told to end.
//   stopping:   the children are being stopped.
//   flushing:   the last words.
//   done:       nothing more is answered.
//
// A phase is over when its steps are, one after the other; a step that outstays its time is given
// up. Each phase may take its weight's share of what is left when it begins, and so may each step
// of what is left of its phase: what one does not use is the others'. At most one step of a phase
// is given up in one call, even when there is no time left at all: each gets its turn.
class shutdown_fsm {
public:
    using time_point = timer_clock::time_point;

    explicit shutdown_fsm(const shutdown_timing& timing) : timing_(timing) { }

    std::vector<shutdown_order> resume(const shutdown_feed& feed, const shutdown_facts& facts)
    {
        orders_.clear();
        if (state_ == state::done)
            return {};
        now_ = feed.now;
        facts_ = facts;
        switch (feed.event) {
        case shutdown_event::requested: on_requested(feed.deadline); break;
        case shutdown_event::step_done: on_step_done(feed.phase); break;
        case shutdown_event::changed: break;
        case shutdown_event::alarm:
            give_up_if_late(main_);
            give_up_if_late(drain_);
            break;
        }
        while (advance()) { }
        if (state_ != state::idle && state_ != state::done)
            order(shutdown_order_kind::arm, {}, 0, next_alarm());
        return orders_;
    }

    [[nodiscard]] bool done() const noexcept { return state_ == state::done; }

private:
    enum class state : std::uint8_t {
        idle,
        announcing,
        lingering,
        closing,
        draining,
        cancelling,
        stopping,
        flushing,
        done
    };

    // The steps of one phase. Two are under way while the drain overlaps what is before it.
    struct track {
        shutdown_phase phase{};
        unsigned step = 0;
        unsigned steps = 0;
        time_point deadline{};
        time_point step_deadline{};

        [[nodiscard]] bool over() const noexcept { return step == steps; }
    };

    void order(shutdown_order_kind kind, shutdown_phase phase, unsigned step = 0,
               time_point when = {})
    {
        orders_.push_back({kind, phase, step, when, false});
    }

    [[nodiscard]] unsigned weight(shutdown_phase phase) const noexcept
    {
        return timing_.weights.at(static_cast<std::size_t>(phase));
    }

    // `part / whole` of the time until `end`; all of it where nobody else wants any.
    [[nodiscard]] time_point share_until(time_point end, unsigned part,
                                         unsigned whole) const noexcept
    {
        if (end <= now_)
            return now_;
        if (whole == 0)
            return end;
        const auto left = (end - now_).count();
        // In this order, as their product may be too big.
        return now_ + std::chrono::nanoseconds(left / whole * part + left % whole * part / whole);
    }

    // The weights of this phase and those behind it. Linger has none: it is in the drain's window.
    [[nodiscard]] unsigned weights_from(shutdown_phase first) const noexcept
    {
        unsigned sum = 0;
        for (auto n = static_cast<std::size_t>(first); n < shutdown_phase_count; ++n)
            sum += n == static_cast<std::size_t>(shutdown_phase::linger) ? 0 : timing_.weights[n];
        return sum;
    }

    [[nodiscard]] time_point share(shutdown_phase phase) const noexcept
    {
        return share_until(deadline_, weight(phase), weights_from(phase));
    }

    // What close_intake and drain may take together.
    [[nodiscard]] time_point window() const noexcept
    {
        return share_until(deadline_,
                           weight(shutdown_phase::close_intake) + weight(shutdown_phase::drain),
                           weights_from(shutdown_phase::close_intake));
    }

    void on_requested(time_point deadline)
    {
        if (state_ == state::idle) {
            deadline_ = deadline;
            state_ = state::announcing;
            begin(main_, shutdown_phase::announce, share(shutdown_phase::announce));
            return;
        }
        if (deadline >= deadline_)
            return;
        deadline_ = deadline;
        shorten(main_, state_ == state::closing ? drain_.deadline : share(main_.phase));
        if (state_ == state::lingering || state_ == state::closing || state_ == state::draining) {
            shorten(drain_, window());
            linger_end_ = std::min(linger_end_, drain_.deadline);
            if (state_ == state::closing)
                shorten(main_, drain_.deadline);
        }
    }

    static void shorten(track& which, time_point deadline) noexcept
    {
        which.deadline = std::min(which.deadline, deadline);
        which.step_deadline = std::min(which.step_deadline, deadline);
    }

    void begin(track& which, shutdown_phase phase, time_point deadline)
    {
        which = {phase, 0, facts_.steps.at(static_cast<std::size_t>(phase)), deadline, deadline};
        order(shutdown_order_kind::begin, phase, 0, deadline);
        run_step(which);
    }

    void run_step(track& which)
    {
        if (which.over())
            return;
        which.step_deadline = share_until(which.deadline, 1, which.steps - which.step);
        order(shutdown_order_kind::run, which.phase, which.step, which.step_deadline);
    }

    void on_step_done(shutdown_phase phase)
    {
        auto& which = phase == shutdown_phase::drain ? drain_ : main_;
        if (which.phase != phase || which.over())
            return;
        ++which.step;
        run_step(which);
    }

    void give_up_if_late(track& which)
    {
        if (which.over() || now_ < which.step_deadline)
            return;
        order(shutdown_order_kind::give_up, which.phase, which.step);
        ++which.step;
        run_step(which);
    }

    // One transition, if one is due.
    bool advance()
    {
        switch (state_) {
        case state::idle:
        case state::done: return false;
        case state::announcing: return main_.over() && linger();
        case state::lingering: return linger_over() && close();
        case state::closing: return main_.over() && drain();
        case state::draining: return drained() && cancel();
        case state::cancelling: return cancelled() && go_on(state::stopping);
        case state::stopping: return main_.over() && go_on(state::flushing);
        case state::flushing: return main_.over() && go_on(state::done);
        }
        BOOST_ASSERT_MSG(false, "shutdown_fsm: unreachable state");
        return false;
    }

    bool linger()
    {
        order(shutdown_order_kind::end, shutdown_phase::announce);
        state_ = state::lingering;
        linger_began_ = now_;
        const auto end = window();
        const auto closing = weight(shutdown_phase::close_intake);
        const auto draining = weight(shutdown_phase::drain);
        // Some of the window is left for the closing.
        const auto longest = share_until(end, draining, closing + draining);
        linger_end_ = longest - now_ < timing_.linger ? longest : now_ + timing_.linger;
        order(shutdown_order_kind::begin, shutdown_phase::linger, 0, linger_end_);
        begin(drain_, shutdown_phase::drain, end);
        return true;
    }

    [[nodiscard]] time_point quiet_end() const noexcept
    {
        const auto last = std::max(linger_began_, facts_.last_activity);
        return time_point::max() - last < timing_.quiet ? time_point::max() : last + timing_.quiet;
    }

    [[nodiscard]] bool linger_over() const noexcept
    {
        return now_ >= linger_end_ || now_ >= quiet_end();
    }

    bool close()
    {
        order(shutdown_order_kind::end, shutdown_phase::linger);
        state_ = state::closing;
        const auto closing = weight(shutdown_phase::close_intake);
        begin(main_, shutdown_phase::close_intake,
              share_until(drain_.deadline, closing, closing + weight(shutdown_phase::drain)));
        return true;
    }

    bool drain()
    {
        order(shutdown_order_kind::end, shutdown_phase::close_intake);
        state_ = state::draining;
        return true;
    }

    [[nodiscard]] bool drained() const noexcept
    {
        return (drain_.over() && !facts_.work_left) || now_ >= drain_.deadline;
    }

    bool cancel()
    {
        if (!drain_.over())
            order(shutdown_order_kind::give_up, shutdown_phase::drain, drain_.step);
        drain_.step = drain_.steps;
        order(shutdown_order_kind::end, shutdown_phase::drain);
        orders_.back().late = facts_.work_left;
        state_ = state::cancelling;
        begin(main_, shutdown_phase::cancel, share(shutdown_phase::cancel));
        return true;
    }

    [[nodiscard]] bool cancelled() const noexcept
    {
        return main_.over()
            && ((!facts_.work_left && !facts_.tasks_left) || now_ >= main_.deadline);
    }

    bool go_on(state next)
    {
        order(shutdown_order_kind::end, main_.phase);
        orders_.back().late =
            state_ == state::cancelling && (facts_.work_left || facts_.tasks_left);
        state_ = next;
        if (next == state::done)
            order(shutdown_order_kind::finish, {});
        else if (next == state::stopping)
            begin(main_, shutdown_phase::stop_children, share(shutdown_phase::stop_children));
        else
            begin(main_, shutdown_phase::flush, share(shutdown_phase::flush));
        return true;
    }

    [[nodiscard]] time_point next_alarm() const noexcept
    {
        auto next = time_point::max();
        if (!main_.over())
            next = main_.step_deadline;
        if (state_ == state::lingering)
            next = std::min({next, linger_end_, quiet_end()});
        const bool drains = state_ == state::lingering || state_ == state::closing;
        if ((drains || state_ == state::draining) && !drain_.over())
            next = std::min(next, drain_.step_deadline);
        if (state_ == state::draining)
            next = std::min(next, drain_.deadline);
        if (state_ == state::cancelling)
            next = std::min(next, main_.deadline);
        return next;
    }

    shutdown_timing timing_;
    state state_ = state::idle;
    time_point now_{};
    time_point deadline_{};
    shutdown_facts facts_{};
    track main_{};
    track drain_{};
    time_point linger_began_{};
    time_point linger_end_{};
    std::vector<shutdown_order> orders_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
