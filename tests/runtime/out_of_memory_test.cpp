// SPDX-License-Identifier: BSL-1.0
// A status that says that memory ran out. The counts are written by the test, in a directory that
// looks like a cgroup's: few machines that run tests hand out cgroups with a memory controller.
#include <fcntl.h>
#include <signal.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <string>

#include "child_access.hpp"
#include "child_core.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

struct fake_cgroup {
    temporary_directory directory;

    fake_cgroup(const std::string& events, const std::string& local = {})
    {
        directory.write("cgroup.events", "populated 0\nfrozen 0\n");
        directory.write("cgroup.procs", "");
        directory.write("memory.events", events);
        if (!local.empty())
            directory.write("memory.events.local", local);
    }

    [[nodiscard]] detail::cgroup_leaf leaf() const
    {
        unique_fd fd(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(fd);
        return detail::cgroup_leaf::adopt(std::move(fd), directory.path().filename());
    }
};

// How a child ends by this signal whose tree is counted there.
exit_status end_by(int signal, const fake_cgroup& counts)
{
    asio::io_context ctx;
    auto c = spawn(helper({"--mode=pause"}).std_out(stdio::null()).tree(tree_mode::none),
                   ctx.get_executor());
    detail::child_access::core(c)->tree.adopt(counts.leaf());
    c.signal(signal);
    return wait(ctx, c);
}

}  // namespace

TEST_SUITE("exit_status")
{
    TEST_CASE("a SIGKILL where the kernel counts an out-of-memory kill says so")
    {
        const fake_cgroup counts("low 0\nhigh 0\nmax 31\noom 1\noom_kill 1\n");
        const auto status = end_by(SIGKILL, counts);
        CHECK(status.signal() == SIGKILL);
        CHECK(status.out_of_memory());
        CHECK(status.to_string() == "killed by SIGKILL (out of memory)");
    }

    TEST_CASE("the count of the leaf alone counts where the hierarchical one is missing")
    {
        const fake_cgroup counts("low 0\n", "oom 1\noom_kill 2\n");
        CHECK(end_by(SIGKILL, counts).out_of_memory());
    }

    TEST_CASE("a SIGKILL where nothing is counted, and another signal, do not")
    {
        const fake_cgroup none("oom 0\noom_kill 0\n");
        CHECK_FALSE(end_by(SIGKILL, none).out_of_memory());
        const fake_cgroup some("oom 1\noom_kill 1\n");
        CHECK_FALSE(end_by(SIGTERM, some).out_of_memory());
    }
}
