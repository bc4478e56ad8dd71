// SPDX-License-Identifier: BSL-1.0
// A guest in a program that has handlers of its own: what is found is called, and put back.
#include <procyard/signals/signal_set.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include <procyard/ipc/syscall.hpp>

#include "disposition.hpp"
#include "forked.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::signal_info;
using procyard::signal_set;
using procyard_test::are_equal;
using procyard_test::disposition_guard;
using procyard_test::disposition_of;
using procyard_test::in_fork;
using procyard_test::is_handled_by;
using procyard_test::outcome;
using procyard_test::run;

namespace {

std::atomic<int> plain_calls{0};
std::atomic<int> info_calls{0};
std::atomic<pid_t> info_sender{0};
struct sigaction below_foreign{};

void on_plain(int)
{
    ++plain_calls;
}

void on_info(int, siginfo_t* info, void*)
{
    ++info_calls;
    info_sender = info->si_pid;
}

// A handler that calls the one before it, as a good one does.
void on_foreign(int number, siginfo_t* info, void* context)
{
    ++info_calls;
    if ((below_foreign.sa_flags & SA_SIGINFO) != 0)
        below_foreign.sa_sigaction(number, info, context);
}

[[nodiscard]] struct sigaction action_of(void (*handler)(int, siginfo_t*, void*), int flags = 0)
{
    struct sigaction action{};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    return action;
}

void forget_calls()
{
    plain_calls = 0;
    info_calls = 0;
}

// Until this thread of ours is in a system call that waits, which is the only one it makes.
void wait_until_asleep(pid_t thread)
{
    for (std::string state; state != "S"; std::this_thread::yield()) {
        std::ifstream stat("/proc/self/task/" + std::to_string(thread) + "/stat");
        std::string word;
        while (stat >> word && !word.ends_with(')')) { }
        stat >> state;
    }
}

#ifndef __SANITIZE_THREAD__
sigjmp_buf jump_target;
volatile sig_atomic_t may_jump = 0;
int rounds = 0;  // not in a register, which a jump would put back
int undisturbed = 0;

void on_alarm(int)
{
    if (may_jump == 0)
        return;
    may_jump = 0;
    siglongjmp(jump_target, 1);
}
#endif

// So that who writes to one gets EAGAIN. How many there are.
int fill_eventfds()
{
    int filled = 0;
    for (int fd = 0; fd < 100; ++fd) {
        char name[64] = "";
        const auto link = "/proc/self/fd/" + std::to_string(fd);
        if (::readlink(link.c_str(), name, sizeof name - 1) < 0
            || std::string(name) != "anon_inode:[eventfd]")
            continue;
        const std::uint64_t most = ~std::uint64_t{0} - 1;
        filled += ::write(fd, &most, sizeof most) == sizeof most ? 1 : 0;
    }
    return filled;
}

[[nodiscard]] bool has_told(signal_set& set, int number)
{
    const auto info = set.try_wait();
    return info && info->number == number && info->count == 1 && !set.try_wait();
}

}  // namespace

