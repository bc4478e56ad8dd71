// SPDX-License-Identifier: BSL-1.0
#include <algorithm>
#include <chrono>
#include <ostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "shutdown_fsm.hpp"

using namespace std::chrono_literals;
using namespace procyard;
using namespace procyard::detail;
using phase = shutdown_phase;
using kind = shutdown_order_kind;

namespace {

using time_point = timer_clock::time_point;

constexpr time_point start{1000s};

// `begin announce until 2s; run drain 0 until 5s; arm 2s`, times since the request.
std::string to_text(const std::vector<shutdown_order>& orders)
{
    constexpr std::array names{"begin", "run", "give up", "end", "arm", "finish"};
    std::ostringstream out;
    for (const auto& order : orders) {
        if (&order != &orders.front())
            out << "; ";
        out << names.at(static_cast<std::size_t>(order.kind));
        if (order.late)
            out << " late";
        if (order.kind != kind::arm && order.kind != kind::finish)
            out << ' ' << order.phase;
        if (order.kind == kind::run || order.kind == kind::give_up)
            out << ' ' << order.step;
        if (order.kind == kind::begin || order.kind == kind::run || order.kind == kind::arm) {
            if (order.when == time_point::max())
                out << " never";
            else
                out << ' '
                    << std::chrono::duration_cast<std::chrono::milliseconds>(order.when - start)
                           .count();
        }
    }
    return out.str();
}

// A machine, the facts it is told, and a clock. Ten seconds, of which each phase has as many parts
// as it says: 1 announce, 1 close intake, 4 drain, 1 cancel, 2 stop children, 1 flush.
class machine {
public:
    explicit machine(std::chrono::nanoseconds linger = 0s, std::chrono::nanoseconds quiet = 500ms)
        : fsm_({linger, quiet, {1, 0, 1, 4, 1, 2, 1}})
    {
    }

    std::string request(std::chrono::nanoseconds budget = 10s)
    {
        return to_text(
            fsm_.resume({shutdown_event::requested, now, phase::announce, start + budget}, facts));
    }
    std::string feed(shutdown_event event, phase of = phase::announce)
    {
        return to_text(fsm_.resume({event, now, of}, facts));
    }
    std::string done(phase of) { return feed(shutdown_event::step_done, of); }
    std::string changed() { return feed(shutdown_event::changed); }
    // Some milliseconds after the request.
    std::string alarm(int at)
    {
        now = start + std::chrono::milliseconds(at);
        return feed(shutdown_event::alarm);
    }
    void at(int milliseconds) { now = start + std::chrono::milliseconds(milliseconds); }
    void steps(phase of, unsigned count) { facts.steps[static_cast<std::size_t>(of)] = count; }
    [[nodiscard]] bool over() const { return fsm_.done(); }

    shutdown_facts facts;
    time_point now = start;

private:
    shutdown_fsm fsm_;
};

}  // namespace

