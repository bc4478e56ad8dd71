// SPDX-License-Identifier: BSL-1.0
// A host before and after it has used everything: whatever a process can see of itself is as it
// was.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <thread>

#include <procyard/runtime/pipeline.hpp>
#include <procyard/runtime/run.hpp>

#include "busy_program.hpp"
#include "host_state.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

using host = std::map<std::string, std::string>;

// Handlers, flags and masks of all signals.
std::string dispositions()
{
    std::ostringstream text;
    for (int number = 1; number <= SIGRTMAX; ++number) {
        struct sigaction action = {};
        if (::sigaction(number, nullptr, &action) != 0)
            continue;
        text << number << ':' << reinterpret_cast<void*>(action.sa_handler) << ':'
             << action.sa_flags << ' ';
    }
    return text.str();
}

std::string status_line(const char* name)
{
    std::ifstream file("/proc/self/status");
    return status_field({std::istreambuf_iterator<char>(file), {}}, name);
}

std::string environment()
{
    std::string text;
    for (char** entry = ::environ; *entry != nullptr; ++entry)
        text += *entry + std::string("\n");
    return text;
}

std::string limits()
{
    std::ifstream file("/proc/self/limits");
    return {std::istreambuf_iterator<char>(file), {}};
}

host look()
{
    host seen;
    seen["dispositions"] = dispositions();
    for (const char* name :
         {"SigBlk", "SigIgn", "SigCgt", "Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm",
          "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Cpus_allowed_list", "Threads"})
        seen[name] = status_line(name);
    seen["group"] = std::to_string(::getpgrp()) + ' ' + std::to_string(::getsid(0));
    seen["nice"] = std::to_string(::getpriority(PRIO_PROCESS, 0));
    seen["policy"] = std::to_string(::sched_getscheduler(0));
    seen["dumpable"] = std::to_string(::prctl(PR_GET_DUMPABLE));
    int flag = 0;
    ::prctl(PR_GET_CHILD_SUBREAPER, &flag);
    seen["subreaper"] = std::to_string(flag);
    ::prctl(PR_GET_PDEATHSIG, &flag);
    seen["parent-death signal"] = std::to_string(flag);
    seen["directory"] = std::filesystem::current_path().native();
    seen["environment"] = environment();
    seen["limits"] = limits();
    seen["children"] = std::to_string(children());
    for (const auto& descriptor : open_descriptor_list())
        seen["descriptors"] += descriptor + '\n';
    return seen;
}

void expect_same(const host& before, const host& after)
{
    for (const auto& [name, value] : before)
        CHECK_MESSAGE(after.at(name) == value, name);
}

// A command with every option that any user may set.
command all_options()
{
    return command("/bin/cat")
        .arg0("other")
        .env("A", "1")
        .env_remove("PATH")
        .working_directory("/")
        .umask(077)
        .nice(1)
        .scheduler(SCHED_BATCH)
        .cpu_affinity({0})
        .optional(spawn_step::cpu_affinity)
        .limit(RLIMIT_CORE, 0)
        .no_new_privileges()
        .drop_capabilities()
        .optional(spawn_step::capabilities)
        .ignore_signal(SIGHUP)
        .descriptor(7, stdio::null())
        .terminal();
}

void spawn_wait_signal_and_drop(asio::io_context& ctx)
{
    auto c = spawn(all_options(), ctx.get_executor());
    c.terminate();
    CHECK(wait(ctx, c) == exit_status::signaled(SIGTERM));
    (void)failure_of(ctx, command("/nope"));
    (void)failure_of(ctx, command("true").working_directory("/nope"));
    (void)spawn(helper({"--mode=family", "2"}).std_out(stdio::null()), ctx.get_executor());
    run(ctx);
    auto dead = spawn(command("/bin/true").std_in(stdio::pipe()), ctx.get_executor());
    CHECK(wait(ctx, dead).success());
    outcome<error_code, std::size_t> written;
    dead.std_in().async_write_some(asio::buffer("x", 1), written.handler());
    run(ctx);
    CHECK(written.error() == boost::system::errc::broken_pipe);
}

void run_and_pipe(asio::io_context& ctx)
{
    outcome<error_code, run_result> result;
    async_run(command("/bin/cat"), ctx.get_executor(),
              run_options().std_in("text").deadline(std::chrono::hours(1)), result.handler());
    run(ctx);
    CHECK(result.result().success());
    outcome<error_code, pipeline_status> status;
    auto p =
        spawn(command("echo", {"a"}) | command("cat").std_out(stdio::null()), ctx.get_executor());
    p.async_wait(status.handler());
    run(ctx);
    CHECK_FALSE(status.error());
}

}  // namespace

TEST_SUITE("a host")
{
    TEST_CASE("is what it was after everything has been used")
    {
        const auto before = look();
        {
            asio::io_context ctx;
            spawn_wait_signal_and_drop(ctx);
            run_and_pipe(ctx);
        }
        expect_same(before, look());
    }

    TEST_CASE("gets no thread but the one that it asks for, and that goes with the context")
    {
        // ThreadSanitizer starts a thread of its own with the first that anybody starts. This one
        // stays, because a thread is counted for a moment after its join.
        std::atomic<bool> over{false};
        std::thread first([&] { over.wait(false); });
        const auto before = threads();
        {
            asio::io_context ctx;
            spawn_wait_signal_and_drop(ctx);
            run_and_pipe(ctx);
            CHECK(threads() == before);
            outcome<error_code, child> got;
            async_spawn(command("/bin/true"), ctx.get_executor(), got.handler());
            CHECK(threads() == before + 1);
            run(ctx);
            CHECK(wait(ctx, got.result()).success());
            CHECK(status_of(ctx, command("/bin/true").parent_death_signal(SIGTERM)).success());
            CHECK(threads() == before + 1);
        }
        await([&] { return threads() == before; });
        over = true;
        over.notify_one();
        first.join();
    }

    TEST_CASE("is changed by nothing but a subreaper's tree, in one way, for good")
    {
        const auto before = look();
        {
            asio::io_context ctx;
            CHECK(status_of(ctx, command("/bin/true").tree(tree_mode::subreaper)).success());
        }
        auto after = look();
        CHECK(after.at("subreaper") == "1");
        after["subreaper"] = before.at("subreaper");
        expect_same(before, after);
        ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    }
}
