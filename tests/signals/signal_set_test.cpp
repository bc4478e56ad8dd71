// SPDX-License-Identifier: BSL-1.0
// What a set tells, by a handler and by a signalfd, of signals that the kernel has sent.
#include <procyard/signals/signal_set.hpp>

#include <boost/asio/io_context.hpp>

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <sstream>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/signals/signal_error.hpp>
#include <procyard/signals/signal_mask_guard.hpp>

#include "disposition.hpp"
#include "forked.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::second_signal;
using procyard::signal_errc;
using procyard::signal_info;
using procyard::signal_mask_guard;
using procyard::signal_mechanism;
using procyard::signal_mode;
using procyard::signal_set;
using procyard_test::in_fork;
using procyard_test::outcome;
using procyard_test::run;

namespace {

signal_info next(asio::io_context& ctx, signal_set& set)
{
    outcome<error_code, signal_info> got;
    set.async_wait(got.handler());
    run(ctx);
    CHECK_MESSAGE(!got.error(), got.error().message());
    return got.result();
}

void queue_signal(int number, int value)
{
    sigval with{};
    with.sival_int = value;
    REQUIRE(::sigqueue(::getpid(), number, with) == 0);
}

// The same test by a handler, and by a signalfd.
template <class Body>
void by_both(std::initializer_list<int> numbers, Body body)
{
    SUBCASE("sigaction")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), numbers);
        CHECK(set.mechanism() == signal_mechanism::sigaction);
        body(ctx, set);
    }
    SUBCASE("signalfd")
    {
        sigset_t blocked;
        ::sigemptyset(&blocked);
        for (const int number : numbers)
            ::sigaddset(&blocked, number);
        const signal_mask_guard guard(blocked);
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), numbers);
        CHECK(set.mechanism() == signal_mechanism::signalfd);
        body(ctx, set);
    }
}

}  // namespace

