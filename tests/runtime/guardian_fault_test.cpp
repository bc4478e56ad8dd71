// SPDX-License-Identifier: BSL-1.0
//
// A guardian, and the starts of those that it guards, where something is missing or in the way.
#include <procyard/runtime/guardian.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/observer.hpp>
#include <procyard/runtime/spawn.hpp>

#include "forked.hpp"
#include "guardian_core.hpp"
#include "guardian_fixture.hpp"
#include "killed_host.hpp"
#include "limit_guard.hpp"
#include "procyard_test.hpp"
#include "run_fixture.hpp"
#include "skip.hpp"
#include "spawning.hpp"
#include "syscall_refusal.hpp"
#include "temporary_directory.hpp"
#include "test_process.hpp"

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace procyard_test;
using procyard::command;
using procyard::guardian;
using procyard::spawn;
using procyard::spawn_step;
using procyard::detail::guardian_access;
using procyard::detail::guardian_book;

namespace {

// What is in the book of this guardian.
auto entries_of(const guardian& by)
{
    return guardian_book::read(guardian_access::core(by)->book().descriptor());
}

// A test case of this program in a pid namespace of its own, in which it is process 1.
void check_in_namespace(const std::string& test_case)
{
    if (::geteuid() != 0)
        return skip("needs root: a pid namespace with a /proc of its own");
    asio::io_context ctx;
    auto c = spawn(command("/proc/self/exe", {"--test-case=" + test_case, "--no-skip"})
                       .namespaces({.pid = true, .mount = true})
                       .std_out(procyard::stdio::pipe()),
                   ctx.get_executor());
    const auto output = read_all(ctx, c.std_out());
    const auto status = wait(ctx, c);
    const bool one_passed = output.find(" 1 passed") != std::string::npos;
    CHECK_MESSAGE((status.success() && one_passed), status.to_string(), '\n', output);
}

// Takes the guardian's status, whose parent we have become. All that it guarded has gone before it.
void check_that_it_ends(pid_t guard)
{
    siginfo_t info{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(guard), &info, WEXITED) == 0);
    CHECK(info.si_code == CLD_EXITED);
    CHECK(info.si_status == 0);
}

std::vector<pid_t> children_of(pid_t pid)
{
    std::vector<pid_t> all;
    const auto tasks = "/proc/" + std::to_string(pid) + "/task";
    for (const auto& task : fs::directory_iterator(tasks)) {
        std::istringstream text(text_of(task.path() / "children"));
        for (pid_t one = 0; text >> one;)
            all.push_back(one);
    }
    return all;
}

// Says who guards, and begins to start a program that another process still writes.
void start_what_is_written(command what)
{
    asio::io_context ctx;
    const guardian by(ctx.get_executor());
    std::cout << by.id() << std::endl;
    (void)spawn(what.tree(procyard::tree_mode::process_group).guarded_by(by).text_busy_retries(16),
                ctx.get_executor());
    FAIL("it was started, or it was not: nothing could hold it up for so long");
}

// Kills such a host between its clone and the exec of its child.
void kill_within_start(const std::string& host_name)
{
    const subreaper_guard guard;
    const temporary_directory where;
    const auto program = where.path() / "program";
    fs::copy_file(PROCYARD_TEST_HELPER, program);
    procyard::unique_fd writer(::open(program.c_str(), O_WRONLY | O_CLOEXEC));
    REQUIRE(writer);
    asio::io_context ctx;
    auto one = start_host(ctx, host_name, where.path());
    const auto by = static_cast<pid_t>(std::stol(read_line(ctx, one.std_out())));
    const auto end = std::chrono::steady_clock::now() + deadlock_guard;
    // The guardian, and a child that has come past its word to it: each leads a group then.
    for (std::size_t leaders = 0; leaders < 2;) {
        REQUIRE(std::chrono::steady_clock::now() < end);
        const auto all = children_of(one.id());
        leaders = static_cast<std::size_t>(
            std::count_if(all.begin(), all.end(), [](pid_t pid) { return ::getpgid(pid) == pid; }));
    }
    one.kill();
    CHECK(wait(ctx, one) == procyard::exit_status::signaled(SIGKILL));
    check_that_it_ends(by);
    bury_orphans();
    CHECK(children() == 0);
    for (const auto left : children_of(::getpid()))
        CHECK(::kill(left, SIGKILL) == 0);
    bury_until(0);
}

// What an old kernel, or a filter, does not know.
void forget_new_calls()
{
    for (const long number : {SYS_pidfd_open, SYS_pidfd_send_signal, SYS_clone3, SYS_close_range})
        REQUIRE(refuse({.number = number, .error_number = ENOSYS}));
}

