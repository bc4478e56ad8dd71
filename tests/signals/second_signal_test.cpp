// SPDX-License-Identifier: BSL-1.0
// The second signal ends the process, and that is decided where nothing can be stuck: in the
// handler.
#include <procyard/signals/signal_set.hpp>

#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>

#include <doctest/doctest.h>

#include <procyard/ipc/syscall.hpp>

#include "disposition.hpp"
#include "forked.hpp"
#include "procyard_test.hpp"
#include "skip.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::second_signal;
using procyard::signal_info;
using procyard::signal_set;
using procyard_test::disposition_guard;
using procyard_test::forked;
using procyard_test::in_fork;

namespace {

constexpr procyard::signal_set_options deadly{.second = second_signal::dies_of_it};

// doctest's handlers are not those of a program.
void be_a_program()
{
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    for (const int number : {SIGINT, SIGTERM, SIGABRT})
        ::signal(number, SIG_DFL);
}

// What a copy says to its parent, one byte at a time.
class word_pipe {
public:
    word_pipe() { REQUIRE(::pipe2(ends_.data(), O_CLOEXEC) == 0); }
    word_pipe(const word_pipe&) = delete;
    word_pipe& operator=(const word_pipe&) = delete;
    ~word_pipe()
    {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    void say(char word) const { (void)!::write(ends_[1], &word, 1); }
    [[nodiscard]] char hear() const
    {
        char word = 0;
        (void)procyard::retry_eintr([&] { return ::read(ends_[0], &word, 1); });
        return word;
    }

private:
    std::array<int, 2> ends_{};
};

}  // namespace

TEST_SUITE("second_signal")
{
    TEST_CASE("the first is told; with the loop stuck, the second ends the process, by that signal "
              "(case 4, complaint 7)")
    {
        const word_pipe words;
        forked copy([&] {
            be_a_program();
            asio::io_context ctx;
            signal_set set(ctx.get_executor(), {SIGINT, SIGTERM}, deadly);
            set.async_wait([&](error_code ec, const signal_info& info) {
                words.say(!ec && info.number == SIGINT ? 'g' : 'x');
                for (volatile bool stuck = true; stuck;) { }
            });
            words.say('r');
            ctx.run();
            return 0;
        });
        REQUIRE(words.hear() == 'r');
        ::kill(copy.pid(), SIGINT);
        REQUIRE(words.hear() == 'g');
        int number = 0;
        SUBCASE("the same one")
        {
            number = SIGINT;
        }
        SUBCASE("another one of the set")
        {
            number = SIGTERM;
        }
        ::kill(copy.pid(), number);
        CHECK(copy.result() == -number);
    }

    TEST_CASE("disarmed, it is told as the first was; armed again, the next one is the first")
    {
        CHECK(in_fork([] {
                  be_a_program();
                  asio::io_context ctx;
                  signal_set set(ctx.get_executor(), {SIGINT}, deadly);
                  ::raise(SIGINT);
                  set.disarm();
                  ::raise(SIGINT);
                  ::raise(SIGINT);
                  if (const auto told = set.try_wait(); !told || told->count != 3)
                      return 1;
                  set.arm();
                  ::raise(SIGINT);
                  if (!set.try_wait())
                      return 2;
                  set.arm();
                  ::raise(SIGINT);
                  if (!set.try_wait())
                      return 3;
                  ::raise(SIGINT);
                  return 4;
              })
              == -SIGINT);
    }

    TEST_CASE("arm() does nothing to a set without the option")
    {
        CHECK(in_fork([] {
                  be_a_program();
                  asio::io_context ctx;
                  signal_set set(ctx.get_executor(), {SIGINT});
                  set.arm();
                  ::raise(SIGINT);
                  ::raise(SIGINT);
                  return set.try_wait() ? 0 : 1;
              })
              == 0);
    }

    TEST_CASE("a host's handler does not keep the process from dying")
    {
        CHECK(in_fork([] {
                  be_a_program();
                  ::signal(SIGINT, [](int) { });
                  asio::io_context ctx;
                  signal_set set(ctx.get_executor(), {SIGINT}, deadly);
                  ::raise(SIGINT);
                  ::raise(SIGINT);
                  return 0;
              })
              == -SIGINT);
    }

    TEST_CASE("the first process of a pid namespace, which its own signals cannot kill, exits")
    {
        const int result = in_fork([] {
            be_a_program();
            if (::unshare(CLONE_NEWPID) == -1)
                return 77;
            const int first = in_fork([] {
                asio::io_context ctx;
                signal_set set(ctx.get_executor(), {SIGINT}, deadly);
                ::raise(SIGINT);
                ::raise(SIGINT);
                return ::getpid() == 1 ? 1 : 2;
            });
            return first == 128 + SIGINT ? 0 : 3;
        });
        if (result == 77)
            procyard_test::skip("this user may not make a pid namespace");
        else
            CHECK(result == 0);
    }

    TEST_CASE("a copy of a process that has been asked to end has not been asked itself")
    {
        CHECK(in_fork([] {
                  be_a_program();
                  asio::io_context ctx;
                  signal_set set(ctx.get_executor(), {SIGINT}, deadly);
                  ::raise(SIGINT);
                  const int copy = in_fork([&] {
                      if (set.try_wait())
                          return 1;  // the original's
                      ::raise(SIGINT);
                      return set.try_wait() ? 0 : 2;
                  });
                  if (copy != 0)
                      return copy;
                  ::raise(SIGINT);
                  return 3;
              })
              == -SIGINT);
    }
}
