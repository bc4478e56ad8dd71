// SPDX-License-Identifier: BSL-1.0
// Children in cgroups, from the command to the end of the tree.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "cgroup_main.hpp"
#include "feature_off.hpp"
#include "spawning.hpp"

namespace fs = std::filesystem;
using namespace procyard;
using namespace procyard_test;
using procyard::detail::kernel_features;

namespace {

/// A cgroup below that of the tests, for as long as it lives.
class directory {
public:
    explicit directory(const char* name) : path_(fs::path(test_cgroup()) / name)
    {
        fs::create_directory(path_);
    }
    directory(const directory&) = delete;
    directory& operator=(const directory&) = delete;
    ~directory() { CHECK(fs::remove(path_)); }

    [[nodiscard]] const fs::path& path() const noexcept { return path_; }

private:
    fs::path path_;
};

// Where the child is, as it says itself: a path below the mount of the tests.
std::string own_cgroup(asio::io_context& ctx, const command& what)
{
    auto named = output_of(ctx, what);
    const auto at = named.find("0::");
    REQUIRE(at != std::string::npos);
    return named.substr(at + 3, named.find('\n', at) - at - 3);
}

command where()
{
    return command("cat", {"/proc/self/cgroup"});
}

std::string name_of(const fs::path& path)
{
    return path.parent_path().filename().native() + '/' + path.filename().native();
}

std::size_t leaves()
{
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(test_cgroup()))
        count += entry.is_directory() ? 1 : 0;
    return count;
}

// On a kernel that can start a child in a cgroup, and on one that cannot.
template <class Body>
void with_and_without_clone_into_cgroup(Body body)
{
    for (const bool can : {true, false}) {
        CAPTURE(can);
        std::optional<feature_off> off;
        if (!can)
            off.emplace(&kernel_features::clone_into_cgroup);
        body();
    }
}

}  // namespace

TEST_SUITE("command::cgroup")
{
    TEST_CASE("the child is born in it, and its tree is a group (case 14)")
    {
        const directory place("place");
        with_and_without_clone_into_cgroup([&] {
            asio::io_context ctx;
            CHECK(own_cgroup(ctx, where().cgroup(place.path())).ends_with(name_of(place.path())));
            auto c = spawn(
                where().cgroup(place.path()).optional(spawn_step::cgroup).std_out(stdio::pipe()),
                ctx.get_executor());
            CHECK(c.info().tree == tree_mechanism::process_group);
            CHECK(c.info().not_applied.empty());
            CHECK(read_all(ctx, c.std_out()).find(name_of(place.path())) != std::string::npos);
            CHECK(wait(ctx, c).success());
        });
    }

    TEST_CASE("one that takes nobody fails the spawn by its name, or is reported (case 14)")
    {
        const directory threaded("threaded");
        std::ofstream(threaded.path() / "cgroup.type") << "threaded" << std::endl;
        const directory invalid("threaded/inner");
        with_and_without_clone_into_cgroup([&] {
            asio::io_context ctx;
            const auto failure = failure_of(ctx, command("true").cgroup(invalid.path()));
            CHECK_MESSAGE(failure.step == spawn_step::cgroup, failure);
            CHECK(failure.operand == invalid.path().native());
            CHECK(failure.code == boost::system::errc::operation_not_supported);
            auto c = spawn(
                where().cgroup(invalid.path()).optional(spawn_step::cgroup).std_out(stdio::pipe()),
                ctx.get_executor());
            REQUIRE(c.info().not_applied.size() == 1);
            CHECK(c.info().not_applied[0].step == spawn_step::cgroup);
            CHECK(c.info().not_applied[0].code == boost::system::errc::operation_not_supported);
            CHECK(read_all(ctx, c.std_out()).find("threaded") == std::string::npos);
            CHECK(wait(ctx, c).success());
        });
    }

    TEST_CASE("one that may not be joined fails the spawn by its name, or is reported (case 14)")
    {
        const directory place("place");
        with_and_without_clone_into_cgroup([&] {
            asio::io_context ctx;
            warm_up(ctx);
            spawn_failure failure;
            spawn_failure none;
            child made;
            child without;
            // Another user, in one thread alone: libc's own function would change all of them.
            std::thread([&] {
                ::syscall(SYS_setresuid, -1, 65534, -1);
                made = spawn(command("true").cgroup(place.path()), ctx.get_executor(), failure);
                without = spawn(command("true").cgroup(place.path()).optional(spawn_step::cgroup),
                                ctx.get_executor(), none);
            }).join();
            ::prctl(PR_SET_DUMPABLE, 1);  // which the change took away, from the whole process
            CHECK_FALSE(made);
            CHECK_MESSAGE(failure.step == spawn_step::cgroup, failure);
            CHECK(failure.operand == place.path().native());
            CHECK(failure.code == boost::system::errc::permission_denied);
            REQUIRE_MESSAGE(without, none);
            REQUIRE(without.info().not_applied.size() == 1);
            CHECK(without.info().not_applied[0].step == spawn_step::cgroup);
            CHECK(without.info().not_applied[0].operand == place.path().native());
            CHECK(wait(ctx, without).success());
        });
    }

    TEST_CASE("what is no cgroup is refused, and so is a tree in a cgroup of its own as well")
    {
        asio::io_context ctx;
        CHECK(failure_of(ctx, command("true").cgroup("/proc")).step == spawn_step::cgroup);
        CHECK(failure_of(ctx, command("true").cgroup("/proc")).operand == "/proc");
        const std::string nul("/a\0b", 4);
        CHECK(failure_of(ctx, command("true").cgroup(nul)).step == spawn_step::cgroup);
        CHECK(failure_of(ctx, command("true").cgroup_parent(nul)).step == spawn_step::cgroup);
        const directory place("place");
        auto both = command("true").cgroup(place.path());
        CHECK(failure_of(ctx, command(both).tree(tree_mode::cgroup)).step == spawn_step::cgroup);
        CHECK(failure_of(ctx, command(both).cgroup_parent(test_cgroup())).step
              == spawn_step::cgroup);
    }
}

