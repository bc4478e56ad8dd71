// SPDX-License-Identifier: BSL-1.0
#include "stop_fsm.hpp"

#include <doctest/doctest.h>

#include <array>
#include <ostream>
#include <random>
#include <vector>

using namespace std::chrono_literals;
using procyard::stop_action;
using procyard::stop_ladder;
using procyard::stop_scope;
using procyard::stop_step;
using procyard::detail::stop_event;
using procyard::detail::stop_fsm;
using procyard::detail::stop_order;
using procyard::detail::stop_order_kind;
using enum procyard::detail::stop_event;

PROCYARD_NAMESPACE_BEGIN
namespace detail {

std::ostream& operator<<(std::ostream& out, const stop_order& order)
{
    constexpr std::array names{"wait", "perform",  "perform_resume", "perform_kill",
                               "arm",  "complete", "abandon"};
    return out << names.at(static_cast<std::size_t>(order.kind)) << " ("
               << procyard::to_string(order.step) << ", " << order.delay.count() << " ns)";
}

}  // namespace detail
PROCYARD_NAMESPACE_END

namespace {

constexpr stop_order nothing{};
constexpr stop_order complete{stop_order_kind::complete, {}, {}};
constexpr stop_order abandon{stop_order_kind::abandon, {}, {}};
constexpr stop_order kill_tree{
    stop_order_kind::perform_kill,
    {.action = stop_action::kill, .signal = SIGKILL, .scope = stop_scope::tree},
    {}};

stop_order perform(const stop_step& step)
{
    return {stop_order_kind::perform, step, {}};
}

stop_order resume_stopped(const stop_step& step)
{
    return {stop_order_kind::perform_resume, step, {}};
}

stop_order arm(std::chrono::nanoseconds delay)
{
    return {stop_order_kind::arm, {}, delay};
}

struct line {
    stop_event feed;
    stop_order expect;
};

void play(stop_fsm& fsm, const std::vector<line>& script)
{
    for (std::size_t i = 0; i < script.size(); ++i) {
        CAPTURE(i);
        CHECK(fsm.resume(script[i].feed) == script[i].expect);
    }
}

constexpr stop_step stdin_step{.action = stop_action::close_stdin, .signal = 0};
constexpr stop_step term_step{.signal = SIGTERM, .grace = 5s};

}  // namespace

