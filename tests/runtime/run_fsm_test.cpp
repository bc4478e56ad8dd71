// SPDX-License-Identifier: BSL-1.0
#include "run_fsm.hpp"

#include <doctest/doctest.h>

#include <array>
#include <deque>
#include <ostream>
#include <random>
#include <utility>
#include <vector>

using procyard::descendant_policy;
using procyard::run_reason;
using procyard::detail::has;
using procyard::detail::run_action;
using procyard::detail::run_event;
using procyard::detail::run_fsm;
using enum procyard::detail::run_action;
using enum procyard::detail::run_event;

PROCYARD_NAMESPACE_BEGIN
namespace detail {

std::ostream& operator<<(std::ostream& out, run_action actions)
{
    constexpr std::array names{"start_ladder", "hurry_ladder",  "arm_drain", "close_input",
                               "cut_outputs",  "abort_outputs", "complete"};
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (has(actions, static_cast<run_action>(1U << i)))
            out << names.at(i) << ' ';
    }
    return out << '.';
}

}  // namespace detail
PROCYARD_NAMESPACE_END

namespace {

struct line {
    run_event feed;
    run_action expect;
};

void play(run_fsm& fsm, const std::vector<line>& script)
{
    for (std::size_t i = 0; i < script.size(); ++i) {
        CAPTURE(i);
        CHECK(fsm.resume(script[i].feed) == script[i].expect);
    }
}

constexpr run_fsm::setup all_streams{.inputs = 1, .outputs = 2};

}  // namespace

