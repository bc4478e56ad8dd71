// SPDX-License-Identifier: BSL-1.0
// When signs of life are given: the decision, and async_feed_watchdog() with a clock of the test's.
#include "watchdog_fsm.hpp"

#include <doctest/doctest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include <procyard/ipc/syscall.hpp>
#include <procyard/runtime/service_notifier.hpp>

#include "fake_manager.hpp"
#include "procyard_test.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;
using namespace std::chrono_literals;
using procyard::detail::watchdog_fsm;
using action = procyard::detail::watchdog_fsm::action;

namespace {

// A notifier whose manager expects a sign every 10 s.
struct fed {
    explicit fed(std::chrono::microseconds interval = 10s)
    {
        service_manager there;
        there.socket = manager.address();
        there.watchdog = interval;
        notifier.emplace(ctx.get_executor(), there);
        options.clock = clock;
    }
    void start(auto&& token)
    {
        notifier->async_feed_watchdog(std::move(options), std::forward<decltype(token)>(token));
    }
    // As much as can be done without time passing, in each of these loops.
    void turn(std::initializer_list<asio::io_context*> loops)
    {
        for (int i = 0; i < 20; ++i) {
            for (auto* one : loops) {
                one->restart();
                one->poll();
            }
        }
    }
    void turn() { turn({&ctx}); }

    descriptor_check check{};
    fake_manager manager{};
    asio::io_context ctx{};
    std::shared_ptr<manual_clock> clock = std::make_shared<manual_clock>();
    std::optional<service_notifier> notifier{};
    watchdog_options options{};
};

}  // namespace

TEST_SUITE("watchdog_fsm")
{
    TEST_CASE("without other loops each turn feeds")
    {
        watchdog_fsm fsm(false);
        CHECK(fsm.turn(0) == action::feed);
        CHECK(fsm.turn(0) == action::feed);
    }

    TEST_CASE("every loop has to answer, once for each sign")
    {
        watchdog_fsm fsm(true);
        for (int i = 0; i < 3; ++i) {
            CHECK(fsm.turn(0) == action::ask);
            CHECK(fsm.turn(2) == action::look);
            CHECK(fsm.turn(1) == action::look);
            CHECK(fsm.turn(0) == action::feed);
        }
    }

    TEST_CASE("a loop that is stuck is not asked again, and keeps the sign from being given")
    {
        watchdog_fsm fsm(true);
        CHECK(fsm.turn(0) == action::ask);
        for (int i = 0; i < 5; ++i)
            CHECK(fsm.turn(1) == action::look);
        CHECK(fsm.turn(0) == action::feed);
    }
}

