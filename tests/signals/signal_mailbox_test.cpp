// SPDX-License-Identifier: BSL-1.0
// The rules of what is told, without a process and without a signal; and threads that post at once.
#include "signal_mailbox.hpp"

#include <signal.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

using procyard::signal_info;
using procyard::detail::first_realtime;
using procyard::detail::record_of;
using procyard::detail::signal_mailbox;
using procyard::detail::signal_record;

namespace {

signal_record a(int number, pid_t pid = 1, std::uintptr_t value = 0)
{
    return {number, SI_QUEUE, pid, 1000, reinterpret_cast<void*>(value)};
}

// The numbers that are told until there is none left.
std::vector<int> drain(signal_mailbox& box)
{
    std::vector<int> numbers;
    signal_info info;
    while (box.take(info))
        numbers.push_back(info.number);
    return numbers;
}

using list = std::vector<int>;
constexpr int rt = 40;

}  // namespace

TEST_SUITE("signal_mailbox")
{
    TEST_CASE("nothing has come, nothing is told")
    {
        signal_mailbox box;
        signal_info info;
        CHECK_FALSE(box.take(info));
    }

    TEST_CASE("standard signals are counted, and the last one's sender told")
    {
        signal_mailbox box;
        for (int i = 1; i <= 5; ++i)
            box.post(a(SIGUSR1, i, static_cast<std::uintptr_t>(i) * 10));
        signal_info info;
        REQUIRE(box.take(info));
        CHECK(info.number == SIGUSR1);
        CHECK(info.count == 5);
        CHECK(info.sender_pid == 5);
        CHECK(info.sender_uid == 1000);
        CHECK(info.code == SI_QUEUE);
        CHECK(reinterpret_cast<std::uintptr_t>(info.value.sival_ptr) == 50);
        CHECK_FALSE(info.overflowed);
        CHECK_FALSE(box.take(info));
    }

    TEST_CASE("the number that has waited longest is told first, and then goes to the end")
    {
        signal_mailbox box;
        for (const int number : {SIGTERM, SIGHUP, SIGUSR1, SIGHUP})
            box.post(a(number));
        signal_info info;
        REQUIRE(box.take(info));
        CHECK(info.number == SIGTERM);
        box.post(a(SIGTERM));
        CHECK(drain(box) == list{SIGHUP, SIGUSR1, SIGTERM});
    }

    TEST_CASE("a number that comes without end keeps no other from being told next (complaint 10)")
    {
        signal_mailbox box;
        signal_info info;
        for (int round = 0; round < 1000; ++round) {
            for (int i = 0; i < 100; ++i)
                box.post(a(SIGUSR1));
            if (round == 500)
                box.post(a(SIGTERM));
            if (round < 500)
                REQUIRE(box.take(info));
        }
        list told;
        for (int i = 0; i < 2; ++i) {
            REQUIRE(box.take(info));
            told.push_back(info.number);
            box.post(a(SIGUSR1));
        }
        CHECK(told == list{SIGUSR1, SIGTERM});
    }

    TEST_CASE("the order survives that its count wraps")
    {
        signal_mailbox box;
        // Each first one of a number counts; a shortcut to 2^32 would be a hook for the test alone,
        // so this only shows that the count goes on.
        for (int i = 0; i < 100'000; ++i) {
            box.post(a(SIGUSR2));
            box.post(a(SIGHUP));
            if (drain(box) != list{SIGUSR2, SIGHUP})
                FAIL("order lost at " << i);
        }
    }

    TEST_CASE("real-time signals keep their order and their values")
    {
        signal_mailbox box;
        box.make_queue();
        for (std::uintptr_t i = 0; i < signal_mailbox::queue_capacity; ++i)
            box.post(a(i % 2 == 0 ? rt : rt + 1, 7, i));
        signal_info info;
        for (std::uintptr_t i = 0; i < signal_mailbox::queue_capacity; ++i) {
            REQUIRE(box.take(info));
            REQUIRE(info.number == (i % 2 == 0 ? rt : rt + 1));
            REQUIRE(info.count == 1);
            REQUIRE(info.sender_pid == 7);
            REQUIRE(reinterpret_cast<std::uintptr_t>(info.value.sival_ptr) == i);
        }
        CHECK_FALSE(box.take(info));
        CHECK(box.overflowed() == 0);
    }

    TEST_CASE("a full queue loses payloads, and says how many of which number; never a number")
    {
        signal_mailbox box;
        box.make_queue();
        for (std::uint32_t i = 0; i < signal_mailbox::queue_capacity; ++i)
            box.post(a(rt));
        for (int i = 0; i < 3; ++i)
            box.post(a(rt + 1));
        box.post(a(rt));
        signal_info info;
        for (std::uint32_t i = 0; i < signal_mailbox::queue_capacity; ++i) {
            REQUIRE(box.take(info));
            REQUIRE_FALSE(info.overflowed);
        }
        REQUIRE(box.take(info));
        CHECK(info.number == rt + 1);
        CHECK(info.count == 3);
        CHECK(info.overflowed);
        REQUIRE(box.take(info));
        CHECK(info.number == rt);
        CHECK(info.count == 1);
        CHECK(info.overflowed);
        CHECK_FALSE(box.take(info));
        CHECK(box.overflowed() == 4);
        box.post(a(rt, 9));
        REQUIRE(box.take(info));
        CHECK_MESSAGE(info.sender_pid == 9, "there is room again");
    }

    TEST_CASE("standard and real-time signals take turns")
    {
        signal_mailbox box;
        box.make_queue();
        for (int i = 0; i < 3; ++i)
            box.post(a(rt + i));
        for (const int number : {SIGTERM, SIGHUP})
            box.post(a(number));
        CHECK(drain(box) == list{SIGTERM, rt, SIGHUP, rt + 1, rt + 2});
    }

    TEST_CASE("what is forgotten is not told, and the others are")
    {
        signal_mailbox box;
        box.make_queue();
        for (const int number : {rt, rt + 1, rt})
            box.post(a(number));
        box.post(a(SIGTERM));
        box.post(a(SIGHUP));
        box.forget(rt);
        box.forget(SIGTERM);
        CHECK(drain(box) == list{SIGHUP, rt + 1});
        box.post(a(rt));
        box.post(a(SIGTERM));
        CHECK(drain(box).size() == 2);
    }

    TEST_CASE("reset, it is as new")
    {
        signal_mailbox box;
        box.make_queue();
        for (int i = 0; i < 2000; ++i)
            box.post(a(rt));
        box.post(a(SIGTERM));
        box.reset();
        CHECK(drain(box).empty());
        CHECK(box.overflowed() == 0);
        box.post(a(rt));
        box.post(a(SIGTERM));
        CHECK(drain(box) == list{SIGTERM, rt});
    }

    TEST_CASE("who has sent it is told only where the kernel says so")
    {
        siginfo_t info{};
        info.si_pid = 5;
        info.si_uid = 6;
        const auto pid = [&](int number, int code) {
            info.si_code = code;
            return record_of(number, info).pid;
        };
        CHECK(pid(SIGTERM, SI_USER) == 5);
        CHECK(pid(SIGTERM, SI_TKILL) == 5);
        CHECK(pid(SIGTERM, SI_QUEUE) == 5);
        CHECK(pid(SIGCHLD, CLD_EXITED) == 5);
        CHECK(pid(SIGINT, SI_KERNEL) == 0);
        CHECK(pid(SIGALRM, SI_TIMER) == 0);
        CHECK(pid(SIGIO, 1) == 0);
        info.si_code = SI_QUEUE;
        info.si_value.sival_ptr = &info;
        CHECK(record_of(rt, info).value == &info);
        info.si_code = SI_USER;
        CHECK(record_of(rt, info).value == nullptr);
    }

    TEST_CASE("threads post at once and one takes: every signal is counted, none twice")
    {
        constexpr int threads = 3;
        constexpr int each = 20'000;
        signal_mailbox box;
        box.make_queue();
        std::atomic<int> running{threads};
        std::vector<std::jthread> posters;
        for (int t = 0; t < threads; ++t)
            posters.emplace_back([&, t] {
                for (int i = 0; i < each; ++i) {
                    box.post(a(SIGUSR1, t + 1, static_cast<std::uintptr_t>(t) + 1));
                    box.post(a(rt + t, t + 1, static_cast<std::uintptr_t>(i)));
                }
                --running;
            });
        std::uint64_t standard = 0;
        std::array<std::uint64_t, threads> realtime{};
        std::array<std::uintptr_t, threads> last{};
        bool is_whole = true;
        bool is_ordered = true;
        signal_info info;
        for (bool finished = false;;) {
            if (!box.take(info)) {
                if (finished)
                    break;
                finished = running == 0;
                continue;
            }
            const auto value = reinterpret_cast<std::uintptr_t>(info.value.sival_ptr);
            if (info.number < first_realtime) {
                standard += info.count;
                // The sender and the value are one signal's, not two halves.
                is_whole = is_whole && value == static_cast<std::uintptr_t>(info.sender_pid);
                continue;
            }
            const auto t = static_cast<std::size_t>(info.number - rt);
            realtime[t] += info.count;
            if (info.overflowed)
                continue;
            is_ordered = is_ordered && (last[t] == 0 || value > last[t]);
            last[t] = value;
        }
        CHECK(standard == threads * each);
        for (const auto count : realtime)
            CHECK(count == each);
        CHECK(is_whole);
        CHECK(is_ordered);
    }
}