TEST_SUITE("run_fsm")
{
    TEST_CASE("completes when the child has ended and all streams are done, in any order")
    {
        run_fsm fsm(all_streams);
        SUBCASE("end of file first")
        {
            play(
                fsm,
                {{input_done, none}, {output_done, none}, {output_done, none}, {exited, complete}});
        }
        SUBCASE("exit first: the outputs have the drain grace")
        {
            play(fsm,
                 {{exited, arm_drain},
                  {output_done, none},
                  {input_done, none},
                  {output_done, complete},
                  {drain_over, none}});
        }
        CHECK(fsm.reason() == run_reason::exited);
        CHECK_FALSE(fsm.cancelled());
    }

    TEST_CASE("a child without streams of ours: complete at its exit")
    {
        run_fsm fsm({});
        play(fsm, {{exited, complete}, {exited, none}, {cancelled, none}});
        CHECK_FALSE(fsm.cancelled());
    }

    TEST_CASE("nobody waits for an input that nobody reads: closed once the outputs are done")
    {
        run_fsm fsm(all_streams);
        play(fsm,
             {{output_done, none},
              {output_done, none},
              {exited, close_input},
              {input_done, complete}});
    }

    TEST_CASE("a descendant holds the pipes: cut after the grace, the descendant left (case 57)")
    {
        run_fsm fsm(all_streams);
        play(fsm,
             {{exited, arm_drain},
              {drain_over, cut_outputs | close_input},
              {output_done, none},
              {input_done, none},
              {output_done, complete}});
        CHECK(fsm.reason() == run_reason::exited);
    }

    TEST_CASE(
        "after an exit the sinks may take their time; only a deadline or a cancel aborts them")
    {
        run_fsm fsm({.outputs = 1});
        play(fsm, {{exited, arm_drain}, {drain_over, cut_outputs}, {drain_over, none}});
        SUBCASE("deadline")
        {
            play(fsm, {{deadline, abort_outputs}, {output_done, complete}});
            CHECK(fsm.reason() == run_reason::deadline);
        }
        SUBCASE("cancel")
        {
            play(fsm, {{cancelled, abort_outputs}, {output_done, complete}});
            CHECK(fsm.reason() == run_reason::cancelled);
            CHECK(fsm.cancelled());
        }
        SUBCASE("nothing else")
        {
            play(fsm,
                 {{run_event::output_limit, none},
                  {idle, none},
                  {sink_failed, none},
                  {input_failed, none},
                  {output_done, complete}});
            CHECK(fsm.reason() == run_reason::exited);
        }
    }

    TEST_CASE("every cause starts the ladder, is the reason, and completes only after the reap")
    {
        constexpr std::array causes{deadline,    idle,         run_event::output_limit,
                                    sink_failed, input_failed, cancelled};
        constexpr std::array reasons{run_reason::deadline,     run_reason::idle,
                                     run_reason::output_limit, run_reason::sink_failed,
                                     run_reason::input_failed, run_reason::cancelled};
        for (std::size_t i = 0; i < causes.size(); ++i) {
            run_fsm fsm(all_streams);
            // case 55: exit 0 while stopping is still not a success
            play(fsm,
                 {{causes.at(i), start_ladder},
                  {input_done, none},
                  {exited, none},
                  {tree_empty, none},
                  {output_done, none},
                  {stop_done, arm_drain},
                  {output_done, complete}});
            CHECK(fsm.reason() == reasons.at(i));
            CHECK(fsm.cancelled() == (causes.at(i) == cancelled));
        }
    }

    TEST_CASE("the first cause is the reason")
    {
        run_fsm fsm({});
        play(fsm,
             {{deadline, start_ladder}, {idle, none}, {cancelled, none}, {stop_done, complete}});
        CHECK(fsm.reason() == run_reason::deadline);
        CHECK(fsm.cancelled());
    }

    TEST_CASE("a second cancellation hurries the ladder")
    {
        run_fsm fsm({});
        play(fsm,
             {{cancelled, start_ladder},
              {cancelled, hurry_ladder},
              {cancelled, hurry_ladder},
              {stop_done, complete}});
    }

    TEST_CASE("a cause while draining stops what is left of the tree")
    {
        for (const auto cause : {deadline, run_event::output_limit, cancelled}) {
            run_fsm fsm({.outputs = 1});
            play(fsm,
                 {{exited, arm_drain},
                  {idle, none},
                  {cause, start_ladder},
                  {drain_over, none},
                  {stop_done, arm_drain},
                  {output_done, complete}});
            CHECK(fsm.reason() != run_reason::exited);
        }
    }

    TEST_CASE("after a stop a pipe that is still held is cut, and a stuck sink aborted")
    {
        run_fsm fsm(all_streams);
        play(fsm,
             {{deadline, start_ladder},
              {stop_done, arm_drain},
              {drain_over, cut_outputs | close_input | arm_drain},
              {output_done, none},
              {input_done, none},
              {drain_over, abort_outputs},
              {output_done, complete}});
    }

    TEST_CASE("a cancellation after the ladder cuts the grace short")
    {
        run_fsm fsm({.outputs = 1});
        play(fsm,
             {{deadline, start_ladder},
              {stop_done, arm_drain},
              {cancelled, cut_outputs | arm_drain},
              {cancelled, abort_outputs},
              {output_done, complete}});
    }

    TEST_CASE("descendant_policy::stop: the ladder follows the exit, and the reason stays")
    {
        run_fsm fsm({.outputs = 1, .descendants = descendant_policy::stop});
        SUBCASE("there are some")
        {
            play(fsm, {{exited, start_ladder}, {idle, none}, {stop_done, arm_drain}});
        }
        SUBCASE("there are none")
        {
            play(fsm, {{tree_empty, none}, {exited, arm_drain}});
        }
        play(fsm, {{output_done, complete}});
        CHECK(fsm.reason() == run_reason::exited);
    }

    TEST_CASE("descendant_policy::wait: the run lasts as long as the tree")
    {
        run_fsm fsm({.outputs = 1, .descendants = descendant_policy::wait});
        play(fsm, {{exited, none}, {output_done, none}});
        SUBCASE("it empties")
        {
            play(fsm, {{tree_empty, complete}});
            CHECK(fsm.reason() == run_reason::exited);
        }
        SUBCASE("it does not")
        {
            play(fsm, {{deadline, start_ladder}, {tree_empty, none}, {stop_done, complete}});
            CHECK(fsm.reason() == run_reason::deadline);
        }
    }
}

namespace {

constexpr std::array all_events{exited,      tree_empty,   stop_done,
                                input_done,  output_done,  drain_over,
                                deadline,    idle,         run_event::output_limit,
                                sink_failed, input_failed, cancelled};

// What must hold whatever comes in whatever order.
class watcher {
public:
    explicit watcher(run_fsm::setup what) : fsm_(what), inputs_(what.inputs), outputs_(what.outputs)
    {
    }

