// SPDX-License-Identifier: BSL-1.0
// What the documents say of strategies, restart kinds, orders and waits: a second opinion on what
// the supervisor's machine decides, from what it is told and what it tells alone, in order.
#ifndef PROCYARD_TESTS_RUNTIME_SUPERVISION_JUDGE_HPP
#define PROCYARD_TESTS_RUNTIME_SUPERVISION_JUDGE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "supervisor_fsm.hpp"

namespace procyard_test {

class supervision_judge {
public:
    using state = procyard::service_state;
    using cause = procyard::service_cause;
    using role = procyard::detail::incarnation_role;
    using machine = procyard::detail::supervisor_fsm;
    using input = procyard::detail::supervisor_input;
    using transition = procyard::detail::service_transition;
    using time_point = machine::time_point;

    explicit supervision_judge(procyard::restart_strategy strategy) : strategy_(strategy) { }

    void add(machine::service_setup how)
    {
        seen_.push_back({.how = std::move(how), .wanted = started_ && !closing_});
    }

    /// Before the machine hears it.
    void told(const input& what, time_point now)
    {
        using kind = input::kind;
        now_ = now;
        heard_ = what;
        if (what.what == kind::unhealthy && what.service < seen_.size())
            seen_[what.service].unhealthy.insert(what.generation);
        if (what.what == kind::stop)
            close();
        if (closing_)
            return;
        if (what.what == kind::start) {
            started_ = true;
            for (auto& one : seen_)
                one.wanted = one.wanted || one.stands == state::configured;
            return;
        }
        if (what.service >= seen_.size() || seen_[what.service].removing)
            return;
        auto& one = seen_[what.service];
        switch (what.what) {
        case kind::start_service: want(one); break;
        case kind::stop_service:
            one.wanted = false;
            one.left_out = false;
            break;
        case kind::restart_service:
            one.together = one.together || serves_or_dies(one);
            want(one);
            break;
        case kind::replace_service:
            if (!serves_or_dies(one) || to_be_stopped(one))
                want(one);
            break;
        case kind::remove_service:
            one.wanted = false;
            one.removing = true;
            break;
        default: break;
        }
    }

    /// Each transition, in order.
    void saw(const transition& what)
    {
        const auto number = what.service;
        auto& one = seen_.at(number);
        if (one.stands == state::removed)
            return fail(number, "is heard of after it was removed");
        if (what.role == role::retired && what.generation == one.generation)
            take_over(one);
        if (what.role != role::serving)
            return saw_other(number, what);
        if (one.other && one.other->generation == what.generation) {
            if (what.to == state::ready)
                take_over(one);
            else
                one.other.reset();  // the one that served has ended, and its successor is it
            one.generation = what.generation;
            one.fault = false;
            one.stands = what.to;
            return;
        }
        if (what.to == state::stopping)
            judge_stop(number, what.cause, one.stands, what.generation);
        else if (what.to == state::starting)
            judge_start(number);
        else if (serves_or_dies(one) && !lives_in(what.to))
            judge_end(number, what);
        else if (!lives_in(what.to))
            judge_rest(number, what);
        if (what.to == state::stopping)
            one.fault = what.cause != cause::asked && what.cause != cause::sibling_failed
                && what.cause != cause::too_many_restarts;
        one.generation = what.generation;
        one.stands = what.to;
        if (what.to == state::starting)
            begin(one);
        if (what.to == state::backoff)
            restart_with(number, what.delay);
        if (what.to == state::failed && what.cause == cause::too_many_restarts) {
            close();
            has_failed_ = true;
        }
    }

