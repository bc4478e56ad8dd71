// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/open_calls.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using ledger = procyard::detail::open_calls<std::string>;
using verdict = ledger::verdict;

namespace {

std::string cancelled(const ledger& calls, std::uint64_t id)
{
    std::string who = "answered";
    return calls.cancel(id, who) == verdict::fine ? who : "against the rules";
}

}  // namespace

TEST_SUITE("open_calls")
{
    TEST_CASE("numbers go up, and none comes twice")
    {
        ledger calls(10);
        CHECK(calls.open(0, "no number") == verdict::against_the_rules);
        CHECK(calls.open(3, "a") == verdict::fine);
        CHECK(calls.open(3, "again") == verdict::against_the_rules);
        CHECK(calls.open(2, "back") == verdict::against_the_rules);
        CHECK(calls.open(std::numeric_limits<std::uint64_t>::max(), "last") == verdict::fine);
        CHECK(calls.answer(3));
        CHECK(calls.open(3, "after its answer") == verdict::against_the_rules);
        CHECK(calls.open() == 1);
    }

    TEST_CASE("one more than may be open is against the rules, and an answer makes a place")
    {
        ledger calls(2);
        CHECK(calls.limit() == 2);
        CHECK(calls.open(1, "a") == verdict::fine);
        CHECK(calls.open(2, "b") == verdict::fine);
        CHECK(calls.open(3, "c") == verdict::against_the_rules);
        CHECK(calls.answer(1));
        CHECK(calls.open(3, "c") == verdict::fine);
    }

    TEST_CASE("a call is answered once")
    {
        ledger calls(2);
        CHECK(calls.open(1, "a") == verdict::fine);
        CHECK(calls.answer(1));
        CHECK_FALSE(calls.answer(1));
        CHECK_FALSE(calls.answer(7));
        CHECK(calls.unsent() == 1);
    }

    TEST_CASE("a cancellation may cross the answer, and cannot come before the call")
    {
        ledger calls(2);
        CHECK(calls.open(5, "a") == verdict::fine);
        CHECK(cancelled(calls, 5) == "a");
        CHECK(cancelled(calls, 5) == "a");
        CHECK(cancelled(calls, 4) == "answered");
        CHECK(cancelled(calls, 6) == "against the rules");
        CHECK(cancelled(calls, 0) == "against the rules");
        CHECK(calls.answer(5));
        CHECK(cancelled(calls, 5) == "answered");
    }

    TEST_CASE("a peer that does not take its answers is not read when they are as many as calls")
    {
        ledger calls(2);
        for (std::uint64_t id = 1; id <= 2; ++id) {
            CHECK(calls.may_read());
            CHECK(calls.open(id, "") == verdict::fine);
            CHECK(calls.answer(id));
        }
        CHECK_FALSE(calls.may_read());
        calls.sent();
        CHECK(calls.may_read());
    }

    TEST_CASE("a limit is one that can be told")
    {
        CHECK(ledger(0).limit() == 1);
        CHECK(ledger(std::numeric_limits<std::size_t>::max()).limit() == 0xffffffffU);
    }

    TEST_CASE("at the end all open calls are there")
    {
        ledger calls(5);
        CHECK(calls.open(1, "a") == verdict::fine);
        CHECK(calls.open(2, "b") == verdict::fine);
        CHECK(calls.answer(1));
        std::vector<std::string> all;
        calls.abandon(all);
        CHECK(all == std::vector<std::string>{"b"});
        CHECK(calls.open() == 0);
    }
}