TEST_SUITE("signal_set")
{
    TEST_CASE(
        "100,000 signals and a SIGTERM to a stalled loop: it is told second (case 1, complaint "
        "10)")
    {
        const procyard_test::disposition_guard plain(SIGTERM);
        by_both({SIGUSR1, SIGTERM}, [](asio::io_context& ctx, signal_set& set) {
            outcome<error_code, signal_info> first;
            set.async_wait(first.handler());
            ctx.poll();
            for (int i = 0; i < 100'000; ++i)
                ::raise(SIGUSR1);
            ::raise(SIGTERM);
            run(ctx);
            const auto second = next(ctx, set);
            CHECK(first.result().number == SIGUSR1);
            CHECK(first.result().count >= 1);
            CHECK(second.number == SIGTERM);
            CHECK(second.count == 1);
            CHECK_FALSE(set.try_wait().has_value());
        });
    }

    TEST_CASE("says who has sent a signal, and how")
    {
        by_both({SIGUSR1}, [](asio::io_context& ctx, signal_set& set) {
            REQUIRE(::kill(::getpid(), SIGUSR1) == 0);
            const auto info = next(ctx, set);
            CHECK(info.number == SIGUSR1);
            CHECK(info.count == 1);
            CHECK(info.sender_pid == ::getpid());
            CHECK(info.sender_uid == ::getuid());
            CHECK(info.code == SI_USER);
            CHECK(info.value.sival_ptr == nullptr);
        });
    }

    TEST_CASE("sigqueue: ten real-time signals, each with its sender and value, in order (case 6)")
    {
        by_both({SIGRTMIN + 1}, [](asio::io_context& ctx, signal_set& set) {
            for (int i = 0; i < 10; ++i)
                queue_signal(SIGRTMIN + 1, 42 + i);
            for (int i = 0; i < 10; ++i) {
                const auto info = next(ctx, set);
                CHECK(info.number == SIGRTMIN + 1);
                CHECK(info.count == 1);
                CHECK(info.sender_pid == ::getpid());
                CHECK(info.code == SI_QUEUE);
                CHECK(info.value.sival_int == 42 + i);
            }
            CHECK_FALSE(set.try_wait().has_value());
        });
    }

    TEST_CASE("a real-time signal by kill is told one by one, too (case 6)")
    {
        by_both({SIGRTMIN + 1}, [](asio::io_context& ctx, signal_set& set) {
            for (int i = 0; i < 3; ++i)
                ::kill(::getpid(), SIGRTMIN + 1);
            for (int i = 0; i < 3; ++i)
                CHECK(next(ctx, set).code == SI_USER);
            CHECK_FALSE(set.try_wait().has_value());
        });
    }

    TEST_CASE("what nobody takes waits in the kernel, as far as a signalfd is read by one set")
    {
        const signal_mask_guard guard({SIGRTMIN + 1});
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGRTMIN + 1});
        constexpr int many = 2000;  // more than a set has room for
        for (int i = 0; i < many; ++i)
            queue_signal(SIGRTMIN + 1, i);
        int in_order = 0;
        while (const auto info = set.try_wait()) {
            if (info->value.sival_int == in_order && !info->overflowed)
                ++in_order;
        }
        CHECK(in_order == many);
        CHECK(set.statistics().told == many);
        CHECK(set.statistics().overflowed == 0);
    }

    TEST_CASE("a full queue loses no number, and says what was lost")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGRTMIN + 1, SIGRTMIN + 2});
        for (int i = 0; i < 1100; ++i)
            queue_signal(SIGRTMIN + 1, i);
        queue_signal(SIGRTMIN + 2, 7);
        std::uint64_t whole = 0;
        std::uint64_t beyond = 0;
        bool second_number = false;
        while (const auto info = set.try_wait()) {
            (info->overflowed ? beyond : whole) += info->count;
            second_number = second_number || info->number == SIGRTMIN + 2;
        }
        CHECK(whole == 1024);
        CHECK(beyond == 77);
        CHECK(second_number);
        CHECK(set.statistics().overflowed == 77);
        CHECK(set.statistics().signals == 1101);
    }

    TEST_CASE(
        "every set hears every signal, in one context and in two; one that is cancelled keeps "
        "no other from it (case 9)")
    {
        const auto check = [](signal_mode mode) {
            asio::io_context one;
            asio::io_context two;
            signal_set first(one.get_executor(), {SIGUSR2}, {.mode = mode});
            signal_set second(one.get_executor(), {SIGUSR2}, {.mode = mode});
            signal_set third(two.get_executor(), {SIGUSR2}, {.mode = mode});
            signal_set fourth(two.get_executor(), {SIGUSR2}, {.mode = mode});
            outcome<error_code, signal_info> got[4];
            first.async_wait(got[0].handler());
            second.async_wait(got[1].handler());
            third.async_wait(got[2].handler());
            fourth.async_wait(got[3].handler());
            one.poll();
            two.poll();
            fourth.cancel();
            ::kill(::getpid(), SIGUSR2);
            run(one);
            run(two);
            for (int i = 0; i < 3; ++i) {
                CHECK(got[i].result().number == SIGUSR2);
                CHECK(got[i].result().sender_pid == ::getpid());
            }
            CHECK(got[3].error() == asio::error::operation_aborted);
            const auto kept = fourth.try_wait();
            REQUIRE(kept.has_value());
            CHECK(kept->count == 1);
        };
        SUBCASE("sigaction")
        {
            check(signal_mode::sigaction);
        }
        SUBCASE("signalfd: the one that reads it tells the others")
        {
            const signal_mask_guard guard({SIGUSR2});
            check(signal_mode::signalfd);
        }
    }

    TEST_CASE("one set by a handler and one by a signalfd hear the same signal")
    {
        asio::io_context ctx;
        signal_set handled(ctx.get_executor(), {SIGUSR1});
        const signal_mask_guard guard({SIGUSR1});
        signal_set read(ctx.get_executor(), {SIGUSR1});
        CHECK(handled.mechanism() == signal_mechanism::sigaction);
        CHECK(read.mechanism() == signal_mechanism::signalfd);
        outcome<error_code, signal_info> got[2];
        handled.async_wait(got[0].handler());
        read.async_wait(got[1].handler());
        ctx.poll();
        SUBCASE("blocked: it is read")
        {
            ::kill(::getpid(), SIGUSR1);
            run(ctx);
        }
        SUBCASE("in a thread that does not block it: it is handled")
        {
            sigset_t none;
            ::sigemptyset(&none);
            sigset_t before;
            ::pthread_sigmask(SIG_SETMASK, &none, &before);
            ::raise(SIGUSR1);
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
            run(ctx);
        }
        CHECK(got[0].result().count == 1);
        CHECK(got[1].result().count == 1);
    }

    TEST_CASE("a set by both mechanisms says so")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor());
        CHECK(set.mechanism() == signal_mechanism::none);
        const signal_mask_guard guard({SIGUSR1});
        set.add(SIGUSR1);
        set.add(SIGUSR2);
        CHECK(set.mechanism() == signal_mechanism::mixed);
        CHECK(set.mechanism(SIGUSR1) == signal_mechanism::signalfd);
        CHECK(set.mechanism(SIGUSR2) == signal_mechanism::sigaction);
        CHECK(set.mechanism(SIGTERM) == signal_mechanism::none);
        ::raise(SIGUSR1);
        ::raise(SIGUSR2);
        CHECK(next(ctx, set).number + next(ctx, set).number == SIGUSR1 + SIGUSR2);
        std::ostringstream text;
        text << set.mechanism();
        CHECK(text.str() == "mixed");
    }

    TEST_CASE("added while a wait is pending, a signal is heard; removed, it is not any more")
    {
        by_both({SIGUSR1}, [](asio::io_context& ctx, signal_set& set) {
            const signal_mask_guard guard({SIGUSR2});  // by the other mechanism, in one of them
            outcome<error_code, signal_info> got;
            set.async_wait(got.handler());
            ctx.poll();
            set.add(SIGUSR2);
            set.add(SIGUSR2);
            ::raise(SIGUSR2);
            run(ctx);
            CHECK(got.result().number == SIGUSR2);
            ::raise(SIGUSR1);
            CHECK(set.contains(SIGUSR1));
            set.remove(SIGUSR2);
            set.remove(SIGUSR2);
            CHECK_FALSE(set.contains(SIGUSR2));
            CHECK(next(ctx, set).number == SIGUSR1);
        });
    }

    TEST_CASE(
        "what a removed signal had left in the kernel is forgotten, unless another set reads it")
    {
        const int number = SIGRTMIN + 1;
        // What a failing test leaves does not end it.
        const procyard_test::disposition_guard ignored(number, SIG_IGN);
        const signal_mask_guard guard({number});
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {number});
        REQUIRE(set.mechanism() == signal_mechanism::signalfd);
        for (int i = 0; i < 3; ++i)
            queue_signal(number, i);
        SUBCASE("removed")
        {
            set.remove(number);
            set.add(number);
            CHECK_FALSE(set.try_wait().has_value());
        }
        SUBCASE("with the set")
        {
            set = signal_set(ctx.get_executor(), {SIGUSR2});
            signal_set later(ctx.get_executor(), {number});
            CHECK_FALSE(later.try_wait().has_value());
        }
        SUBCASE("another set reads it")
        {
            signal_set other(ctx.get_executor(), {number});
            set.remove(number);
            for (int i = 0; i < 3; ++i) {
                const auto info = other.try_wait();
                REQUIRE(info.has_value());
                CHECK(info->value.sival_int == i);
            }
        }
        SUBCASE("another set has a handler")
        {
            signal_set other(ctx.get_executor(), {number}, {.mode = signal_mode::sigaction});
            set.remove(number);
            CHECK(other.try_wait().has_value());
        }
        sigset_t left;
        REQUIRE(::sigpending(&left) == 0);
        CHECK(::sigismember(&left, number) == 0);
    }

    TEST_CASE("what a removed signal had left is forgotten")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1, SIGUSR2});
        ::raise(SIGUSR1);
        set.remove(SIGUSR1);
        set.add(SIGUSR1);
        CHECK_FALSE(set.try_wait().has_value());
    }

    TEST_CASE("signals that cannot be waited for are refused, and the set is as it was")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1});
        for (const int number :
             {0, -1, 1000, 65, 32, 33, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
            CAPTURE(number);
            error_code ec;
            set.add(number, ec);
            CHECK(ec == signal_errc::not_waitable);
            CHECK(ec == boost::system::errc::invalid_argument);
            CHECK_FALSE(set.contains(number));
        }
        CHECK_THROWS_WITH_AS(set.add(SIGKILL),
                             "signal_set: signal 9: not a signal that can be waited for "
                             "[procyard.signals:1]",
                             boost::system::system_error);
        ::raise(SIGUSR1);
        CHECK(next(ctx, set).number == SIGUSR1);
    }

    TEST_CASE("a signalfd is refused where a thread does not block the signal")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {.mode = signal_mode::signalfd});
        error_code ec;
        set.add(SIGUSR1, ec);
        CHECK(ec == signal_errc::not_blocked);
        // Another thread, of which nothing but /proc tells.
        std::atomic<bool> runs{false};  // until then the C library has everything blocked there
        std::jthread other([&](const std::stop_token& stop) {
            runs = true;
            while (!stop.stop_requested())
                std::this_thread::yield();
        });
        while (!runs)
            std::this_thread::yield();
        const signal_mask_guard guard({SIGUSR1});
        set.add(SIGUSR1, ec);
        CHECK(ec == signal_errc::not_blocked);
        signal_set automatic(ctx.get_executor(), {SIGUSR1});
        CHECK(automatic.mechanism() == signal_mechanism::sigaction);
        other.request_stop();
        other.join();
        set.add(SIGUSR1, ec);
        CHECK_FALSE(ec);
        CHECK(set.mechanism() == signal_mechanism::signalfd);
    }

    TEST_CASE("a second signal needs a handler that runs, and a signal that ends a process")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {.second = second_signal::dies_of_it});
        error_code ec;
        for (const int number : {SIGCHLD, SIGWINCH, SIGCONT, SIGTSTP, SIGURG}) {
            set.add(number, ec);
            CHECK(ec == signal_errc::not_deadly);
        }
        const signal_mask_guard guard({SIGINT});
        set.add(SIGINT, ec);
        CHECK(ec == signal_errc::blocked);
        CHECK(set.mechanism() == signal_mechanism::none);
    }

    TEST_CASE("no descriptor and no disposition is left")
    {
        struct sigaction before{};
        struct sigaction after{};
        ::sigaction(SIGUSR1, nullptr, &before);
        {
            const procyard_test::descriptor_check check;
            asio::io_context ctx;
            const signal_mask_guard guard({SIGUSR2});
            signal_set set(ctx.get_executor(), {SIGUSR1, SIGUSR2, SIGRTMIN});
            signal_set moved(std::move(set));
            ::raise(SIGUSR1);
            CHECK(next(ctx, moved).number == SIGUSR1);
            signal_set other(ctx.get_executor(), {SIGUSR1});
            other = std::move(moved);
            CHECK(other.contains(SIGUSR2));
        }
        ::sigaction(SIGUSR1, nullptr, &after);
        CHECK((after.sa_handler == before.sa_handler));
        CHECK(after.sa_flags == before.sa_flags);
    }

    TEST_CASE("without descriptors it throws, and nothing is left")
    {
        CHECK(in_fork([] {
                  asio::io_context ctx;
                  const rlimit none{3, 3};
                  ::setrlimit(RLIMIT_NOFILE, &none);
                  try {
                      signal_set set(ctx.get_executor(), {SIGUSR1});
                  } catch (const boost::system::system_error& error) {
                      struct sigaction now{};
                      ::sigaction(SIGUSR1, nullptr, &now);
                      return error.code() == boost::system::errc::too_many_files_open
                              && now.sa_handler == SIG_DFL
                          ? 0
                          : 1;
                  }
                  return 2;
              })
              == 0);
    }

    TEST_CASE("an idle set costs no wake-up, whatever other sets hear")
    {
        asio::io_context ctx;
        asio::io_context idle;
        signal_set set(ctx.get_executor(), {SIGUSR1});
        signal_set quiet(idle.get_executor(), {SIGUSR2});
        outcome<error_code, signal_info> never;
        quiet.async_wait(never.handler());
        CHECK(idle.poll() > 0);  // its first turn
        for (int i = 0; i < 100; ++i) {
            ::raise(SIGUSR1);
            CHECK(next(ctx, set).count == 1);
            CHECK(idle.poll() == 0);
        }
        CHECK_FALSE(never.done());
    }

    TEST_CASE("is written as a person reads it")
    {
        signal_info info;
        info.number = 15;
        info.count = 3;
        info.sender_pid = 4711;
        std::ostringstream text;
        text << info;
        CHECK(text.str() == "signal 15, 3 times, from 4711 (user 0)");
        info.overflowed = true;
        info.count = 1;
        info.sender_pid = 0;
        std::ostringstream other;
        other << info;
        CHECK(other.str() == "signal 15, beyond the queue");
    }
}
