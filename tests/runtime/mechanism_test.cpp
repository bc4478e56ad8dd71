// SPDX-License-Identifier: BSL-1.0
// What the kernel is asked for, seen by strace: a promise that a wrong condition would break
// silently, making every spawn slower (case 18, complaints 10 and 11).
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "feature_off.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;
using procyard::detail::kernel_features;

namespace {

// Every option on its own, and all that go together.
std::vector<command> all_kinds_of_commands()
{
    sigset_t mask;
    ::sigemptyset(&mask);
    ::sigaddset(&mask, SIGUSR1);
    const auto plain = [] { return command("/bin/true"); };
    std::vector<command> all = {
        plain(),
        plain().std_in(stdio::pipe()).std_out(stdio::pipe()).std_err(stdio::pipe()),
        plain().std_in(stdio::socket()).std_out(stdio::null()).std_err(stdio::to_stdout()),
        plain().terminal(),
        plain().descriptor(50, stdio::null()).env("A", "1").arg0("x"),
        plain().working_directory("/").umask(022).nice(1),
        plain().scheduler(SCHED_BATCH).cpu_affinity({0}).limit(RLIMIT_CORE, 0),
        plain().process_group(0).no_new_privileges(),
        plain().new_session().tree(tree_mode::none),
        plain().signal_mask(mask).ignore_signal(SIGHUP),
        plain().inherit_signals(),
        plain().parent_death_signal(SIGTERM),
    };
    if (::geteuid() == 0) {
        namespace_options space;
        space.uts = true;
        all.push_back(plain().user(65534).group(65534).supplementary_groups({1}));
        all.push_back(plain().drop_capabilities({CAP_KILL}));
        all.push_back(plain().namespaces(space));
    }
    return all;
}

// The number of spawns goes out, for the test that looks at the trace.
void spawn_all_kinds()
{
    asio::io_context ctx;
    int count = 0;
    for (const auto& what : all_kinds_of_commands()) {
        auto c = spawn(what, ctx.get_executor());
        CHECK(wait(ctx, c).success());
        outcome<error_code, child> got;
        async_spawn(what, ctx.get_executor(), got.handler());
        run_until(ctx, [&] { return got.done(); });
        CHECK(wait(ctx, got.result()).success());
        count += 2;
    }
    (void)failure_of(ctx, command("/nope"));
    MESSAGE("spawned=" << ++count);
}

struct trace {
    int clone3 = 0;
    int clone = 0;
    int threads = 0;
    std::vector<std::string> others;
    int announced = 0;
};

// Runs a hidden test case of this program under strace.
trace trace_of(const std::string& test_case)
{
    asio::io_context ctx;
    const temporary_directory files;
    const auto file = files.path() / "trace";
    const auto self = std::filesystem::read_symlink("/proc/self/exe");
    const auto options = std::getenv("ASAN_OPTIONS");
    // A leak check traces as well, and there can be only one tracer.
    const auto out = output_of(
        ctx,
        command("strace",
                {"-f", "-qq", "-e", "trace=clone,clone3,fork,vfork", "-o", file.native(),
                 self.native(), "--test-case=" + test_case, "--no-skip", "--no-colors"})
            .env("ASAN_OPTIONS",
                 (options != nullptr ? options + std::string(":") : "") + "detect_leaks=0"));
    CHECK_MESSAGE(out.find(" 1 passed") != std::string::npos, out);

    trace seen;
    if (const auto at = out.find("spawned="); at != std::string::npos)
        seen.announced = std::atoi(out.c_str() + at + 8);
    std::istringstream lines(files.read("trace"));
    for (std::string line; std::getline(lines, line);) {
        const auto has = [&](const char* text) { return line.find(text) != std::string::npos; };
        if (has("resumed>") || !(has("clone") || has("fork")))
            continue;
        const bool shares = has("CLONE_VM") && has("CLONE_VFORK") && has("CLONE_PIDFD");
        if (has("CLONE_THREAD"))
            ++seen.threads;
        else if (shares && has("clone3("))
            ++seen.clone3;
        else if (shares && has("clone("))
            ++seen.clone;
        else
            seen.others.push_back(line);
    }
    return seen;
}

void skip_without_strace()
{
    if (std::system("strace -o /dev/null true >/dev/null 2>&1") == 0)
        return;
    std::puts("skipped: strace is missing, or may not trace here");
    std::exit(77);
}

}  // namespace

TEST_SUITE("spawn mechanism")
{
    TEST_CASE("traced: all kinds of commands" * doctest::skip())
    {
        spawn_all_kinds();
    }

    TEST_CASE("traced: all kinds of commands without clone3" * doctest::skip())
    {
        const feature_off no_clone3(&kernel_features::clone3);
        spawn_all_kinds();
    }

    TEST_CASE("every option is spawned by one clone3 that shares the memory (case 18 complaint 11)")
    {
        skip_without_strace();
        const auto seen = trace_of("traced: all kinds of commands");
        CHECK(seen.announced > 20);
        CHECK(seen.clone3 == seen.announced);
        CHECK(seen.clone == 0);
        for (const auto& line : seen.others)
            CHECK_MESSAGE(false, line);
    }

    TEST_CASE("without clone3 it is one clone that shares the memory (case 18 complaint 10)")
    {
        skip_without_strace();
        const auto seen = trace_of("traced: all kinds of commands without clone3");
        CHECK(seen.announced > 20);
        CHECK(seen.clone == seen.announced);
        CHECK(seen.clone3 == 0);
        for (const auto& line : seen.others)
            CHECK_MESSAGE(false, line);
    }
}
