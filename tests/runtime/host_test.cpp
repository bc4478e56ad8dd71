// SPDX-License-Identifier: BSL-1.0
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <vector>

#include "feature_off.hpp"
#include "host_state.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;
using procyard::detail::kernel_features;

namespace {

std::atomic<int> handled{0};
std::atomic<pid_t> handled_in{0};

void count_signal(int) noexcept
{
    ++handled;
    handled_in = ::getpid();
}

// What thousands of programs have as their SIGCHLD handler.
void reap_everything(int) noexcept
{
    const int saved = errno;
    // tidy: allow wait-any: the thief from whom the status must be saved
    while (::waitpid(-1, nullptr, WNOHANG) > 0)
        ++handled;
    errno = saved;
}

void expect_clean(const std::string& status)
{
    CHECK(status_mask(status, "SigBlk") == 0);
    CHECK(status_mask(status, "SigIgn") == 0);
    CHECK(status_mask(status, "SigCgt") == 0);
}

command own_status()
{
    return command("cat", {"/proc/self/status"});
}

// Since 6.15 a pidfd tells the status of a process that somebody else reaped.
bool kernel_tells_after_the_reap()
{
    utsname name{};
    ::uname(&name);
    int major = 0;
    int minor = 0;
    return std::sscanf(name.release, "%d.%d", &major, &minor) == 2
        && (major > 6 || (major == 6 && minor >= 15));
}

void expect_status_survives(asio::io_context& ctx, int count)
{
    std::vector<child> children;
    for (int i = 0; i < count; ++i)
        children.push_back(spawn(helper({"--mode=exit", "37"}), ctx.get_executor()));
    for (auto& c : children) {
        const auto status = wait(ctx, c);
        if (kernel_tells_after_the_reap())
            REQUIRE(status == exit_status::exited(37));
        else
            REQUIRE((status == exit_status::exited(37) || status.is_unknown()));
    }
    auto killed = spawn(helper({"--mode=pause"}).std_out(stdio::null()), ctx.get_executor());
    killed.kill();
    const auto status = wait(ctx, killed);
    CHECK((status == exit_status::signaled(SIGKILL)
           || (status.is_unknown() && !kernel_tells_after_the_reap())));
}

void expect_unknown(asio::io_context& ctx)
{
    const feature_off no_info(&kernel_features::pidfd_info_exit);
    for (const int code : {37, 0}) {
        const auto status = status_of(ctx, helper({"--mode=exit", std::to_string(code)}));
        CHECK(status.is_unknown());
        CHECK_FALSE(status.success());
        CHECK(status.code() == std::nullopt);
    }
}

}  // namespace

