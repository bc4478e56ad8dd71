// SPDX-License-Identifier: BSL-1.0
// What a child does between clone and exec, as its host sees it: nothing of the host's.
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

void say(std::string_view text)
{
    if (::write(STDOUT_FILENO, text.data(), text.size()) == -1)
        std::abort();
}

std::size_t count_of(const std::string& text, std::string_view word)
{
    std::size_t count = 0;
    for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
        ++count;
    return count;
}

struct farewell {
    farewell() = default;
    farewell(const farewell&) = delete;
    farewell& operator=(const farewell&) = delete;
    ~farewell() { say("<destructor>"); }
};

/// Holds the loader's lock and that of a stream, in a thread of its own, for as long as it lives.
class held_locks {
public:
    held_locks()
        : thread_([this] {
              ::flockfile(stderr);
              ::dl_iterate_phdr(
                  [](dl_phdr_info*, std::size_t, void* self) {
                      static_cast<held_locks*>(self)->hold();
                      return 1;
                  },
                  this);
              ::funlockfile(stderr);
          })
    {
        held_.wait(false);
    }
    held_locks(const held_locks&) = delete;
    held_locks& operator=(const held_locks&) = delete;
    ~held_locks()
    {
        over_ = true;
        over_.notify_one();
        thread_.join();
    }

private:
    void hold()
    {
        held_ = true;
        held_.notify_one();
        over_.wait(false);
    }

    std::atomic<bool> held_{false};
    std::atomic<bool> over_{false};
    std::thread thread_;
};

}  // namespace

TEST_SUITE("the child's side of a spawn")
{
    TEST_CASE("host: has hooks, buffers and destructors, and spawns" * doctest::skip())
    {
        static const farewell at_exit;
        REQUIRE(std::atexit([] { say("<atexit>"); }) == 0);
        REQUIRE(::pthread_atfork([] { say("<before fork>"); }, [] { say("<after fork>"); },
                                 [] { say("<in the child>"); })
                == 0);
        static char buffer[4096];
        std::FILE* const stream = ::fdopen(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3), "w");
        REQUIRE(stream != nullptr);
        std::setvbuf(stream, buffer, _IOFBF, sizeof buffer);
        std::fputs("<buffered>", stream);  // and left to the exit

        asio::io_context ctx;
        for (const auto& what : {command("/nope"), command("true").working_directory("/nope"),
                                 command("true").process_group(1)}) {
            (void)failure_of(ctx, what);
            outcome<error_code, child> got;
            async_spawn(what, ctx.get_executor(), got.handler());
            run(ctx);
            CHECK(got.error().failed());
        }
        CHECK(status_of(ctx, command("true")).success());
    }

    TEST_CASE("nothing of the host runs in a child that fails (complaint 06)")
    {
        asio::io_context ctx;
        const auto out =
            output_of(ctx,
                      command("/proc/self/exe", {"--test-case=host: has hooks*", "--no-skip"})
                          // The search for leaks makes a process of its own at the exit.
                          .env("ASAN_OPTIONS", "detect_leaks=0"));
        CHECK_MESSAGE(count_of(out, " 1 passed") == 1, out);
        CHECK(count_of(out, "<destructor>") == 1);
        CHECK(count_of(out, "<atexit>") == 1);
        CHECK(count_of(out, "<buffered>") == 1);
        CHECK(count_of(out, "<before fork>") == 0);
        CHECK(count_of(out, "<after fork>") == 0);
        CHECK(count_of(out, "<in the child>") == 0);
    }

    TEST_CASE("a child needs no lock that another thread holds (complaint 04)")
    {
        asio::io_context ctx;
        warm_up(ctx);
        std::atomic<bool> over{false};
        std::vector<std::thread> busy;
        for (int i = 0; i < 3; ++i) {
            busy.emplace_back([&over] {
                asio::io_context own;
                while (!over) {
                    // The heap's lock, and the one of Asio that a fork would have to take.
                    std::vector<std::unique_ptr<char[]>> blocks;
                    for (std::size_t size = 1; size < 100'000; size *= 3)
                        blocks.push_back(std::make_unique<char[]>(size));
                    asio::signal_set signals(own, SIGUSR2);
                    signals.add(SIGUSR1);
                }
            });
        }
        int failures = 0;
        int successes = 0;
        {
            const held_locks locks;
            std::vector<child> all;
            for (int i = 0; i < 100; ++i) {
                spawn_failure failure;
                (void)spawn(command("/nope").working_directory("/").user(::geteuid()),
                            ctx.get_executor(), failure);
                failures += failure.step == spawn_step::exec ? 1 : 0;
                all.push_back(spawn(command("/bin/true")
                                        .working_directory("/")
                                        .ignore_signal(SIGHUP)
                                        .drop_capabilities()
                                        .optional(spawn_step::capabilities)
                                        .std_out(stdio::pipe()),
                                    ctx.get_executor()));
            }
            for (auto& c : all)
                successes += wait(ctx, c).success() ? 1 : 0;
        }
        over = true;
        for (auto& t : busy)
            t.join();
        CHECK(successes == 100);
        // A user without rights may not change its user, not even to its own.
        CHECK((failures == 100 || ::geteuid() != 0));
    }
}
