// SPDX-License-Identifier: BSL-1.0
// The first process of a container, or a subreaper in its place. Each in a copy of the test, since
// all of it is a matter of the whole process.
#include <procyard/runtime/init.hpp>

#include <doctest/doctest.h>

#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/activation.hpp>
#include <procyard/runtime/forward_signals.hpp>
#include <procyard/runtime/service_manager.hpp>
#include <procyard/runtime/shutdown_report.hpp>
#include <procyard/runtime/spawn.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/signals/signal_set.hpp>

#include "feature_off.hpp"
#include "forked.hpp"
#include "host_state.hpp"
#include "procyard_test.hpp"
#include "skip.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

#if defined(__SANITIZE_ADDRESS__)
// A copy of run_as_init's ends by exit(), where LeakSanitizer makes a process that stops and looks
// at the one that ends. To the init that is one more that was left, and has to be stopped: the copy
// then waited without end for its own tracer. The program itself is looked at as ever.
static const pid_t first_process = ::getpid();
extern "C" int __lsan_is_turned_off();  // NOLINT(bugprone-reserved-identifier)
extern "C" int __lsan_is_turned_off()   // NOLINT(bugprone-reserved-identifier)
{
    return ::getpid() == first_process ? 0 : 1;
}
#endif

namespace {

// What a copy says.
class report_pipe {
public:
    report_pipe()
    {
        int ends[2] = {};
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        from_.reset(ends[0]);
        to_.reset(ends[1]);
    }
    // In the copy.
    void say(std::string_view text) const
    {
        if (::write(to_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
            ::_exit(121);
    }
    [[nodiscard]] int writing_end() const noexcept { return to_.get(); }
    // In the test, when the copy is made: up to the line feed, or the end.
    std::string line()
    {
        to_.reset();
        std::string text;
        for (char c = 0; ::read(from_.get(), &c, 1) == 1 && c != '\n';)
            text += c;
        return text;
    }

private:
    unique_fd from_;
    unique_fd to_;
};

// Under whatever the test runs, its copies begin as programs do.
void be_a_program()
{
    for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGCHLD})
        ::signal(number, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

int die_as(const exit_status& status)
{
    if (status.is_signaled())
        die_of_signal(*status.signal());
    return status.shell_code();
}

// The letter that /proc has for a process' state; '?' when there is none.
char state_of(pid_t pid)
{
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const auto name_end = text.rfind(") ");
    return name_end == std::string::npos ? '?' : text[name_end + 2];
}

// A terminal, and what is typed at it.
class keyboard {
public:
    keyboard() : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC))
    {
        REQUIRE(master_);
        REQUIRE(::grantpt(master_.get()) == 0);
        REQUIRE(::unlockpt(master_.get()) == 0);
    }
    void type(std::string_view text) const
    {
        REQUIRE(::write(master_.get(), text.data(), text.size())
                == static_cast<ssize_t>(text.size()));
    }
    // In a copy: makes it the terminal of a new session, at descriptor 0.
    [[nodiscard]] bool sit_at() const
    {
        (void)::setsid();
        const int terminal = ::open(::ptsname(master_.get()), O_RDWR | O_CLOEXEC);
        return terminal != -1 && ::ioctl(terminal, TIOCSCTTY, 0) == 0 && ::dup2(terminal, 0) == 0;
    }

private:
    unique_fd master_;
};

// Reads a line, says so, and ends well after another one.
command reader_of_two_lines(const report_pipe& report)
{
    command main = command::shell("read -r one; echo ready >&4; read -r two;"
                                  "[ \"$two\" = hello ] && exit 5");
    main.descriptor(4, stdio::borrow(report.writing_end()));
    return main;
}

// As a service manager does before it starts a program, with a socket as 3.
bool be_activated()
{
    const auto self = std::to_string(::getpid());
    // tidy: allow cloexec: the program that is started wants it
    unique_fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
    if (listener.get() == 3)
        (void)listener.release();
    else if (::dup2(listener.get(), 3) != 3)
        return false;
    for (const auto& [name, value] : {std::pair("LISTEN_FDS", "1"),
                                      {"LISTEN_FDNAMES", "web"},
                                      {"LISTEN_PID", self.c_str()},
                                      {"NOTIFY_SOCKET", "@nobody"},
                                      {"WATCHDOG_USEC", "1000000"},
                                      {"WATCHDOG_PID", self.c_str()}})
        ::setenv(name, value, 1);
    return true;
}

// `body` as the first process of a pid namespace, with a /proc of its own. 77: this user may not.
template <class Body>
int as_first_process(Body body)
{
    return in_fork([&] {
        be_a_program();
        // Who may not do so may as the root of a user namespace, as a rule.
        const int user = ::geteuid() == 0 ? 0 : CLONE_NEWUSER;
        if (::unshare(user | CLONE_NEWPID | CLONE_NEWNS) == -1)
            return 77;
        return in_fork([&] {
            if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0
                || ::mount("proc", "/proc", "proc", 0, nullptr) != 0)
                return 77;
            return body();
        });
    });
}