    /// After the transitions of one step; `next` is when the machine wants to be told the next.
    void step_ends(std::optional<time_point> next)
    {
        const auto held = who_is_held();
        for (std::size_t i = 0; i < seen_.size(); ++i) {
            auto& one = seen_[i];
            const bool asks = to_be_stopped(one) && !held[i];
            if (asks && serves_or_dies(one) && !dies(one.stands))
                fail(i, "is to be stopped, and is not asked to");
            if (asks && one.other && !dies(one.other->stands))
                fail(i, "is to be stopped, and its other incarnation is not asked to");
            if (asks && !lives(one) && !one.wanted) {
                one.together = one.doomed = false;
                if (one.stands == state::waiting || one.stands == state::backoff)
                    fail(i, "is not to run, and waits");
                if (one.removing && one.stands != state::removed)
                    fail(i, "is to be removed, and is not");
            }
        }
        for (std::size_t i = 0; i < seen_.size() && !closing_; ++i) {
            if (seen_[i].wanted && !lives(seen_[i]))
                judge_wait(i, next);
        }
    }

    /// In a world in which nobody fails any more.
    void nothing_goes_on()
    {
        for (std::size_t i = 0; i < seen_.size(); ++i) {
            const auto& one = seen_[i];
            if (!one.wanted || one.stands == state::ready || waits_for_whom_nobody_wants(one))
                continue;
            fail(i, "should run, and never does");
        }
    }

    [[nodiscard]] bool is_wanted(std::size_t which) const { return seen_[which].wanted; }
    [[nodiscard]] bool is_leaving(std::size_t which) const { return seen_[which].removing; }
    [[nodiscard]] bool is_removed(std::size_t which) const
    {
        return seen_[which].stands == state::removed;
    }
    [[nodiscard]] const std::string& fault() const noexcept { return fault_; }

private:
    struct incarnation {
        std::uint64_t generation = 0;
        role is = role::successor;
        state stands = state::starting;
    };
    struct service {
        machine::service_setup how;
        bool wanted = false;
        bool together = false;  // is stopped and started again, with others or by request
        bool doomed = false;    // is stopped because a sibling has failed
        bool left_out = false;
        bool removing = false;
        bool completed = false;
        bool fault = false;  // of the incarnation that serves: its stop was its own
        state stands = state::configured;
        std::uint64_t generation = 0;
        time_point start_at = time_point::min();
        std::optional<incarnation> other{};
        std::set<std::uint64_t> unhealthy{};
    };

    static bool lives_in(state one)
    {
        return one == state::starting || one == state::ready || one == state::unready || dies(one);
    }
    static bool dies(state one) { return one == state::stopping || one == state::killing; }
    static bool serves_or_dies(const service& one) { return lives_in(one.stands); }
    static bool lives(const service& one) { return serves_or_dies(one) || one.other; }
    static bool to_be_stopped(const service& one) { return !one.wanted || one.together; }
    static bool holds_on(const service& one)
    {
        return (serves_or_dies(one) && one.stands != state::killing)
            || (one.other && one.other->stands != state::killing);
    }

    static void want(service& one)
    {
        one.wanted = true;
        one.left_out = false;
        if (!one.together && serves_or_dies(one) && !dies(one.stands))
            one.doomed = false;
    }

    void close()
    {
        closing_ = true;
        for (auto& one : seen_)
            one.wanted = false;
    }

    static void begin(service& one) { one.together = one.doomed = one.fault = false; }

    static void take_over(service& one)
    {
        if (!one.other)
            return;
        const incarnation before{one.generation, role::retired, one.stands};
        one.generation = one.other->generation;
        one.stands = one.other->stands;
        one.fault = false;
        one.other = before;
    }

    void saw_other(std::size_t number, const transition& what)
    {
        auto& one = seen_[number];
        if (!one.other) {
            if (what.to != state::starting || what.role != role::successor)
                return fail(number, "hears of an incarnation that is not there");
            if (to_be_stopped(one) || !serves_or_dies(one) || closing_)
                fail(number, "is replaced, and does not serve");
            one.other = incarnation{what.generation, what.role, what.to};
            return;
        }
        if (what.to == state::stopping && what.cause != cause::replaced)
            judge_stop(number, what.cause, one.other->stands, what.generation);
        if (what.cause == cause::replaced && what.role != role::retired)
            fail(number, "stops the one that is to serve");
        one.other->stands = what.to;
        if (!lives_in(what.to))
            one.other.reset();
    }

