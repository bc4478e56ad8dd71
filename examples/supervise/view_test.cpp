// SPDX-License-Identifier: BSL-1.0
#include <doctest/doctest.h>

#include <cstddef>
#include <string>

#include "line_ring.hpp"
#include "table.hpp"

using supervise::clipped;
using supervise::line_ring;
using supervise::screen_of;

TEST_SUITE("supervise_view")
{
    TEST_CASE("who follows gets each line once, in parts of a bounded size")
    {
        line_ring ring;
        for (const char* const line : {"one", "two", "three"})
            ring.push(line);
        const auto first = ring.since(ring.begin(), 5);
        CHECK(first.text == "one\ntwo\n");
        const auto second = ring.since(first.next, 5);
        CHECK(second.text == "three\n");
        CHECK(second.next == ring.end());
        CHECK(ring.since(second.next, 5).text.empty());
        ring.push("four");
        CHECK(ring.since(second.next, 5).text == "four\n");
    }

    TEST_CASE("who is slow is told how many lines it has missed, once, and costs no memory")
    {
        line_ring ring(2);
        for (const char* const line : {"a", "b", "c", "d", "e"})
            ring.push(line);
        CHECK(ring.begin() == 3);
        const auto late = ring.since(1, 100);
        CHECK(late.text == "(2 lines missed)\nd\ne\n");
        CHECK(ring.since(late.next, 100).text.empty());
    }

    TEST_CASE("long lines are kept up to so many bytes, and the last one always")
    {
        line_ring ring(100, 10);
        ring.push(std::string(8, 'a'));
        ring.push(std::string(8, 'b'));
        CHECK(ring.begin() == 1);
        ring.push(std::string(80, 'c'));
        CHECK(ring.since(ring.begin(), 1).text == std::string(80, 'c') + '\n');
    }

    TEST_CASE("a line is cut at the edge of the terminal, by characters and not by bytes")
    {
        CHECK(clipped("abcdef", 4) == "abcd");
        CHECK(clipped("abc", 4) == "abc");
        CHECK(clipped("\xc3\xa4\xc3\xb6\xc3\xbc", 2) == "\xc3\xa4\xc3\xb6");
        CHECK(clipped("", 4).empty());
    }

    TEST_CASE("a screen has no more lines than the terminal: the table first, then the last events")
    {
        const std::string table = "service\na\nb\n";
        CHECK(screen_of(table, {"1", "2", "3"}, {10, 80}) == "service\na\nb\n\n1\n2\n3\n");
        // The last line is left for the cursor.
        CHECK(screen_of(table, {"1", "2", "3"}, {7, 80}) == "service\na\nb\n\n2\n3\n");
        CHECK(screen_of(table, {"1", "2", "3"}, {3, 80}) == "service\na\n");
        CHECK(screen_of(table, {"12345678901"}, {10, 4}) == "serv\na\nb\n\n1234\n");
    }
}
