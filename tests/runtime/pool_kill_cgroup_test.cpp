// SPDX-License-Identifier: BSL-1.0
//
// The process of a pool is killed, and its workers are in cgroups.
#include <procyard/runtime/guardian.hpp>
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>

#include "cgroup_check.hpp"
#include "cgroup_main.hpp"
#include "killed_host.hpp"
#include "killed_pool.hpp"
#include "pool_fixture.hpp"
#include "procyard_test.hpp"
#include "run_fixture.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"
#include "test_process.hpp"

namespace asio = boost::asio;
using namespace procyard_test;

namespace {

procyard::command worker_in_leaf()
{
    return pool_worker().tree(procyard::tree_mode::cgroup).cgroup_parent(test_cgroup());
}

std::size_t leaves_after_next_pool(asio::io_context& ctx, const std::filesystem::path& where)
{
    auto next = start_host(ctx, "host: the next pool", where);
    const auto output = read_all(ctx, next.std_out());
    CHECK_MESSAGE(wait(ctx, next).success(), output);
    return leaves().size();
}

// Until the worker has ended, and what it has started is ours: before that it is the worker's,
// which is our only child.
void bury_all_but(pid_t other)
{
    const auto end = std::chrono::steady_clock::now() + deadlock_guard;
    for (;;) {
        bury_orphans();
        const auto left = text_of("/proc/thread-self/children");
        if (left == std::to_string(other) + " ")
            return;
        REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, left, " instead of ", other);
    }
}

}  // namespace

TEST_SUITE("pool_kill: cgroups")
{
    TEST_CASE("host: a pool at work" * doctest::skip())
    {
        work_until_killed(worker_in_leaf());
    }

    TEST_CASE("host: a guarded pool at work" * doctest::skip())
    {
        asio::io_context ctx;
        work_until_killed(worker_in_leaf().guarded_by(procyard::guardian(ctx.get_executor())),
                          true);
    }

    TEST_CASE("host: a worker that starts another program" * doctest::skip())
    {
        pooled pool(of_workers(1), "later", worker_in_leaf());
        pool.must_start();
        (void)pool.call(make_work("start another", 0, (place() / "notes").string()));
    }

    TEST_CASE("host: the next pool" * doctest::skip())
    {
        pooled pool(of_workers(1), "work", worker_in_leaf());
        pool.must_start();
        pool.stop();
    }

    TEST_CASE("kill -9 of a pool's process at any moment leaves no process, socket or name, and "
              "empty cgroups, which go when the next pool comes (complaint 17)")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        // There are no sockets but ours, then.
        REQUIRE(::unshare(CLONE_NEWNET) == 0);
        const auto sockets = text_of("/proc/net/unix");
        kill_pool_after_pool();
        CHECK(text_of("/proc/net/unix") == sockets);
        for (const auto& leaf : leaves()) {
            const auto members =
                text_of(std::filesystem::path(test_cgroup()) / leaf / "cgroup.procs");
            CHECK_MESSAGE(members.empty(), leaf, " has ", members);
        }
        asio::io_context ctx;
        CHECK(leaves_after_next_pool(ctx, where.path()) == 0);
    }

    TEST_CASE(
        "kill -9 of a pool's process with a guardian at any moment leaves no process, socket, "
        "name or cgroup, whatever its workers have started")
    {
        const subreaper_guard guard;
        REQUIRE(::unshare(CLONE_NEWNET) == 0);
        const auto sockets = text_of("/proc/net/unix");
        kill_pool_after_pool("host: a guarded pool at work", [] { CHECK(leaves().empty()); });
        CHECK(text_of("/proc/net/unix") == sockets);
    }

    TEST_CASE(
        "what a worker has started lives on in its leaf when the pool's process is killed, and "
        "the first pool that comes after its end clears that away")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        asio::io_context ctx;
        auto host = start_host(ctx, "host: a worker that starts another program", where.path());
        const auto notes = (where.path() / "notes").string();
        pooled::stand_still_until_lines(notes, 1);
        const auto other = static_cast<pid_t>(std::stol(lines_of(notes).front()));
        host.kill();
        CHECK(wait(ctx, host) == procyard::exit_status::signaled(SIGKILL));
        bury_all_but(other);
        CHECK(is_alive(other));
        CHECK(leaves_after_next_pool(ctx, where.path()) == 1);
        CHECK(is_alive(other));
        ::kill(other, SIGKILL);
        siginfo_t info{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(other), &info, WEXITED) == 0);
        CHECK(leaves().size() == 1);
        CHECK(leaves_after_next_pool(ctx, where.path()) == 0);
    }
}