TEST_SUITE("async_feed_watchdog")
{
    TEST_CASE("gives a sign at once, and then twice in each interval")
    {
        fed f;
        outcome<error_code> over;
        f.start(over.handler());
        CHECK(f.manager.text() == "nothing");
        f.turn();
        CHECK(f.manager.text() == "WATCHDOG=1\n");
        for (int i = 0; i < 3; ++i) {
            f.clock->advance(4999ms);
            f.turn();
            CHECK(f.manager.text() == "nothing");
            f.clock->advance(1ms);
            f.turn();
            CHECK(f.manager.text() == "WATCHDOG=1\n");
            CHECK(f.manager.text() == "nothing");
        }
        CHECK_FALSE(over.done());
        f.notifier.reset();
        run(f.ctx);
        CHECK(over.error() == asio::error::operation_aborted);
        CHECK(f.clock->pending() == 0);
    }

    TEST_CASE("a loop that is stuck keeps the sign from being given (envoy#614)")
    {
        fed f;
        asio::io_context other;
        f.options.loops = {other.get_executor()};
        outcome<error_code> over;
        f.start(over.handler());
        f.turn();
        CHECK_MESSAGE(f.manager.text() == "nothing", "the other one has run nothing");
        f.turn({&f.ctx, &other});
        f.clock->advance(1250ms);
        f.turn();
        CHECK(f.manager.text() == "WATCHDOG=1\n");
        for (int i = 0; i < 4; ++i) {
            f.clock->advance(5s);
            f.turn();
            CHECK(f.manager.text() == "nothing");
        }
        other.restart();
        CHECK_MESSAGE(other.poll_one() == 1, "it was asked");
        CHECK_MESSAGE(other.poll() == 0, "and once alone");
        f.clock->advance(1250ms);
        f.turn();
        CHECK(f.manager.text() == "WATCHDOG=1\n");
        f.notifier.reset();
        run(f.ctx);
        CHECK(over.done());
    }

    TEST_CASE("two signs in each interval, as long as the loops answer")
    {
        fed f;
        asio::io_context other;
        f.options.loops = {other.get_executor()};
        outcome<error_code> over;
        f.start(over.handler());
        std::size_t signs = 0;
        for (int eighth = 0; eighth < 10 * 8; ++eighth) {
            f.turn({&f.ctx, &other});
            signs += f.manager.drain();
            f.clock->advance(1250ms);
        }
        CHECK(signs == 20);
        f.notifier.reset();
        run(f.ctx);
    }

    TEST_CASE("a question may outlive the one that has asked, and its context")
    {
        asio::io_context other;
        {
            fed f;
            f.options.loops = {other.get_executor()};
            f.start([](const error_code&) { });
            f.turn();
            f.notifier.reset();
        }
        CHECK(other.poll() == 1);
    }

    TEST_CASE("a manager that starts again is told, one that has gone for an interval ends it")
    {
        fed f;
        const temporary_directory directory;
        const auto path = (directory.path() / "manager").string();
        f.manager.bind(path);
        service_manager there;
        there.socket = path;
        there.watchdog = 10s;
        f.notifier.emplace(f.ctx.get_executor(), there);
        outcome<error_code> over;
        f.start(over.handler());
        f.turn();
        CHECK(f.manager.text() == "WATCHDOG=1\n");
        f.manager.close();
        f.clock->advance(5s);
        f.turn();
        CHECK_FALSE(over.done());
        std::filesystem::remove(path);
        f.manager.bind(path);
        f.clock->advance(5s);
        f.turn();
        CHECK_FALSE(over.done());
        CHECK(f.manager.text() == "WATCHDOG=1\n");
        std::filesystem::remove(path);
        f.manager.close();
        f.clock->advance(5s);
        f.turn();
        CHECK_FALSE(over.done());
        f.clock->advance(5s);
        run(f.ctx);
        CHECK(over.error() == boost::system::errc::no_such_file_or_directory);
        CHECK(f.clock->pending() == 0);
    }

    TEST_CASE("a full queue makes no heap of signs")
    {
        fed f;
        error_code ec;
        for (int i = 0; i < 100'000 && !ec; ++i)
            f.notifier->try_notify(service_notice().status("full"), ec);
        CHECK(ec == asio::error::would_block);
        outcome<error_code> over;
        f.start(over.handler());
        for (int i = 0; i < 5; ++i) {
            f.turn();
            f.clock->advance(5s);
        }
        CHECK(f.manager.drain() > 0);
        f.turn();
        CHECK(f.manager.text() == "WATCHDOG=1\n");
        CHECK_FALSE(over.done());
        f.notifier.reset();
        run(f.ctx);
        CHECK(over.error() == asio::error::operation_aborted);
    }

    TEST_CASE("each type of cancellation ends it, before its first turn and later")
    {
        using type = asio::cancellation_type;
        for (const auto each : {type::terminal, type::partial, type::total}) {
            for (const bool begun : {false, true}) {
                fed f;
                asio::cancellation_signal stop;
                outcome<error_code> over;
                f.start(asio::bind_cancellation_slot(stop.slot(), over.handler()));
                if (begun)
                    f.turn();
                stop.emit(each);
                CHECK_FALSE(over.done());
                run(f.ctx);
                CHECK(over.count == 1);
                CHECK(over.error() == asio::error::operation_aborted);
                CHECK(f.manager.drain() == (begun ? 1U : 0U));
                CHECK(f.clock->pending() == 0);
            }
        }
    }

    TEST_CASE("an interval that cannot be halved is an error")
    {
        fed f;
        f.options.interval = 1999ns;
        outcome<error_code> refused;
        f.start(refused.handler());
        CHECK_FALSE(refused.done());
        run(f.ctx);
        CHECK(refused.error() == make_errno(EINVAL));
    }

    TEST_CASE("runs its handler on the handler's executor, and goes down with its context")
    {
        fed f;
        asio::io_context other;
        const auto there = other.get_executor();
        bool right_place = false;
        f.start(asio::bind_executor(
            there, [&](const error_code&) { right_place = there.running_in_this_thread(); }));
        f.turn();
        f.notifier.reset();
        f.turn();
        CHECK_FALSE(right_place);
        run(other);
        CHECK(right_place);

        const auto alive = std::make_shared<int>(0);
        {
            asio::io_context gone;
            service_manager there_too;
            there_too.socket = f.manager.address();
            there_too.watchdog = 1s;
            watchdog_options options;
            options.clock = f.clock;
            service_notifier notifier(gone.get_executor(), there_too);
            notifier.async_feed_watchdog(std::move(options),
                                         [alive](const error_code&) { CHECK(false); });
            gone.poll();
            CHECK(alive.use_count() == 2);
        }
        CHECK(alive.use_count() == 1);
    }
}
