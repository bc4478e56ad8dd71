// SPDX-License-Identifier: BSL-1.0
//
// The process of a pool is killed.
#include <procyard/runtime/guardian.hpp>
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>

#include "killed_pool.hpp"
#include "pool_fixture.hpp"
#include "test_process.hpp"

using namespace procyard_test;

TEST_SUITE("pool_kill")
{
    TEST_CASE("host: a pool at work" * doctest::skip())
    {
        work_until_killed(pool_worker());
    }

    TEST_CASE("host: a guarded pool at work" * doctest::skip())
    {
        boost::asio::io_context ctx;
        work_until_killed(pool_worker().guarded_by(procyard::guardian(ctx.get_executor())), true);
    }

    // loky#360: a parent that is killed leaves its workers for ever.
    TEST_CASE(
        "kill -9 of a pool's process at any moment leaves no process, and no name (complaint 17)")
    {
        const subreaper_guard guard;
        kill_pool_after_pool();
    }
    TEST_CASE("kill -9 of a pool's process with a guardian at any moment leaves no process and no "
              "name, whatever its workers have started")
    {
        const subreaper_guard guard;
        kill_pool_after_pool("host: a guarded pool at work");
    }
}
