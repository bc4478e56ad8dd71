// SPDX-License-Identifier: BSL-1.0
//
// What a guardian knows of cgroups, and does with them.
#include <procyard/runtime/guardian.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/spawn.hpp>

#include "cgroup_check.hpp"
#include "cgroup_leaf.hpp"
#include "cgroup_main.hpp"
#include "forked.hpp"
#include "guarded_entry.hpp"
#include "guardian_core.hpp"
#include "guardian_fixture.hpp"
#include "killed_host.hpp"
#include "run_fixture.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"
#include "test_process.hpp"

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace procyard_test;
using procyard::command;
using procyard::error_code;
using procyard::guardian;
using procyard::unique_fd;
using procyard::detail::cgroup_leaf;
using procyard::detail::guarded_entry;
using procyard::detail::guardian_access;
using procyard::detail::guardian_book;

namespace {

command in_leaf(command what)
{
    return what.tree(procyard::tree_mode::cgroup).cgroup_parent(test_cgroup());
}

unique_fd open_directory(const fs::path& path)
{
    return unique_fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

// What is in the book of this guardian.
auto entries_of(const guardian& by)
{
    return guardian_book::read(guardian_access::core(by)->book().descriptor());
}

[[noreturn]] void die()
{
    (void)::raise(SIGKILL);
    std::abort();
}

// Until so many children are left: of what was the host's its guardian ends last.
void start_and_bury(const char* host, std::size_t left = 0)
{
    const subreaper_guard guard;
    const temporary_directory where;
    asio::io_context ctx;
    auto one = start_host(ctx, host, where.path());
    const auto output = read_all(ctx, one.std_out());
    CHECK_MESSAGE(wait(ctx, one) == procyard::exit_status::signaled(SIGKILL), output);
    bury_until(left);
}

// The end of a host with such an entry.
void die_with_entry(const fs::path& leaf, bool is_made, const fs::path& inode_of)
{
    asio::io_context ctx;
    const guardian by(ctx.get_executor());
    error_code ec;
    guarded_entry entry(guardian_access::core(by), ec);
    REQUIRE_FALSE(ec);
    const auto parent = open_directory(leaf.parent_path());
    REQUIRE_FALSE(entry.leaf_comes(parent.get(), leaf.filename().string()));
    if (is_made)
        REQUIRE_FALSE(entry.leaf_made(open_directory(inode_of).get()));
    die();
}

command without_mark()
{
    return in_leaf(command("env", {"-u", "PROCYARD_TREE", PROCYARD_TEST_HELPER, "--mode=daemon"}));
}

fs::path leaf_of_test()
{
    return fs::path(test_cgroup()) / "procyard-1-0";
}

}  // namespace

TEST_SUITE("guardian: cgroups")
{
    TEST_CASE("host: a daemon without its mark" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const family all(ctx, without_mark().guarded_by(by));
        die();
    }

    TEST_CASE("host: a daemon without its mark that was let go" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        {
            family all(ctx, without_mark().guarded_by(by).on_drop(procyard::drop_policy::detach()));
            (void)::kill(all.leader.id(), SIGKILL);
            (void)wait(ctx, all.leader);
        }
        CHECK(entries_of(by).size() == 1);
        die();
    }

    TEST_CASE("host: a leaf that was announced" * doctest::skip())
    {
        die_with_entry(leaf_of_test(), false, {});
    }

    TEST_CASE("host: a leaf that is another one" * doctest::skip())
    {
        die_with_entry(leaf_of_test(), true, test_cgroup());
    }

    TEST_CASE("host: a leaf of its own" * doctest::skip())
    {
        die_with_entry(leaf_of_test(), true, leaf_of_test());
    }

    TEST_CASE("host: more leaves than descriptors" * doctest::skip())
    {
        const rlimit few{40, 40};
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const auto parent = open_directory(test_cgroup());
        std::vector<guarded_entry> all;
        for (int n = 0; n < 100; ++n) {
            error_code ec;
            auto& one = all.emplace_back(guardian_access::core(by), ec);
            REQUIRE_FALSE(ec);
            const auto leaf = fs::path(test_cgroup()) / ("procyard-1-" + std::to_string(n));
            REQUIRE(fs::create_directory(leaf));
            REQUIRE_FALSE(one.leaf_comes(parent.get(), leaf.filename().string()));
            REQUIRE_FALSE(one.leaf_made(open_directory(leaf).get()));
        }
        die();
    }

    TEST_CASE("more leaves than a process may have descriptors are removed")
    {
        start_and_bury("host: more leaves than descriptors");
        CHECK(leaves().empty());
    }

    TEST_CASE("host: a leaf that is no cgroup" * doctest::skip())
    {
        const auto plain = place() / "procyard-1-0";
        die_with_entry(plain, true, plain);
    }

    TEST_CASE("a directory that is no cgroup stays, whatever the book says")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        const auto plain = where.path() / "procyard-1-0";
        fs::create_directories(plain / "below");
        asio::io_context ctx;
        auto one = start_host(ctx, "host: a leaf that is no cgroup", where.path());
        const auto output = read_all(ctx, one.std_out());
        CHECK_MESSAGE(wait(ctx, one) == procyard::exit_status::signaled(SIGKILL), output);
        bury_until(0);
        CHECK(fs::is_directory(plain / "below"));
    }

