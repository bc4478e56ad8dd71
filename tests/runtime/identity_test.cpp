// SPDX-License-Identifier: BSL-1.0
// Options that change who a child is. They need root; what an unprivileged user gets is tried in a
// process of its own that gives root up.
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "child_attributes.hpp"
#include "host_state.hpp"
#include "skip.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

constexpr uid_t nobody = 65534;
constexpr gid_t nogroup = 65534;

// Shown by ctest as skipped.
[[maybe_unused]] const bool is_root = [] {
    if (::geteuid() == 0)
        return true;
    std::puts("skipped: needs root");
    std::exit(77);
}();

void give_up_root()
{
    REQUIRE(::setgroups(0, nullptr) == 0);
    REQUIRE(::setresgid(nogroup, nogroup, nogroup) == 0);
    REQUIRE(::setresuid(nobody, nobody, nobody) == 0);
    // The change made this process' /proc files root's, as after it for any other; its own maps are
    // among them.
    REQUIRE(::prctl(PR_SET_DUMPABLE, 1) == 0);
}

command id()
{
    return command::shell("id -u; id -g; id -G");
}

command own_status()
{
    return command("cat", {"/proc/self/status"});
}

std::string namespace_of(const char* name)
{
    char target[64];
    const auto n =
        ::readlink((std::string("/proc/self/ns/") + name).c_str(), target, sizeof target);
    return {target, n > 0 ? static_cast<std::size_t>(n) : 0};
}

// In a chroot (builders of packages work in one) the kernel makes none, not even for root.
bool makes_user_namespaces(asio::io_context& ctx)
{
    namespace_options options;
    options.user = true;
    spawn_failure failure;
    auto c = spawn(command("true").namespaces(options), ctx.get_executor(), failure);
    if (c)
        return wait(ctx, c).success();
    skip("no user namespaces here: " + failure.to_string());
    return false;
}

}  // namespace

