// SPDX-License-Identifier: BSL-1.0
// Workers in cgroups of their own.
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "cgroup_main.hpp"
#include "pool_fixture.hpp"

namespace fs = std::filesystem;
using namespace procyard_test;
using procyard::pool_errc;

TEST_SUITE("process_pool: cgroups")
{
    TEST_CASE("workers live in leaves of their own, and none is left when the pool has stopped")
    {
        const fs::path place = fs::path(test_cgroup()) / "pool";
        fs::create_directory(place);
        {
            pooled pool(
                of_workers(2), "work",
                pool_worker().tree(procyard::tree_mode::cgroup).cgroup_parent(place.string()));
            pool.must_start();
            CHECK(pool.fail(make_work("die", SIGKILL)) == pool_errc::worker_died);
            CHECK(pool.call(make_work("square", 3)).number == 9);
            pool.stop();
        }
        CHECK(fs::remove(place));
    }

    // Where the kernel's version-2 hierarchy has the memory controller; else it cannot be seen.
    TEST_CASE("a worker that the kernel kills for want of memory is told so (case 29)")
    {
        const fs::path place = fs::path(test_cgroup()) / "small";
        fs::create_directory(place);
        if (limit_memory(place, 64U << 20U)) {
            pooled pool(
                of_workers(1), "work",
                pool_worker().tree(procyard::tree_mode::cgroup).cgroup_parent(place.string()));
            pool.must_start();
            auto task = pool.submit(make_work("take memory", std::uint64_t{256} << 20U));
            CHECK(pool.error(task) == pool_errc::worker_died);
            REQUIRE(task.report().deaths.size() == 1);
            CHECK(task.report().deaths.front()->status->out_of_memory());
            CHECK(pool.call(make_work("square", 3)).number == 9);
            pool.stop();
        }
        CHECK(fs::remove(place));
    }
}