TEST_SUITE("a host's signals")
{
    TEST_CASE("a child starts with default dispositions and an empty mask (case 17)")
    {
        const disposition no_pipe(SIGPIPE, SIG_IGN);
        const disposition no_hup(SIGHUP, SIG_IGN);
        const disposition no_realtime(SIGRTMIN + 3, SIG_IGN);
        const disposition term(SIGTERM, count_signal);
        const blocked_signals blocked{SIGTERM, SIGINT, SIGUSR1, SIGCHLD, SIGRTMIN + 1};
        asio::io_context ctx;
        expect_clean(output_of(ctx, own_status()));
        {
            const feature_off no_clone3(&kernel_features::clone3);
            expect_clean(output_of(ctx, own_status()));
        }
        // Also from the spawner thread.
        outcome<error_code, child> got;
        async_spawn(own_status().std_out(stdio::pipe()), ctx.get_executor(), got.handler());
        run_until(ctx, [&] { return got.done(); });
        REQUIRE_FALSE(got.error());
        expect_clean(read_all(ctx, got.result().std_out()));
        // And when the host changes its mind after the first spawn.
        const disposition no_usr2(SIGUSR2, SIG_IGN);
        expect_clean(output_of(ctx, own_status()));
    }

    TEST_CASE("the host's own signals are as they were, after success and failure")
    {
        const disposition no_pipe(SIGPIPE, SIG_IGN);
        const disposition term(SIGTERM, count_signal);
        const disposition chld(SIGCHLD, SIG_DFL);
        const blocked_signals blocked{SIGUSR1};
        sigset_t before;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
        asio::io_context ctx;
        errno = 1234;
        spawn_failure failure;
        (void)spawn(command("/nope"), ctx.get_executor(), failure);
        CHECK(status_of(ctx, command("true")).success());
        CHECK((disposition::current(SIGPIPE) == SIG_IGN));
        CHECK((disposition::current(SIGTERM) == count_signal));
        CHECK((disposition::current(SIGCHLD) == SIG_DFL));
        sigset_t after;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
        for (int number = 1; number < SIGRTMAX; ++number)
            CHECK(::sigismember(&before, number) == ::sigismember(&after, number));
    }

    TEST_CASE("a mask and ignored signals are what the command says")
    {
        asio::io_context ctx;
        sigset_t blocked;
        ::sigemptyset(&blocked);
        ::sigaddset(&blocked, SIGUSR1);
        ::sigaddset(&blocked, SIGRTMIN + 2);
        auto what = own_status();
        what.signal_mask(blocked).ignore_signal(SIGPIPE).ignore_signal(SIGRTMIN);
        const auto status = output_of(ctx, what);
        CHECK(status_mask(status, "SigBlk") == (signal_bit(SIGUSR1) | signal_bit(SIGRTMIN + 2)));
        CHECK(status_mask(status, "SigIgn") == (signal_bit(SIGPIPE) | signal_bit(SIGRTMIN)));
    }

    TEST_CASE("a command may inherit them, and set a mask or ignore more on top")
    {
        const disposition no_pipe(SIGPIPE, SIG_IGN);
        const disposition no_realtime(SIGRTMIN + 3, SIG_IGN);
        const disposition term(SIGTERM, count_signal);
        const blocked_signals blocked{SIGUSR1, SIGUSR2};
        sigset_t only_int;
        ::sigemptyset(&only_int);
        ::sigaddset(&only_int, SIGINT);
        asio::io_context ctx;
        for (const bool clone3 : {true, false}) {
            std::optional<feature_off> off;
            if (!clone3)
                off.emplace(&kernel_features::clone3);
            const auto status = output_of(ctx, own_status().inherit_signals());
            CHECK(status_mask(status, "SigBlk") == (signal_bit(SIGUSR1) | signal_bit(SIGUSR2)));
            CHECK(status_mask(status, "SigIgn")
                  == (signal_bit(SIGPIPE) | signal_bit(SIGRTMIN + 3)));
            CHECK(status_mask(status, "SigCgt") == 0);
            const auto more = output_of(
                ctx, own_status().inherit_signals().ignore_signal(SIGHUP).signal_mask(only_int));
            CHECK(status_mask(more, "SigBlk") == signal_bit(SIGINT));
            CHECK(status_mask(more, "SigIgn")
                  == (signal_bit(SIGPIPE) | signal_bit(SIGRTMIN + 3) | signal_bit(SIGHUP)));
        }
    }

    TEST_CASE("a signal right after the spawn hits the new program (case 16)")
    {
        const disposition term(SIGTERM, count_signal);
        handled = 0;
        asio::io_context ctx;
        for (int i = 0; i < 200; ++i) {
            auto c = spawn(command("sleep", {"1000"}), ctx.get_executor());
            c.terminate();
            REQUIRE(wait(ctx, c) == exit_status::signaled(SIGTERM));
        }
        CHECK(handled == 0);
    }

    TEST_CASE("SIGCHLD is the host's: its handler is called and stays (complaint 05)")
    {
        const disposition chld(SIGCHLD, count_signal);
        handled = 0;
        asio::io_context ctx;
        CHECK(status_of(ctx, helper({"--mode=exit", "3"})) == exit_status::exited(3));
        CHECK((disposition::current(SIGCHLD) == count_signal));
        CHECK(handled > 0);
        CHECK(handled_in == ::getpid());
    }
}

