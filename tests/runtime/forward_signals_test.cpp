// SPDX-License-Identifier: BSL-1.0
// Signals that are passed on: to a child, to all that it has started, to one on a terminal.
#include <procyard/runtime/forward_signals.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/unique_fd.hpp>
#include <procyard/signals/signal_error.hpp>

#include "forked.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

using numbers = std::vector<int>;

// A target that remembers.
auto to_list(numbers& list)
{
    return [&list](const signal_info& info, error_code& ec) {
        ec.clear();
        list.push_back(info.number);
    };
}

// A shell that says what it gets, and that it is ready. A signal ends its read, or comes before it.
command listener(const std::string& traps, const std::string& ready = "echo ready")
{
    return command::shell(traps + "; " + ready + "; while :; do read -r line || :; done")
        .std_in(stdio::pipe())
        .std_out(stdio::pipe());
}

// The state of a process ('T': stopped), as soon as it is that, or after many looks at it.
char state_of(pid_t process, char awaited)
{
    char state = '?';
    for (int looks = 10'000; looks > 0 && state != awaited; --looks) {
        std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
        std::string text;
        std::getline(stat, text);
        if (const auto name_end = text.rfind(')'); name_end + 2 < text.size())
            state = text[name_end + 2];
        ::sched_yield();
    }
    return state;
}

}  // namespace