TEST_SUITE("signal_set's handler")
{
    TEST_CASE("nohup: SIG_IGN is there again when the set goes (case 2)")
    {
        const disposition_guard ignored(SIGHUP, SIG_IGN);
        asio::io_context ctx;
        {
            signal_set set(ctx.get_executor(), {SIGHUP});
            outcome<error_code, signal_info> got;
            set.async_wait(got.handler());
            ctx.poll();
            ::raise(SIGHUP);
            run(ctx);
            CHECK(got.result().number == SIGHUP);
        }
        CHECK(is_handled_by(disposition_of(SIGHUP), SIG_IGN));
        ::raise(SIGHUP);  // ignored
    }

    TEST_CASE("puts back exactly what it found: handler, flags and mask (complaint 7)")
    {
        struct sigaction odd{};
        odd.sa_handler = on_plain;
        odd.sa_flags = SA_NODEFER | SA_RESTART;
        ::sigaddset(&odd.sa_mask, SIGALRM);
        const disposition_guard guard(SIGUSR1, odd);
        const auto before = disposition_of(SIGUSR1);
        asio::io_context ctx;
        {
            signal_set first(ctx.get_executor(), {SIGUSR1});
            {
                signal_set second(ctx.get_executor(), {SIGUSR1});
                CHECK_FALSE(are_equal(disposition_of(SIGUSR1), before));
            }
            CHECK_FALSE(are_equal(disposition_of(SIGUSR1), before));
            const auto ours = disposition_of(SIGUSR1);
            CHECK_MESSAGE(::sigismember(&ours.sa_mask, SIGALRM) == 1,
                          "what it wants blocked is blocked while it is called");
        }
        CHECK(are_equal(disposition_of(SIGUSR1), before));
    }

    TEST_CASE("calls the handler that was there, of either kind, and tells the set")
    {
        forget_calls();
        asio::io_context ctx;
        const disposition_guard plain(SIGUSR1, on_plain);
        const disposition_guard info(SIGUSR2, action_of(on_info));
        signal_set set(ctx.get_executor(), {SIGUSR1, SIGUSR2});
        ::raise(SIGUSR1);
        CHECK(plain_calls == 1);
        CHECK(has_told(set, SIGUSR1));
        ::kill(::getpid(), SIGUSR2);
        CHECK(info_calls == 1);
        CHECK(info_sender == ::getpid());
        CHECK(has_told(set, SIGUSR2));
    }

    TEST_CASE("calls interrupted by a signal go on, unless the host wanted them interrupted")
    {
        asio::io_context ctx;
        const auto flags = [&] {
            const signal_set set(ctx.get_executor(), {SIGUSR1});
            return disposition_of(SIGUSR1).sa_flags;
        };
        constexpr int wanted = SA_SIGINFO | SA_ONSTACK;
        const auto relevant = [](int all) { return all & (SA_SIGINFO | SA_ONSTACK | SA_RESTART); };
        {
            const disposition_guard guard(SIGUSR1, SIG_DFL);
            CHECK(relevant(flags()) == (wanted | SA_RESTART));
        }
        {
            const disposition_guard guard(SIGUSR1, SIG_IGN);
            CHECK(relevant(flags()) == (wanted | SA_RESTART));
        }
        {
            const disposition_guard guard(SIGUSR1, on_plain, SA_RESTART);
            CHECK(relevant(flags()) == (wanted | SA_RESTART));
        }
        {
            const disposition_guard guard(SIGUSR1, on_plain);
            CHECK(relevant(flags()) == wanted);
        }
    }

    TEST_CASE("a blocking read goes on behind a signal")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGUSR1});
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        const auto reader = ::pthread_self();
        const pid_t reader_id = ::gettid();
        std::jthread other([&] {
            for (int i = 0; i < 10; ++i) {
                wait_until_asleep(reader_id);
                ::pthread_kill(reader, SIGUSR1);
            }
            wait_until_asleep(reader_id);
            REQUIRE(::write(ends[1], "x", 1) == 1);
        });
        char byte = 0;
        CHECK(::read(ends[0], &byte, 1) == 1);
        other.join();
        CHECK(set.try_wait().has_value());
        ::close(ends[0]);
        ::close(ends[1]);
    }

    TEST_CASE("a handler that somebody has installed above is left alone")
    {
        forget_calls();
        const disposition_guard guard(SIGUSR1, on_plain);
        asio::io_context ctx;
        std::optional<signal_set> set(std::in_place, ctx.get_executor(),
                                      std::initializer_list{SIGUSR1});
        below_foreign = disposition_of(SIGUSR1);
        const auto foreign = action_of(on_foreign);
        ::sigaction(SIGUSR1, &foreign, nullptr);
        ::raise(SIGUSR1);
        CHECK(has_told(*set, SIGUSR1));
        set.reset();
        CHECK((disposition_of(SIGUSR1).sa_sigaction == on_foreign));
        ::raise(SIGUSR1);
        CHECK(info_calls == 2);
        CHECK_MESSAGE(plain_calls == 2, "what was below ours is called through it still");

        // A new set is put above it; the circle that this makes is none.
        set.emplace(ctx.get_executor(), std::initializer_list{SIGUSR1});
        ::raise(SIGUSR1);
        CHECK(info_calls == 3);
        CHECK(plain_calls == 3);
        CHECK(has_told(*set, SIGUSR1));
        set.reset();
        CHECK((disposition_of(SIGUSR1).sa_sigaction == on_foreign));
        ::raise(SIGUSR1);
        CHECK(plain_calls == 4);
        CHECK_MESSAGE(info_calls == 4, "once, though ours has been above it");
    }

    TEST_CASE("a signal that is ignored for a while: a wait puts ours back, and what was found is "
              "there in the end")
    {
        forget_calls();
        const disposition_guard guard(SIGUSR1, on_plain);
        asio::io_context ctx;
        std::optional<signal_set> set(std::in_place, ctx.get_executor(),
                                      std::initializer_list{SIGUSR1});
        const auto ours = disposition_of(SIGUSR1);
        {
            const disposition_guard ignored(SIGUSR1, SIG_IGN);  // puts back what it has found
            outcome<error_code, signal_info> got;
            SUBCASE("by a wait")
            {
                set->async_wait(got.handler());
                ctx.poll();
                ::raise(SIGUSR1);
                run(ctx);
                CHECK(got.result().number == SIGUSR1);
            }
            SUBCASE("by another set")
            {
                signal_set second(ctx.get_executor(), {SIGUSR1});
                ::raise(SIGUSR1);
                CHECK(has_told(second, SIGUSR1));
                CHECK(has_told(*set, SIGUSR1));
            }
            CHECK(plain_calls == 1);
            CHECK(are_equal(disposition_of(SIGUSR1), ours));
        }
        set.reset();
        CHECK(is_handled_by(disposition_of(SIGUSR1), on_plain));
        ::raise(SIGUSR1);
        CHECK(plain_calls == 2);
    }

    TEST_CASE("put back by somebody else when no set is left, it gives way to what was there")
    {
        SUBCASE("the default action, which ends the process")
        {
            CHECK(in_fork([] {
                      const disposition_guard guard(SIGUSR1, SIG_DFL);
                      struct sigaction ours{};
                      {
                          asio::io_context ctx;
                          const signal_set set(ctx.get_executor(), {SIGUSR1});
                          const auto foreign = action_of(on_info);
                          ::sigaction(SIGUSR1, &foreign, &ours);
                      }
                      ::sigaction(SIGUSR1, &ours, nullptr);  // as a good guest does
                      ::raise(SIGUSR1);
                      return 0;
                  })
                  == -SIGUSR1);
        }
        SUBCASE("a handler")
        {
            forget_calls();
            const disposition_guard guard(SIGUSR1, on_plain);
            struct sigaction ours{};
            {
                asio::io_context ctx;
                const signal_set set(ctx.get_executor(), {SIGUSR1});
                const auto foreign = action_of(on_info);
                ::sigaction(SIGUSR1, &foreign, &ours);
            }
            ::sigaction(SIGUSR1, &ours, nullptr);
            ::raise(SIGUSR1);
            CHECK(plain_calls == 1);
            CHECK(is_handled_by(disposition_of(SIGUSR1), on_plain));
        }
    }

    TEST_CASE("beside asio::signal_set, in both orders of construction and destruction")
    {
        const disposition_guard guard(SIGUSR1, SIG_IGN);
        asio::io_context ctx;
        int asio_heard = 0;
        int we_heard = 0;
        std::optional<asio::signal_set> theirs;
        std::optional<signal_set> ours;
        const auto make_theirs = [&] { theirs.emplace(ctx, SIGUSR1); };
        const auto make_ours = [&] {
            ours.emplace(ctx.get_executor(), std::initializer_list{SIGUSR1});
        };
        const auto both_hear = [&] {
            asio_heard = we_heard = 0;
            if (theirs)
                theirs->async_wait([&](error_code ec, int) { asio_heard += ec ? 0 : 1; });
            if (ours)
                ours->async_wait(
                    [&](error_code ec, const signal_info&) { we_heard += ec ? 0 : 1; });
            ctx.restart();
            ctx.poll();
            ::raise(SIGUSR1);
            run(ctx);
            CHECK(asio_heard == (theirs ? 1 : 0));
            CHECK(we_heard == (ours ? 1 : 0));
        };
        SUBCASE("theirs, ours; ours goes first")
        {
            make_theirs();
            make_ours();
            both_hear();
            ours.reset();
            both_hear();
        }
        SUBCASE("theirs, ours; theirs goes first")
        {
            make_theirs();
            make_ours();
            both_hear();
            theirs.reset();
            both_hear();
        }
        SUBCASE("ours, theirs; ours goes first")
        {
            make_ours();
            make_theirs();
            both_hear();
            ours.reset();
            both_hear();
        }
        SUBCASE("ours, theirs; theirs goes first, and ours comes back")
        {
            make_ours();
            make_theirs();
            both_hear();
            theirs.reset();
            both_hear();
            ours.reset();
            make_theirs();
            make_ours();
            both_hear();
        }
    }

    TEST_CASE("SIGCHLD: a host's handler is called, and children are reaped as the host decided")
    {
        asio::io_context ctx;
        const auto child_is_zombie = [] {
            const pid_t pid = ::fork();
            if (pid == 0)
                ::_exit(0);
            return procyard::retry_eintr([&] { return ::waitpid(pid, nullptr, 0); }) == pid;
        };
        SUBCASE("SIG_IGN reaps them by itself")
        {
            const disposition_guard guard(SIGCHLD, SIG_IGN);
            signal_set set(ctx.get_executor(), {SIGCHLD});
            CHECK_FALSE(child_is_zombie());
            CHECK(set.try_wait().has_value());
        }
        SUBCASE("a handler does not")
        {
            forget_calls();
            const disposition_guard guard(SIGCHLD, on_plain, SA_RESTART);
            signal_set set(ctx.get_executor(), {SIGCHLD});
            CHECK(child_is_zombie());
            CHECK(plain_calls == 1);
            const auto info = set.try_wait();
            REQUIRE(info.has_value());
            CHECK(info->code == CLD_EXITED);
            CHECK(info->sender_pid > 0);
        }
    }

