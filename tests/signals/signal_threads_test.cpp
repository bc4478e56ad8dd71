// SPDX-License-Identifier: BSL-1.0
// Sets come and go in some threads while others are hit by signals: for ThreadSanitizer, and for
// what must hold anyway.
#include <procyard/signals/signal_set.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "disposition.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::signal_set;
using procyard_test::disposition_guard;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int rounds = 200;
#else
constexpr int rounds = 2'000;
#endif

std::atomic<std::uint64_t> host_calls{0};

// Threads that raise a signal each for itself until they are told to stop.
class storm {
public:
    storm(int threads, int number)
    {
        for (int i = 0; i < threads; ++i)
            threads_.emplace_back([this, number](const std::stop_token& stop) {
                while (!stop.stop_requested()) {
                    ::raise(number);
                    ++raised_;
                }
            });
    }
    std::uint64_t end()
    {
        threads_.clear();
        return raised_;
    }

private:
    std::atomic<std::uint64_t> raised_{0};
    std::vector<std::jthread> threads_;
};

}  // namespace

TEST_SUITE("signal_set and threads")
{
    TEST_CASE("sets come and go under a storm of their signal, and the host misses none")
    {
        host_calls = 0;
        const disposition_guard guard(SIGUSR1, [](int) { ++host_calls; });
        storm signals(2, SIGUSR1);
        std::atomic<std::uint64_t> told{0};
        {
            std::vector<std::jthread> users;
            for (int u = 0; u < 2; ++u)
                users.emplace_back([&] {
                    asio::io_context ctx;
                    for (int i = 0; i < rounds; ++i) {
                        signal_set set(ctx.get_executor(), {SIGUSR1});
                        signal_set other(ctx.get_executor());
                        other.add(SIGUSR1);
                        if (const auto info = set.try_wait())
                            told += info->count;
                        other.remove(SIGUSR1);
                    }
                });
        }
        const auto raised = signals.end();
        CHECK(host_calls == raised);
        MESSAGE("told " << told.load() << " of " << raised);
    }

    TEST_CASE("every signal is counted, however many threads are hit at once")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1, SIGRTMIN + 1});
        storm standard(1, SIGUSR1);
        storm realtime(1, SIGRTMIN + 1);
        std::uint64_t counts[2] = {0, 0};
        const auto drain = [&] {
            while (const auto info = set.try_wait())
                counts[info->number == SIGUSR1 ? 0 : 1] += info->count;
        };
        while (counts[0] < rounds || counts[1] < rounds)
            drain();
        const auto raised = standard.end();
        const auto queued = realtime.end();
        drain();
        // raise() delivers before it returns, to the thread that calls it.
        CHECK(counts[0] == raised);
        CHECK(counts[1] == queued);
    }

    TEST_CASE("a waiting coroutine is woken for each signal of another thread")
    {
        asio::io_context ctx;
        auto set = std::make_shared<signal_set>(ctx.get_executor(), std::initializer_list{SIGUSR1});
        std::atomic<int> told{0};
        asio::co_spawn(
            ctx,
            [](std::shared_ptr<signal_set> from, std::atomic<int>& count) -> asio::awaitable<void> {
                for (int i = 0; i < rounds; ++i) {
                    (void)co_await from->async_wait();
                    ++count;
                }
            }(set, told),
            [](std::exception_ptr error) { CHECK(error == nullptr); });
        std::jthread sender([&] {
            for (int i = 0; i < rounds; ++i) {
                ::raise(SIGUSR1);
                // One after the other: a lost wake-up is a hang.
                while (told <= i)
                    std::this_thread::yield();
            }
        });
        procyard_test::run(ctx);
        CHECK(told == rounds);
    }

    TEST_CASE("two contexts, two threads: each hears every signal")
    {
        asio::io_context one;
        asio::io_context two;
        signal_set first(one.get_executor(), {SIGUSR2});
        signal_set second(two.get_executor(), {SIGUSR2});
        std::atomic<std::uint64_t> counts[2] = {0, 0};
        const auto wait_in = [](signal_set& set, std::atomic<std::uint64_t>& count,
                                std::uint64_t wanted) -> asio::awaitable<void> {
            while (count < wanted)
                count += (co_await set.async_wait(asio::use_awaitable)).count;
        };
        constexpr std::uint64_t wanted = rounds;
        asio::co_spawn(one, wait_in(first, counts[0], wanted), [](std::exception_ptr) { });
        asio::co_spawn(two, wait_in(second, counts[1], wanted), [](std::exception_ptr) { });
        std::jthread runs_one([&] { procyard_test::run(one); });
        std::jthread runs_two([&] { procyard_test::run(two); });
        for (int i = 0; i < rounds; ++i)
            ::raise(SIGUSR2);
        runs_one.join();
        runs_two.join();
        CHECK(counts[0] == wanted);
        CHECK(counts[1] == wanted);
    }
}
