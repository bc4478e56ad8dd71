// SPDX-License-Identifier: BSL-1.0
//
// This program lets allocations fail: what becomes of a supervisor that a shutdown is to stop.
#include "shutdown_target.hpp"

#include <doctest/doctest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>

#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "allocations.hpp"
#include "each_allocation.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_core.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using namespace std::chrono_literals;
using procyard::manual_clock;
using procyard::service;
using procyard::service_state;
using procyard::supervisor_options;
using procyard::detail::make_supervisor_target;
using procyard::detail::shutdown_remains;
using procyard::detail::supervisor_core;
using procyard::detail::supervisor_input;

namespace {

// A supervisor with a process, and a shutdown's hold on it.
struct held_supervisor {
    held_supervisor()
    {
        warm_up(ctx);
        core->add(service("a", helper({"--mode=pause"})));
        core->request(supervisor_input::kind::start);
        run_until(ctx, [&] { return core->snapshot().front().state == service_state::ready; });
        ctx.restart();
        ctx.poll();
    }
    ~held_supervisor()
    {
        core->abandon();
        run_until(ctx, [] { return children() == 0; });
    }

    void stop()
    {
        procyard::shutdown_step step;
        step.clock = clock;
        step.deadline = clock->after(1h);
        asio::co_spawn(ctx, target->stop(step), stopped.handler());
    }
    // As long as something happens, and time passes.
    void wear_on()
    {
        do {
            ctx.restart();
            ctx.run_for(50ms);
        } while (children() != 0 && clock->advance_to_next() > 0);
    }

    supervisor_options told_here()
    {
        supervisor_options options;
        options.clock = clock;
        options.on_event = [this](const procyard::service_event& event) {
            using enum service_state;
            if ((event.to == stopping || event.to == killing) && asked_at == 0)
                asked_at = allocations();
        };
        return options;
    }

    asio::io_context ctx{};
    std::shared_ptr<manual_clock> clock = std::make_shared<manual_clock>();
    std::shared_ptr<supervisor_core> core =
        std::make_shared<supervisor_core>(ctx.get_executor(), told_here());
    std::shared_ptr<procyard::detail::shutdown_target> target = make_supervisor_target(core);
    outcome<std::exception_ptr, shutdown_remains> stopped{};
    std::size_t asked_at = 0;
};

// How many allocations may fail, each in turn: those until the supervisor has said that it stops or
// kills, and the first quarter of what it takes to do so. Behind that there is a strand, and
// Asio 1.81 destroys one that it could not make, with pointers that it has not set.
template <class Ask>
std::size_t allocations_that_may_fail(Ask ask)
{
    held_supervisor f;
    f.ctx.restart();
    const auto before = allocations();
    ask(f);
    while (f.asked_at == 0)
        REQUIRE(f.ctx.run_one_for(deadlock_guard) == 1);
    return f.asked_at - before + (allocations() - f.asked_at) / 4;
}

// Each of them fails once. Nothing is asked for again: what lives in the end lives for ever.
template <class Ask>
void ask_without_memory(Ask ask)
{
    const auto most = allocations_that_may_fail(ask);
    CHECK(most > 3);
    for (std::size_t nth = 1; nth <= most; ++nth) {
        CAPTURE(nth);
        held_supervisor f;
        bool is_asked = false;
        CHECK(fail_in(nth, f.ctx, [&] {
            ask(f);
            is_asked = true;
            f.ctx.poll();
        }));
        if (!is_asked)  // else whoever asks is told
            continue;
        f.wear_on();
        CHECK(children() == 0);
    }
}

}  // namespace

TEST_SUITE("shutdown: allocations")
{
    TEST_CASE("a supervisor that finds no memory to be stopped is stopped, or killed in its time")
    {
        ask_without_memory([](held_supervisor& f) { f.stop(); });
    }

    TEST_CASE("a supervisor that finds no memory to be killed is killed all the same")
    {
        ask_without_memory([](held_supervisor& f) { f.target->kill(); });
    }

    TEST_CASE("where there is no memory at all a supervisor is killed with what was kept for that")
    {
        const auto is_short = [](std::size_t nth) {
            CAPTURE(nth);
            held_supervisor f;
            bool has_failed = false;
            {
                const exhausted_memory none(nth);
                f.target->kill();
                has_failed = none.has_failed();
            }
            f.wear_on();
            CHECK(children() == 0);
            return has_failed;
        };
        CHECK(fail_each(is_short) > 0);
    }
}
