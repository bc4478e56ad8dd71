// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/tree.hpp>

#include <doctest/doctest.h>

#include <sstream>

using procyard::tree_mechanism;
using procyard::tree_mode;

TEST_SUITE("tree_mechanism")
{
    TEST_CASE("every mode and mechanism prints its name")
    {
        std::ostringstream out;
        out << tree_mode::automatic << ", " << tree_mode::cgroup << ", " << tree_mode::subreaper
            << ", " << tree_mode::process_group << ", " << tree_mode::none << "; "
            << tree_mechanism::cgroup << ", " << tree_mechanism::subreaper << ", "
            << tree_mechanism::process_group << ", " << tree_mechanism::none;
        CHECK(out.str()
              == "automatic, cgroup, subreaper, process group, none; "
                 "cgroup, subreaper, process group, none");
    }
}
