// SPDX-License-Identifier: BSL-1.0
// A kernel that says no to whatever an option needs: the option's name in the failure, or, made
// optional, in the report. A filter of system calls says it, for one thread and its children.
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "skip.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

// No real reason for it: nothing but the filter answers this.
constexpr int no = ENOTUNIQ;

/// A system call; where `argument` is not -1, only with `value` as that argument.
struct refused_call {
    long number;
    int argument = -1;
    unsigned value = 0;
};

// Makes the kernel answer `no` to the call, in this thread and whatever it starts. False where
// there are no filters.
bool refuse(const refused_call& call)
{
    const auto load = [](std::size_t offset) {
        return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset));
    };
    const auto equal = [](unsigned value, unsigned char otherwise) {
        return sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, otherwise);
    };
    std::vector<sock_filter> program;
    program.push_back(load(offsetof(seccomp_data, nr)));
    program.push_back(equal(static_cast<unsigned>(call.number), call.argument < 0 ? 1 : 3));
    if (call.argument >= 0) {
        // The lower half: both processors that are supported are little-endian.
        program.push_back(load(offsetof(seccomp_data, args)
                               + static_cast<std::size_t>(call.argument) * sizeof(__u64)));
        program.push_back(equal(call.value, 1));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(no)));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0)
        return true;
    // Without privileges it takes this one.
    return errno == EACCES && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

struct attempt {
    bool filtered = false;
    spawn_failure failure;
    child made;
    spawn_failure none;
    child made_without;
};

// Spawns twice where the call is refused: as the command is, and with the step optional.
attempt spawn_refused(asio::io_context& ctx, const refused_call& call, command what,
                      spawn_step step)
{
    attempt seen;
    // A filter cannot be taken back: it goes with its thread.
    std::thread([&] {
        seen.filtered = refuse(call);
        if (!seen.filtered)
            return;
        seen.made = spawn(what, ctx.get_executor(), seen.failure);
        seen.made_without = spawn(what.optional(step), ctx.get_executor(), seen.none);
    }).join();
    return seen;
}

// For kernels and sandboxes without filters.
bool can_refuse()
{
    bool filtered = false;
    std::thread([&] { filtered = refuse({SYS_setsid}); }).join();
    if (!filtered)
        skip("no filters of system calls here");
    return filtered;
}

void expect_name(const refused_call& call, const command& what, spawn_step step,
                 const std::string& operand = {})
{
    CAPTURE(std::string(to_string(step)));
    const auto children_before = children();
    // A context of its own: where a spawner thread is asked for, it is started by the filtered one.
    asio::io_context ctx;
    auto seen = spawn_refused(ctx, call, what, step);
    REQUIRE(seen.filtered);
    CHECK_FALSE(seen.made);
    CHECK_MESSAGE(seen.failure.step == step, seen.failure);
    CHECK_MESSAGE(seen.failure.code.value() == no, seen.failure);
    CHECK(step_of(seen.failure.code) == step);
    CHECK(seen.failure.operand == operand);

    REQUIRE_MESSAGE(seen.made_without, seen.none);
    const auto& reports = seen.made_without.info().not_applied;
    REQUIRE_FALSE(reports.empty());
    for (const auto& report : reports) {
        CHECK_MESSAGE(report.step == step, report);
        CHECK(report.code == seen.failure.code);
    }
    CHECK(wait(ctx, seen.made_without).success());
    CHECK(children() == children_before);
}

command program()
{
    return command("/bin/true");
}

}  // namespace

TEST_SUITE("a refused option")
{
    TEST_CASE("fails the spawn by its name, or is reported: the child's place (case 14)")
    {
        if (!can_refuse())
            return;
        expect_name({SYS_setsid}, program().tree(tree_mode::none).new_session(),
                    spawn_step::session);
        expect_name({SYS_setpgid}, program().process_group(0), spawn_step::process_group, "0");
        expect_name({SYS_ioctl, 1, TIOCSCTTY},
                    program().std_in(stdio::null()).controlling_terminal(),
                    spawn_step::controlling_terminal, "0");
        expect_name({SYS_chdir}, program().working_directory("/usr"), spawn_step::working_directory,
                    "/usr");
    }

    TEST_CASE("fails the spawn by its name, or is reported: attributes (case 14)")
    {
        if (!can_refuse())
            return;
        expect_name({SYS_setpriority}, program().nice(1), spawn_step::nice, "1");
        expect_name({SYS_sched_setscheduler}, program().scheduler(SCHED_BATCH),
                    spawn_step::scheduler, std::to_string(SCHED_BATCH));
        expect_name({SYS_sched_setaffinity}, program().cpu_affinity({0}), spawn_step::cpu_affinity);
        expect_name({SYS_prlimit64, 1, RLIMIT_CORE}, program().limit(RLIMIT_CORE, 0),
                    spawn_step::limit, std::to_string(RLIMIT_CORE));
        expect_name({SYS_prctl, 0, PR_SET_NO_NEW_PRIVS}, program().no_new_privileges(),
                    spawn_step::no_new_privileges);
        expect_name({SYS_prctl, 0, PR_SET_PDEATHSIG}, program().parent_death_signal(SIGTERM),
                    spawn_step::parent_death_signal, "SIGTERM");
    }

    TEST_CASE("fails the spawn by its name, or is reported: identity (case 12 and 14)")
    {
        if (!can_refuse())
            return;
        const auto uid = ::geteuid();
        const auto gid = ::getegid();
        expect_name({SYS_setresgid}, program().group(gid), spawn_step::group, std::to_string(gid));
        expect_name({SYS_setgroups}, program().supplementary_groups({gid}),
                    spawn_step::supplementary_groups);
        // A user without groups of its own gives up those of the parent: part of the same step.
        expect_name({SYS_setgroups}, program().user(uid), spawn_step::user, std::to_string(uid));
        if (uid != 0) {
            // An earlier part of the same step is refused already, and rightly.
            skip("the change of user itself needs root");
            return;
        }
        expect_name({SYS_setresuid}, program().user(uid), spawn_step::user, std::to_string(uid));
        expect_name({SYS_capset}, program().drop_capabilities(), spawn_step::capabilities);
    }

    TEST_CASE("that is not asked for is not in the way")
    {
        if (!can_refuse())
            return;
        asio::io_context ctx;
        for (const refused_call& call : {refused_call{SYS_setsid},
                                         {SYS_chdir},
                                         {SYS_setpriority},
                                         {SYS_setresuid},
                                         {SYS_setgroups},
                                         {SYS_sched_setaffinity},
                                         {SYS_prlimit64, 1, RLIMIT_CORE}}) {
            auto seen = spawn_refused(ctx, call, program(), spawn_step::user);
            REQUIRE_MESSAGE(seen.made, seen.failure);
            CHECK(wait(ctx, seen.made).success());
            CHECK(seen.made_without.info().not_applied.empty());
            CHECK(wait(ctx, seen.made_without).success());
        }
    }
}