TEST_SUITE("shutdown_fsm")
{
    TEST_CASE("with nothing to do it is over at once, phase after phase")
    {
        machine m;
        CHECK(m.changed().empty());
        CHECK(m.request()
              == "begin announce 1000; end announce; begin linger 0; begin drain 5555; end linger; "
                 "begin close intake 1111; end close intake; end drain; begin cancel 2500; "
                 "end cancel; begin stop children 6666; end stop children; begin flush 10000; "
                 "end flush; finish");
        CHECK(m.over());
        CHECK(m.changed().empty());
    }

    TEST_CASE("a quiet that never comes does not end the linger")
    {
        machine m(1s, std::chrono::nanoseconds::max());
        CHECK(m.request()
              == "begin announce 1000; end announce; begin linger 1000; begin drain 5555; "
                 "arm 1000");
        CHECK(m.alarm(1000).starts_with("end linger; begin close intake"));
    }

    TEST_CASE("a phase waits for its steps, one after the other, each with its share")
    {
        machine m;
        m.steps(phase::announce, 2);
        m.facts.work_left = true;
        CHECK(m.request() == "begin announce 1000; run announce 0 500; arm 500");
        m.at(100);
        CHECK(m.done(phase::announce) == "run announce 1 1000; arm 1000");
        CHECK(m.done(phase::drain) == "arm 1000");
        m.at(1000);
        CHECK(m.done(phase::announce)
              == "end announce; begin linger 1000; begin drain 6000; end linger; "
                 "begin close intake 2000; end close intake; arm 6000");
    }

    TEST_CASE("a step that outstays its time is given up, and the next begins")
    {
        machine m;
        m.steps(phase::announce, 2);
        m.facts.work_left = true;
        (void)m.request();
        CHECK(m.alarm(499) == "arm 500");
        CHECK(m.alarm(500) == "give up announce 0; run announce 1 1000; arm 1000");
        CHECK(m.alarm(1000).starts_with("give up announce 1; end announce; begin linger"));
    }

    TEST_CASE("what a phase does not use is the others' (one deadline for all)")
    {
        machine m;
        m.steps(phase::flush, 1);
        CHECK(m.request().ends_with("begin flush 10000; run flush 0 10000; arm 10000"));
        CHECK(m.alarm(10000) == "give up flush 0; end flush; finish");
    }

    TEST_CASE("linger ends early at a quiet interval (complaint 22)")
    {
        machine m(3s, 500ms);
        m.facts.work_left = true;
        CHECK(m.request()
              == "begin announce 1000; end announce; begin linger 3000; begin drain 5555; arm 500");
        m.facts.last_activity = start + 300ms;
        CHECK(m.alarm(500) == "arm 800");
        m.facts.last_activity = start + 700ms;
        CHECK(m.alarm(800) == "arm 1200");
        CHECK(m.alarm(1200) == "end linger; begin close intake 2071; end close intake; arm 5555");
        m.facts.work_left = false;
        CHECK(m.changed().starts_with("end drain; begin cancel"));
    }

    TEST_CASE("linger ends when its time is over, however much comes")
    {
        machine m(3s, 500ms);
        m.facts.work_left = true;
        (void)m.request();
        for (int at = 400; at < 3000; at += 400) {
            m.facts.last_activity = start + std::chrono::milliseconds(at);
            CHECK(m.alarm(at).starts_with("arm"));
        }
        CHECK(m.alarm(3000).starts_with("end linger; begin close intake"));
    }

    TEST_CASE("linger overlaps the drain: the longer of both counts, not the sum (complaint 22)")
    {
        machine m(3s, 10s);
        m.facts.work_left = true;
        m.steps(phase::drain, 1);
        CHECK(m.request()
              == "begin announce 1000; end announce; begin linger 3000; begin drain 5555; "
                 "run drain 0 5555; arm 3000");
        // The drain's handlers return while the linger lasts.
        m.at(1000);
        CHECK(m.done(phase::drain) == "arm 3000");
        m.facts.work_left = false;
        CHECK(m.changed() == "arm 3000");
        CHECK(m.alarm(3000).starts_with(
            "end linger; begin close intake 3511; end close intake; end drain; begin cancel"));
    }

    TEST_CASE("a linger longer than the drain's time leaves some for closing the intake")
    {
        machine m(1h, 1h);
        m.facts.work_left = true;
        m.steps(phase::close_intake, 1);
        CHECK(
            m.request()
            == "begin announce 1000; end announce; begin linger 4444; begin drain 5555; arm 4444");
        CHECK(m.alarm(4445).starts_with("end linger; begin close intake 4667; run close intake 0"));
    }

    TEST_CASE("work that never ends is cancelled at its share (case 52)")
    {
        machine m;
        m.facts.work_left = true;
        m.facts.tasks_left = true;
        (void)m.request();
        CHECK(m.alarm(5556) == "end late drain; begin cancel 6667; arm 6667");
        // It ends, since it was cancelled.
        m.at(5600);
        m.facts.work_left = false;
        CHECK(m.changed() == "arm 6667");
        m.facts.tasks_left = false;
        CHECK(m.changed().starts_with("end cancel; begin stop children"));
    }

    TEST_CASE("work that heeds no cancellation is left behind")
    {
        machine m;
        m.facts.work_left = true;
        (void)m.request();
        (void)m.alarm(5556);
        CHECK(m.alarm(6667).starts_with("end late cancel; begin stop children"));
        CHECK(m.over());
    }

    TEST_CASE("the drain's handlers that run still are given up when its time is over")
    {
        machine m;
        m.steps(phase::drain, 1);
        (void)m.request();
        CHECK(m.alarm(5556).starts_with("give up drain 0; end drain; begin cancel"));
    }

    TEST_CASE("children are stopped one after the other, and share their time (complaint 21)")
    {
        machine m;
        m.steps(phase::stop_children, 3);
        CHECK(
            m.request().ends_with("begin stop children 6666; run stop children 0 2222; arm 2222"));
        m.at(0);
        CHECK(m.done(phase::stop_children) == "run stop children 1 3333; arm 3333");
        CHECK(m.alarm(3334) == "give up stop children 1; run stop children 2 6666; arm 6666");
        CHECK(
            m.alarm(6667)
            == "give up stop children 2; end stop children; begin flush 10000; end flush; finish");
    }

    TEST_CASE("when no time is left, every step still gets its turn")
    {
        machine m;
        m.steps(phase::stop_children, 2);
        m.steps(phase::flush, 1);
        m.at(20000);
        CHECK(m.request().ends_with(
            "begin stop children 20000; run stop children 0 20000; arm 20000"));
        CHECK(m.alarm(20000) == "give up stop children 0; run stop children 1 20000; arm 20000");
        CHECK(m.alarm(20001)
              == "give up stop children 1; end stop children; begin flush 20001; "
                 "run flush 0 20001; arm 20001");
        CHECK(m.alarm(20001) == "give up flush 0; end flush; finish");
    }

    TEST_CASE("a later request counts if it wants to be done earlier, else not")
    {
        machine m;
        m.facts.work_left = true;
        CHECK(m.request().ends_with("arm 5555"));
        CHECK(m.request(20s).ends_with("arm 5555"));
        m.at(1000);
        CHECK(m.request(5500ms).ends_with("arm 3500"));
        CHECK(m.alarm(3500).starts_with("end late drain; begin cancel 4000; arm 4000"));
    }

    TEST_CASE("a budget without end is no trouble")
    {
        machine m;
        m.facts.work_left = true;
        m.now = start;
        shutdown_fsm fsm({0s, 500ms, {1, 0, 1, 4, 1, 2, 1}});
        const auto orders = fsm.resume(
            {shutdown_event::requested, start, phase::announce, time_point::max()}, m.facts);
        CHECK(orders.back().when > start + 24h * 365);
        CHECK(orders.back().when < time_point::max());
    }

    TEST_CASE("whatever happens and when, it ends by the deadline, in order, with each phase once")
    {
        std::mt19937 random(4711);
        const auto pick = [&](unsigned below) { return static_cast<unsigned>(random() % below); };
        for (int round = 0; round < 2000; ++round) {
            machine m(std::chrono::milliseconds(pick(6000)), std::chrono::milliseconds(pick(900)));
            for (const auto each : {phase::announce, phase::close_intake, phase::drain,
                                    phase::cancel, phase::stop_children, phase::flush})
                m.steps(each, pick(4));
            m.facts.work_left = pick(2) == 0;
            m.facts.tasks_left = pick(2) == 0;
            std::string log = m.request();
            int turns = 0;
            for (int at = 0; !m.over(); ++turns) {
                REQUIRE(turns < 500);
                at = std::min(at + static_cast<int>(pick(400)), 10000);
                m.at(at);
                switch (pick(4)) {
                case 0: m.facts.last_activity = m.now; break;
                case 1: m.facts.work_left = pick(3) == 0; break;
                case 2: m.facts.tasks_left = pick(3) == 0; break;
                case 3: log += "; " + m.done(static_cast<phase>(pick(7))); break;
                }
                log += "; " + m.changed();
                if (!m.over())
                    log += "; " + m.alarm(at);
            }
            INFO(log);
            std::size_t last = 0;
            for (const char* name :
                 {"announce", "linger", "close intake", "cancel", "stop children", "flush"}) {
                const auto begun = log.find(std::string("begin ") + name);
                const auto late = log.find(std::string("end late ") + name);
                const auto ended = std::min(late, log.find(std::string("end ") + name));
                REQUIRE(begun != log.npos);
                REQUIRE(ended != log.npos);
                CHECK(log.find(std::string("begin ") + name, begun + 1) == log.npos);
                CHECK(log.find(std::string("end ") + name, ended + 1) == log.npos);
                CHECK(last <= begun);
                CHECK(begun < ended);
                last = begun;
            }
            CHECK(m.now <= start + 10001ms);
        }
    }
}
