// SPDX-License-Identifier: BSL-1.0
// The ways in which a process can end or become another one, seen from the other end of a channel;
// and what is left when both are gone.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "syscall_refusal.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard_test::outcome;
using procyard_test::receiving_process;
using procyard_test::run;
using procyard_test::sending_process;

namespace {

/// A message whose codec ends the process, in the middle of it.
struct deadly {
    std::uint64_t number = 0;
    bool kills = false;
};

}  // namespace

template <>
struct procyard::codec<deadly> {
    static std::size_t size(const deadly&) noexcept { return 16; }
    static void encode(const deadly& d, encoder& out)
    {
        out.put(d.number);
        if (d.kills)
            std::terminate();
        out.put(d.number);
    }
    static bool decode(decoder& in, deadly& d)
    {
        std::uint64_t again = 0;
        return in.get(d.number) && in.get(again) && again == d.number;
    }
    static constexpr std::string_view layout = "{u64 u64}";
};

namespace {

void leave(int)
{
    ::_exit(0);
}

volatile sig_atomic_t interrupted = 0;

void count_it(int)
{
    interrupted = interrupted + 1;
}

void no_core()
{
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
}

// In a copy of this process: from here on it dies of any system call that makes something with a
// name, which could stay behind.
bool nothing_with_a_name()
{
    for (const long number : {SYS_mq_open, SYS_shmget, SYS_msgget, SYS_semget, SYS_mknodat,
                              SYS_linkat, SYS_symlinkat, SYS_mkdirat, SYS_bind}) {
        if (!procyard_test::die_at({.number = number, .error_number = 0}))
            return false;
    }
    return procyard_test::die_at({.number = SYS_openat,
                                  .error_number = 0,
                                  .argument = 2,
                                  .mask = O_CREAT,
                                  .value = O_CREAT});
}

// A sender sends one message, and `ends` then. What the receiver is told after the message.
template <class End>
error_code after_one(End ends, bool reaped)
{
    auto both = make_channel<std::uint64_t>();
    sending_process<std::uint64_t> peer(both, [&](unopened<sender<std::uint64_t>> end) {
        asio::io_context ctx;
        sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
        if (!s.try_send(7))
            return 1;
        ends();
        return 1;
    });
    asio::io_context ctx;
    receiver<std::uint64_t> r(ctx.get_executor(), std::move(both.receiver));
    if (reaped)
        (void)peer.result();
    outcome<error_code, std::uint64_t> first;
    outcome<error_code, std::uint64_t> second;
    r.async_receive(first.handler());
    r.async_receive(second.handler());
    run(ctx);
    CHECK(first.result() == 7);
    return second.error();
}

}  // namespace

TEST_SUITE("channel: a process that ends (cases 36 to 38)")
{
    TEST_CASE("in a signal handler, by a signal, by abort, and as a zombie that nobody reaps")
    {
        for (const bool reaped : {true, false}) {
            CAPTURE(reaped);
            CHECK(after_one([] { ::raise(SIGKILL); }, reaped) == channel_errc::peer_died);
            CHECK(after_one(
                      [] {
                          ::signal(SIGTERM, &leave);
                          ::raise(SIGTERM);
                      },
                      reaped)
                  == channel_errc::peer_died);
            CHECK(after_one(
                      [] {
                          no_core();
                          ::signal(SIGABRT, SIG_DFL);
                          std::abort();
                      },
                      reaped)
                  == channel_errc::peer_died);
        }
    }

    TEST_CASE("by std::terminate in a codec: of that message nothing is to be seen")
    {
        auto ends = make_channel<deadly>();
        sending_process<deadly> peer(ends, [](unopened<sender<deadly>> end) {
            no_core();
            std::set_terminate([] { ::_exit(9); });
            asio::io_context ctx;
            sender<deadly> s(ctx.get_executor(), std::move(end));
            (void)s.try_send({1, false});
            (void)s.try_send({2, true});
            return 0;
        });
        asio::io_context ctx;
        receiver<deadly> r(ctx.get_executor(), std::move(ends.receiver));
        outcome<error_code, deadly> first;
        outcome<error_code, deadly> second;
        r.async_receive(first.handler());
        r.async_receive(second.handler());
        run(ctx);
        CHECK(first.result().number == 1);
        CHECK(second.error() == channel_errc::peer_died);
        CHECK(peer.result() == 9);
    }

    TEST_CASE("by becoming another program: its ends are closed, and that is a death")
    {
        auto ends = make_channel<std::uint64_t>();
        int held[2];
        REQUIRE(::pipe2(held, O_CLOEXEC) == 0);
        sending_process<std::uint64_t> peer(ends, [&](unopened<sender<std::uint64_t>> end) {
            asio::io_context ctx;
            const sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
            if (::dup2(held[0], STDIN_FILENO) == -1)  // cat lives as long as we hold the other end
                return 1;
            ::execlp("cat", "cat", nullptr);
            return 1;
        });
        ::close(held[0]);
        asio::io_context ctx;
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
        outcome<error_code, std::uint64_t> received;
        r.async_receive(received.handler());
        run(ctx);
        CHECK(received.error() == channel_errc::peer_died);
        ::close(held[1]);
        CHECK(peer.result() == 0);
    }

    TEST_CASE("both of them: nothing can be left, since nothing has a name")
    {
        const int result = procyard_test::in_fork([] {
            if (!nothing_with_a_name())
                return 1;
            auto ends = make_channel<std::uint64_t>();
            asio::io_context ctx;
            sender<std::uint64_t> s(ctx.get_executor(), std::move(ends.sender));
            receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
            outcome<error_code, std::uint64_t> received;
            r.async_receive(received.handler());
            ctx.poll();
            if (!s.try_send(7))
                return 2;
            ctx.restart();
            ctx.run_for(procyard_test::deadlock_guard);
            ::_exit(received.done() && received.result() == 7 ? 0 : 3);
            return 4;
        });
        CHECK(result == 0);
    }
}

TEST_SUITE("channel: a process that is interrupted (case 21)")
{
    TEST_CASE("signals that come all the time are no wake-ups, and nothing is lost")
    {
        struct sigaction before{};
        struct sigaction action{};
        action.sa_handler = &count_it;  // without SA_RESTART
        REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
        constexpr suseconds_t often = 100;
        const itimerval timer{{0, often}, {0, often}};
        REQUIRE(::setitimer(ITIMER_REAL, &timer, nullptr) == 0);

        auto ends = make_channel<std::uint64_t>({.capacity_messages = 4});
        sending_process<std::uint64_t> peer(ends, [](unopened<sender<std::uint64_t>> end) {
            asio::io_context ctx;
            sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
            procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                for (std::uint64_t n = 0; n < 20'000; ++n)
                    co_await s.async_send(n, asio::use_awaitable);
            });
            s.close();
            return 0;
        });
        asio::io_context ctx;
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (std::uint64_t n = 0; n < 20'000; ++n)
                REQUIRE(co_await r.async_receive(asio::use_awaitable) == n);
        });
        const itimerval none{};
        ::setitimer(ITIMER_REAL, &none, nullptr);
        ::sigaction(SIGALRM, &before, nullptr);
        CHECK(peer.result() == 0);
        CHECK(interrupted > 0);
    }
}
