// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/call_book.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "message_samples.hpp"

using book = procyard::detail::call_book<std::string>;
using verdict = book::verdict;
using time_point = book::time_point;

namespace {

time_point at(int seconds)
{
    return time_point(std::chrono::seconds(seconds));
}

std::optional<std::uint64_t> sent(book& calls)
{
    const auto next = calls.send_next();
    return next ? std::optional(next->id) : std::nullopt;
}

std::string answered(book& calls, std::uint64_t id)
{
    std::optional<std::string> who;
    switch (calls.answer(id, who)) {
    case verdict::awaited: return who.value();
    case verdict::late: return "late";
    case verdict::unknown: break;
    }
    return "unknown";
}

std::vector<std::string> expired(book& calls, int seconds)
{
    std::vector<std::string> names;
    while (const auto each = calls.expire(at(seconds)))
        names.push_back(each->waiter + (each->sent ? " sent" : ""));
    return names;
}

using names = std::vector<std::string>;

// What cannot be moved more than `moves` times.
struct brittle {
    brittle() = default;
    brittle(brittle&&) noexcept(false) { use(); }
    brittle& operator=(brittle&&) noexcept(false)
    {
        use();
        return *this;
    }
    ~brittle() = default;

    static void use()
    {
        if (moves-- == 0)
            throw std::bad_alloc();
    }
    static inline int moves = 0;
};

}  // namespace