    run_action feed(run_event event)
    {
        const bool ended = fsm_.done();
        const auto actions = fsm_.resume(event);
        if (event == input_done && inputs_ > 0)
            --inputs_;
        if (event == output_done && outputs_ > 0)
            --outputs_;
        exited_ |= event == exited;
        stopped_ |= event == stop_done && ladder_;
        fail_if(ended && actions != none);
        fail_if(has(actions, start_ladder) && ladder_);
        fail_if(has(actions, hurry_ladder) && (!ladder_ || stopped_ || event != cancelled));
        ladder_ |= has(actions, start_ladder);
        const bool alive = !exited_ && !stopped_;
        fail_if(has(actions, arm_drain) && (alive || outputs_ == 0));
        fail_if(has(actions, cut_outputs) && (alive || cut_ || outputs_ == 0));
        cut_ |= has(actions, cut_outputs);
        fail_if(has(actions, abort_outputs) && (!cut_ || outputs_ == 0));
        fail_if(has(actions, close_input) && (alive || closed_ || inputs_ == 0));
        closed_ |= has(actions, close_input);
        fail_if(has(actions, complete)
                && (alive || inputs_ > 0 || outputs_ > 0 || (ladder_ && !stopped_)));
        fail_if(has(actions, complete) != (fsm_.done() && !ended));
        return actions;
    }

    [[nodiscard]] int failures() const { return failures_; }
    [[nodiscard]] bool done() const { return fsm_.done(); }

private:
    void fail_if(bool broken) { failures_ += broken ? 1 : 0; }

    run_fsm fsm_;
    unsigned inputs_;
    unsigned outputs_;
    bool exited_ = false;
    bool ladder_ = false;
    bool stopped_ = false;
    bool cut_ = false;
    bool closed_ = false;
    int failures_ = 0;
};

run_fsm::setup random_setup(std::mt19937& random)
{
    return {.inputs = static_cast<unsigned>(random() % 2),
            .outputs = static_cast<unsigned>(random() % 3),
            .descendants = static_cast<descendant_policy>(random() % 3)};
}

}  // namespace

TEST_SUITE("run_fsm invariants")
{
    TEST_CASE("hold for every sequence of five events")
    {
        int failures = 0;
        for (const auto policy :
             {descendant_policy::leave, descendant_policy::stop, descendant_policy::wait}) {
            for (int code = 0; code < 12 * 12 * 12 * 12 * 12; ++code) {
                watcher machine({.inputs = 1, .outputs = 1, .descendants = policy});
                for (int rest = code, i = 0; i < 5; ++i, rest /= 12)
                    machine.feed(all_events.at(static_cast<std::size_t>(rest % 12)));
                failures += machine.failures();
            }
        }
        CHECK(failures == 0);
    }

    TEST_CASE("hold for 100,000 random events")
    {
        std::mt19937 random(20240608);  // NOLINT: the same every time
        int failures = 0;
        for (int steps = 0; steps < 100'000;) {
            watcher machine(random_setup(random));
            for (int i = 0; i < 25; ++i, ++steps)
                machine.feed(all_events.at(random() % all_events.size()));
            failures += machine.failures();
        }
        CHECK(failures == 0);
    }

    TEST_CASE("a shell that answers every action comes to the end")
    {
        std::mt19937 random(4712);  // NOLINT: the same every time
        for (int round = 0; round < 3000; ++round) {
            const auto setup = random_setup(random);
            watcher machine(setup);
            unsigned inputs = setup.inputs;
            unsigned outputs = setup.outputs;
            std::deque<run_event> queue{exited, tree_empty};
            if (random() % 2 == 0)
                queue.push_front(all_events.at(6 + random() % 6));
            const bool stuck_sinks = random() % 4 == 0;
            for (int i = 0; i < 30 && !queue.empty(); ++i) {
                const auto event = queue.front();
                queue.pop_front();
                const auto actions = machine.feed(event);
                if (has(actions, start_ladder))
                    queue.push_back(stop_done);
                if (has(actions, close_input))
                    queue.insert(queue.end(), std::exchange(inputs, 0U), input_done);
                if (has(actions, abort_outputs) || (has(actions, cut_outputs) && !stuck_sinks))
                    queue.insert(queue.end(), std::exchange(outputs, 0U), output_done);
                if (has(actions, arm_drain))
                    queue.push_back(drain_over);
                if (queue.empty() && !machine.done())
                    queue.push_back(deadline);  // what remains of stuck sinks after an exit
            }
            CHECK(machine.done());
            CHECK(machine.failures() == 0);
        }
    }
}
