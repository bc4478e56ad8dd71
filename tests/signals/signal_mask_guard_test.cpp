// SPDX-License-Identifier: BSL-1.0
#include <procyard/signals/signal_mask_guard.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <initializer_list>
#include <thread>
#include <type_traits>
#include <vector>

using procyard::signal_mask_guard;

namespace {

std::vector<int> members(const sigset_t& set)
{
    std::vector<int> found;
    for (int number = 1; number <= SIGRTMAX; ++number)
        if (::sigismember(&set, number) == 1)
            found.push_back(number);
    return found;
}

/// What the calling thread blocks.
std::vector<int> blocked()
{
    sigset_t now;
    REQUIRE(::pthread_sigmask(SIG_BLOCK, nullptr, &now) == 0);
    return members(now);
}

using list = std::vector<int>;

/// Runs `f` in a thread that blocks `first` and nothing else: the mask of the test's own thread is
/// what somebody has started it with.
template <class F>
void with_blocked(std::initializer_list<int> first, F f)
{
    std::thread([&] {
        sigset_t set;
        ::sigemptyset(&set);
        for (const int number : first)
            ::sigaddset(&set, number);
        ::pthread_sigmask(SIG_SETMASK, &set, nullptr);
        f();
    }).join();
}

}  // namespace

TEST_SUITE("signal_mask_guard")
{
    TEST_CASE("blocks what it is told in addition, and restores what it has found")
    {
        with_blocked({SIGHUP}, [] {
            {
                const signal_mask_guard guard({SIGINT, SIGTERM});
                CHECK(blocked() == list{SIGHUP, SIGINT, SIGTERM});
                CHECK(members(guard.previous()) == list{SIGHUP});
            }
            CHECK(blocked() == list{SIGHUP});
        });
    }

    TEST_CASE(
        "restores exactly: what was blocked before stays, what was changed meanwhile does not")
    {
        with_blocked({SIGTERM}, [] {
            {
                const signal_mask_guard guard({SIGTERM, SIGINT});
                sigset_t others;
                ::sigemptyset(&others);
                ::sigaddset(&others, SIGUSR1);
                ::pthread_sigmask(SIG_SETMASK, &others, nullptr);
                CHECK(blocked() == list{SIGUSR1});
            }
            CHECK(blocked() == list{SIGTERM});
        });
    }

    TEST_CASE("takes a set as well as a list; an empty one changes nothing")
    {
        with_blocked({}, [] {
            sigset_t set;
            ::sigemptyset(&set);
            {
                const signal_mask_guard nothing(set);
                CHECK(blocked().empty());
            }
            ::sigaddset(&set, SIGUSR2);
            {
                const signal_mask_guard guard(set);
                CHECK(blocked() == list{SIGUSR2});
            }
            CHECK(blocked().empty());
        });
    }

    TEST_CASE("all() blocks every signal that can be blocked")
    {
        with_blocked({SIGHUP}, [] {
            {
                const auto guard = signal_mask_guard::all();
                const auto now = blocked();
                // The kernel leaves two out, and the C library those between the two ranges.
                list expected;
                for (int number = 1; number <= SIGRTMAX; ++number)
                    if (number != SIGKILL && number != SIGSTOP
                        && (number < __SIGRTMIN || number >= SIGRTMIN))
                        expected.push_back(number);
                CHECK(now == expected);
                CHECK(members(guard.previous()) == list{SIGHUP});
            }
            CHECK(blocked() == list{SIGHUP});
        });
    }

    TEST_CASE("guards nest")
    {
        with_blocked({}, [] {
            {
                const signal_mask_guard outer({SIGINT});
                {
                    const signal_mask_guard inner({SIGTERM});
                    CHECK(blocked() == list{SIGINT, SIGTERM});
                }
                CHECK(blocked() == list{SIGINT});
            }
            CHECK(blocked().empty());
        });
    }

    TEST_CASE("a signal that comes meanwhile waits, and is delivered at the end")
    {
        static volatile sig_atomic_t delivered;
        delivered = 0;
        struct sigaction count{};
        struct sigaction before{};
        count.sa_handler = [](int) { delivered = delivered + 1; };
        REQUIRE(::sigaction(SIGUSR1, &count, &before) == 0);
        with_blocked({}, [] {
            {
                const signal_mask_guard guard({SIGUSR1});
                ::raise(SIGUSR1);  // to this thread
                CHECK(delivered == 0);
            }
            CHECK(delivered == 1);
        });
        ::sigaction(SIGUSR1, &before, nullptr);
    }

    TEST_CASE("other threads are not touched")
    {
        with_blocked({}, [] {
            const signal_mask_guard guard({SIGINT});
            with_blocked({SIGHUP}, [] { CHECK(blocked() == list{SIGHUP}); });
            CHECK(blocked() == list{SIGINT});
        });
    }

    TEST_CASE("cannot be copied or moved: it belongs to its thread and its scope")
    {
        CHECK_FALSE(std::is_copy_constructible_v<signal_mask_guard>);
        CHECK_FALSE(std::is_move_constructible_v<signal_mask_guard>);
        CHECK_FALSE(std::is_copy_assignable_v<signal_mask_guard>);
        CHECK_FALSE(std::is_move_assignable_v<signal_mask_guard>);
    }
}
