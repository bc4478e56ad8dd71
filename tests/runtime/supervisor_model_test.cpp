// SPDX-License-Identifier: BSL-1.0
#include "supervisor_fsm.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

using procyard::restart_kind;
using procyard::restart_strategy;
using procyard::service_cause;
using procyard::service_state;
using procyard::to_string;
using procyard::detail::incarnation_role;
using procyard::detail::supervisor_fsm;
using procyard::detail::supervisor_input;
using procyard::detail::supervisor_output;
using namespace std::chrono_literals;

namespace {

using kind = supervisor_input::kind;
using time_point = supervisor_fsm::time_point;
using duration = supervisor_fsm::duration;

// A process of the world: what the machine has started and has not been told the end of.
struct process {
    bool ready = false;
    bool asked = false;
    bool killed = false;
    time_point since{};
    time_point asked_at{};
};

// A world that behaves at random, and knows what may never be, from what it is told alone: it does
// not look into the machine.
class random_world {
public:
    explicit random_world(std::uint64_t seed) : random_(seed), how_(make_setup()), fsm_(how_, seed)
    {
        const auto services = 1 + pick(7);
        for (std::size_t i = 0; i < services; ++i)
            add();
        tell({kind::start});
    }

    // Until everything has stopped.
    std::size_t run(std::size_t most_steps)
    {
        std::size_t steps = 0;
        while (steps < most_steps && goes_on()) {
            ++steps;
            step();
        }
        if (goes_on())
            stop();
        while (goes_on()) {
            ++steps;
            finish_stopping();
        }
        if (broken_.empty() && finished_ != 1)
            fail("does not say once that it is finished");
        return steps;
    }

    std::string broken() const { return broken_; }

private:
    bool goes_on() const { return broken_.empty() && !fsm_.finished(); }

    supervisor_fsm::setup make_setup()
    {
        supervisor_fsm::setup what;
        what.strategy = static_cast<restart_strategy>(pick(3));
        what.intensity = {static_cast<unsigned>(1 + pick(20)), (1s + some(1s, 30))};
        what.stop_budget = (1s + some(1s, 10));
        what.kill_reserve = 500ms;
        return what;
    }

    void add()
    {
        supervisor_fsm::service_setup one;
        one.restart = static_cast<restart_kind>(pick(3));
        one.backoff = {.first = some(10ms, 20),
                       .factor = 1.0 + static_cast<double>(pick(3)),
                       .cap = 2s,
                       .jitter = 0.5,
                       .stable_after = 5s};
        one.start_timeout = pick(2) == 0 ? duration::max() : (1s + some(1s, 4));
        one.stop_grace = some(100ms, 30);
        one.most_extension = some(1s, 3);
        one.one_shot = one.restart != restart_kind::permanent && pick(3) == 0;
        for (std::size_t before = 0; before < setups_.size(); ++before) {
            if (pick(3) == 0)
                one.depends_on.push_back(before);
        }
        setups_.push_back(one);
        fsm_.add(one);
        states_.push_back(service_state::configured);
        causes_.push_back(service_cause::asked);
        ended_well_.push_back(false);
        by_request_.push_back(false);
    }

    void step()
    {
        switch (pick(12)) {
        case 0: advance(); break;
        case 1: request(); break;
        case 2:
            if (setups_.size() < 12 && pick(40) == 0) {
                add();
                tell({kind::tick});
            }
            break;
        case 3:  // news of what never was, or is no more
            tell({static_cast<kind>(static_cast<std::size_t>(kind::ready) + pick(6)),
                  pick(setups_.size()), 1000000 + pick(5)});
            break;
        default: news(); break;
        }
    }

    void request()
    {
        constexpr kind requests[] = {kind::start_service,   kind::stop_service,
                                     kind::restart_service, kind::replace_service,
                                     kind::replace_service, kind::start_service};
        const auto service = pick(setups_.size());
        const auto what = requests[pick(std::size(requests))];
        if (pick(200) == 0)
            return stop();
        if (pick(100) == 0)
            return tell({kind::remove_service, service});
        by_request_[service] = what == kind::stop_service;
        tell({what, service});
    }

    void stop()
    {
        stop_by_ = now_ + how_.stop_budget;
        closing_ = true;
        tell({kind::stop});
    }

    void advance()
    {
        const auto next = fsm_.next();
        if (next && pick(3) > 0)
            now_ = std::max(now_, *next);
        else
            now_ += some(1ms, 3000);
        if (next)
            now_ = std::min(now_, std::max(*next, now_ - duration(50ms)));
        tell({kind::tick});
    }

