// SPDX-License-Identifier: BSL-1.0
// block_signals() and signal_ignore_guard: what they change, and when they refuse to.
#include <procyard/signals/block_signals.hpp>
#include <procyard/signals/signal_ignore_guard.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/system/system_error.hpp>

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include <doctest/doctest.h>

#include <procyard/signals/signal_error.hpp>
#include <procyard/signals/signal_mask_guard.hpp>
#include <procyard/signals/signal_set.hpp>

#include "disposition.hpp"
#include "forked.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::block_signals;
using procyard::error_code;
using procyard::signal_errc;
using procyard::signal_ignore_guard;
using procyard::signal_mask_guard;
using procyard_test::are_equal;
using procyard_test::disposition_guard;
using procyard_test::disposition_of;
using procyard_test::is_handled_by;

namespace {

bool blocks(int number)
{
    sigset_t now;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &now);
    return ::sigismember(&now, number) == 1;
}

}  // namespace

TEST_SUITE("block_signals")
{
    TEST_CASE("blocks in this thread and in those that it starts, and sets read from a signalfd")
    {
        const signal_mask_guard restores({SIGWINCH});
        block_signals({SIGUSR1, SIGUSR2});
        CHECK(blocks(SIGUSR1));
        CHECK(blocks(SIGUSR2));
        bool inherited = false;
        std::jthread([&] { inherited = blocks(SIGUSR1); }).join();
        CHECK(inherited);
        asio::io_context ctx;
        procyard::signal_set set(ctx.get_executor(), {SIGUSR1});
        CHECK(set.mechanism() == procyard::signal_mechanism::signalfd);
        CHECK(is_handled_by(disposition_of(SIGUSR1), SIG_DFL));
    }

    TEST_CASE("refuses what cannot be waited for, and what another thread does not block")
    {
        error_code ec;
        block_signals({SIGUSR1, SIGKILL}, ec);
        CHECK(ec == signal_errc::not_waitable);
        CHECK_FALSE(blocks(SIGUSR1));
        std::atomic<bool> runs{false};  // until then the C library has everything blocked there
        std::jthread other([&](const std::stop_token& stop) {
            runs = true;
            while (!stop.stop_requested())
                std::this_thread::yield();
        });
        while (!runs)
            std::this_thread::yield();
        block_signals({SIGUSR1}, ec);
        CHECK(ec == signal_errc::not_blocked);
        CHECK_FALSE(blocks(SIGUSR1));
        CHECK_THROWS_AS(block_signals({SIGUSR1}), boost::system::system_error);
    }
}

TEST_SUITE("signal_ignore_guard")
{
    TEST_CASE("ignores, and puts back exactly what it found")
    {
        struct sigaction odd{};
        odd.sa_handler = [](int) { };
        odd.sa_flags = SA_NODEFER;
        ::sigaddset(&odd.sa_mask, SIGALRM);
        const disposition_guard guard(SIGUSR1, odd);
        const auto before = disposition_of(SIGUSR1);
        {
            const signal_ignore_guard outer({SIGUSR1, SIGUSR2});
            const signal_ignore_guard inner({SIGUSR1, SIGUSR1});
            ::raise(SIGUSR1);
            ::raise(SIGUSR2);
            CHECK(is_handled_by(disposition_of(SIGUSR2), SIG_IGN));
        }
        CHECK(are_equal(disposition_of(SIGUSR1), before));
        CHECK(is_handled_by(disposition_of(SIGUSR2), SIG_DFL));
    }

    TEST_CASE("leaves alone what somebody has installed since")
    {
        const disposition_guard guard(SIGUSR1, SIG_DFL);
        const auto handler = [](int) { };
        {
            const signal_ignore_guard ignored({SIGUSR1});
            ::signal(SIGUSR1, handler);
        }
        CHECK(is_handled_by(disposition_of(SIGUSR1), handler));
    }

    TEST_CASE("a set hears what is ignored around it, and leaves it ignored")
    {
        const disposition_guard guard(SIGUSR1, SIG_DFL);
        const signal_ignore_guard ignored({SIGUSR1});
        {
            asio::io_context ctx;
            procyard::signal_set set(ctx.get_executor(), {SIGUSR1});
            ::raise(SIGUSR1);
            CHECK(set.try_wait().has_value());
        }
        CHECK(is_handled_by(disposition_of(SIGUSR1), SIG_IGN));
    }

    TEST_CASE("refuses what cannot be ignored, and changes nothing then")
    {
        const disposition_guard guard(SIGUSR1, SIG_DFL);
        CHECK_THROWS_AS(signal_ignore_guard({SIGUSR1, SIGKILL}), boost::system::system_error);
        CHECK(is_handled_by(disposition_of(SIGUSR1), SIG_DFL));
    }
}
