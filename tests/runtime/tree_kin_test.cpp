// SPDX-License-Identifier: BSL-1.0
#include "tree_kin.hpp"

#include <doctest/doctest.h>

using namespace procyard::detail;

namespace {

process_record process(pid_t parent, pid_t group, pid_t session)
{
    return {1000, 'S', parent, group, session, 1, 1};
}

}  // namespace

TEST_SUITE("kin_numbers")
{
    TEST_CASE("a process is kin by its parent, else by its group, else by its session")
    {
        kin_numbers numbers;
        numbers.add_member(10, 0);
        CHECK(numbers.relate(process(10, 7, 7)) == kinship::child);
        CHECK(numbers.relate(process(10, 10, 10)) == kinship::child);
        CHECK(numbers.relate(process(1, 10, 10)) == kinship::group);
        CHECK(numbers.relate(process(1, 7, 10)) == kinship::session);
        CHECK(numbers.relate(process(1, 7, 7)) == kinship::none);
        CHECK(numbers.leads(10, 7));
        CHECK(numbers.leads(7, 10));
        CHECK_FALSE(numbers.leads(7, 7));
    }

    TEST_CASE("the dead are nobody's parents, but lend their names to what they led")
    {
        kin_numbers numbers;
        numbers.add_member(10, 0);
        numbers.add_member(11, 1);
        numbers.retire(10, true, false);
        CHECK_FALSE(numbers.member(10));
        CHECK(numbers.member(11) == 1u);
        CHECK(numbers.relate(process(10, 7, 7)) == kinship::none);
        CHECK(numbers.relate(process(1, 10, 7)) == kinship::group);
        CHECK(numbers.relate(process(1, 7, 10)) == kinship::none);
        numbers.retire(10, false, true);
        CHECK(numbers.relate(process(1, 10, 7)) == kinship::none);
        CHECK(numbers.relate(process(1, 7, 10)) == kinship::session);
        numbers.retire(10, false, false);
        CHECK(numbers.relate(process(1, 10, 10)) == kinship::none);
    }

    TEST_CASE("what a kernel thread or another namespace's process shows is nobody's kin")
    {
        kin_numbers numbers;
        numbers.add_member(10, 0);
        CHECK(numbers.relate(process(0, 0, 0)) == kinship::none);
        CHECK(numbers.relate(process(-1, -1, -1)) == kinship::none);
    }
}