#ifndef __SANITIZE_THREAD__  // delays handlers, and knows no jumps out of them
    TEST_CASE("a handler that interrupts ours and jumps out of both leaves the set in order")
    {
        CHECK(in_fork([] {
                  asio::io_context ctx;
                  signal_set set(ctx.get_executor(), {SIGUSR1});
                  struct sigaction jump{};
                  jump.sa_handler = on_alarm;
                  ::sigaction(SIGALRM, &jump, nullptr);
                  constexpr itimerval often{{0, 20}, {0, 20}};
                  ::setitimer(ITIMER_REAL, &often, nullptr);
                  for (rounds = 0; rounds < 20'000; ++rounds) {
                      if (sigsetjmp(jump_target, 1) == 0) {
                          may_jump = 1;
                          ::raise(SIGUSR1);
                          may_jump = 0;
                          ++undisturbed;
                      }
                      // As a loop does: the next one rings again.
                      (void)set.try_wait();
                  }
                  constexpr itimerval never{};
                  ::setitimer(ITIMER_REAL, &never, nullptr);
                  while (set.try_wait()) { }
                  pid_t sender = 0;
                  set.async_wait([&](error_code, const signal_info& info) {
                      sender = info.number == SIGUSR1 ? info.sender_pid : -1;
                  });
                  ctx.poll();
                  ::kill(::getpid(), SIGUSR1);
                  for (int turns = 0; turns < 10 && sender == 0; ++turns)
                      ctx.poll();
                  if (undisturbed == 20'000)
                      return 1;  // the test has seen nothing
                  return sender == ::getpid() ? 0 : 2;
              })
              == 0);
    }
#endif

    TEST_CASE("errno is as it was, though the handler's write has failed")
    {
        CHECK(in_fork([] {
                  asio::io_context ctx;
                  signal_set set(ctx.get_executor(), {SIGUSR1});
                  if (fill_eventfds() == 0)
                      return 1;
                  errno = 4711;
                  ::raise(SIGUSR1);
                  if (errno != 4711)
                      return 2;
                  return has_told(set, SIGUSR1) ? 0 : 3;
              })
              == 0);
    }
}
