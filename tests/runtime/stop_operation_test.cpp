// SPDX-License-Identifier: BSL-1.0
#include "stop_operation.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "fake_stop_target.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;
using procyard::error_code;
using procyard::exit_status;
using procyard::manual_clock;
using procyard::stop_ladder;
using procyard::stop_result;
using strings = std::vector<std::string>;

namespace {

template <class Token>
auto async_stop(std::shared_ptr<fake_stop_target> target, asio::any_io_executor ex,
                stop_ladder ladder, Token&& token)
{
    return asio::async_initiate<Token, void(error_code, stop_result)>(
        [](auto handler, auto stopped, asio::any_io_executor io, stop_ladder rungs) {
            procyard::detail::start_stop(std::move(stopped), io, std::move(rungs),
                                         std::move(handler));
        },
        token, std::move(target), std::move(ex), std::move(ladder));
}

struct fixture {
    asio::io_context ctx;
    std::shared_ptr<manual_clock> clock = std::make_shared<manual_clock>();
    std::shared_ptr<fake_stop_target> target =
        std::make_shared<fake_stop_target>(ctx.get_executor());
    int calls = 0;
    error_code ec;
    stop_result result;

    stop_ladder on_clock(stop_ladder ladder) const
    {
        ladder.clock = clock;
        return ladder;
    }

    auto handler()
    {
        return [this](error_code e, stop_result r) {
            ++calls;
            ec = e;
            result = std::move(r);
        };
    }

    void poll()
    {
        ctx.restart();
        ctx.poll();
    }
};

}  // namespace

TEST_SUITE("stop_operation")
{
    TEST_CASE_FIXTURE(fixture, "completes when another thread reaps while it begins")
    {
        target->exit_after_question(exit_status::exited(0));
        target->empty();
        async_stop(target, ctx.get_executor(), on_clock(stop_ladder::polite(5s)), handler());
        poll();
        CHECK(calls == 1);
        CHECK(result.status == exit_status::exited(0));
        CHECK(target->log.empty());
    }

    TEST_CASE_FIXTURE(fixture,
                      "success: climbs until the tree is empty, and says how far (case 54)")
    {
        async_stop(target, ctx.get_executor(), on_clock(stop_ladder::polite(5s)), handler());
        CHECK(target->log.empty());  // nothing happens inside the call
        poll();
        CHECK(target->log == strings{"close stdin", "SIGTERM to the tree", "SIGCONT to the tree"});
        CHECK(clock->next() == clock->now() + 5s);
        SUBCASE("it obeys: no SIGKILL")
        {
            clock->advance(3s);
            target->exit(exit_status::signaled(SIGTERM));
            poll();
            CHECK(calls == 0);  // the tree is not empty yet
            target->empty();
            poll();
            CHECK(calls == 1);
            CHECK_FALSE(result.forced());
            CHECK(result.status == exit_status::signaled(SIGTERM));
            CHECK(result.duration() == 3s);
        }
        SUBCASE("it does not: SIGKILL after the grace, swept again until empty")
        {
            clock->advance(5s);
            poll();
            CHECK(target->log.back() == "kill");
            target->exit(exit_status::signaled(SIGKILL));
            poll();
            const auto kills = target->log.size();
            clock->advance_to_next();
            poll();
            CHECK(target->log.size() == kills + 1);
            target->empty();
            poll();
            CHECK(calls == 1);
            CHECK(result.forced());
            CHECK(result.taken.size() == 3);  // the repeated sweep is one rung
            CHECK(result.to_string()
                  == "close stdin, SIGTERM to the tree; after 5 s SIGKILL to the tree; "
                     "empty after 5.02 s");
        }
        CHECK_FALSE(ec);
        CHECK(result.tree_empty);
        CHECK(result.tree == procyard::tree_mechanism::process_group);
        CHECK(clock->pending() == 0);
        CHECK_FALSE(target->waited_for());
        CHECK(target->notes == static_cast<int>(result.taken.size()));
    }

    TEST_CASE_FIXTURE(fixture, "a tree that is gone gets no signal")
    {
        target->exit(exit_status::exited(3));
        target->empty();
        async_stop(target, ctx.get_executor(), on_clock(stop_ladder::polite()), handler());
        CHECK(calls == 0);
        poll();
        CHECK(calls == 1);
        CHECK_FALSE(ec);
        CHECK(result.status == exit_status::exited(3));
        CHECK(result.to_string() == "nothing to stop");
        CHECK(target->log.empty());
    }

    TEST_CASE_FIXTURE(fixture, "immediate error: a signal that may not be sent is in the record")
    {
        target->signal_error = make_error_code(boost::system::errc::operation_not_permitted);
        async_stop(target, ctx.get_executor(), on_clock(stop_ladder::terminate(1s)), handler());
        poll();
        target->exit({});
        target->empty();
        poll();
        CHECK_FALSE(ec);
        REQUIRE(result.taken.size() == 1);
        CHECK(result.taken[0].error == boost::system::errc::operation_not_permitted);
    }

    TEST_CASE_FIXTURE(fixture, "cancelled before the first turn: nothing was sent")
    {
        asio::cancellation_signal signal;
        async_stop(target, ctx.get_executor(), on_clock(stop_ladder::polite()),
                   asio::bind_cancellation_slot(signal.slot(), handler()));
        signal.emit(asio::cancellation_type::total);
        poll();
        CHECK(calls == 1);
        CHECK(ec == asio::error::operation_aborted);
        CHECK_FALSE(result.tree_empty);
        CHECK(target->log.empty());
    }

    TEST_CASE_FIXTURE(fixture, "cancelled on the way: says how far it went and watches no more")
    {
        for (const auto type : {asio::cancellation_type::terminal, asio::cancellation_type::partial,
                                asio::cancellation_type::total}) {
            const int before = calls;
            asio::cancellation_signal signal;
            async_stop(target, ctx.get_executor(), on_clock(stop_ladder::terminate(5s)),
                       asio::bind_cancellation_slot(signal.slot(), handler()));
            poll();
            signal.emit(type);
            poll();
            CHECK(calls == before + 1);
            CHECK(ec == asio::error::operation_aborted);
            CHECK(result.taken.size() == 1);
            CHECK_FALSE(result.tree_empty);
            CHECK(target->asked == 0);  // nor asks whom another look would find
            CHECK(clock->pending() == 0);
            CHECK_FALSE(target->waited_for());
        }
    }

    TEST_CASE("destroyed while pending: the handler is dropped with the context")
    {
        const auto token = std::make_shared<int>(0);
        const auto clock = std::make_shared<manual_clock>();
        {
            asio::io_context ctx;
            const auto target = std::make_shared<fake_stop_target>(ctx.get_executor());
            auto ladder = stop_ladder::terminate(5s);
            ladder.clock = clock;
            async_stop(target, ctx.get_executor(), ladder,
                       [token](error_code, const stop_result&) { FAIL("must not run"); });
            ctx.poll();
            CHECK(clock->pending() == 1);
            target->shutdown();
        }
        CHECK(clock->pending() == 0);
        CHECK(token.use_count() == 1);
    }

    TEST_CASE_FIXTURE(fixture, "the handler runs on its own executor")
    {
        asio::io_context other;
        async_stop(target, ctx.get_executor(), on_clock(stop_ladder::kill()),
                   asio::bind_executor(other, handler()));
        poll();
        CHECK(target->log == strings{"kill"});
        target->exit({});
        target->empty();
        poll();
        CHECK(calls == 0);
        REQUIRE(other.run_for(5s) > 0);
        CHECK(calls == 1);
    }
}