TEST_SUITE("stop_fsm")
{
    TEST_CASE("polite: closes stdin, SIGTERM, SIGCONT, grace, SIGKILL, and ends when all is empty")
    {
        stop_fsm fsm(stop_ladder::polite(5s).steps);
        play(fsm,
             {{started, perform(stdin_step)},
              {performed, perform(term_step)},
              {performed, resume_stopped(term_step)},
              {performed, arm(5s)},
              {grace_over, kill_tree},
              {performed, arm(20ms)},
              {exited, nothing},
              {tree_empty, complete}});
        CHECK(fsm.done());
    }

    TEST_CASE("ends as soon as the tree is empty; no SIGKILL then (case 54)")
    {
        stop_fsm fsm(stop_ladder::terminate(5s).steps);
        play(fsm,
             {{started, perform(term_step)},
              {performed, resume_stopped(term_step)},
              {performed, arm(5s)},
              {exited, nothing},
              {tree_empty, complete},
              {grace_over, nothing}});
    }

    TEST_CASE("the child's end alone does not end it: its descendants get the rest of the ladder")
    {
        stop_fsm fsm(stop_ladder::terminate(5s).steps);
        play(fsm,
             {{started, perform(term_step)},
              {performed, resume_stopped(term_step)},
              {performed, arm(5s)},
              {exited, nothing},
              {grace_over, kill_tree},
              {performed, arm(20ms)},
              {tree_empty, complete}});
    }

    TEST_CASE("an empty tree whose status is still owed is waited for and never signalled")
    {
        stop_fsm fsm(stop_ladder::terminate(5s).steps);
        play(fsm,
             {{started, perform(term_step)},
              {tree_empty, nothing},
              {performed, nothing},
              {grace_over, nothing},
              {hurried, nothing},
              {exited, complete}});
    }

    TEST_CASE("a tree that is empty from the start gets nothing")
    {
        stop_fsm fsm(stop_ladder::polite().steps);
        SUBCASE("status known first")
        {
            play(fsm, {{exited, nothing}, {tree_empty, complete}, {started, nothing}});
        }
        SUBCASE("status owed")
        {
            play(fsm, {{tree_empty, nothing}, {started, nothing}, {exited, complete}});
        }
    }

    TEST_CASE("no rungs: SIGKILL at once, repeated ever more slowly until the tree is empty")
    {
        stop_fsm fsm(stop_ladder::kill().steps);
        play(fsm, {{started, kill_tree}, {performed, arm(20ms)}, {exited, nothing}});
        for (const auto delay : {40ms, 80ms, 160ms, 320ms, 640ms, 1000ms, 1000ms})
            play(fsm, {{grace_over, kill_tree}, {performed, arm(delay)}});
        play(fsm, {{tree_empty, complete}});
    }

    TEST_CASE("rungs for the child alone end with the child")
    {
        const stop_step child_term{.scope = stop_scope::child, .grace = 5s};
        const stop_step child_int{.signal = SIGINT, .scope = stop_scope::child, .grace = 5s};
        stop_fsm fsm({child_term, child_int, term_step});
        SUBCASE("while its grace runs")
        {
            play(fsm,
                 {{started, perform(child_term)},
                  {performed, resume_stopped(child_term)},
                  {performed, arm(5s)},
                  {exited, perform(term_step)}});
        }
        SUBCASE("while it is carried out")
        {
            play(fsm,
                 {{started, perform(child_term)},
                  {exited, nothing},
                  {performed, perform(term_step)}});
        }
        SUBCASE("before the start")
        {
            play(fsm, {{exited, nothing}, {started, perform(term_step)}});
        }
    }

    TEST_CASE("only a signal that asks is followed by SIGCONT")
    {
        for (const int number : {SIGKILL, SIGSTOP, SIGCONT}) {
            const stop_step step{.signal = number, .grace = 1s};
            stop_fsm fsm({step});
            play(fsm, {{started, perform(step)}, {performed, arm(1s)}});
        }
        for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGUSR1}) {
            const stop_step step{.signal = number, .grace = 1s};
            stop_fsm fsm({step});
            play(fsm,
                 {{started, perform(step)},
                  {performed, resume_stopped(step)},
                  {performed, arm(1s)}});
        }
    }

    TEST_CASE("hurried skips what is left of the grace and of the rungs")
    {
        stop_fsm fsm(stop_ladder::interrupt_first(2s, 5s).steps);
        const stop_step int_step{.signal = SIGINT, .grace = 2s};
        SUBCASE("in a grace")
        {
            play(fsm,
                 {{started, perform(int_step)},
                  {performed, resume_stopped(int_step)},
                  {performed, arm(2s)},
                  {hurried, kill_tree},
                  {hurried, nothing},
                  {performed, arm(20ms)},
                  {hurried, nothing}});
        }
        SUBCASE("in the middle of a rung")
        {
            play(fsm,
                 {{started, perform(int_step)},
                  {hurried, nothing},
                  {performed, resume_stopped(int_step)},
                  {performed, kill_tree}});
        }
        SUBCASE("before the start")
        {
            play(fsm, {{hurried, nothing}, {started, kill_tree}});
        }
    }

    TEST_CASE("cancelled ends the watching at any point, once")
    {
        for (std::size_t length = 0; length < 5; ++length) {
            constexpr std::array script{started, performed, performed, grace_over, performed};
            stop_fsm fsm(stop_ladder::terminate(5s).steps);
            for (std::size_t i = 0; i < length; ++i)
                (void)fsm.resume(script.at(i));
            play(fsm, {{cancelled, abandon}, {cancelled, nothing}, {tree_empty, nothing}});
        }
    }
}

namespace {

// What must hold whatever comes in whatever order.
class watcher {
public:
    explicit watcher(std::vector<stop_step> steps) : steps_(steps), fsm_(std::move(steps)) { }

    stop_order feed(stop_event event)
    {
        const bool ended = fsm_.done();
        const auto order = fsm_.resume(event);
        seen_exit_ |= event == exited;
        seen_empty_ |= event == tree_empty;
        const bool both = seen_exit_ && seen_empty_;
        // doctest's CHECK is slow in a loop of this length: count, and check the count once.
        fail_if(ended && order != nothing);
        switch (order.kind) {
        case stop_order_kind::wait: fail_if(!ended && both); break;
        case stop_order_kind::perform:
            fail_if(seen_empty_ || killed_);
            fail_if(seen_exit_ && order.step.scope == stop_scope::child
                    && order.step.action != stop_action::close_stdin);
            while (next_ < steps_.size() && steps_[next_] != order.step)
                ++next_;
            fail_if(next_++ >= steps_.size());  // out of order, or a rung taken twice
            break;
        case stop_order_kind::perform_resume:
            fail_if(seen_empty_ || event != performed || last_.kind != stop_order_kind::perform);
            break;
        case stop_order_kind::perform_kill:
            fail_if(seen_empty_);
            killed_ = true;
            break;
        case stop_order_kind::arm: fail_if(seen_empty_ || order.delay <= 0ns); break;
        case stop_order_kind::complete: fail_if(!both || event == cancelled); break;
        case stop_order_kind::abandon: fail_if(event != cancelled); break;
        }
        if (order.kind != stop_order_kind::wait)
            last_ = order;
        return order;
    }

