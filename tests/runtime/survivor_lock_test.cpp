// SPDX-License-Identifier: BSL-1.0
//
// Who has a state directory: one, who is named, and nobody any more when he is dead.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/error.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <list>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "forked.hpp"
#include "proc_fs.hpp"
#include "procyard_test.hpp"
#include "skip.hpp"
#include "supervisor_fixture.hpp"
#include "survivor_book.hpp"
#include "survivor_lock.hpp"
#include "temporary_directory.hpp"
#include "test_process.hpp"

using namespace procyard_test;
using procyard::unique_fd;
using procyard::detail::holder_of;
using procyard::detail::lock_holder;
using procyard::detail::range_of;
using procyard::detail::survivor_book;

namespace {

struct plain_pipe {
    plain_pipe()
    {
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        read.reset(ends[0]);
        write.reset(ends[1]);
    }
    // Both are called in copies, too: no doctest.
    void say(const std::string& line) const
    {
        const auto text = line + '\n';
        if (::write(write.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
            std::abort();
    }
    [[nodiscard]] std::string line() const
    {
        std::string text;
        char byte = 0;
        while (procyard::retry_eintr([&] { return ::read(read.get(), &byte, 1); }) == 1
               && byte != '\n')
            text += byte;
        return text;
    }
    unique_fd read{};
    unique_fd write{};
};

std::string opened(const std::filesystem::path& where)
{
    try {
        survivor_book book(where);
        return book.open() ? "is ours" : book.describe_holder();
    } catch (const std::exception& e) {
        return e.what();
    }
}

std::string refused(const std::filesystem::path& where, pid_t holder)
{
    return "supervisor: state directory \"" + where.string() + "\" is that of process "
        + std::to_string(holder) + ", which lives";
}

// A supervising process that dies just after it has forked: its copy, which lives until `gone()`,
// has the lock.
struct dead_with_a_copy {
    explicit dead_with_a_copy(const std::filesystem::path& where)
    {
        forked holder([&] {
            survivor_book book(where);
            if (!book.open())
                return 1;
            // In no destructor's hands: it outlives this process.
            const auto* const made = new forked([this] {
                end.write.reset();
                (void)end.line();
                return 0;
            });
            said.say(std::to_string(made->pid()));
            ::_exit(0);
        });
        pid = holder.pid();
        copy = static_cast<pid_t>(std::stoi(said.line()));
        start_ticks = procyard::detail::read_stat(pid).value().start_ticks;
        CHECK(holder.result() == 0);
    }
    void gone()
    {
        end.say("");
        // Its parent has gone, so it is ours.
        CHECK(procyard::retry_eintr([&] { return ::waitpid(copy, nullptr, 0); }) == copy);
    }
    subreaper_guard guard{};
    plain_pipe said{};
    plain_pipe end{};
    pid_t pid = 0;
    pid_t copy = 0;
    std::uint64_t start_ticks = 0;
};

}  // namespace

TEST_SUITE("survivor_lock")
{
    TEST_CASE("a lock's range says who has it, and each has a byte that all the others have")
    {
        const lock_holder all[] = {
            {1, 0, 0},
            {17, 12345, 4026531836},
            {4194303, (std::uint64_t(1) << 40) - 1, (std::uint64_t(1) << 32) - 1},
        };
        const auto common = std::int64_t(1) << 62;
        for (const auto& one : all) {
            CAPTURE(one.pid);
            const auto range = range_of(one);
            CHECK(holder_of(range) == one);
            CHECK(range.start <= common);
            CHECK(range.start + range.length > common);
        }
        // Of others: the whole file, its first byte.
        CHECK(holder_of({0, 0}).pid == 0);
        CHECK(holder_of({0, 1}).pid == 0);
        CHECK(holder_of({5, 0}).pid == 0);
    }

    TEST_CASE("a second supervisor of the same process, or of another, is told whose it is")
    {
        const temporary_directory where;
        const auto state = where.path() / "state";
        const survivor_book book(state);
        CHECK(opened(state) == refused(state, ::getpid()));
        CHECK(in_fork([&, holder = ::getpid()] {
                  return opened(state) == refused(state, holder) ? 0 : 1;
              })
              == 0);
        procyard::supervisor_options options;
        options.state_directory = state;
        CHECK_THROWS_WITH_AS(
            procyard::supervisor(boost::asio::io_context().get_executor(), options),
            refused(state, ::getpid()).c_str(), std::runtime_error);
    }

    TEST_CASE("it is free when its holder was killed, whatever its file says")
    {
        const temporary_directory where;
        const auto state = where.path() / "state";
        plain_pipe said;
        plain_pipe silence;
        forked holder([&] {
            const survivor_book book(state);
            said.say("has it");
            (void)silence.line();
            return 0;
        });
        REQUIRE(said.line() == "has it");
        CHECK(opened(state) == refused(state, holder.pid()));
        holder.kill_hard();
        // As if its number was another's now.
        std::ofstream(state / "lock") << ::getpid() << '\n';
        CHECK(opened(state) == "is ours");
    }

    TEST_CASE("of many that come at once one gets it, and all the others name that one")
    {
        const temporary_directory where;
        const auto state = where.path() / "state";
        {
            const survivor_book before(state);
        }
        // A stale name, of one that lives.
        std::ofstream(state / "lock") << ::getppid() << '\n';
        plain_pipe go;
        plain_pipe said;
        plain_pipe enough;
        constexpr int many = 8;
        std::list<forked> racers;
        for (int i = 0; i < many; ++i) {
            racers.emplace_back([&] {
                enough.write.reset();
                (void)go.line();
                std::string what;
                std::optional<survivor_book> book;
                try {
                    what = book.emplace(state).open() ? "won " + std::to_string(::getpid())
                                                      : book->describe_holder();
                } catch (const std::exception& e) {
                    what = e.what();
                }
                said.say(what);
                (void)enough.line();
                return 0;
            });
        }
        for (int i = 0; i < many; ++i)
            go.say("");
        std::list<std::string> lines;
        pid_t winner = 0;
        for (int i = 0; i < many; ++i) {
            lines.push_back(said.line());
            if (lines.back().starts_with("won ")) {
                CHECK_MESSAGE(winner == 0, "two have won");
                winner = static_cast<pid_t>(std::stoi(lines.back().substr(4)));
                lines.pop_back();
            }
        }
        CHECK(winner != 0);
        for (const auto& line : lines)
            CHECK(line == refused(state, winner));
        enough.write.reset();
        for (auto& one : racers)
            CHECK(one.result() == 0);
    }

    TEST_CASE("a copy of a dead holder has it for as long as it lives, and is waited for")
    {
        const temporary_directory where;
        procyard::supervisor_options options;
        options.state_directory = where.path() / "state";
        dead_with_a_copy before(options.state_directory);
        CHECK(opened(options.state_directory)
              == "state directory \"" + options.state_directory.string() + "\": process "
                  + std::to_string(before.pid)
                  + " is dead, but a copy of it that it has forked has the lock");
        supervised f(options);
        f.it().add(sleeper("a"));
        f.it().start();
        outcome<procyard::error_code> swept;
        f.it().async_sweep(swept.handler());
        f.ctx.poll();
        CHECK_FALSE(swept.done());
        CHECK(f.events.empty());
        before.gone();
        f.until("a", procyard::service_state::ready);
        CHECK(swept.done());
        CHECK(swept.error() == procyard::error_code());
        f.stop();
    }

    TEST_CASE("a copy that does not go in time ends the supervisor, which says what is wrong")
    {
        const temporary_directory where;
        procyard::supervisor_options options;
        options.state_directory = where.path() / "state";
        options.sweep_budget = std::chrono::nanoseconds(0);
        dead_with_a_copy before(options.state_directory);
        supervised f(options);
        f.it().add(sleeper("a"));
        f.it().start();
        outcome<procyard::error_code, procyard::supervisor_result> end;
        f.it().async_wait(end.handler());
        run_until(f.ctx, [&] { return end.done(); });
        CHECK(end.result().failed);
        CHECK_MESSAGE(end.result().culprit.find("process " + std::to_string(before.pid)
                                                + " is dead, but a copy")
                          != std::string::npos,
                      end.result().culprit);
        CHECK(f.events.empty());
        before.gone();
    }

    TEST_CASE("one that waited, and came second, is told so by its end")
    {
        const temporary_directory where;
        procyard::supervisor_options options;
        options.state_directory = where.path() / "state";
        dead_with_a_copy before(options.state_directory);
        supervised f(options);
        before.gone();
        const survivor_book first(options.state_directory);
        f.it().start();
        outcome<procyard::error_code, procyard::supervisor_result> end;
        f.it().async_wait(end.handler());
        outcome<procyard::error_code> swept;
        f.it().async_sweep(swept.handler());
        run_until(f.ctx, [&] { return end.done() && swept.done(); });
        CHECK(end.result().failed);
        CHECK(end.result().culprit == refused(options.state_directory, ::getpid()));
        CHECK(swept.error() == boost::asio::error::timed_out);
    }

    TEST_CASE("a stranger with the number of a dead holder is not taken for it")
    {
        if (::geteuid() != 0)
            return skip("only root may choose a pid");
        const temporary_directory where;
        const auto state = where.path() / "state";
        dead_with_a_copy before(state);
        // A number comes again after all the others: not within the tick of the clock that it was
        // given out in, as here it might.
        std::optional<test_process> stranger;
        std::uint64_t began = before.start_ticks;
        for (int i = 0; i < 10'000 && began == before.start_ticks; ++i) {
            stranger.reset();
            stranger.emplace(std::vector<std::string>{"pause"},
                             test_process::start_options{.with_pid = before.pid});
            (void)stranger->expect("ready", 1);
            began = procyard::detail::read_stat(before.pid).value().start_ticks;
        }
        REQUIRE(began != before.start_ticks);
        CHECK(opened(state).find("is dead, but a copy") != std::string::npos);
        before.gone();
        CHECK(opened(state) == "is ours");
    }

    TEST_CASE("a lock of another kind is respected, and nobody is named")
    {
        const temporary_directory where;
        const auto state = where.path() / "state";
        {
            const survivor_book made(state);
        }
        const unique_fd file(::open((state / "lock").c_str(), O_RDWR | O_CLOEXEC));
        struct flock whole{};
        whole.l_type = F_WRLCK;
        whole.l_whence = SEEK_SET;
        REQUIRE(::fcntl(file.get(), F_OFD_SETLK, &whole) == 0);
        CHECK(opened(state)
              == "supervisor: state directory \"" + state.string()
                  + "\" is that of a program of another kind, which lives");
    }
}