    void news()
    {
        if (alive_.empty())
            return advance();
        auto one = alive_.begin();
        std::advance(one, static_cast<std::ptrdiff_t>(pick(alive_.size())));
        const auto [service, generation] = one->first;
        if (one->second.killed || pick(4) == 0 || (one->second.asked && pick(2) == 0))
            return end(service, generation, !one->second.killed && pick(2) == 0);
        switch (pick(7)) {
        case 6: extend(service, generation); break;
        case 0: tell({kind::unready, service, generation}); break;
        case 1: tell({kind::unhealthy, service, generation}); break;
        default: one->second.ready = true; tell({kind::ready, service, generation});
        }
    }

    void extend(std::size_t service, std::uint64_t generation)
    {
        supervisor_input input{kind::extend, service, generation};
        input.extension = pick(8) == 0 ? duration::max() : some(100ms, 60);
        tell(input);
    }

    // However often it asked for more.
    void check_patience()
    {
        for (const auto& [which, one] : alive_) {
            const auto& how = setups_[which.first];
            const auto is_over = [&](time_point since, duration most) {
                return most != duration::max() && now_ - since > most + how.most_extension;
            };
            if (!one.ready && !one.asked && !one.killed && is_over(one.since, how.start_timeout))
                fail("starts for longer than it may");
            if (one.asked && !one.killed && is_over(one.asked_at, how.stop_grace))
                fail("stops for longer than it may");
        }
    }

    void end(std::size_t service, std::uint64_t generation, bool clean)
    {
        alive_.erase({service, generation});
        tell({clean ? kind::ended_clean : kind::ended_failed, service, generation});
    }

    // Nobody listens to SIGTERM; who is killed is gone at once.
    void finish_stopping()
    {
        const auto killed = std::find_if(alive_.begin(), alive_.end(),
                                         [](const auto& one) { return one.second.killed; });
        if (killed != alive_.end())
            return end(killed->first.first, killed->first.second, false);
        const auto next = fsm_.next();
        if (!next)
            return fail("does not end, and waits for nothing");
        now_ = std::max(now_, *next);
        if (stop_by_ && now_ > *stop_by_)
            fail("the stop takes longer than its budget");
        tell({kind::tick});
    }

    void tell(const supervisor_input& input)
    {
        const auto& step = fsm_.resume(input, now_);
        if (const auto what = fsm_.broken_promise(); !what.empty())
            fail(std::string(what));
        // In the order in which things happened: a transition, and what it makes to be done.
        for (const auto& one : step.transitions)
            hear(one);
        for (const auto& one : step.outputs)
            obey(one);
        check_patience();
        for (std::size_t i = 0; i < setups_.size(); ++i)
            check_wait(i);
        const auto next = fsm_.next();
        if (input.what == kind::tick && next && *next <= now_)
            fail("wakes up for nothing");
    }

    void hear(const procyard::detail::service_transition& one)
    {
        if (one.sequence != ++heard_)
            fail("a gap in the events");
        if (one.role != incarnation_role::serving)
            return;
        if (one.from == one.to)
            fail("a transition to where it was");
        states_[one.service] = one.to;
        causes_[one.service] = one.cause;
        if (one.to == service_state::exited || one.to == service_state::failed)
            ended_well_[one.service] = one.to == service_state::exited
                && one.cause == service_cause::ended && one.from != service_state::stopping
                && one.from != service_state::killing;
        if (one.to == service_state::failed && one.cause == service_cause::too_many_restarts) {
            stop_by_ = now_ + how_.stop_budget;
            closing_ = true;
        }
        if (one.to == service_state::backoff)
            restart(one);
    }

    void restart(const procyard::detail::service_transition& one)
    {
        if (one.delay > setups_[one.service].backoff.cap)
            fail("a delay longer than the cap");
        while (!restarts_.empty() && now_ - restarts_.front() >= how_.intensity.window)
            restarts_.pop_front();
        restarts_.push_back(now_);
        if (restarts_.size() > how_.intensity.restarts)
            fail("more restarts within the window than the intensity allows");
        if (setups_[one.service].restart == restart_kind::temporary)
            fail("a temporary service is restarted");
    }

    std::size_t incarnations(std::size_t service) const
    {
        return static_cast<std::size_t>(
            std::count_if(alive_.begin(), alive_.end(),
                          [&](const auto& one) { return one.first.first == service; }));
    }

    void obey(const supervisor_output& one)
    {
        const std::pair which{one.service, one.generation};
        switch (one.what) {
        case supervisor_output::kind::start: return on_start(one);
        case supervisor_output::kind::stop:
            if (alive_.count(which) == 0)
                return fail("stops what does not live");
            if (std::exchange(alive_[which].asked, true))
                fail("asks twice to stop");
            alive_[which].asked_at = now_;
            check_stop_order(one.service);
            break;
        case supervisor_output::kind::hurry:
            if (alive_.count(which) == 0 || !alive_[which].asked || alive_[which].killed)
                fail("hurries what does not stop");
            if (!closing_)
                fail("hurries without a reason");
            break;
        case supervisor_output::kind::kill:
            if (alive_.count(which) == 0)
                return fail("kills what does not live");
            if (std::exchange(alive_[which].killed, true))
                fail("kills twice");
            break;
        case supervisor_output::kind::finished:
            ++finished_;
            if (!alive_.empty())
                fail("finished, and somebody lives");
        }
    }