    // The strategy: all, or those that were added later, of those that are to run.
    void restart_with(std::size_t culprit, machine::duration delay)
    {
        seen_[culprit].start_at = now_ + delay;
        if (strategy_ == procyard::restart_strategy::one_for_one)
            return;
        together_at_ = std::max(together_at_, now_ + delay);
        const bool all = strategy_ == procyard::restart_strategy::one_for_all;
        for (std::size_t i = all ? 0 : culprit; i < seen_.size(); ++i) {
            auto& one = seen_[i];
            one.doomed = one.wanted || (one.doomed && lives(one));
            if (one.how.restart == procyard::restart_kind::temporary) {
                one.left_out = one.left_out || one.wanted;
                one.wanted = false;
            }
            one.together = one.wanted;
        }
    }

    void judge_stop(std::size_t number, cause why, state stood, std::uint64_t generation)
    {
        const auto& one = seen_[number];
        switch (why) {
        case cause::asked:
            if (!to_be_stopped(one) || one.doomed)
                fail(number, "is stopped, and nobody has asked for it");
            break;
        case cause::sibling_failed:
            if (!one.doomed)
                fail(number, "is stopped for a sibling, for which it is not");
            break;
        case cause::too_many_restarts:
            if (!has_failed_)
                fail(number, "is stopped for too many restarts, of which there were not");
            break;
        case cause::unhealthy:
            if (one.unhealthy.count(generation) == 0)
                fail(number, "is stopped as unhealthy, which nobody has said");
            return;
        case cause::start_timeout:
            if (stood != state::starting)
                fail(number, "is stopped for its start, and was ready");
            return;
        default: return;
        }
        if (who_is_held()[number])
            fail(number, "is stopped before what depends on it");
    }

    void judge_start(std::size_t number)
    {
        const auto& one = seen_[number];
        if (!one.wanted || closing_ || one.removing)
            fail(number, "is started, and is not to run");
        if (lives(one))
            fail(number, "is started, and lives");
        if (now_ < one.start_at)
            fail(number, "is started before its delay is over");
        if (one.together && !gate_is_open())
            fail(number, "is started before its siblings have gone");
        for (const auto before : one.how.depends_on) {
            if (!serves(seen_[before]))
                fail(number, "is started before " + std::to_string(before) + " is ready");
        }
    }

    // Whether it is started again, and how it is called if it is not.
    void judge_end(std::size_t number, const transition& what)
    {
        auto& one = seen_[number];
        if (heard_.service != number || heard_.generation != what.generation)
            return fail(number, "has ended, and nobody has said so");
        const bool clean = heard_.what == input::kind::ended_clean;
        one.completed = clean && !dies(one.stands);
        if (one.other && one.other->is == role::successor && !dies(one.other->stands)) {
            if (what.to != state::exited)
                fail(number, "has ended, and its successor does not take over");
            return;
        }
        if (to_be_stopped(one) || (dies(one.stands) && !one.fault)) {
            const auto expected = one.other ? state::exited
                : one.removing              ? state::removed
                : one.wanted                ? state::waiting
                                            : state::exited;
            if (what.to != expected)
                fail(number, "was stopped, and is " + std::string(to_string(what.to)));
            return;
        }
        const bool bad = !clean || one.fault;
        const bool again = one.how.restart == procyard::restart_kind::permanent
            || (one.how.restart == procyard::restart_kind::transient && bad);
        if (again) {
            if (what.to != state::backoff && what.cause != cause::too_many_restarts)
                fail(number, "is not started again, and should be");
            return;
        }
        one.wanted = false;
        if (what.to != (bad ? state::failed : state::exited))
            fail(number, "has ended for good, and is " + std::string(to_string(what.to)));
    }