TEST_SUITE("command identity")
{
    TEST_CASE("user, group and groups (case 12)")
    {
        asio::io_context ctx;
        CHECK(output_of(ctx, id().user(nobody).group(nogroup)) == "65534\n65534\n65534\n");
        CHECK(output_of(ctx, id().user(1000).group(1001).supplementary_groups({1002, 1003}))
              == "1000\n1001\n1001 1002 1003\n");
        const auto status = output_of(ctx, own_status().user(1000).group(1001));
        CHECK(status_field(status, "Uid") == "1000\t1000\t1000\t1000");
        CHECK(status_field(status, "Gid") == "1001\t1001\t1001\t1001");
        CHECK(status_mask(status, "CapEff") == 0);
    }

    TEST_CASE("a user without groups has none of root's (case 12)")
    {
        const gid_t extra[] = {5, 6};
        gid_t before[64];
        const int count = ::getgroups(64, before);
        REQUIRE(::setgroups(2, extra) == 0);
        asio::io_context ctx;
        CHECK(output_of(ctx, command("id", {"-G"}).user(1000).group(1001)) == "1001\n");
        CHECK(output_of(ctx, command("id", {"-G"}).group(1001)) == "1001 5 6\n");
        CHECK(output_of(ctx, command("id", {"-G"}).supplementary_groups({})) == "0\n");
        REQUIRE(::setgroups(static_cast<std::size_t>(count), before) == 0);
    }

    TEST_CASE("an id that means \"unchanged\" to the kernel is refused")
    {
        asio::io_context ctx;
        CHECK(failure_of(ctx, command("true").user(static_cast<uid_t>(-1))).step
              == spawn_step::user);
        CHECK(failure_of(ctx, command("true").group(static_cast<gid_t>(-1))).step
              == spawn_step::group);
    }

    TEST_CASE("a child of another user leaves this process as it is")
    {
        asio::io_context ctx;
        REQUIRE(::prctl(PR_GET_DUMPABLE) == 1);
        CHECK(status_of(ctx, command("true").user(nobody).group(nogroup)).success());
        // The two share their memory until the exec, and the kernel marks the memory of who changes
        // its user: this process would have no core dumps and no debugger any more.
        CHECK(::prctl(PR_GET_DUMPABLE) == 1);
        (void)failure_of(ctx, command("/nope").user(nobody));
        CHECK(::prctl(PR_GET_DUMPABLE) == 1);
        REQUIRE(::prctl(PR_SET_DUMPABLE, 0) == 0);
        CHECK(status_of(ctx, command("true").user(nobody)).success());
        CHECK(::prctl(PR_GET_DUMPABLE) == 0);
        ::prctl(PR_SET_DUMPABLE, 1);
    }

    TEST_CASE("a program the new user may not reach fails at the exec")
    {
        asio::io_context ctx;
        const temporary_directory ours;  // nobody else may enter it
        const auto program = ours.path() / "true";
        std::filesystem::copy_file("/bin/true", program);
        CHECK(status_of(ctx, command(program)).success());
        const auto failure = failure_of(ctx, command(program).user(nobody).group(nogroup));
        CHECK(failure.step == spawn_step::exec);
        CHECK(failure.code.value() == EACCES);
    }

    TEST_CASE("the working directory is entered with the rights of the parent")
    {
        asio::io_context ctx;
        CHECK(failure_of(ctx, command("true").user(nobody).working_directory("/root/nope")).step
              == spawn_step::working_directory);
        CHECK(output_of(ctx, command("pwd").user(nobody).working_directory("/root")) == "/root\n");
    }

    TEST_CASE("what needs rights is done before they are given up (case 14)")
    {
        asio::io_context ctx;
        const auto seen = attributes_of(
            ctx, attributes().nice(-5).scheduler(SCHED_FIFO, 7).user(nobody).group(nogroup));
        CHECK(seen.at("policy") == std::to_string(SCHED_FIFO));
        CHECK(seen.at("priority") == "7");
        const int ours = ::getpriority(PRIO_PROCESS, 0);
        CHECK(attributes_of(ctx, attributes().nice(-5).user(nobody)).at("nice")
              == std::to_string(std::max(ours - 5, -20)));
        CHECK(attributes_of(ctx, attributes().parent_death_signal(SIGUSR1).user(nobody))
                  .at("pdeathsig")
              == std::to_string(SIGUSR1));
    }

    TEST_CASE("capabilities are dropped from all sets")
    {
        asio::io_context ctx;
        const auto status = output_of(ctx, own_status().drop_capabilities());
        for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
            CHECK_MESSAGE(status_mask(status, set) == 0, set);
    }

    TEST_CASE("kept capabilities survive the exec, and a change of user")
    {
        asio::io_context ctx;
        constexpr std::uint64_t kept =
            std::uint64_t{1} << CAP_NET_BIND_SERVICE | std::uint64_t{1} << CAP_KILL;
        auto what = own_status().drop_capabilities({CAP_NET_BIND_SERVICE, CAP_KILL});
        for (const bool other_user : {false, true}) {
            if (other_user)
                what.user(nobody).group(nogroup);
            const auto status = output_of(ctx, what);
            for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
                CHECK_MESSAGE(status_mask(status, set) == kept, set);
        }
        expect_refusal(ctx, command("true").drop_capabilities({63}), spawn_step::capabilities,
                       EINVAL);
        CHECK(failure_of(ctx, command("true").drop_capabilities({64})).step
              == spawn_step::capabilities);
    }

    TEST_CASE("each namespace is another one than ours, and the child is waited for as ever")
    {
        asio::io_context ctx;
        if (!makes_user_namespaces(ctx))
            return;
        namespace_options all;
        all.user = all.pid = all.mount = all.network = all.ipc = all.uts = all.cgroup = true;
        for (const char* name : {"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"}) {
            const auto link = std::string("/proc/self/ns/") + name;
            const auto inside = output_of(ctx, command("readlink", {link}).namespaces(all));
            CHECK_MESSAGE(inside != namespace_of(name) + '\n', name);
            CHECK(inside.starts_with(name));
        }
        namespace_options uts;
        uts.uts = true;
        CHECK(output_of(ctx, command("readlink", {"/proc/self/ns/uts"}).namespaces(uts))
              != namespace_of("uts") + '\n');
        CHECK(output_of(ctx, command("readlink", {"/proc/self/ns/net"}).namespaces(uts))
              == namespace_of("net") + '\n');
        namespace_options pid;
        pid.pid = true;
        CHECK(output_of(ctx, command::shell("echo $$").namespaces(pid)) == "1\n");
        CHECK(status_of(ctx, helper({"--mode=exit", "7"}).namespaces(all))
              == exit_status::exited(7));
    }

    TEST_CASE("inside a user namespace the child is who it was told to be")
    {
        asio::io_context ctx;
        if (!makes_user_namespaces(ctx))
            return;
        namespace_options options;
        options.user = true;
        CHECK(output_of(ctx, command::shell("id -u; id -g").namespaces(options)) == "0\n0\n");
        options.inside_uid = 1234;
        options.inside_gid = 5678;
        CHECK(output_of(ctx, command::shell("id -u; id -g").namespaces(options)) == "1234\n5678\n");
        // And may take that identity on by an option as well.
        CHECK(output_of(ctx, command("id", {"-u"}).namespaces(options).user(1234)) == "1234\n");
        expect_refusal(ctx, command("true").namespaces(options).user(4321), spawn_step::user,
                       EINVAL);
    }
}