    void on_start(const supervisor_output& one)
    {
        if (closing_)
            return fail("starts while everything stops");
        if (!ever_.insert({one.service, one.generation}).second)
            return fail("a number is used twice");
        const auto beside = incarnations(one.service);
        const bool replaces = states_[one.service] == service_state::ready
            || states_[one.service] == service_state::unready;
        if (beside > (replaces ? 1U : 0U))
            fail("more than one incarnation lives");
        for (const auto before :
             replaces ? std::vector<std::size_t>{} : setups_[one.service].depends_on) {
            if (!serves(before))
                fail("started before " + std::to_string(before) + " was ready, which is "
                     + std::string(to_string(states_[before])));
        }
        alive_[{one.service, one.generation}] = {.since = now_};
    }

    // Who waits does so for somebody who may come: not when all are there, and not for one who has
    // ended for good, unless he was asked to. Those that are restarted together wait for each other
    // first.
    void check_wait(std::size_t service)
    {
        if (closing_ || states_[service] != service_state::waiting || incarnations(service) > 0)
            return;
        const bool somebody_goes = std::any_of(alive_.begin(), alive_.end(), [](const auto& one) {
            return one.second.asked || one.second.killed;
        });
        if (somebody_goes || (how_.strategy != restart_strategy::one_for_one && fsm_.next()))
            return;
        const auto& needs = setups_[service].depends_on;
        if (std::all_of(needs.begin(), needs.end(), [&](auto before) { return serves(before); }))
            return fail("waits for nobody");
        for (const auto before : needs) {
            const bool ended = states_[before] == service_state::failed
                || (states_[before] == service_state::exited
                    && (ended_well_[before] ? !setups_[before].one_shot : !by_request_[before]));
            if (ended && incarnations(before) == 0)
                fail("waits for what has ended for good");
        }
    }

    bool serves(std::size_t service) const
    {
        const auto state = states_[service];
        return setups_[service].one_shot ? state == service_state::exited && ended_well_[service]
                                         : state == service_state::ready;
    }

    void check_stop_order(std::size_t service)
    {
        // A fault of its own waits for nobody.
        const auto why = causes_[service];
        if (!closing_ || states_[service] != service_state::stopping
            || (why != service_cause::asked && why != service_cause::too_many_restarts))
            return;
        for (std::size_t other = 0; other < setups_.size(); ++other) {
            const auto& needs = setups_[other].depends_on;
            if (std::find(needs.begin(), needs.end(), service) == needs.end())
                continue;
            for (const auto& [which, process] : alive_) {
                if (which.first == other && !process.killed)
                    fail("stopped before " + std::to_string(other) + ", which depends on it");
            }
        }
    }

    void fail(const std::string& what)
    {
        if (broken_.empty())
            broken_ = what + ", at event " + std::to_string(heard_);
    }

    duration some(duration unit, std::size_t below)
    {
        return unit * static_cast<duration::rep>(pick(below));
    }

    std::size_t pick(std::size_t below)
    {
        return std::uniform_int_distribution<std::size_t>(0, below - 1)(random_);
    }

    std::mt19937_64 random_;
    supervisor_fsm::setup how_;
    supervisor_fsm fsm_;
    time_point now_{};
    std::vector<supervisor_fsm::service_setup> setups_{};
    std::vector<service_state> states_{};
    std::vector<service_cause> causes_{};
    std::vector<bool> ended_well_{};
    std::vector<bool> by_request_{};  // was asked to stop, and not to start since
    std::map<std::pair<std::size_t, std::uint64_t>, process> alive_{};
    std::set<std::pair<std::size_t, std::uint64_t>> ever_{};
    std::deque<time_point> restarts_{};
    std::optional<time_point> stop_by_{};
    bool closing_ = false;
    std::uint64_t heard_ = 0;
    std::size_t finished_ = 0;
    std::string broken_{};
};

}  // namespace

TEST_CASE("100,000 random steps keep every promise of the supervisor (case 50)")
{
    std::size_t steps = 0;
    std::uint64_t seed = 0;
    while (steps < 100'000) {
        CAPTURE(seed);
        random_world world(++seed);
        steps += world.run(2000);
        REQUIRE(world.broken() == "");
    }
    MESSAGE(seed << " worlds, " << steps << " steps");
}
