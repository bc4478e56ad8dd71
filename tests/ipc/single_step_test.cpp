// SPDX-License-Identifier: BSL-1.0
// What the tests whose names end in steps_test and schedule_test go by: a breakpoint brings a copy
// to where so many single steps would have brought it.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include "shared_array.hpp"
#include "single_step.hpp"
#include "skip.hpp"

using procyard_test::finish_here;
using procyard_test::shared_array;
using procyard_test::single_stepped;
using procyard_test::step_marks;
using procyard_test::stop_here;

#if defined(__x86_64__)
namespace {

constexpr std::size_t filled = 12;
constexpr std::size_t fills = 2;

// One instruction that repeats: of nothing as well.
[[gnu::noinline]] void fill(std::atomic<char>* to, std::size_t count)
{
    asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"('x') : "memory");
}

// Not inline, so that each copy goes through the same instructions.
[[gnu::noinline]] single_stepped start(const shared_array<char>& bytes)
{
    return single_stepped([&bytes](step_marks& marks) {
        stop_here();
        for (std::size_t n = 0; n < fills; ++n) {
            for (const auto count : {filled, std::size_t{0}})
                fill(&bytes[n * filled], count);
        }
        return finish_here(marks);
    });
}

// How far it has come.
std::size_t count_filled(const shared_array<char>& bytes)
{
    std::size_t count = 0;
    while (count < fills * filled && bytes[count].load() != 0)
        ++count;
    return count;
}

struct place {
    std::uintptr_t instruction = 0;
    std::size_t hits = 0;  // of it before
    std::size_t done = 0;
};

std::vector<place> walk_through()
{
    std::vector<place> places;
    const shared_array<char> bytes(fills * filled);
    auto copy = start(bytes);
    if (!copy.reach_stop())
        return places;
    while (copy.marks().finished.load() == 0) {
        const auto at = copy.instruction();
        std::size_t hits = 0;
        for (const auto& before : places)
            hits += before.instruction == at ? 1U : 0U;
        places.push_back({at, hits, count_filled(bytes)});
        copy.step();
    }
    CHECK(count_filled(bytes) == fills * filled);
    return places;
}

}  // namespace

TEST_SUITE("single_step")
{
    TEST_CASE("a breakpoint that is hit so often, also at an instruction that repeats, is as far "
              "as so many steps, and the rest is done from there")
    {
        const auto places = walk_through();
        if (places.empty())
            return procyard_test::skip("nobody may be traced here");
        // Nothing else is executed as often: once for each byte, and for each of none.
        const auto last = *std::max_element(
            places.begin(), places.end(),
            [](const place& one, const place& other) { return one.hits < other.hits; });
        CHECK(last.hits == fills * filled + fills - 1);
        for (const auto& there : places) {
            if (there.instruction != last.instruction)
                continue;
            const shared_array<char> bytes(fills * filled);
            auto copy = start(bytes);
            REQUIRE(copy.reach_stop());
            CAPTURE(there.hits);
            CAPTURE(there.done);
            REQUIRE(copy.run_to(there.instruction, there.hits));
            CHECK(copy.instruction() == there.instruction);
            CHECK(count_filled(bytes) == there.done);
            // As many steps are left as in the walk.
            const auto left = static_cast<std::size_t>(&places.back() - &there);
            for (std::size_t n = 0; n < left; ++n)
                copy.step();
            CHECK(copy.instruction() == places.back().instruction);
            CHECK(count_filled(bytes) == fills * filled);
            CHECK(copy.marks().finished.load() == 0);
            copy.step();
            CHECK(copy.marks().finished.load() == 1);
        }
    }
}
#endif
