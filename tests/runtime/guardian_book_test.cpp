// SPDX-License-Identifier: BSL-1.0
#include "guardian_book.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/syscall.hpp>

#include "limit_guard.hpp"
#include "procyard_test.hpp"

using procyard::detail::guarded_child;
using procyard::detail::guardian_book;

namespace {

guarded_child child_of(pid_t pid)
{
    guarded_child one;
    one.pid = pid;
    one.is_taken = true;
    one.start_ticks = 7;
    return one;
}

}  // namespace

TEST_SUITE("guardian_book")
{
    TEST_CASE("what is written is read, by whoever has the memory alone")
    {
        guardian_book book;
        std::size_t slot = 0;
        REQUIRE_FALSE(book.take(slot));
        auto one = child_of(42);
        one.leads_session = true;
        one.leaf_inode = 9;
        REQUIRE(one.set_leaf_path("/sys/fs/cgroup/procyard-1-2"));
        REQUIRE_FALSE(book.write(slot, one));
        const auto all = guardian_book::read(book.descriptor());
        REQUIRE(all.size() == 1);
        CHECK(all[0].pid == 42);
        CHECK(all[0].start_ticks == 7);
        CHECK(all[0].leads_session);
        CHECK_FALSE(all[0].leads_group);
        CHECK(all[0].leaf_inode == 9);
        CHECK(all[0].leaf_path() == "/sys/fs/cgroup/procyard-1-2");
    }

    TEST_CASE("a slot that is given back is empty, and the next one's")
    {
        guardian_book book;
        std::size_t first = 0;
        std::size_t second = 0;
        REQUIRE_FALSE(book.take(first));
        REQUIRE_FALSE(book.take(second));
        REQUIRE_FALSE(book.write(first, child_of(1)));
        REQUIRE_FALSE(book.write(second, child_of(2)));
        book.give_back(first);
        const auto all = guardian_book::read(book.descriptor());
        REQUIRE(all.size() == 1);
        CHECK(all[0].pid == 2);
        std::size_t third = 0;
        REQUIRE_FALSE(book.take(third));
        CHECK(third == first);
    }

    TEST_CASE("it grows, and no two have one slot")
    {
        constexpr int many = 1000;
        guardian_book book;
        std::set<std::size_t> slots;
        for (int n = 1; n <= many; ++n) {
            std::size_t slot = 0;
            REQUIRE_FALSE(book.take(slot));
            CHECK(slots.insert(slot).second);
            REQUIRE_FALSE(book.write(slot, child_of(n)));
        }
        std::set<pid_t> pids;
        for (const auto& one : guardian_book::read(book.descriptor()))
            pids.insert(one.pid);
        CHECK(pids.size() == many);
    }

    TEST_CASE("a path that is too long is refused, and the one before stays")
    {
        guarded_child one;
        REQUIRE(one.set_leaf_path("/short"));
        CHECK_FALSE(one.set_leaf_path(std::string(one.leaf.size(), 'x')));
        CHECK(one.leaf_path() == "/short");
        CHECK(one.set_leaf_path(std::string(one.leaf.size() - 1, 'x')));
        CHECK(one.leaf_path().size() == one.leaf.size() - 1);
        CHECK(one.set_leaf_path("/s"));
        CHECK(one.leaf_path() == "/s");
    }

    TEST_CASE("beyond the limit of files there is no room, and no signal")
    {
        guardian_book book;
        std::size_t slot = 0;
        {
            const procyard_test::limit_guard limit(RLIMIT_FSIZE, 1024);
            CHECK(book.take(slot) == procyard::make_errno(EFBIG));
        }
        CHECK_FALSE(book.take(slot));
        {
            const procyard_test::limit_guard limit(RLIMIT_FSIZE, 0);
            CHECK(book.write(slot, child_of(1)) == procyard::make_errno(EFBIG));
            book.give_back(slot);
        }
        CHECK(guardian_book::read(book.descriptor()).empty());
    }
}