TEST_SUITE("async_forward_signals")
{
    TEST_CASE("passes each signal on, in its turn, until it is cancelled")
    {
        for (const auto type : {asio::cancellation_type::terminal, asio::cancellation_type::partial,
                                asio::cancellation_type::total}) {
            asio::io_context ctx;
            numbers got;
            asio::cancellation_signal stop;
            outcome<error_code, std::uint64_t> ended;
            async_forward_signals(signal_set(ctx.get_executor(), {SIGUSR1, SIGUSR2}), to_list(got),
                                  asio::bind_cancellation_slot(stop.slot(), ended.handler()));
            ::raise(SIGUSR2);
            CHECK_MESSAGE(got.empty(), "not inside the initiating function");
            ctx.poll();
            ::raise(SIGUSR1);
            run_until(ctx, [&] { return got.size() == 2; });
            CHECK(got == numbers{SIGUSR2, SIGUSR1});
            CHECK_FALSE(ended.done());
            stop.emit(type);
            run(ctx);
            CHECK(ended.error() == asio::error::operation_aborted);
            CHECK(ended.result() == 2);
        }
    }

    TEST_CASE("cancelled before its first turn, it passes on what has come by then, and what was "
              "found is there again")
    {
        asio::io_context ctx;
        numbers got;
        asio::cancellation_signal stop;
        outcome<error_code, std::uint64_t> ended;
        async_forward_signals(signal_set(ctx.get_executor(), {SIGUSR1, SIGUSR2}), to_list(got),
                              asio::bind_cancellation_slot(stop.slot(), ended.handler()));
        ::raise(SIGUSR2);
        ::raise(SIGUSR1);
        stop.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(ended.error() == asio::error::operation_aborted);
        CHECK(ended.result() == 2);
        CHECK(got == numbers{SIGUSR2, SIGUSR1});
        struct sigaction now{};
        ::sigaction(SIGUSR1, nullptr, &now);
        CHECK((now.sa_handler == SIG_DFL));
    }

    TEST_CASE("an immediate error comes in a later turn; the target's error ends it")
    {
        asio::io_context ctx;
        numbers got;
        outcome<error_code, std::uint64_t> empty;
        async_forward_signals(signal_set(ctx.get_executor()), to_list(got), empty.handler());
        CHECK_FALSE(empty.done());
        run(ctx);
        CHECK(empty.error() == signal_errc::no_signals);

        outcome<error_code, std::uint64_t> refused;
        async_forward_signals(
            signal_set(ctx.get_executor(), {SIGUSR1}),
            [](const signal_info&, error_code& ec) { ec = make_errno(EPERM); }, refused.handler());
        ::raise(SIGUSR1);
        run(ctx);
        CHECK(refused.error().value() == EPERM);
        CHECK(refused.result() == 0);
    }

    TEST_CASE("runs its handler on the handler's executor, and goes down with its io_context")
    {
        std::optional<asio::io_context> ctx(std::in_place);
        asio::io_context other;
        numbers got;
        bool right_place = false;
        const auto there = other.get_executor();
        async_forward_signals(signal_set(ctx->get_executor()), to_list(got),
                              asio::bind_executor(there, [&](error_code, std::uint64_t) {
                                  right_place = there.running_in_this_thread();
                              }));
        for (int i = 0; i < 10 && !right_place; ++i) {
            ctx->poll();
            ctx->restart();
            other.poll();
            other.restart();
        }
        CHECK(right_place);

        auto alive = std::make_shared<int>(0);
        bool called = false;
        async_forward_signals(signal_set(ctx->get_executor(), {SIGUSR1}), to_list(got),
                              [alive, &called](error_code, std::uint64_t) { called = true; });
        ctx->poll();
        ctx.reset();
        CHECK_FALSE(called);
        CHECK(alive.use_count() == 1);
    }

    TEST_CASE("what is left when it is cancelled, it passes on up to the first that is refused")
    {
        asio::io_context ctx;
        int asked = 0;
        asio::cancellation_signal stop;
        outcome<error_code, std::uint64_t> ended;
        async_forward_signals(
            signal_set(ctx.get_executor(), {SIGUSR1, SIGUSR2}),
            [&](const signal_info&, error_code& ec) {
                ec = make_errno(EPERM);
                ++asked;
            },
            asio::bind_cancellation_slot(stop.slot(), ended.handler()));
        ::raise(SIGUSR1);
        ::raise(SIGUSR2);
        stop.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(ended.error() == asio::error::operation_aborted);
        CHECK(ended.result() == 0);
        CHECK(asked == 1);
    }

    TEST_CASE("to a child: it gets what we get")
    {
        asio::io_context ctx;
        child c = spawn(listener("trap 'echo usr1' USR1; trap 'exit 7' TERM"), ctx.get_executor());
        CHECK(read_line(ctx, c.std_out()) == "ready");
        asio::cancellation_signal stop;
        outcome<error_code, std::uint64_t> ended;
        async_forward_signals(
            signal_set(ctx.get_executor(), {SIGUSR1, SIGUSR2}),
            [to = to_child(c)](const signal_info& info, error_code& ec) {
                auto as = info;
                if (info.number == SIGUSR2)
                    as.number = SIGTERM;  // a target may change its mind
                to(as, ec);
            },
            asio::bind_cancellation_slot(stop.slot(), ended.handler()));
        ::raise(SIGUSR1);
        // dash runs a trap when its read is over.
        error_code ec;
        ctx.restart();
        ctx.poll();
        asio::write(c.std_in(), asio::buffer("\n", 1), ec);
        CHECK(read_line(ctx, c.std_out()) == "usr1");
        ::raise(SIGUSR2);
        ctx.restart();
        ctx.poll();
        asio::write(c.std_in(), asio::buffer("\n", 1), ec);
        outcome<error_code, exit_status> gone;
        c.async_wait(gone.handler());
        run_until(ctx, [&] { return gone.done(); });
        CHECK(gone.result().code() == 7);

        ::raise(SIGUSR1);  // to one that has ended: nothing, and no error
        ctx.restart();
        ctx.poll();
        CHECK_FALSE(ended.done());
        stop.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(ended.result() == 3);
    }

    TEST_CASE("to a tree: whoever the child has started gets it as well")
    {
        asio::io_context ctx;
        child c =
            spawn(command::shell("sleep 1000 & echo ready; wait; echo over").std_out(stdio::pipe()),
                  ctx.get_executor());
        CHECK(read_line(ctx, c.std_out()) == "ready");
        asio::cancellation_signal stop;
        outcome<error_code, std::uint64_t> ended;
        async_forward_signals(signal_set(ctx.get_executor(), {SIGUSR1}), to_tree(c),
                              asio::bind_cancellation_slot(stop.slot(), ended.handler()));
        ::raise(SIGUSR1);
        outcome<error_code> gone;
        c.async_wait_tree(gone.handler());
        run_until(ctx, [&] { return gone.done(); });
        CHECK(c.try_wait() == exit_status::signaled(SIGUSR1));
        stop.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(ended.result() == 1);
    }

    TEST_CASE("to a terminal: a new size of our window is that of the child's")
    {
        const unique_fd ours(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
        REQUIRE(ours);
        asio::io_context ctx;
        child c = spawn(command::shell("stty -echo; trap 'stty size' WINCH; echo ready;"
                                       "while :; do read -r line || :; done")
                            .terminal({.rows = 10, .columns = 20}),
                        ctx.get_executor());
        std::string buffer;
        const auto next_line = [&] {
            outcome<error_code, std::size_t> got;
            asio::async_read_until(c.std_out(), asio::dynamic_buffer(buffer), "\r\n",
                                   got.handler());
            run_until(ctx, [&] { return got.done(); });
            auto line = buffer.substr(0, got.result() - 2);
            buffer.erase(0, got.result());
            return line;
        };
        CHECK(next_line() == "ready");
        asio::cancellation_signal stop;
        outcome<error_code, std::uint64_t> ended;
        async_forward_signals(signal_set(ctx.get_executor(), {SIGWINCH}),
                              to_terminal(c, ours.get()),
                              asio::bind_cancellation_slot(stop.slot(), ended.handler()));
        winsize size{};
        size.ws_row = 44;
        size.ws_col = 111;
        REQUIRE(::ioctl(ours.get(), TIOCSWINSZ, &size) == 0);
        ::raise(SIGWINCH);
        CHECK(next_line() == "44 111");
        stop.emit(asio::cancellation_type::total);
        run_until(ctx, [&] { return ended.done(); });
        CHECK(ended.result() == 1);
    }

    TEST_CASE("to a terminal: a SIGTSTP suspends the child and then us, a SIGCONT lets both go on")
    {
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        const unique_fd from_us(ends[0]);
        const unique_fd to_test(ends[1]);
        forked us([&] {
            ::signal(SIGTSTP, SIG_DFL);
            asio::io_context ctx;
            child c = spawn(command::shell("trap 'exit 3' USR1; echo ready;"
                                           "while :; do read -r line || :; done")
                                .terminal(window_size{}),
                            ctx.get_executor());
            if (read_line(ctx, c.std_out()).substr(0, 5) != "ready")
                return 1;
            const pid_t childs = c.id();
            if (::write(to_test.get(), &childs, sizeof childs) != sizeof childs)
                return 3;
            numbers seen;
            async_forward_signals(
                signal_set(ctx.get_executor(), {SIGTSTP, SIGCONT, SIGUSR1}),
                [&, to = to_terminal(c)](const signal_info& info, error_code& ec) {
                    seen.push_back(info.number);
                    to(info, ec);
                },
                [](error_code, std::uint64_t) {});
            ::raise(SIGTSTP);
            run_until(ctx, [&] { return seen.size() == 1; });
            run_until(ctx, [&] { return seen.size() == 2; });
            ::raise(SIGUSR1);
            outcome<error_code, exit_status> gone;
            c.async_wait(gone.handler());
            run_until(ctx, [&] { return gone.done(); });
            return seen == numbers{SIGTSTP, SIGCONT, SIGUSR1} && gone.result().code() == 3 ? 0 : 2;
        });
        int status = 0;
        REQUIRE(retry_eintr([&] { return ::waitpid(us.pid(), &status, WUNTRACED); }) == us.pid());
        CHECK(WIFSTOPPED(status));
        CHECK(WSTOPSIG(status) == SIGSTOP);
        pid_t childs = 0;
        REQUIRE(::read(from_us.get(), &childs, sizeof childs) == sizeof childs);
        CHECK(state_of(childs, 'T') == 'T');
        ::kill(us.pid(), SIGCONT);
        CHECK(us.result() == 0);
    }
}