TEST_SUITE("call_book")
{
    TEST_CASE("nothing is sent before the peer's limit is known, and then in order")
    {
        book calls(10);
        calls.add("a", book::never);
        calls.add("b", book::never);
        CHECK_FALSE(calls.limited());
        CHECK(sent(calls) == std::nullopt);
        calls.limit(10);
        CHECK(calls.limited());
        CHECK(sent(calls) == 1);
        CHECK(sent(calls) == 2);
        CHECK(sent(calls) == std::nullopt);
    }

    TEST_CASE("the lower limit of both holds, and an answer makes a place")
    {
        for (const auto& [ours, theirs] : {std::pair(2, 5), std::pair(5, 2)}) {
            book calls(static_cast<std::size_t>(ours));
            calls.limit(static_cast<std::size_t>(theirs));
            for (const char* name : {"a", "b", "c"})
                calls.add(name, book::never);
            CHECK(sent(calls) == 1);
            CHECK(sent(calls) == 2);
            CHECK(sent(calls) == std::nullopt);
            CHECK(answered(calls, 2) == "b");
            CHECK(sent(calls) == 3);
            CHECK(calls.open() == 2);
        }
    }

    TEST_CASE("an answer is for one call, whatever the order, and only once")
    {
        book calls(10);
        calls.limit(10);
        for (const char* name : {"a", "b", "c"}) {
            calls.add(name, book::never);
            (void)sent(calls);
        }
        CHECK(answered(calls, 3) == "c");
        CHECK(answered(calls, 1) == "a");
        CHECK(answered(calls, 1) == "unknown");
        CHECK(answered(calls, 4) == "unknown");
        CHECK(answered(calls, 0) == "unknown");
        CHECK(calls.anybody_waits());
        CHECK(answered(calls, 2) == "b");
        CHECK_FALSE(calls.anybody_waits());
    }

    TEST_CASE("a call that was not sent cannot be answered")
    {
        book calls(1);
        calls.limit(1);
        calls.add("a", book::never);
        calls.add("b", book::never);
        (void)sent(calls);
        CHECK(answered(calls, 2) == "unknown");
    }

    TEST_CASE("withdrawn before it was sent, nobody has to be told")
    {
        book calls(1);
        const auto id = calls.add("a", at(5));
        const auto gone = calls.withdraw(id);
        REQUIRE(gone);
        CHECK(gone->waiter == "a");
        CHECK_FALSE(gone->sent);
        CHECK_FALSE(calls.withdraw(id));
        calls.limit(1);
        CHECK(sent(calls) == std::nullopt);
        CHECK(calls.next_deadline() == book::never);
        CHECK_FALSE(calls.anybody_waits());
    }

    TEST_CASE("withdrawn after it was sent, it keeps its place until the answer, which is late")
    {
        book calls(1);
        calls.limit(1);
        calls.add("a", book::never);
        (void)sent(calls);
        calls.add("b", book::never);
        const auto gone = calls.withdraw(1);
        REQUIRE(gone);
        CHECK(gone->sent);
        CHECK(gone->id == 1);
        CHECK_FALSE(calls.withdraw(1));
        CHECK(sent(calls) == std::nullopt);
        CHECK(answered(calls, 1) == "late");
        CHECK(answered(calls, 1) == "unknown");
        CHECK(sent(calls) == 2);
    }

    TEST_CASE("deadlines expire in their order, sent or not, and only when they are over")
    {
        book calls(2);
        calls.limit(2);
        calls.add("late", at(30));
        calls.add("early", at(10));
        (void)sent(calls);
        (void)sent(calls);
        calls.add("waits", at(20));
        calls.add("endless", book::never);
        CHECK(calls.next_deadline() == at(10));
        CHECK(expired(calls, 9).empty());
        CHECK(expired(calls, 10) == names{"early sent"});
        CHECK(expired(calls, 10).empty());
        CHECK(calls.next_deadline() == at(20));
        CHECK(expired(calls, 100) == names{"waits", "late sent"});
        CHECK(calls.next_deadline() == book::never);
        CHECK(answered(calls, 2) == "late");
    }

    TEST_CASE("an answered call has no deadline any more")
    {
        book calls(1);
        calls.limit(1);
        calls.add("a", at(10));
        (void)sent(calls);
        CHECK(answered(calls, 1) == "a");
        CHECK(expired(calls, 20).empty());
    }

    TEST_CASE("a call that cannot be sent after all gives its place back")
    {
        book calls(1);
        calls.limit(1);
        calls.add("a", at(10));
        calls.add("b", book::never);
        (void)sent(calls);
        CHECK(calls.take_back(1) == "a");
        CHECK(calls.next_deadline() == book::never);
        CHECK(sent(calls) == 2);
        CHECK(answered(calls, 1) == "unknown");
    }

    TEST_CASE("a call that could not be added leaves nothing that expires")
    {
        procyard::detail::call_book<brittle> calls(2);
        calls.limit(2);
        brittle::moves = 0;
        CHECK_THROWS_AS(calls.add(brittle(), at(1)), std::bad_alloc);
        brittle::moves = 100;
        const auto id = calls.add(brittle(), at(2));
        CHECK(calls.next_deadline() == at(2));
        CHECK(calls.waiting() == 1);
        // On its way it is not moved again.
        brittle::moves = 0;
        CHECK(calls.send_next()->id == id);
        brittle::moves = 100;
        const auto late = calls.expire(at(3));
        REQUIRE(late);
        CHECK(late->id == id);
        CHECK_FALSE(calls.expire(at(3)));
    }

    TEST_CASE("when nothing can be sent any more, what was sent may still be answered")
    {
        book calls(2);
        calls.limit(2);
        for (const char* name : {"a", "b", "c", "d"})
            calls.add(name, at(10));
        (void)sent(calls);
        (void)sent(calls);
        names unsent;
        calls.abandon_waiting(unsent);
        CHECK(unsent == names{"c", "d"});
        CHECK(answered(calls, 2) == "b");
        CHECK(sent(calls) == std::nullopt);
        CHECK(expired(calls, 10) == names{"a sent"});
    }

    TEST_CASE("at the end all who wait are there, in the order in which they came")
    {
        book calls(3);
        calls.limit(3);
        for (const char* name : {"a", "b", "c", "d"})
            calls.add(name, at(10));
        for (int i = 0; i < 3; ++i)
            (void)sent(calls);
        (void)calls.withdraw(2);
        names all;
        calls.abandon(all);
        CHECK(all == names{"a", "c", "d"});
        CHECK_FALSE(calls.anybody_waits());
        CHECK(calls.open() == 0);
        CHECK(expired(calls, 20).empty());
    }

    TEST_CASE("whatever happens, each call ends once, and never are more open than may be")
    {
        procyard_test::fixed_random random(7);
        book calls(5);
        calls.limit(4);
        std::map<std::string, int> ends;
        std::set<std::uint64_t> owed;  // by the peer
        int time = 0;
        std::uint64_t last = 0;
        const auto gone = [&](const std::string& who) { ++ends[who]; };
        for (int step = 0; step < 20'000; ++step) {
            switch (random.below(5)) {
            case 0: {
                const auto name = std::to_string(step);
                last =
                    calls.add(name,
                              random.below(2) == 0 ? at(time + static_cast<int>(random.below(20)))
                                                   : book::never);
                ends[name] = 0;
                break;
            }
            case 1:
                if (const auto id = sent(calls))
                    CHECK(owed.insert(*id).second);
                break;
            case 2: {
                const auto id = random.below(last + 2);
                std::optional<std::string> who;
                const auto said = calls.answer(id, who);
                CHECK((said == verdict::unknown) == (owed.erase(id) == 0));
                CHECK((said == verdict::awaited) == who.has_value());
                if (who)
                    gone(*who);
                break;
            }
            case 3:
                if (const auto one = calls.withdraw(random.below(last + 2)))
                    gone(one->waiter);
                break;
            default: {
                ++time;
                while (const auto late = calls.expire(at(time)))
                    gone(late->waiter);
            }
            }
            CHECK(calls.open() <= 4);
            CHECK(calls.open() == owed.size());
        }
        names rest;
        calls.abandon(rest);
        for (const auto& each : rest)
            gone(each);
        for (const auto& [name, count] : ends)
            CHECK_MESSAGE(count == 1, name);
    }
}
