// SPDX-License-Identifier: BSL-1.0
#include "survivor_sweep.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "cgroup_check.hpp"
#include "cgroup_main.hpp"
#include "proc_fs.hpp"
#include "proc_text.hpp"
#include "procyard_test.hpp"
#include "test_process.hpp"

using namespace procyard_test;
using procyard::unique_fd;
using procyard::detail::survivor_record;
using procyard::detail::survivor_sweep;

namespace {

// A leaf whose maker is dead: nobody holds its lock.
std::string abandoned_leaf()
{
    const auto directory = test_cgroup() + "/procyard-1-7";
    REQUIRE(::mkdir(directory.c_str(), 0755) == 0);
    return directory;
}

test_process start_in(const std::string& leaf, std::vector<std::string> mode,
                      std::vector<std::string> environment = {})
{
    const unique_fd procs(::open((leaf + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    REQUIRE(procs);
    return test_process(std::move(mode),
                        {.environment = std::move(environment), .cgroup_procs = procs.get()});
}

survivor_record record_of(pid_t member)
{
    std::string text;
    procyard::error_code ec;
    REQUIRE(procyard::detail::read_file(
        AT_FDCWD, ("/proc/" + std::to_string(member) + "/cgroup").c_str(), text, ec));
    // Its leader has gone: the number is nobody's.
    return {"a", 1, 0x3fffffff, 1, procyard::detail::parse_own_cgroup(text).value()};
}

void sweep_all(survivor_sweep& sweep)
{
    bool left = true;
    for (int i = 0; i < 100'000 && left; ++i) {
        left = sweep.pass();
        ::sched_yield();
    }
    CHECK_FALSE(left);
}

}  // namespace

TEST_SUITE("survivors in cgroups")
{
    TEST_CASE("who is left in a leaf of a dead supervisor is killed, and the leaf removed")
    {
        const nothing_left check;
        const auto leaf = abandoned_leaf();
        auto member = start_in(leaf, {"daemon"});
        (void)member.expect("member", 1);
        survivor_sweep sweep("supervisor-x", {record_of(member.pid())});
        sweep_all(sweep);
        CHECK(member.reap() == SIGKILL);
        (void)member.read_to_end();
        sweep_all(sweep);
        CHECK_FALSE(std::filesystem::exists(leaf));
    }

    TEST_CASE("a leaf that is in no file is found by a member with the marker")
    {
        const nothing_left check;
        const auto leaf = abandoned_leaf();
        auto marked = start_in(leaf, {"pause"}, {"PROCYARD_TREE=supervisor-x"});
        auto other = start_in(leaf, {"pause"});
        (void)marked.expect("ready", 1);
        (void)other.expect("ready", 1);
        survivor_sweep sweep("supervisor-x", {});
        sweep_all(sweep);
        CHECK(marked.reap() == SIGKILL);
        CHECK(other.reap() == SIGKILL);
        sweep_all(sweep);
        CHECK_FALSE(std::filesystem::exists(leaf));
    }

    TEST_CASE("a leaf whose maker lives is left alone")
    {
        const nothing_left check;
        const auto leaf = abandoned_leaf();
        {
            const unique_fd held(::open(leaf.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            REQUIRE(::flock(held.get(), LOCK_EX | LOCK_NB) == 0);
            auto member = start_in(leaf, {"pause"});
            (void)member.expect("ready", 1);
            survivor_sweep sweep("supervisor-x", {record_of(member.pid())});
            sweep_all(sweep);
            CHECK(::kill(member.pid(), 0) == 0);
            ::kill(member.pid(), SIGTERM);
            CHECK(member.reap() == SIGTERM);
        }
        std::filesystem::remove(leaf);
    }
}
