// SPDX-License-Identifier: BSL-1.0
// Each option of a command that any user may set: it takes effect, or it fails the spawn by its
// name, or, made optional, it is reported (cases 13 and 14).
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <procyard/runtime/run.hpp>

#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>

#include "busy_program.hpp"
#include "child_attributes.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;

TEST_SUITE("command options")
{
    TEST_CASE("the program's own name may differ from the file (case 08)")
    {
        asio::io_context ctx;
        auto what = command("cat", {"/proc/self/cmdline"}).arg0("other name");
        CHECK(output_of(ctx, what) == std::string("other name\0/proc/self/cmdline\0", 30));
        CHECK(output_of(ctx, command("cat", {"/proc/self/cmdline"}))
              == std::string("cat\0/proc/self/cmdline\0", 23));
        CHECK(output_of(ctx, command("readlink", {"/proc/self/exe"}).arg0("x")).find("readlink")
              != std::string::npos);
    }

    TEST_CASE("arguments arrive as they are")
    {
        asio::io_context ctx;
        auto what = command("printf", {"<%s>", "", " ", "a\nb", "'\"$HOME\\", "\xff\x01"});
        CHECK(output_of(ctx, what) == "<>< ><a\nb><'\"$HOME\\><\xff\x01>");
    }

    TEST_CASE("arguments may be given inside of a co_await expression")
    {
        asio::io_context ctx;
        std::string seen;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                const std::string last = "c";
                seen = co_await async_output(
                    command("printf").args("<%s>", "a", std::string_view("b"), last),
                    ctx.get_executor(), run_options());
            },
            asio::detached);
        run(ctx);
        CHECK(seen == "<a><b><c>");
    }

    TEST_CASE("umask (case 14)")
    {
        asio::io_context ctx;
        CHECK(attributes_of(ctx, attributes().umask(027)).at("umask") == "27");
        CHECK(attributes_of(ctx, attributes().umask(0)).at("umask") == "0");
        const mode_t ours = ::umask(0);
        ::umask(ours);
        CHECK(std::stoul(attributes_of(ctx, attributes()).at("umask"), nullptr, 8) == ours);
    }

    TEST_CASE("nice adds to ours (case 14)")
    {
        asio::io_context ctx;
        const int ours = ::getpriority(PRIO_PROCESS, 0);
        CHECK(attributes_of(ctx, attributes().nice(3)).at("nice")
              == std::to_string(std::min(ours + 3, 19)));
        CHECK(attributes_of(ctx, attributes().nice(100)).at("nice") == "19");
        CHECK(::getpriority(PRIO_PROCESS, 0) == ours);
    }

    TEST_CASE("scheduler: a policy, or its name in the failure (case 14)")
    {
        asio::io_context ctx;
        CHECK(attributes_of(ctx, attributes().scheduler(SCHED_BATCH)).at("policy")
              == std::to_string(SCHED_BATCH));
        CHECK(attributes_of(ctx, attributes().scheduler(SCHED_IDLE)).at("policy")
              == std::to_string(SCHED_IDLE));
        expect_refusal(ctx, command("true").scheduler(99), spawn_step::scheduler, EINVAL);
        expect_refusal(ctx, command("true").scheduler(SCHED_BATCH, 5), spawn_step::scheduler,
                       EINVAL);
    }

    TEST_CASE("CPU affinity (case 14)")
    {
        asio::io_context ctx;
        cpu_set_t ours;
        REQUIRE(::sched_getaffinity(0, sizeof ours, &ours) == 0);
        for (unsigned cpu = 0; cpu < 64; ++cpu) {
            if (CPU_ISSET(cpu, &ours))
                CHECK(attributes_of(ctx, attributes().cpu_affinity({cpu})).at("cpus")
                      == std::to_string(cpu));
        }
        cpu_set_t still;
        REQUIRE(::sched_getaffinity(0, sizeof still, &still) == 0);
        CHECK(CPU_EQUAL(&ours, &still));
        expect_refusal(ctx, command("true").cpu_affinity({8000}), spawn_step::cpu_affinity, EINVAL);
    }

    TEST_CASE("limits, several of them (case 14)")
    {
        asio::io_context ctx;
        const auto limits = output_of(ctx,
                                      command("sh", {"-c", "ulimit -n; ulimit -c"})
                                          .limit(RLIMIT_NOFILE, 77)
                                          .limit(RLIMIT_CORE, 0));
        CHECK(limits == "77\n0\n");
        const auto both = output_of(
            ctx, command("sh", {"-c", "ulimit -Sn; ulimit -Hn"}).limit(RLIMIT_NOFILE, 50, 60));
        CHECK(both == "50\n60\n");
        expect_refusal(ctx, command("true").limit(RLIMIT_NOFILE, 9, 8), spawn_step::limit, EINVAL);
        expect_refusal(ctx, command("true").limit(999, 1), spawn_step::limit, EINVAL);
        CHECK(failure_of(ctx, command("true").limit(999, 1)).operand == "999");
    }

    TEST_CASE("a limit is the child's: the descriptors it gets may be above")
    {
        asio::io_context ctx;
        const auto out = output_of(
            ctx,
            helper({"--mode=descriptors"}).descriptor(40, stdio::null()).limit(RLIMIT_NOFILE, 5));
        CHECK(out.find("40 /dev/null") != std::string::npos);
    }

    TEST_CASE("working directory (case 02)")
    {
        asio::io_context ctx;
        CHECK(attributes_of(ctx, attributes().working_directory("/usr")).at("cwd") == "/usr");
        CHECK(attributes_of(ctx, attributes().working_directory("/usr/./bin/..")).at("cwd")
              == "/usr");
        expect_refusal(ctx, command("true").working_directory("/nope"),
                       spawn_step::working_directory, ENOENT);
        expect_refusal(ctx, command("true").working_directory("/etc/passwd"),
                       spawn_step::working_directory, ENOTDIR);
    }

    TEST_CASE("a session of its own (case 13)")
    {
        asio::io_context ctx;
        const auto seen = attributes_of(ctx, attributes().new_session());
        CHECK(seen.at("sid") == seen.at("pid"));
        CHECK(seen.at("pgid") == seen.at("pid"));
        CHECK(seen.at("tty") == "0");
        CHECK(attributes_of(ctx, attributes()).at("sid") == std::to_string(::getsid(0)));
    }

    TEST_CASE("a process group: new, somebody else's, or ours (case 13)")
    {
        asio::io_context ctx;
        const auto alone = attributes_of(ctx, attributes().process_group(0));
        CHECK(alone.at("pgid") == alone.at("pid"));
        const auto ours = attributes_of(ctx, attributes().process_group(::getpgrp()));
        CHECK(ours.at("pgid") == std::to_string(::getpgrp()));
        CHECK(attributes_of(ctx, attributes().tree(tree_mode::none)).at("pgid")
              == std::to_string(::getpgrp()));

        auto leader = spawn(helper({"--mode=pause"}).std_out(stdio::pipe()).process_group(0),
                            ctx.get_executor());
        CHECK(read_line(ctx, leader.std_out()).starts_with("ready"));
        CHECK(attributes_of(ctx, attributes().process_group(leader.id())).at("pgid")
              == std::to_string(leader.id()));
        leader.kill();
        (void)wait(ctx, leader);

        expect_refusal(ctx, command("true").process_group(1), spawn_step::process_group, EPERM);
        CHECK(failure_of(ctx, command("true").process_group(-5)).step == spawn_step::process_group);
        CHECK(failure_of(ctx, command("true").process_group(0).new_session()).step
              == spawn_step::process_group);
    }

    TEST_CASE("a controlling terminal must be a terminal")
    {
        asio::io_context ctx;
        expect_refusal(ctx, command("true").std_in(stdio::null()).controlling_terminal(),
                       spawn_step::controlling_terminal, ENOTTY);
        expect_refusal(ctx, command("true").controlling_terminal(77),
                       spawn_step::controlling_terminal, EBADF);
    }

    TEST_CASE("no new privileges")
    {
        asio::io_context ctx;
        CHECK(attributes_of(ctx, attributes().no_new_privileges()).at("no_new_privs") == "1");
        CHECK(attributes_of(ctx, attributes()).at("no_new_privs")
              == std::to_string(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
    }

    TEST_CASE("the parent-death signal is set")
    {
        asio::io_context ctx;
        CHECK(attributes_of(ctx, attributes().parent_death_signal(SIGUSR1)).at("pdeathsig")
              == std::to_string(SIGUSR1));
        CHECK(attributes_of(ctx, attributes()).at("pdeathsig") == "0");
    }

    TEST_CASE("a busy program is tried again as often as was said (case 29)")
    {
        asio::io_context ctx;
        busy_program busy;
        for (const unsigned retries : {0U, 1U, 3U}) {
            const auto begin = std::chrono::steady_clock::now();
            const auto failure = failure_of(ctx, busy.run(retries));
            CHECK(failure.step == spawn_step::exec);
            CHECK(failure.code == boost::system::errc::text_file_busy);
            // 1 ms, then 2, then 4: the least it takes.
            const std::chrono::milliseconds pauses((1U << retries) - 1);
            CHECK(std::chrono::steady_clock::now() - begin >= pauses);
        }
        busy.release();
        CHECK(status_of(ctx, busy.run(0).std_in(stdio::null())).success());
    }

    TEST_CASE("several optional failures are all reported, in order (case 14)")
    {
        asio::io_context ctx;
        auto c = spawn(command("true")
                           .scheduler(99)
                           .limit(999, 1)
                           .working_directory("/nope")
                           .optional(spawn_step::scheduler)
                           .optional(spawn_step::limit)
                           .optional(spawn_step::working_directory),
                       ctx.get_executor());
        REQUIRE(c.info().not_applied.size() == 3);
        CHECK(c.info().not_applied[0].step == spawn_step::scheduler);
        CHECK(c.info().not_applied[1].operand == "999");
        CHECK(c.info().not_applied[2].to_string()
              == R"(spawn "true": working directory "/nope": No such file or directory)");
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("an optional step that works is not reported")
    {
        asio::io_context ctx;
        auto c =
            spawn(command("true").umask(022).optional(spawn_step::umask).optional(spawn_step::user),
                  ctx.get_executor());
        CHECK(c.info().not_applied.empty());
        CHECK(wait(ctx, c).success());
    }
}