// Nothing is left of it.
void kill_and_check(asio::io_context& ctx, host& one)
{
    one.process.kill();
    CHECK(wait(ctx, one.process) == procyard::exit_status::signaled(SIGKILL));
    check_that_it_ends(one.guard);
    bury_until(0);
}

void kill_and_check(const std::string& host_name)
{
    CAPTURE(host_name);
    const subreaper_guard guard;
    const temporary_directory where;
    asio::io_context ctx;
    host one(ctx, host_name, where.path());
    CHECK(lives(one.daemon));
    CHECK(lives(one.guard));
    kill_and_check(ctx, one);
}

}  // namespace

TEST_SUITE("guardian: faults")
{
    TEST_CASE("host: process 1" * doctest::skip())
    {
        REQUIRE(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
        REQUIRE(::mount("proc", "/proc", "proc", 0, nullptr) == 0);
        REQUIRE(::getpid() == 1);
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const auto first = by.id();
        const family all(ctx, daemonizing().guarded_by(by));
        for (int n = 0; n < 3; ++n)
            CHECK(status_of(ctx, command("true").guarded_by(by)).success());
        CHECK(by.id() == first);
        CHECK(lives(first));
        CHECK(lives(all.leader.id()));
        CHECK(lives(all.daemon));
    }

    TEST_CASE("host: in a pid namespace with the /proc of another" * doctest::skip())
    {
        asio::io_context ctx;
        CHECK(text_of_failure([&] { const guardian by(ctx.get_executor()); })
              == "guardian: /proc/self/exe says: there is no /proc of its pid namespace");
    }

    TEST_CASE("process 1 is no dead host: what it has lives on")
    {
        check_in_namespace("host: process 1");
    }

    TEST_CASE("without a /proc of its pid namespace it says so")
    {
        check_in_namespace("host: in a pid namespace with the /proc of another");
    }

    TEST_CASE("one that is not a child of its host says so, and takes that for no end")
    {
        asio::io_context ctx;
        const auto program = fs::read_symlink("/proc/self/exe").string();
        const auto text = text_of_failure([&] {
            const guardian by(ctx.get_executor(),
                              command("/bin/sh", {"-c", "\"$0\"; exit", program}));
        });
        CHECK(text.ends_with("says: it is not a child of the process that it shall guard"));
        run(ctx);
    }

    TEST_CASE("without descriptors its constructor says what failed; one that is made has more")
    {
        asio::io_context ctx;
        warm_up(ctx);
        const auto before = children();
        std::size_t refused = 0;
        for (rlim_t limit = 3;; ++limit) {
            CAPTURE(limit);
            REQUIRE(limit < 200);
            const descriptor_check descriptors;
            std::optional<guardian> by;
            std::string text;
            {
                const limit_guard few(RLIMIT_NOFILE, limit);
                text = text_of_failure([&] { by.emplace(ctx.get_executor()); });
            }
            const bool is_made = by.has_value();
            if (is_made) {
                rlimit its{};
                CHECK(::prlimit(by->id(), RLIMIT_NOFILE, nullptr, &its) == 0);
                CHECK(its.rlim_cur == its.rlim_max);
            }
            by.reset();
            run(ctx);
            CHECK(children() == before);
            if (is_made)
                break;
            ++refused;
            const bool is_named = text.starts_with("guardian: ") || text.starts_with("spawn ");
            CHECK_MESSAGE(is_named, text);
        }
        CHECK(refused > 0);
    }

    TEST_CASE("without descriptors a guarded start says what failed, or the book has it whole")
    {
        asio::io_context ctx;
        warm_up(ctx);
        const guardian by(ctx.get_executor());
        const auto before = children();
        std::size_t refused = 0;
        for (rlim_t limit = 3;; ++limit) {
            CAPTURE(limit);
            REQUIRE(limit < 200);
            const descriptor_check descriptors;
            procyard::spawn_failure failure;
            procyard::child c;
            {
                const limit_guard few(RLIMIT_NOFILE, limit);
                c = spawn(helper({"--mode=pause"}).guarded_by(by), ctx.get_executor(), failure);
            }
            CHECK(static_cast<bool>(c) != static_cast<bool>(failure));
            const auto all = entries_of(by);
            if (!c) {
                ++refused;
                CHECK(failure.code == boost::system::errc::too_many_files_open);
                run(ctx);
                CHECK(entries_of(by).empty());
                CHECK(children() == before);
                continue;
            }
            REQUIRE(all.size() == 1);
            CHECK(all[0].pid == c.id());
            CHECK(all[0].start_ticks != 0);
            c.kill();
            (void)wait(ctx, c);
            if (limit > 100)
                break;
        }
        CHECK(refused > 0);
    }

    TEST_CASE("host: in the middle of a start" * doctest::skip())
    {
        start_what_is_written(command((place() / "program").string(), {"--mode=pause"}));
    }

    TEST_CASE("host: in the middle of a start in a namespace" * doctest::skip())
    {
        start_what_is_written(
            command((place() / "program").string(), {"--mode=pause"}).namespaces({.pid = true}));
    }

    TEST_CASE("kill -9 of a host between the clone and the exec of a child: that is killed, too")
    {
        kill_within_start("host: in the middle of a start");
        if (::geteuid() == 0)
            kill_within_start("host: in the middle of a start in a namespace");
        else
            skip("needs root: a pid namespace");
    }

    TEST_CASE("a guarded child outlives the thread that has started it")
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        procyard::child c;
        std::thread([&] {
            auto what = helper({"--mode=until-eof", "7"});
            what.guarded_by(by).std_in(procyard::stdio::pipe());
            c = spawn(what, ctx.get_executor());
        }).join();
        c.std_in().close();
        CHECK(wait(ctx, c) == procyard::exit_status::exited(7));
    }

    TEST_CASE("host: that does not know of pidfds" * doctest::skip())
    {
        forget_new_calls();
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const family all(ctx, daemonizing().guarded_by(by));
        say_and_wait(to_line(all.daemon, by.id()));
    }

    TEST_CASE("host: whose first thread has ended" * doctest::skip())
    {
        forget_new_calls();
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const family all(ctx, daemonizing().guarded_by(by));
        std::thread([&] {
            const auto stat = "/proc/" + std::to_string(::getpid()) + "/stat";
            while (text_of(stat).find(") Z ") == std::string::npos) { }
            for (int n = 0; n < 3; ++n)
                CHECK(status_of(ctx, command("true").guarded_by(by)).success());
            say_and_wait(to_line(all.daemon, by.id()));
        }).detach();
        // Not pthread_exit, which unwinds what others run in.
        (void)::syscall(SYS_exit, 0);
    }

    TEST_CASE("host: with commands of all kinds" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        std::vector<command> kinds{daemonizing().env_clear(),
                                   daemonizing().env("PROCYARD_TREE", "a-mark-of-its-own"),
                                   daemonizing().env_remove("PROCYARD_TREE"),
                                   daemonizing(procyard::tree_mode::none),
                                   daemonizing(procyard::tree_mode::subreaper),
                                   daemonizing().new_session(),
                                   daemonizing().parent_death_signal(SIGTERM),
                                   daemonizing().nice(3)};
        if (::geteuid() == 0) {
            kinds.push_back(daemonizing().namespaces({.pid = true}));
            const auto program = place() / "program";
            fs::copy_file(PROCYARD_TEST_HELPER, program);
            fs::permissions(place(), fs::perms::all);
            kinds.push_back(command(program.string(), {"--mode=daemon"})
                                .tree(procyard::tree_mode::process_group)
                                .user(65534)
                                .group(65534));
        }
        std::vector<std::unique_ptr<family>> all;
        for (auto& kind : kinds)
            all.push_back(std::make_unique<family>(ctx, kind.guarded_by(by)));
        say_and_wait(to_line(all.front()->daemon, by.id()));
    }

    TEST_CASE("host: of a host" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const host inner(ctx, "host: with commands of all kinds", place(), by);
        say_and_wait(to_line(inner.daemon, by.id()));
    }

    TEST_CASE("kill -9 of a host with an old kernel, with commands of all kinds, of hosts")
    {
        for (const char* const name :
             {"host: that does not know of pidfds", "host: whose first thread has ended",
              "host: with commands of all kinds", "host: of a host"})
            kill_and_check(name);
    }

    TEST_CASE("host: with a copy of itself" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const family all(ctx, daemonizing().guarded_by(by));
        const forked copy([]() -> int {
            for (;;)
                (void)::pause();
        });
        say_and_wait(to_line(copy.pid(), by.id()));
    }

    TEST_CASE("a copy of its host that lives on keeps it from nothing, and is left alone")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        asio::io_context ctx;
        host one(ctx, "host: with a copy of itself", where.path());
        one.process.kill();
        CHECK(wait(ctx, one.process) == procyard::exit_status::signaled(SIGKILL));
        check_that_it_ends(one.guard);
        bury_until(1);
        CHECK(lives(one.daemon));
        CHECK(::kill(one.daemon, SIGKILL) == 0);
        bury_until(0);
    }

    TEST_CASE("host: that is stopped" * doctest::skip())
    {
        asio::io_context ctx;
        const guardian by(ctx.get_executor());
        const family all(ctx, daemonizing().guarded_by(by));
        (void)::kill(by.id(), SIGSTOP);
        siginfo_t info{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(by.id()), &info, WSTOPPED | WNOWAIT) == 0);
        // It does not wait for one that stands still.
        CHECK(status_of(ctx, command("true").guarded_by(by)).success());
        (void)::kill(by.id(), SIGCONT);
        say_and_wait(to_line(all.daemon, by.id()));
    }

    TEST_CASE("a host that is stopped is not dead; a guardian that is stopped keeps nobody")
    {
        const subreaper_guard guard;
        const temporary_directory where;
        asio::io_context ctx;
        host one(ctx, "host: that is stopped", where.path());
        REQUIRE(::kill(one.process.id(), SIGSTOP) == 0);
        siginfo_t info{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(one.process.id()), &info, WSTOPPED | WNOWAIT)
                == 0);
        CHECK(lives(one.daemon));
        CHECK(lives(one.guard));
        kill_and_check(ctx, one);
    }

    TEST_CASE("the end of the context is its end, whoever has it last")
    {
        pid_t guard = 0;
        pid_t guarded = 0;
        {
            asio::io_context ctx;
            const guardian by(ctx.get_executor());
            guard = by.id();
            auto c = spawn(
                helper({"--mode=pause"}).guarded_by(by).on_drop(procyard::drop_policy::detach()),
                ctx.get_executor());
            guarded = c.id();
        }
        for (const auto pid : {guard, guarded}) {
            CAPTURE(pid);
            if (pid == guarded)
                CHECK(::kill(pid, SIGKILL) == 0);  // it was let go
            siginfo_t info{};
            (void)::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED);  // if nobody has
            CHECK_FALSE(lives(pid));
        }
    }
    TEST_CASE("a handle that outlives its context: the next guarded start makes it anew in its own")
    {
        auto first = std::make_optional<asio::io_context>();
        const guardian by(first->get_executor());
        const auto before = by.id();
        first.reset();
        asio::io_context ctx;
        auto c = spawn(helper({"--mode=pause"}).guarded_by(by), ctx.get_executor());
        CHECK(by.id() != before);
        CHECK(lives(by.id()));
        c.kill();
        (void)wait(ctx, c);
    }

    TEST_CASE(
        "an observer may ask for the guardian, and start what it guards, while it is restarted")
    {
        struct asker final : procyard::observer {
            explicit asker(asio::io_context& where) : ctx(where), by(where.get_executor()) { }
            void on_event(const procyard::child_event& event) noexcept override
            {
                seen.push_back(by.id());
                if (event.what == procyard::child_event::kind::spawned && !nested) {
                    nested = true;
                    inner = spawn(helper({"--mode=pause"}).guarded_by(by), ctx.get_executor());
                }
            }
            asio::io_context& ctx;
            guardian by;
            std::vector<pid_t> seen{};
            bool nested = false;
            procyard::child inner{};
        };
        asio::io_context ctx;
        const auto watcher = std::make_shared<asker>(ctx);
        const auto first = watcher->by.id();
        REQUIRE(::kill(first, SIGKILL) == 0);
        siginfo_t info{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(first), &info, WEXITED | WNOWAIT) == 0);
        procyard::set_observer(ctx.get_executor(), watcher);
        auto c = spawn(helper({"--mode=pause"}).guarded_by(watcher->by), ctx.get_executor());
        procyard::set_observer(ctx.get_executor(), nullptr);
        CHECK(watcher->nested);
        CHECK(lives(watcher->inner.id()));
        CHECK(watcher->by.id() != first);
        c.kill();
        (void)wait(ctx, c);
        watcher->inner.kill();
        (void)wait(ctx, watcher->inner);
    }

    TEST_CASE("a set-user-id program does not take whoever starts it for its host")
    {
        if (::geteuid() != 0)
            return skip("not root");
        const temporary_directory where;
        const auto program = where.path() / "program";
        fs::copy_file("/proc/self/exe", program);
        fs::permissions(where.path(), fs::perms::all);
        fs::permissions(program, fs::perms(04755));
        asio::io_context ctx;
        const auto status_as = [&](uid_t user) {
            return status_of(ctx,
                             command(program.string(), {"--version"})
                                 .env("PROCYARD_GUARDIAN", "nobody")
                                 .env("ASAN_OPTIONS", "detect_leaks=0")
                                 .user(user)
                                 .std_out(procyard::stdio::null()));
        };
        // It would be one, if that were a number and a mark.
        CHECK(status_as(0) == procyard::exit_status::exited(64));
        CHECK(status_as(65534) == procyard::exit_status::exited(0));
    }
}
