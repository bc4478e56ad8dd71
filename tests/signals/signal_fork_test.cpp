// SPDX-License-Identifier: BSL-1.0
// Copies of the process: what one gets, the other never hears of.
#include <procyard/signals/fork_process.hpp>
#include <procyard/signals/signal_set.hpp>

#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <memory>

#include <doctest/doctest.h>

#include <procyard/ipc/syscall.hpp>
#include <procyard/signals/signal_mask_guard.hpp>

#include "forked.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::fork_process;
using procyard::signal_info;
using procyard::signal_mask_guard;
using procyard::signal_set;
using procyard_test::outcome;
using procyard_test::run;

namespace {

// The exit code of a copy that `fork_process` or fork has made; 0 is what is wanted.
int result_of(pid_t copy)
{
    int status = 0;
    if (procyard::retry_eintr([&] { return ::waitpid(copy, &status, 0); }) != copy)
        return 121;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// What a copy does whose wait was begun by the original.
int told_in_copy(asio::io_context& ctx, outcome<error_code, signal_info>& got)
{
    ctx.restart();
    ctx.run_for(procyard_test::deadlock_guard);
    if (!got.done())
        return 1;
    return got.result().number == SIGUSR1 && got.result().count == 1 ? 0 : 2;
}

void check_copy(asio::io_context& ctx, signal_set& set)
{
    outcome<error_code, signal_info> got;
    set.async_wait(got.handler());
    ctx.poll();
    error_code ec;
    const pid_t copy = fork_process(ctx, ec);
    if (copy == 0) {
        ::raise(SIGUSR1);  // before its loop runs
        ::_exit(told_in_copy(ctx, got));
    }
    REQUIRE_FALSE(ec);
    CHECK(result_of(copy) == 0);
    CHECK_MESSAGE(ctx.poll() == 0, "the copy's signal has not even woken the original");
    CHECK_FALSE(got.done());
    ::raise(SIGUSR1);
    run(ctx);
    CHECK(got.result().count == 1);
}

}  // namespace

TEST_SUITE("signal_set and copies of the process")
{
    TEST_CASE("a signal raised in the copy before its loop runs is told there, and not in the "
              "original (case 5, complaint 8)")
    {
        SUBCASE("sigaction")
        {
            asio::io_context ctx;
            signal_set set(ctx.get_executor(), {SIGUSR1});
            check_copy(ctx, set);
        }
        SUBCASE("signalfd")
        {
            const signal_mask_guard guard({SIGUSR1});
            asio::io_context ctx;
            signal_set set(ctx.get_executor(), {SIGUSR1});
            check_copy(ctx, set);
        }
    }

    TEST_CASE("a signal of the original does not reach the copy")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1, SIGUSR2});
        ::raise(SIGUSR2);  // before: it is the original's as well
        error_code ec;
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        const pid_t copy = fork_process(ctx, ec);
        if (copy == 0) {
            char byte = 0;
            (void)!::read(ends[0], &byte, 1);
            ::_exit(set.try_wait() ? 1 : 0);
        }
        ::raise(SIGUSR1);
        REQUIRE(::write(ends[1], "x", 1) == 1);
        CHECK(result_of(copy) == 0);
        CHECK(set.try_wait()->number == SIGUSR2);
        CHECK(set.try_wait()->number == SIGUSR1);
        ::close(ends[0]);
        ::close(ends[1]);
    }

    TEST_CASE("a bare fork, of which nobody is told, is as safe (complaint 8)")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1});
        outcome<error_code, signal_info> got;
        set.async_wait(got.handler());
        ctx.poll();
        CHECK(procyard_test::in_fork([&] {
                  ::raise(SIGUSR1);
                  const auto told = set.try_wait();
                  return told && told->count == 1 && told->sender_pid == ::getpid() ? 0 : 1;
              })
              == 0);
        CHECK(ctx.poll() == 0);
        CHECK_FALSE(got.done());
        set.cancel();
        run(ctx);
    }

    TEST_CASE("a child that shares the memory of its parent puts nothing there")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1});
        outcome<error_code, signal_info> got;
        set.async_wait(got.handler());
        ctx.poll();
        // As vfork(2), which no sanitizer likes.
        const auto child = static_cast<pid_t>(
            ::syscall(SYS_clone, CLONE_VFORK | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
        if (child == 0) {
            ::syscall(SYS_kill, ::syscall(SYS_getpid), SIGUSR1);
            ::_exit(0);
        }
        CHECK(result_of(child) == 0);
        CHECK(ctx.poll() == 0);
        CHECK_FALSE(set.try_wait().has_value());
        set.cancel();
        run(ctx);
    }

    TEST_CASE("a copy that drops its sets leaves those of the original alone")
    {
        const auto check = [] {
            asio::io_context ctx;
            auto set = std::make_unique<signal_set>(ctx.get_executor(),
                                                    std::initializer_list{SIGUSR1, SIGUSR2});
            outcome<error_code, signal_info> got;
            set->async_wait(got.handler());
            ctx.poll();
            CHECK(procyard_test::in_fork([&] {
                      set->remove(SIGUSR2);
                      set.reset();
                      return 0;
                  })
                  == 0);
            ::raise(SIGUSR2);
            run(ctx);
            CHECK(got.result().number == SIGUSR2);
        };
        SUBCASE("sigaction")
        {
            check();
        }
        SUBCASE("signalfd")
        {
            const signal_mask_guard guard({SIGUSR1, SIGUSR2});
            check();
        }
    }

    TEST_CASE("a copy closes what it has, and nothing twice")
    {
        const auto in_copy = [](bool waits) {
            asio::io_context ctx;
            auto set =
                std::make_unique<signal_set>(ctx.get_executor(), std::initializer_list{SIGUSR1});
            outcome<error_code, signal_info> got;
            if (waits) {
                set->async_wait(got.handler());
                ctx.poll();
            }
            error_code ec;
            const auto before = procyard_test::open_descriptors();
            const pid_t copy = fork_process(ctx, ec);
            if (copy == 0) {
                set->cancel();
                ctx.restart();
                ctx.run();
                set.reset();
                // One less; what the wait had registered goes with it.
                ::_exit(procyard_test::open_descriptors() == before - 1 ? 0 : 1);
            }
            return result_of(copy);
        };
        CHECK(in_copy(false) == 0);
        CHECK(in_copy(true) == 0);
    }

    TEST_CASE(
        "a copy that gets no descriptors of its own says so, and touches none of the original's")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1});
        CHECK(procyard_test::in_fork([&] {
                  const rlimit none{0, 0};
                  ::setrlimit(RLIMIT_NOFILE, &none);
                  const int copy = procyard_test::in_fork([&] {
                      ::raise(SIGUSR1);
                      return set.try_wait() ? 1 : 0;
                  });
                  if (copy != 0)
                      return copy;
                  ::raise(SIGUSR1);
                  return set.try_wait() ? 0 : 2;
              })
              == 0);
    }

    TEST_CASE("the mask is as it was, on both sides")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1});
        const signal_mask_guard guard({SIGHUP});
        const auto is_same = [] {
            sigset_t now;
            ::pthread_sigmask(SIG_BLOCK, nullptr, &now);
            return ::sigismember(&now, SIGHUP) == 1 && ::sigismember(&now, SIGUSR1) == 0;
        };
        error_code ec;
        const pid_t copy = fork_process(ctx, ec);
        if (copy == 0)
            ::_exit(is_same() ? 0 : 1);
        CHECK(is_same());
        CHECK(result_of(copy) == 0);
    }

    TEST_CASE("without another process, an error and nothing else")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1});
        CHECK(procyard_test::in_fork([&] {
                  // No limit of processes holds root.
                  if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0)
                      return 1;
                  const rlimit none{0, 0};
                  if (::setrlimit(RLIMIT_NPROC, &none) != 0)
                      return 2;
                  error_code ec;
                  const pid_t copy = fork_process(ctx, ec);
                  if (copy == 0)
                      ::_exit(0);
                  if (copy != -1 || ec.value() != EAGAIN)
                      return 3;
                  ::raise(SIGUSR1);
                  return set.try_wait() ? 0 : 4;
              })
              == 0);
    }
}