    // Of what does not live.
    void judge_rest(std::size_t number, const transition& what)
    {
        auto& one = seen_[number];
        if (what.to == state::removed && (!one.removing || lives(one)))
            fail(number, "is removed, and lives or is not to be");
        if (what.to == state::waiting && !one.wanted)
            fail(number, "waits, and is not to run");
        if (what.to == state::exited && one.wanted && !one.other)
            fail(number, "does not wait any more, and is to run");
        if (what.to == state::exited)
            one.start_at = time_point::min();  // stopped in its delay: a start by request has none
        if (what.to == state::failed) {
            if (what.cause != cause::dependency_failed || !waits_in_vain(one))
                fail(number, "fails without a reason");
            one.wanted = false;
        }
    }

    void judge_wait(std::size_t number, std::optional<time_point> next)
    {
        auto& one = seen_[number];
        one.completed = false;
        const auto is_told = [&](time_point due) { return next && *next <= due; };
        if (one.stands == state::backoff) {
            if (now_ >= one.start_at || !is_told(one.start_at))
                fail(number, "is not started after its delay");
            return;
        }
        if (one.stands != state::waiting)
            return fail(number, "is to run, and is " + std::string(to_string(one.stands)));
        if (one.together && !gate_is_open()) {
            if (all_have_gone() && !is_told(together_at_))
                fail(number, "is not started when the delay of its sibling is over");
            return;
        }
        one.together = one.doomed = false;
        const auto& needs = one.how.depends_on;
        if (waits_in_vain(one))
            fail(number, "waits for what has ended for good");
        if (std::all_of(needs.begin(), needs.end(), [&](auto it) { return serves(seen_[it]); }))
            fail(number, "waits, and all it depends on is ready");
    }

    [[nodiscard]] bool serves(const service& one) const
    {
        return one.how.one_shot ? one.stands == state::exited && one.completed
                                : one.stands == state::ready && !to_be_stopped(one);
    }

    [[nodiscard]] bool waits_in_vain(const service& one) const
    {
        const auto& needs = one.how.depends_on;
        return std::any_of(needs.begin(), needs.end(), [&](std::size_t number) {
            const auto& other = seen_[number];
            if (other.wanted || lives(other))
                return false;
            return other.stands == state::failed
                || (other.stands == state::exited
                    && (other.completed ? !other.how.one_shot : other.left_out));
        });
    }

    // At any distance.
    [[nodiscard]] bool waits_for_whom_nobody_wants(const service& one) const
    {
        const auto& needs = one.how.depends_on;
        return one.stands == state::waiting
            && std::any_of(needs.begin(), needs.end(), [&](std::size_t number) {
                   const auto& other = seen_[number];
                   return !serves(other) && (!other.wanted || waits_for_whom_nobody_wants(other));
               });
    }

    // By what depends on it, at any distance, and is to be stopped before it.
    [[nodiscard]] std::vector<bool> who_is_held() const
    {
        std::vector<bool> held(seen_.size(), false);
        for (std::size_t i = seen_.size(); i-- > 0;) {
            if (!held[i] && !(to_be_stopped(seen_[i]) && holds_on(seen_[i])))
                continue;
            for (const auto before : seen_[i].how.depends_on)
                held[before] = true;
        }
        return held;
    }

    [[nodiscard]] bool all_have_gone() const
    {
        return std::none_of(seen_.begin(), seen_.end(), [](const service& one) {
            return (one.together || one.doomed) && lives(one);
        });
    }
    [[nodiscard]] bool gate_is_open() const { return now_ >= together_at_ && all_have_gone(); }

    void fail(std::size_t number, const std::string& what)
    {
        if (fault_.empty())
            fault_ = "service " + std::to_string(number) + ' ' + what;
    }

    procyard::restart_strategy strategy_;
    std::vector<service> seen_{};
    input heard_{input::kind::tick};
    time_point now_{};
    time_point together_at_ = time_point::min();
    bool started_ = false;
    bool closing_ = false;
    bool has_failed_ = false;
    std::string fault_{};
};

}  // namespace procyard_test

#endif