    [[nodiscard]] int failures() const { return failures_; }
    [[nodiscard]] bool killed() const { return killed_; }
    [[nodiscard]] bool done() const { return fsm_.done(); }

private:
    void fail_if(bool broken) { failures_ += broken ? 1 : 0; }

    std::vector<stop_step> steps_;
    stop_fsm fsm_;
    std::size_t next_ = 0;
    stop_order last_{};
    bool seen_exit_ = false;
    bool seen_empty_ = false;
    bool killed_ = false;
    int failures_ = 0;
};

constexpr std::array all_events{started,    performed, grace_over, exited,
                                tree_empty, hurried,   cancelled};

const std::vector<std::vector<stop_step>>& ladders()
{
    static const std::vector<std::vector<stop_step>> all{
        {},
        stop_ladder::polite().steps,
        stop_ladder::interrupt_first().steps,
        {{.scope = stop_scope::child, .grace = 1s}, {.signal = SIGHUP, .scope = stop_scope::child}},
        stop_ladder{}.close_stdin(1s).signal(SIGKILL, 1s, stop_scope::child).signal(40, 1s).steps,
    };
    return all;
}

std::vector<stop_step> random_ladder(std::mt19937& random)
{
    constexpr std::array signals{SIGTERM, SIGINT, SIGKILL, SIGCONT, SIGHUP};
    std::vector<stop_step> steps(random() % 6);
    for (std::size_t i = 0; i < steps.size(); ++i) {
        steps[i].action = random() % 3 == 0 ? stop_action::close_stdin : stop_action::signal;
        steps[i].signal = signals.at(random() % signals.size());
        steps[i].scope = random() % 2 == 0 ? stop_scope::tree : stop_scope::child;
        // Distinct graces make each rung recognisable; some are nil.
        steps[i].grace =
            random() % 4 == 0 ? -1ns * static_cast<int>(i) : 1s + 1ns * static_cast<int>(i);
    }
    return steps;
}

}  // namespace

TEST_SUITE("stop_fsm invariants")
{
    TEST_CASE("hold for every sequence of six events")
    {
        int failures = 0;
        for (const auto& ladder : ladders()) {
            const int count = 7 * 7 * 7 * 7 * 7 * 7;
            for (int code = 0; code < count; ++code) {
                watcher machine(ladder);
                for (int rest = code, i = 0; i < 6; ++i, rest /= 7)
                    machine.feed(all_events.at(static_cast<std::size_t>(rest % 7)));
                failures += machine.failures();
            }
        }
        CHECK(failures == 0);
    }

    TEST_CASE("hold for 100,000 random events on random ladders")
    {
        std::mt19937 random(20240607);  // NOLINT: the same every time
        int failures = 0;
        for (int steps = 0; steps < 100'000;) {
            watcher machine(random_ladder(random));
            for (int i = 0; i < 40; ++i, ++steps)
                machine.feed(all_events.at(random() % (random() % 8 == 0 ? 7 : 3)));
            failures += machine.failures();
        }
        CHECK(failures == 0);
    }

    TEST_CASE("a shell that does as it is told gets to SIGKILL, and to the end once that works")
    {
        std::mt19937 random(4711);  // NOLINT: the same every time
        for (int round = 0; round < 2000; ++round) {
            const auto ladder = random_ladder(random);
            watcher machine(ladder);
            auto order = machine.feed(started);
            std::size_t events = 1;
            for (; !machine.killed() && events <= 3 * ladder.size() + 1; ++events) {
                if (random() % 5 == 0)
                    machine.feed(exited);
                order = machine.feed(order.kind == stop_order_kind::arm ? grace_over : performed);
            }
            CHECK(machine.killed());
            machine.feed(exited);
            machine.feed(tree_empty);
            CHECK(machine.done());
            CHECK(machine.failures() == 0);
        }
    }
}
