// SPDX-License-Identifier: BSL-1.0
// What the kernel is asked for, seen by strace: a promise that a wrong condition would break
// silently, making every spawn slower (case 18, complaints 10 and 11).
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "feature_off.hpp"
#include "private_cgroup.hpp"
#include "skip.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;
using procyard::detail::kernel_features;

namespace {

command plain()
{
    return command("/bin/true");
}

/// A terminal of the host's own.
class host_terminal {
public:
    host_terminal() : ours_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC))
    {
        REQUIRE(ours_);
        REQUIRE(::grantpt(ours_.get()) == 0);
        REQUIRE(::unlockpt(ours_.get()) == 0);
        theirs_.reset(::open(::ptsname(ours_.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
        REQUIRE(theirs_);
    }

    [[nodiscard]] int number() const noexcept { return theirs_.get(); }

private:
    unique_fd ours_;
    unique_fd theirs_;
};

// Each namespace on its own, and all together.
void add_namespaces(std::vector<command>& all)
{
    namespace_options together;
    for (const auto one :
         {&namespace_options::user, &namespace_options::pid, &namespace_options::mount,
          &namespace_options::network, &namespace_options::ipc, &namespace_options::uts,
          &namespace_options::cgroup}) {
        namespace_options alone;
        alone.*one = true;
        together.*one = true;
        all.push_back(plain().namespaces(alone));
    }
    all.push_back(plain().namespaces(together));
}

// Every option on its own, and all that go together.
std::vector<command> all_kinds_of_commands(const host_terminal& terminal,
                                           const private_cgroup& cgroup)
{
    sigset_t mask;
    ::sigemptyset(&mask);
    ::sigaddset(&mask, SIGUSR1);
    std::vector<command> all = {
        plain(),
        plain().std_in(stdio::pipe()).std_out(stdio::pipe()).std_err(stdio::pipe()),
        plain().std_in(stdio::socket()).std_out(stdio::null()).std_err(stdio::to_stdout()),
        plain().terminal(),
        plain().descriptor(5, stdio::borrow(terminal.number())).controlling_terminal(5),
        plain().descriptor(50, stdio::null()).env("A", "1").arg0("x"),
        plain().env_clear().env_remove("B").text_busy_retries(1),
        plain().working_directory("/").umask(022).nice(1),
        plain().scheduler(SCHED_BATCH).cpu_affinity({0}).limit(RLIMIT_CORE, 0),
        plain().process_group(0).no_new_privileges(),
        plain().new_session().tree(tree_mode::none),
        plain().signal_mask(mask).ignore_signal(SIGHUP),
        plain().inherit_signals(),
        plain().parent_death_signal(SIGTERM),
        plain().tree(tree_mode::process_group),
        plain().tree(tree_mode::subreaper),
    };
    if (::geteuid() == 0) {
        all.push_back(plain().user(65534).group(65534).supplementary_groups({1}));
        all.push_back(plain().drop_capabilities({CAP_KILL}));
        add_namespaces(all);
    }
    if (!cgroup.directory().empty()) {
        all.push_back(plain().cgroup(cgroup.directory()));
        all.push_back(plain().cgroup_parent(cgroup.directory()).tree(tree_mode::cgroup));
    }
    return all;
}

// The number of spawns goes out, for the test that looks at the trace. None of the options is
// optional: a spawn that succeeds has applied what its command asks for.
void spawn_all_kinds()
{
    const private_cgroup cgroup;  // before there is a thread
    if (cgroup.directory().empty())
        skip("no cgroup of our own to spawn into: " + cgroup.refusal());
    const host_terminal terminal;
    std::set<tree_mechanism> expected = {tree_mechanism::none, tree_mechanism::process_group,
                                         tree_mechanism::subreaper};
    if (!cgroup.directory().empty())
        expected.insert(tree_mechanism::cgroup);

    asio::io_context ctx;
    int count = 0;
    std::set<tree_mechanism> trees;
    for (const auto& what : all_kinds_of_commands(terminal, cgroup)) {
        CAPTURE(count);
        auto c = spawn(what, ctx.get_executor());
        trees.insert(c.info().tree);
        CHECK(wait(ctx, c).success());
        outcome<error_code, child> got;
        async_spawn(what, ctx.get_executor(), got.handler());
        run_until(ctx, [&] { return got.done(); });
        CHECK(wait(ctx, got.result()).success());
        count += 2;
    }
    (void)failure_of(ctx, command("/nope"));
    for (const auto tree : expected)
        CHECK_MESSAGE(trees.count(tree) == 1, to_string(tree));
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
        CHECK(seen.announced > 30);
        CHECK(seen.clone3 == seen.announced);
        CHECK(seen.clone == 0);
        for (const auto& line : seen.others)
            CHECK_MESSAGE(false, line);
    }

    TEST_CASE("without clone3 it is one clone that shares the memory (case 18 complaint 10)")
    {
        skip_without_strace();
        const auto seen = trace_of("traced: all kinds of commands without clone3");
        CHECK(seen.announced > 30);
        CHECK(seen.clone == seen.announced);
        CHECK(seen.clone3 == 0);
        for (const auto& line : seen.others)
            CHECK_MESSAGE(false, line);
    }
}