TEST_SUITE("command identity without root")
{
    TEST_CASE("unprivileged: each option that needs rights is refused by its name"
              * doctest::skip())
    {
        give_up_root();
        asio::io_context ctx;
        expect_refusal(ctx, command("true").user(0), spawn_step::user, EPERM);
        expect_refusal(ctx, command("true").group(0), spawn_step::group, EPERM);
        expect_refusal(ctx, command("true").supplementary_groups({1}),
                       spawn_step::supplementary_groups, EPERM);
        expect_refusal(ctx, command("true").nice(-5), spawn_step::nice, EACCES);
        expect_refusal(ctx, command("true").scheduler(SCHED_FIFO, 1), spawn_step::scheduler, EPERM);
        expect_refusal(ctx, command("true").drop_capabilities(), spawn_step::capabilities, EPERM);
        rlimit files{};
        ::getrlimit(RLIMIT_NOFILE, &files);
        expect_refusal(ctx,
                       command("true").limit(RLIMIT_NOFILE, files.rlim_cur, files.rlim_max + 1),
                       spawn_step::limit, EPERM);
        namespace_options uts;
        uts.uts = true;
        expect_refusal(ctx, command("true").namespaces(uts), spawn_step::namespaces, EPERM);
        CHECK(failure_of(ctx, command("true").user(0)).to_string()
              == R"(spawn "true": user "0": Operation not permitted)");
    }

    TEST_CASE("an unprivileged user is refused what needs rights (case 12)")
    {
        check_isolated("unprivileged: each option that needs rights is refused by its name");
    }

    TEST_CASE("unprivileged: a user namespace gives all the others" * doctest::skip())
    {
        give_up_root();
        asio::io_context ctx;
        namespace_options all;
        all.user = all.pid = all.mount = all.network = all.ipc = all.uts = true;
        spawn_failure failure;
        auto probe = spawn(command("true").namespaces(all), ctx.get_executor(), failure);
        if (failure) {
            CHECK(failure.step == spawn_step::namespaces);
            skip("no user namespaces here: " + failure.to_string());
            return;
        }
        CHECK(wait(ctx, probe).success());
        CHECK(output_of(ctx, command::shell("id -u; id -g; echo $$").namespaces(all))
              == "0\n0\n1\n");
        all.inside_uid = 42;
        CHECK(output_of(ctx, command("id", {"-u"}).namespaces(all)) == "42\n");
        CHECK(output_of(ctx, command::shell("hostname inside && hostname").namespaces([] {
                  namespace_options o;
                  o.user = o.uts = true;
                  return o;
              }()))
              == "inside\n");
    }

    TEST_CASE("an unprivileged user gets namespaces through a user namespace")
    {
        check_isolated("unprivileged: a user namespace gives all the others");
    }
}