TEST_SUITE("a host that reaps")
{
    TEST_CASE("ignores SIGCHLD: the status is true, or unknown, and never 0 (case 46 complaint 16)")
    {
        const disposition ignored(SIGCHLD, SIG_IGN);
        asio::io_context ctx;
        expect_status_survives(ctx, 300);
        expect_unknown(ctx);
        CHECK(failure_of(ctx, command("/nope")).step == spawn_step::exec);
    }

    TEST_CASE("uses SA_NOCLDWAIT: the same (case 46)")
    {
        const disposition no_wait(SIGCHLD, SIG_DFL, SA_NOCLDWAIT);
        asio::io_context ctx;
        expect_status_survives(ctx, 300);
        expect_unknown(ctx);
    }

    TEST_CASE("waits for any child in its handler: the same (case 47)")
    {
        const disposition thief(SIGCHLD, reap_everything);
        asio::io_context ctx;
        expect_status_survives(ctx, 300);
        CHECK(failure_of(ctx, command("/nope")).step == spawn_step::exec);
        auto dropped = spawn(helper({"--mode=pause"}), ctx.get_executor());
        dropped = child();
        run(ctx);
    }

    TEST_CASE(
        "steals the status before anybody looks: unknown where the kernel cannot tell (case 47)")
    {
        asio::io_context ctx;
        for (const bool tells : {true, false}) {
            std::optional<feature_off> off;
            if (!tells)
                off.emplace(&kernel_features::pidfd_info_exit);
            auto c = spawn(helper({"--mode=exit", "37"}), ctx.get_executor());
            int stolen = 0;
            REQUIRE(::waitpid(c.id(), &stolen, 0) == c.id());
            const auto status = wait(ctx, c);
            if (tells && kernel_tells_after_the_reap())
                CHECK(status == exit_status::exited(37));
            else
                CHECK(status.is_unknown());
            CHECK(wait(ctx, c) == status);
            CHECK(c.try_wait() == status);
        }
    }

    TEST_CASE("signals to a child that was stolen do nothing and succeed (case 53)")
    {
        asio::io_context ctx;
        auto c = spawn(helper({"--mode=exit", "37"}), ctx.get_executor());
        int stolen = 0;
        REQUIRE(::waitpid(c.id(), &stolen, 0) == c.id());
        error_code ec;
        c.signal(SIGKILL, ec);
        CHECK_FALSE(ec);
        c.signal_tree(SIGKILL, ec);
        CHECK_FALSE(ec);
    }

    TEST_CASE("keeps its own children: they are never reaped by the library (case 48)")
    {
        asio::io_context ctx;
        warm_up(ctx);
        std::vector<pid_t> own;
        for (int i = 0; i < 20; ++i) {
            const pid_t pid = ::fork();
            if (pid == 0)
                ::_exit(i);
            own.push_back(pid);
            auto c = spawn(helper({"--mode=exit", std::to_string(i)}), ctx.get_executor());
            CHECK(wait(ctx, c) == exit_status::exited(i));
        }
        auto dropped = spawn(helper({"--mode=pause"}), ctx.get_executor());
        dropped = child();
        run(ctx);
        for (int i = 0; i < 20; ++i) {
            int status = 0;
            REQUIRE(::waitpid(own[static_cast<std::size_t>(i)], &status, 0)
                    == own[static_cast<std::size_t>(i)]);
            CHECK(WEXITSTATUS(status) == i);
        }
    }

    TEST_CASE("forks and the copy drops its children and its context: they live on")
    {
        for (const bool told : {true, false}) {
            CAPTURE(told);
            auto ctx = std::make_unique<asio::io_context>();
            warm_up(*ctx);
            // The spawner thread, which is not copied.
            outcome<error_code, child> second;
            async_spawn(helper({"--mode=pause"}), ctx->get_executor(), second.handler());
            run_until(*ctx, [&] { return second.done(); });
            auto first = std::make_unique<child>(
                spawn(helper({"--mode=until-eof"}).std_in(told ? stdio::socket() : stdio::null()),
                      ctx->get_executor()));
            const bool has_input = first->std_in().is_open();
            if (told)
                ctx->notify_fork(asio::io_context::fork_prepare);
            const pid_t copy = ::fork();
            if (copy == 0) {
                if (told)
                    ctx->notify_fork(asio::io_context::fork_child);
                first.reset();
                (void)std::move(second.result());
                ctx.reset();
                ::_exit(0);
            }
            if (told)
                ctx->notify_fork(asio::io_context::fork_parent);
            int status = -1;
            REQUIRE(::waitpid(copy, &status, 0) == copy);
            CHECK(status == 0);
            if (has_input) {
                CHECK_FALSE(first->try_wait());
                first->std_in().close();
            }
            CHECK(wait(*ctx, *first) == exit_status::exited(0));
            second.result().kill();
            CHECK(wait(*ctx, second.result()).signal() == SIGKILL);
        }
    }

    TEST_CASE("forks and both go on: each waits for its own children")
    {
        asio::io_context ctx;
        auto shared = spawn(helper({"--mode=pause"}), ctx.get_executor());
        outcome<error_code, exit_status> pending_wait;
        shared.async_wait(pending_wait.handler());
        ctx.poll();
        ctx.notify_fork(asio::io_context::fork_prepare);
        const pid_t copy = ::fork();
        if (copy == 0) {
            // No doctest in here: its report is the parent's. Each failure has a code of its own.
            ctx.notify_fork(asio::io_context::fork_child);
            run_until(ctx, [&] { return pending_wait.done(); });
            if (pending_wait.error() != boost::system::errc::no_child_process)
                ::_exit(1);
            outcome<error_code, exit_status> later_wait;
            shared.async_wait(later_wait.handler());
            run_until(ctx, [&] { return later_wait.done(); });
            if (later_wait.error() != boost::system::errc::no_child_process)
                ::_exit(2);
            auto own = spawn(helper({"--mode=exit", "9"}), ctx.get_executor());
            outcome<error_code, exit_status> own_wait;
            own.async_wait(own_wait.handler());
            run_until(ctx, [&] { return own_wait.done(); });
            ::_exit(own_wait.result() == exit_status::exited(9) ? 0 : 3);
        }
        ctx.notify_fork(asio::io_context::fork_parent);
        int status = -1;
        REQUIRE(::waitpid(copy, &status, 0) == copy);
        CHECK(WEXITSTATUS(status) == 0);
        CHECK_FALSE(pending_wait.done());
        shared.kill();
        run_until(ctx, [&] { return pending_wait.done(); });
        CHECK(pending_wait.result().signal() == SIGKILL);
    }
}
