// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/spin_budget.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>

using procyard::detail::spin_budget;

namespace {

constexpr std::chrono::nanoseconds most{5000};
constexpr std::chrono::nanoseconds nothing{0};

// Waits that all fail, until one may not spin any more. How many that were.
int exhaust(spin_budget& budget)
{
    int failures = 0;
    while (budget.next() == most && failures < 1000) {
        budget.has_failed();
        ++failures;
    }
    return failures;
}

}  // namespace

TEST_SUITE("spin_budget")
{
    TEST_CASE("of nothing is none, and gives nothing")
    {
        spin_budget budget(nothing);
        CHECK(budget.is_none());
        CHECK(budget.next() == nothing);
        CHECK_FALSE(spin_budget(most).is_none());
    }

    TEST_CASE("begins by spinning, as long as it may")
    {
        spin_budget budget(most);
        for (int i = 0; i < 100; ++i)
            CHECK(budget.next() == most);
    }

    TEST_CASE("gives up when nothing but failures have come")
    {
        spin_budget budget(most);
        CHECK(exhaust(budget) == spin_budget::most_score);
        for (std::uint32_t i = 0; i < spin_budget::retry_after - 2; ++i)
            CHECK(budget.next() == nothing);
    }

    TEST_CASE("tries once in a while after that, and a success brings it back")
    {
        spin_budget budget(most);
        exhaust(budget);
        for (int rounds = 0; rounds < 3; ++rounds) {
            std::uint32_t waits = 1;
            while (budget.next() == nothing && waits < 1000)
                ++waits;
            CHECK(waits <= spin_budget::retry_after);
            budget.has_failed();
        }
        budget.has_succeeded();
        CHECK(budget.next() == most);
        CHECK(exhaust(budget) == spin_budget::success / spin_budget::failure);
    }

    TEST_CASE("goes on as long as one wait in five ends by spinning")
    {
        spin_budget budget(most);
        for (int i = 0; i < 1000; ++i) {
            REQUIRE(budget.next() == most);
            i % 5 == 0 ? budget.has_succeeded() : budget.has_failed();
        }
    }

    TEST_CASE("forgets old successes: many of them are no better than some")
    {
        spin_budget budget(most);
        for (int i = 0; i < 1000; ++i)
            budget.has_succeeded();
        CHECK(exhaust(budget) == spin_budget::most_score);
    }

    TEST_CASE("does not go below nothing: many failures are no worse than some")
    {
        spin_budget budget(most);
        for (int i = 0; i < 1000; ++i)
            budget.has_failed();
        budget.has_succeeded();
        CHECK(budget.next() == most);
    }
}