    TEST_CASE("kill -9 of a host: those in its leaf are killed, and it is removed")
    {
        for (const char* const name : {"host: a daemon without its mark",
                                       "host: a daemon without its mark that was let go"}) {
            CAPTURE(std::string(name));
            start_and_bury(name);
            CHECK(leaves().empty());
        }
    }

    TEST_CASE("a leaf that was announced and made, and had nobody yet, is removed")
    {
        fs::create_directory(leaf_of_test());
        start_and_bury("host: a leaf that was announced");
        CHECK(leaves().empty());
    }

    TEST_CASE("one of that name that somebody uses, or has locked, is left alone")
    {
        fs::create_directory(leaf_of_test());
        auto locked = std::make_optional(
            cgroup_leaf::adopt(open_directory(leaf_of_test()), leaf_of_test().filename()));
        REQUIRE(::flock(locked->directory(), LOCK_EX | LOCK_NB) == 0);
        start_and_bury("host: a leaf that was announced");
        CHECK(leaves().size() == 1);
        locked.reset();
        CHECK(leaves().empty());

        asio::io_context ctx;
        fs::create_directory(leaf_of_test());
        auto member = spawn(helper({"--mode=pause"}).cgroup(leaf_of_test()), ctx.get_executor());
        start_and_bury("host: a leaf that was announced", 1);
        CHECK(member.try_wait() == std::nullopt);
        start_and_bury("host: a leaf that is another one", 1);
        CHECK(member.try_wait() == std::nullopt);
        start_and_bury("host: a leaf of its own");
        CHECK_FALSE(lives(member.id()));
        CHECK(leaves().empty());
    }

    TEST_CASE("the book has a child from before its leaf is made until after that has gone")
    {
        const nothing_left check;
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        CHECK(entries_of(by).empty());
        auto c = spawn(in_leaf(helper({"--mode=pause"})).guarded_by(by), ctx.get_executor());
        const auto all = entries_of(by);
        REQUIRE(all.size() == 1);
        CHECK(all[0].pid == c.id());
        CHECK(all[0].leaf_inode != 0);
        CHECK(fs::path(all[0].leaf_path()).parent_path() == fs::canonical(test_cgroup()));
        CHECK(fs::is_directory(all[0].leaf_path()));
        c.kill();
        (void)wait(ctx, c);
        c = {};
        run(ctx);
        CHECK(entries_of(by).empty());
    }

    TEST_CASE("a copy of the host that drops what it has got takes nothing out of the book")
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        auto what = helper({"--mode=pause"}).guarded_by(by);
        what.tree(procyard::tree_mode::process_group);
        auto c = std::make_optional(spawn(what, ctx.get_executor()));
        forked copy([&] {
            c.reset();
            return 0;
        });
        CHECK(copy.result() == 0);
        CHECK(lives(c->id()));
        CHECK(entries_of(by).size() == 1);
    }

    TEST_CASE("the book has nothing of a child that could not be started")
    {
        const nothing_left check;
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        auto what = in_leaf(helper({}));
        what.guarded_by(by).working_directory("/nope");
        CHECK(failure_of(ctx, what).step == procyard::spawn_step::working_directory);
        CHECK(entries_of(by).empty());
    }
}