bool skipped(int result)
{
    if (result == 77)
        skip("this user may not make a pid namespace");
    return result == 77;
}

command script(std::string text)
{
    return command::shell(std::move(text));
}

}  // namespace

TEST_SUITE("run_as_init")
{
    TEST_CASE("ends with the main child's code, or with 128 and its signal")
    {
        CHECK(in_fork([] { return run_as_init(script("exit 7")).exit_code(); }) == 7);
        CHECK(in_fork([] { return run_as_init(script("kill -SEGV $$")).exit_code(); })
              == 128 + SIGSEGV);
        CHECK(in_fork([] { return die_as(run_as_init(script("kill -TERM $$")).status); })
              == -SIGTERM);
    }

    TEST_CASE("a main child that cannot be started is an error that says why")
    {
        CHECK(in_fork([] {
                  try {
                      (void)run_as_init(command("/no/such/program"));
                  } catch (const spawn_error& error) {
                      return error.code() == boost::system::errc::no_such_file_or_directory
                              && children() == 0
                          ? 0
                          : 1;
                  }
                  return 2;
              })
              == 0);
    }

    TEST_CASE("orphans come to it, double-forked ones too, and are reaped: no zombie is left")
    {
        report_pipe report;
        CHECK(in_fork([&] {
                  std::string heard;
                  init_options options;
                  options.on_orphan = [&](pid_t, const exit_status& status) {
                      heard += status.to_string() + ", ";
                  };
                  const auto result = run_as_init(
                      script("(setsid sh -c 'exit 3' & ) ; (sh -c 'kill -KILL $$' & );"
                             // Until both have been reaped: this shell is then the only child.
                             "while [ $(cat /proc/$PPID/task/$PPID/children | wc -w) -gt 1 ];"
                             "do :; done; exit 5"),
                      options);
                  report.say(heard + '\n');
                  return result.orphans == 2 && zombie_children() == 0 && children() == 0
                      ? result.exit_code()
                      : 100 + static_cast<int>(result.orphans);
              })
              == 5);
        const auto heard = report.line();
        CHECK(heard.find("exit 3, ") != std::string::npos);
        CHECK(heard.find("killed by SIGKILL, ") != std::string::npos);
    }

    TEST_CASE("children that were there before are left to whoever waits for them")
    {
        CHECK(in_fork([] {
                  const pid_t mine = ::fork();
                  if (mine == 0)
                      ::_exit(42);
                  const auto result = run_as_init(
                      script("(sh -c 'exit 3' & );"
                             "while [ $(cat /proc/$PPID/task/$PPID/children | wc -w) -gt 2 ];"
                             "do :; done"));
                  int status = 0;
                  if (::waitpid(mine, &status, 0) != mine || WEXITSTATUS(status) != 42)
                      return 1;
                  return result.orphans == 1 ? 0 : 2;
              })
              == 0);
        CHECK_MESSAGE(
            in_fork([] {
                const pid_t before = ::fork();
                if (before == 0)
                    ::_exit(42);
                init_options options;
                options.reap_earlier_children = true;
                (void)run_as_init(
                    script("while [ $(cat /proc/$PPID/task/$PPID/children | wc -w) -gt 1 ];"
                           "do :; done"),
                    options);
                return ::waitpid(before, nullptr, 0) == -1 && errno == ECHILD ? 0 : 1;
            }) == 0,
            "unless they are an exec's");
    }

    TEST_CASE("signals are passed on, also those that came before there was a child")
    {
        CHECK(in_fork([] {
                  be_a_program();
                  sigset_t blocked;
                  ::sigemptyset(&blocked);
                  ::sigaddset(&blocked, SIGTERM);
                  ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
                  ::raise(SIGTERM);
                  const auto result = run_as_init(script("while :; do read -r line || :; done"));
                  return result.forwarded == 1 ? result.exit_code() : 1;
              })
              == 128 + SIGTERM);

        report_pipe report;
        forked init([&] {
            be_a_program();
            command main = script("trap 'echo usr1 >&4; exit 9' USR1; echo ready >&4;"
                                  "while :; do read -r line || :; done");
            main.descriptor(4, stdio::borrow(report.writing_end()));
            main.std_in(stdio::null());
            return run_as_init(main).exit_code();
        });
        CHECK(report.line() == "ready");
        ::kill(init.pid(), SIGUSR1);
        CHECK(report.line() == "usr1");
        CHECK(init.result() == 9);
    }

    TEST_CASE("what is passed on by default is what somebody sends on purpose")
    {
        const auto all = procyard::init_options::forwardable();
        const auto has = [&](int number) {
            return std::find(all.begin(), all.end(), number) != all.end();
        };
        for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCONT,
                                 SIGWINCH, SIGPWR, SIGRTMIN, SIGRTMAX})
            CHECK_MESSAGE(has(number), number);
        for (const int number : {SIGCHLD, SIGTSTP, SIGTTIN, SIGTTOU, SIGALRM, SIGPIPE, SIGSEGV,
                                 SIGABRT, SIGKILL, SIGSTOP})
            CHECK_FALSE_MESSAGE(has(number), number);
        CHECK(static_cast<int>(all.size()) == 9 + SIGRTMAX - SIGRTMIN + 1);
    }

    TEST_CASE("a coroutine that waits for nothing that could come is a failure, and no hang")
    {
        CHECK(in_fork([] {
                  return run_as_init([]() -> asio::awaitable<int> {
                             // Its handler is dropped: nobody will ever call it.
                             co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
                                 [](auto&&) { }, asio::use_awaitable);
                             co_return 0;
                         })
                      .exit_code();
              })
              == 1);
    }

    TEST_CASE("signals go to all that the main child has started, if so wished")
    {
        report_pipe report;
        forked init([&] {
            be_a_program();
            command main = script("trap : TERM; " PROCYARD_TEST_HELPER
                                  " --mode=pause >&4 & wait; wait; exit 6");
            main.descriptor(4, stdio::borrow(report.writing_end()));
            init_options options;
            options.to_tree = true;
            const auto result = run_as_init(main, options);
            return result.forwarded == 1 ? result.exit_code() : 1;
        });
        CHECK(report.line().starts_with("ready "));
        ::kill(init.pid(), SIGTERM);
        CHECK(init.result() == 6);
    }

    TEST_CASE("the main child has the terminal that was in front of it")
    {
        const unique_fd ours(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
        REQUIRE(ours);
        REQUIRE(::grantpt(ours.get()) == 0);
        REQUIRE(::unlockpt(ours.get()) == 0);
        forked init([&] {
            be_a_program();
            (void)::setsid();
            const int terminal = ::open(::ptsname(ours.get()), O_RDWR | O_CLOEXEC);
            if (terminal == -1 || ::ioctl(terminal, TIOCSCTTY, 0) != 0 || ::dup2(terminal, 0) != 0)
                return 1;
            const auto result =
                run_as_init(script("read -r line; [ \"$line\" = hello ] && exit 5"));
            return ::tcgetpgrp(0) == ::getpgrp() ? result.exit_code() : 2;
        });
        REQUIRE(::write(ours.get(), "hello\n", 6) == 6);
        CHECK(init.result() == 5);
    }

    TEST_CASE("a ^Z that nobody could take back does not stop the main child")
    {
        const keyboard keys;
        report_pipe report;
        forked init([&] {
            be_a_program();
            return keys.sit_at() ? run_as_init(reader_of_two_lines(report)).exit_code() : 1;
        });
        keys.type("one\n");
        CHECK(report.line() == "ready");
        keys.type("\x1ahello\n");
        CHECK(init.result() == 5);
    }

    TEST_CASE("a ^Z stops this process as well, and both go on together")
    {
        const keyboard keys;
        report_pipe report;
        forked shell([&] {
            be_a_program();
            ::signal(SIGTTOU, SIG_IGN);
            if (!keys.sit_at())
                return 1;
            const pid_t job = ::fork();
            if (job == 0) {
                (void)::setpgid(0, 0);
                (void)::tcsetpgrp(0, ::getpgrp());
                ::signal(SIGTTOU, SIG_DFL);
                ::_exit(run_as_init(reader_of_two_lines(report)).exit_code());
            }
            int status = 0;
            if (::waitpid(job, &status, WUNTRACED) != job || !WIFSTOPPED(status))
                return 2;
            const bool is_back = ::tcgetpgrp(0) == job;
            (void)::tcsetpgrp(0, ::getpgrp());
            report.say("stopped\n");
            (void)::tcsetpgrp(0, job);
            (void)::kill(-job, SIGCONT);
            if (::waitpid(job, &status, WUNTRACED) != job || !WIFEXITED(status) || !is_back)
                return 3;
            return WEXITSTATUS(status);
        });
        keys.type("one\n");
        CHECK(report.line() == "ready");
        keys.type("\x1a");
        CHECK(report.line() == "stopped");
        keys.type("hello\n");
        CHECK(shell.result() == 5);
    }

    TEST_CASE("a main child that is stopped hears a SIGTERM")
    {
        report_pipe report;
        forked init([&] {
            be_a_program();
            command main = script("echo $$ >&4; kill -STOP $$; exit 3");
            main.descriptor(4, stdio::borrow(report.writing_end()));
            return run_as_init(main).exit_code();
        });
        const pid_t main = std::stoi(report.line());
        while (state_of(main) != 'T' && state_of(main) != '?')
            std::this_thread::yield();
        ::kill(init.pid(), SIGTERM);
        CHECK(init.result() == 128 + SIGTERM);
    }

    TEST_CASE("socket activation and the watchdog of this process are the main child's")
    {
        CHECK(in_fork([] {
                  if (!be_activated())
                      return 1;
                  return run_as_init(
                             script("[ \"$LISTEN_PID\" = $$ ] || exit 2;"
                                    "[ $LISTEN_FDNAMES = web ] && [ $LISTEN_FDS = 1 ] || exit 3;"
                                    "[ -S /proc/$$/fd/3 ] || exit 4;"
                                    "[ -z \"$WATCHDOG_PID\" ] && exit 9"))
                      .exit_code();
              })
              == 9);
        CHECK(in_fork([] {
                  if (!be_activated())
                      return 1;
                  return run_as_init([]() -> asio::awaitable<int> {
                             const activation_descriptors given(manager_variables::keep);
                             if (!given.contains("web"))
                                 co_return 2;
                             const auto manager =
                                 service_manager::from_environment(manager_variables::keep);
                             co_return manager.watchdog ? 9 : 3;
                         })
                      .exit_code();
              })
              == 9);
        CHECK_MESSAGE(in_fork([] {
                          if (!be_activated())
                              return 1;
                          ::setenv("LISTEN_PID", "1", 1);
                          ::setenv("WATCHDOG_PID", "1", 1);
                          return run_as_init(script("[ $LISTEN_PID = 1 ] && [ $WATCHDOG_PID = 1 ]"
                                                    "&& exit 9"))
                              .exit_code();
                      }) == 9,
                      "and nobody else's");
    }

    TEST_CASE("an ignored SIGCHLD costs no exit code, and is ignored again")
    {
        const feature_off no_status(&procyard::detail::kernel_features::pidfd_info_exit);
        CHECK(in_fork([] {
                  ::signal(SIGCHLD, SIG_IGN);
                  const int code = run_as_init(script("exit 7")).exit_code();
                  return disposition::current(SIGCHLD) == SIG_IGN ? code : 1;
              })
              == 7);
    }

    TEST_CASE("an exception of a callback stops the main child, and comes to the caller")
    {
        CHECK(in_fork([] {
                  init_options options;
                  options.on_orphan = [](pid_t, const exit_status&) {
                      throw std::runtime_error("heard");
                  };
                  try {
                      (void)run_as_init(
                          script("(sh -c 'exit 3' &); while :; do read -r line || :; done"),
                          options);
                  } catch (const std::runtime_error& error) {
                      return error.what() == std::string("heard") && children() == 0 ? 5 : 1;
                  }
                  return 2;
              })
              == 5);
    }

    TEST_CASE("an exception of the coroutine ends the copy, and never comes to the caller there")
    {
        report_pipe report;
        CHECK(in_fork([&] {
                  const rlimit none{};
                  (void)::setrlimit(RLIMIT_CORE, &none);
                  ::signal(SIGABRT, SIG_DFL);  // which is doctest's
                  try {
                      const auto result = run_as_init([]() -> asio::awaitable<int> {
                          co_await asio::post(asio::use_awaitable);
                          throw std::runtime_error("on purpose");
                      });
                      report.say(result.status.to_string() + '\n');
                      return result.exit_code();
                  } catch (const std::exception&) {
                      report.say("caught\n");
                  }
                  return 1;
              })
              == 128 + SIGABRT);
        CHECK(report.line().starts_with("killed by SIGABRT"));
    }

    TEST_CASE("without /proc, which has gone meanwhile, orphans are reaped all the same")
    {
        const int result = as_first_process([] {
            return run_as_init(
                       script("umount -l /proc || exit 77; orphan=$( (sh -c 'echo $$' & ) );"
                              "while kill -0 $orphan 2>/dev/null; do :; done; exit 5"))
                .exit_code();
        });
        if (!skipped(result))
            CHECK(result == 5);
    }

    TEST_CASE("what the main child has left gets SIGTERM, and SIGKILL after the grace")
    {
        CHECK(in_fork([] {
                  int pair[2] = {};
                  if (::pipe2(pair, O_CLOEXEC) != 0)
                      return 1;
                  const unique_fd held(pair[0]);
                  unique_fd holds(pair[1]);
                  command main = helper({"--mode=daemon-orphan", "6"});
                  main.descriptor(4, stdio::borrow(holds.get())).std_out(stdio::null());
                  const auto result = run_as_init(main);
                  holds.reset();
                  char byte = 0;
                  if (::read(held.get(), &byte, 1) != 0 || children() != 0)
                      return 2;  // somebody has it
                  return result.rest.tree_empty && !result.rest.forced() ? result.exit_code() : 3;
              })
              == 6);
        CHECK(in_fork([] {
                  init_options options;
                  options.rest = stop_ladder::terminate(std::chrono::milliseconds(1));
                  const auto result =
                      run_as_init(script("trap '' TERM; (while :; do :; done) & exit 4"), options);
                  return children() == 0 && result.rest.forced() ? result.exit_code() : 100;
              })
              == 4);
    }

    TEST_CASE("a thousand orphans at once leave nothing (catatonit#4)")
    {
        constexpr int count = 1000;
        CHECK(in_fork([] {
                  command main = helper({"--mode=orphans-at-once", std::to_string(count), "8"});
                  const auto result = run_as_init(main);
                  return result.orphans == count && children() == 0 ? result.exit_code() : 2;
              })
              == 8);
    }

    TEST_CASE("no /proc of this pid namespace is an error before anything happens")
    {
        const int result = as_first_process([] {
            if (::umount2("/proc", MNT_DETACH) != 0)
                return 77;
            try {
                (void)run_as_init(script("exit 0"));
            } catch (const boost::system::system_error& error) {
                return std::string(error.what()).find("/proc") != std::string::npos ? 0 : 1;
            }
            return 2;
        });
        if (!skipped(result))
            CHECK(result == 0);
    }

    TEST_CASE("another thread is an error before anything happens")
    {
        CHECK(in_fork([] {
                  std::promise<void> enough;
                  std::thread other([&] { enough.get_future().wait(); });
                  int result = 1;
                  try {
                      (void)run_as_init(script("exit 0"));
                  } catch (const boost::system::system_error& error) {
                      result = error.code() == make_errno(EBUSY) && children() == 0 ? 0 : 2;
                  }
                  enough.set_value();
                  other.join();
                  return result;
              })
              == 0);
    }

    TEST_CASE("a coroutine runs in a copy, and its code is the exit code")
    {
        report_pipe report;
        CHECK(in_fork([&] {
                  const pid_t us = ::getpid();
                  const auto result = run_as_init([&]() -> asio::awaitable<int> {
                      if (::getpid() == us || ::getppid() != us)
                          co_return 1;
                      // Its own children are its own: no init reaps them.
                      auto ex = co_await asio::this_coro::executor;
                      child mine = spawn(script("exit 3"), ex);
                      const auto status = co_await mine.async_wait(asio::use_awaitable);
                      report.say(status.to_string() + '\n');
                      co_return 11;
                  });
                  return result.exit_code();
              })
              == 11);
        CHECK(report.line() == "exit 3");
    }

    TEST_CASE("a coroutine is sent what its init is sent, and what it leaves is stopped")
    {
        report_pipe report;
        forked init([&] {
            be_a_program();
            return run_as_init([&]() -> asio::awaitable<int> {
                       auto ex = co_await asio::this_coro::executor;
                       signal_set stop(ex, {SIGTERM});
                       child left = spawn(helper({"--mode=pause"}).std_out(stdio::null()), ex);
                       (void)left.detach();
                       report.say("ready\n");
                       co_await stop.async_wait(asio::use_awaitable);
                       co_return 12;
                   })
                .exit_code();
        });
        CHECK(report.line() == "ready");
        ::kill(init.pid(), SIGTERM);
        CHECK(init.result() == 12);
    }

    TEST_CASE("as the first process: TERM is an ordered stop, orphans are reaped, and its code is "
              "the main child's (case 56)")
    {
        report_pipe report;
        const int result = as_first_process([&] {
            if (::getpid() != 1)
                return 1;
            command main = script("trap 'echo stopping >&4; exit 5' TERM;"
                                  "(sh -c 'exit 3' & );"
                                  "while [ $(cat /proc/1/task/1/children | wc -w) -gt 1 ];"
                                  "do :; done; kill -TERM 1; while :; do read -r line || :; done");
            main.descriptor(4, stdio::borrow(report.writing_end())).std_in(stdio::null());
            const auto ended = run_as_init(main);
            if (ended.orphans != 1 || zombie_children() != 0)
                return 2;
            return die_as(ended.status);
        });
        if (skipped(result))
            return;
        CHECK(report.line() == "stopping");
        CHECK(result == 5);
        CHECK_MESSAGE(as_first_process([] {
                          return die_as(run_as_init(script("kill -TERM $$")).status);
                      }) == 128 + SIGTERM,
                      "which cannot die of a signal");
    }
}