TEST_SUITE("command::cgroup_parent")
{
    TEST_CASE("the child is born in a leaf of its own, which goes with it")
    {
        with_and_without_clone_into_cgroup([] {
            asio::io_context ctx;
            auto c = spawn(where().cgroup_parent(test_cgroup()).std_out(stdio::pipe()),
                           ctx.get_executor());
            CHECK(c.info().tree == tree_mechanism::cgroup);
            CHECK(c.info().not_applied.empty());
            CHECK(leaves() == 1);
            const auto name = fs::path(test_cgroup()).filename().native() + "/procyard-";
            CHECK(read_all(ctx, c.std_out()).find(name) != std::string::npos);
            CHECK(wait(ctx, c).success());
            outcome<error_code> gone;
            c.async_wait_tree(gone.handler());
            run(ctx);
            CHECK_FALSE(gone.error());
            CHECK(leaves() == 0);
        });
    }

    TEST_CASE("what cannot be had fails the spawn as the tree, or is reported")
    {
        asio::io_context ctx;
        const auto what = command("true").cgroup_parent("/nope");
        CHECK(failure_of(ctx, what).step == spawn_step::tree);
        auto c = spawn(command(what).optional(spawn_step::tree), ctx.get_executor());
        REQUIRE(c.info().not_applied.size() == 1);
        CHECK(c.info().not_applied[0].to_string()
              == R"(spawn "true": tree "/nope": No such file or directory)");
        CHECK(c.info().tree == tree_mechanism::process_group);
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("nobody escapes a stop: not by a session, not as a daemon, not by forking (case 59)")
    {
        for (const char* mode : {"setsid", "daemon-orphan", "runaway-sessions"}) {
            CAPTURE(mode);
            const auto children_before = children();
            asio::io_context ctx;
            auto c = spawn(helper({std::string("--mode=") + mode, "3"})
                               .cgroup_parent(test_cgroup())
                               .std_out(stdio::pipe()),
                           ctx.get_executor());
            (void)read_line(ctx, c.std_out());
            outcome<error_code, stop_result> stopped;
            c.async_stop(stop_ladder::kill(), stopped.handler());
            run_until(ctx, [&] { return stopped.done(); });
            CHECK_FALSE(stopped.error());
            CHECK(stopped.result().tree_empty);
            CHECK(stopped.result().tree == tree_mechanism::cgroup);
            CHECK(leaves() == 0);
            CHECK(children() == children_before);
            // Whoever was in the tree held this pipe.
            std::string rest;
            outcome<error_code, std::size_t> end;
            asio::async_read(c.std_out(), asio::dynamic_buffer(rest), end.handler());
            run_until(ctx, [&] { return end.done(); });
            CHECK(end.error() == asio::error::eof);
        }
    }

    TEST_CASE("a dropped child takes its cgroup along (case 61)")
    {
        asio::io_context ctx;
        {
            auto c = spawn(helper({"--mode=daemon-orphan", "0"})
                               .cgroup_parent(test_cgroup())
                               .on_drop(drop_policy::kill_tree())
                               .std_out(stdio::pipe()),
                           ctx.get_executor());
            (void)read_line(ctx, c.std_out());
            CHECK(leaves() == 1);
            outcome<error_code> gone;
            c.signal_tree(SIGKILL, *std::make_unique<error_code>());
            c.async_wait_tree(gone.handler());
            run_until(ctx, [&] { return gone.done(); });
        }
        {
            auto c = spawn(
                helper({"--mode=family", "2"}).cgroup_parent(test_cgroup()).std_out(stdio::pipe()),
                ctx.get_executor());
            (void)read_line(ctx, c.std_out());
        }
        run(ctx);
        CHECK(leaves() == 0);
    }

    // Where the kernel's version-2 hierarchy has the memory controller; else it cannot be seen.
    TEST_CASE("a child that the kernel killed for want of memory is told from one killed by hand")
    {
        const directory parent("small");
        if (!limit_memory(parent.path(), 16U << 20U))
            return;
        asio::io_context ctx;
        const auto status =
            status_of(ctx, helper({"--mode=burn", "1", "256"}).cgroup_parent(parent.path()));
        CHECK(status.to_string() == "killed by SIGKILL (out of memory)");
        auto c = spawn(helper({"--mode=pause"}).cgroup_parent(parent.path()).std_out(stdio::null()),
                       ctx.get_executor());
        c.kill();
        CHECK(wait(ctx, c).to_string() == "killed by SIGKILL");
        run(ctx);
    }
}
