// SPDX-License-Identifier: BSL-1.0
// What a channel costs: no allocation and no system call for a message on a busy one, two
// descriptors for an end, nothing for an idle one, and nothing after it.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "allocations.hpp"
#include "channel_fixture.hpp"
#include "io_feature_off.hpp"
#include "shared_array.hpp"
#include "syscall_refusal.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard_test::allocations;
using procyard_test::outcome;
using procyard_test::run;

namespace {

constexpr int warm_up = 10;  // until every recycled block of Asio has its size
constexpr int counted = 100;
constexpr procyard::channel_options few{.capacity_messages = 8};

std::size_t mapped_segments()
{
    std::ifstream maps("/proc/self/maps");
    std::size_t count = 0;
    for (std::string line; std::getline(maps, line);)
        count += line.find("/memfd:procyard") != line.npos ? 1U : 0U;
    return count;
}

// Tests of allocations call run() and not the bounded run_for(): that one makes a new cache of
// recycled memory for each handler. The guard against a hang is ctest's.
template <class Coroutine>
void run_unbounded(asio::io_context& ctx, Coroutine coroutine)
{
    asio::co_spawn(ctx, std::move(coroutine), asio::detached);
    ctx.run();
}

// In a copy of this process: from here on it dies of any system call that moves bytes or waits,
// `but` for one.
bool only_exit_from_here(long but = -1)
{
    // One filter for each; it is enough to have what a channel could call.
    for (const long number : {SYS_read,          SYS_write,       SYS_readv,
                              SYS_writev,        SYS_sendto,      SYS_sendmsg,
                              SYS_recvfrom,      SYS_recvmsg,     SYS_epoll_wait,
                              SYS_epoll_pwait,   SYS_epoll_ctl,   SYS_futex,
                              SYS_membarrier,    SYS_sched_yield, SYS_ioctl,
                              SYS_fcntl,         SYS_close,       SYS_poll,
                              SYS_ppoll,         SYS_nanosleep,   SYS_clock_nanosleep,
                              SYS_clock_gettime, SYS_getpid}) {
        if (number != but && !procyard_test::die_at({.number = number, .error_number = 0}))
            return false;
    }
    return true;
}

// By this process, as far as they are counted. None of them happens: what it asks about has not
// changed, which is what a poll of a living peer says.
std::atomic<std::uint64_t> polls = 0;

void note_poll(int, siginfo_t*, void* context)
{
    ++polls;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = 0;
}

// In a copy of this process.
bool count_polls_from_here()
{
    struct sigaction action{};
    action.sa_sigaction = &note_poll;
    action.sa_flags = SA_SIGINFO;
    return ::sigaction(SIGSYS, &action, nullptr) == 0
        && procyard_test::let_answer({.number = SYS_poll, .error_number = 0}, SECCOMP_RET_TRAP);
}

// What two processes do in turns, without a system call.
using turns = procyard_test::shared_array<int>;

void await_turn(const turns& all, int turn)
{
    while (all[0].load() < turn) { }
}

// Until it has received this message; counts how often it tries.
bool receive_busily(receiver<std::uint64_t>& from, std::uint64_t expected,
                    std::atomic<std::uint64_t>& tries)
{
    std::uint64_t n = 0;
    error_code ec;
    for (++tries; !from.try_receive(n, ec); ++tries) {
        if (ec != asio::error::would_block)
            return false;
    }
    return n == expected;
}
bool receive_busily(receiver<std::uint64_t>& from, std::uint64_t expected)
{
    std::atomic<std::uint64_t> tries = 0;
    return receive_busily(from, expected, tries);
}

// Makes the reactor of this context, as an operation that sleeps does.
void sleep_once(asio::io_context& ctx)
{
    channel<int> c(ctx.get_executor(), few);
    outcome<error_code, int> received;
    c.receiver.async_receive(received.handler());
    ctx.poll();
    c.receiver.cancel();
    ctx.restart();
    ctx.run();
}

// Both ends, each in a process that dies of any system call but one, once they have met. A body
// gets its end and its context, and says whether all was well.
template <class Send, class Receive>
void between_two(const procyard::channel_options& options, long but, bool has_slept, Send send,
                 Receive receive)
{
    auto ends = make_channel<std::uint64_t>(options);
    const turns met(1);
    procyard_test::sending_process<std::uint64_t> from(
        ends, [&](unopened<sender<std::uint64_t>> end) {
            asio::io_context ctx;
            sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
            if (!s.try_send(0))
                return 1;
            await_turn(met, 1);
            if (!s.try_send(0) || !s.is_connected())
                return 2;
            if (has_slept)
                sleep_once(ctx);
            if (!only_exit_from_here(but))
                return 3;
            const bool good = send(ctx, s);
            ::_exit(good && s.statistics().rung == 0 ? 0 : 4);  // to close takes system calls
            return 5;
        });
    procyard_test::receiving_process<std::uint64_t> to(
        ends, [&](unopened<receiver<std::uint64_t>> end) {
            asio::io_context ctx;
            receiver<std::uint64_t> r(ctx.get_executor(), std::move(end));
            if (!receive_busily(r, 0))
                return 1;
            met[0].store(1);
            if (!receive_busily(r, 0))
                return 2;
            if (has_slept)
                sleep_once(ctx);
            if (!only_exit_from_here(but))
                return 3;
            const bool good = receive(ctx, r);
            ::_exit(good && r.statistics().rung == 0 ? 0 : 4);
            return 5;
        });
    CHECK(from.result() == 0);
    CHECK(to.result() == 0);
}

}  // namespace

TEST_SUITE("channel costs: allocations")
{
    TEST_CASE("none of try_send and try_receive")
    {
        asio::io_context ctx;
        channel<std::uint64_t> numbers(ctx.get_executor(), few);
        channel<std::string> texts(ctx.get_executor(), {.capacity_bytes = 1024});
        const std::string text(100, 'x');
        std::string got(200, 'y');
        std::uint64_t n = 0;
        error_code ec;
        std::size_t before = 0;
        for (int i = 0; i < warm_up + counted; ++i) {
            if (i == warm_up)
                before = allocations();
            (void)numbers.sender.try_send(1, ec);
            (void)numbers.receiver.try_receive(n, ec);
            (void)numbers.receiver.try_receive(n, ec);
            (void)texts.sender.try_send(text, ec);
            (void)texts.receiver.try_receive(got, ec);
            (void)texts.receiver.try_receive(got, ec);
        }
        CHECK(allocations() - before == 0);
        CHECK(got == text);
    }

    TEST_CASE("a message that is longer than the ring takes its memory, and gives it back")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 1024});
        const std::string text(5000, 'x');
        std::string got(text.size(), 'y');
        const auto receive = [&](bool in_batch) {
            error_code ec;
            if (!in_batch)
                return c.receiver.try_receive(got, ec);
            auto batch = c.receiver.try_receive_batch(ec);
            return batch.next(got);
        };
        for (int round = 0; round < 6; ++round) {
            CAPTURE(round);
            outcome<error_code> sent;
            c.sender.async_send(std::string(text), sent.handler());
            std::size_t taken = 0;
            bool has_come = false;
            for (int turn = 0; turn < 100 && !has_come; ++turn) {
                ctx.restart();
                ctx.poll();
                const auto before = allocations();
                has_come = receive(round % 2 != 0);
                taken += allocations() - before;
            }
            CHECK(has_come);
            CHECK(taken == 1);
            CHECK(got == text);
        }
    }

    TEST_CASE("none of operations of a coroutine, waiting or not")
    {
        asio::io_context ctx;
        channel<std::uint64_t> there(ctx.get_executor(), {.capacity_messages = 1});
        channel<std::uint64_t> back(ctx.get_executor(), {.capacity_messages = 1});
        std::size_t spent = 1;
        std::uint64_t echoed = 0;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                for (int i = 0; i < warm_up + counted; ++i) {
                    co_await back.sender.async_send(co_await there.receiver.async_receive());
                    ++echoed;
                }
            },
            asio::detached);
        run_unbounded(ctx, [&]() -> asio::awaitable<void> {
            std::size_t before = 0;
            for (int i = 0; i < warm_up + counted; ++i) {
                if (i == warm_up)
                    before = allocations();
                co_await there.sender.async_wait_writable();
                co_await there.sender.async_send(1);
                co_await back.receiver.async_wait_readable();
                (void)co_await back.receiver.async_receive();
            }
            spent = allocations() - before;
        });
        CHECK(echoed == warm_up + counted);
        CHECK(spent == 0);
    }
}

TEST_SUITE("channel costs: system calls")
{
    TEST_CASE("none for a message where nobody sleeps (cases 7, 19)")
    {
        const int result = procyard_test::in_fork([] {
            asio::io_context ctx;
            channel<std::uint64_t> c(ctx.get_executor(), few);
            std::uint64_t n = 0;
            error_code ec;
            if (!c.sender.try_send(0) || !c.receiver.try_receive(n, ec))
                return 1;
            if (!only_exit_from_here())
                return 2;
            for (std::uint64_t i = 0; i < 1000; ++i) {
                if (!c.sender.try_send(i) || !c.receiver.try_receive(n, ec) || n != i)
                    return 3;
                if (c.receiver.try_receive(n, ec))
                    return 4;
            }
            while (c.sender.try_send(1))
                ;
            ::_exit(c.sender.statistics().rung == 0 ? 0 : 5);
            return 6;
        });
        CHECK(result == 0);
    }

    TEST_CASE("none for a batch, nor for a loan")
    {
        const int result = procyard_test::in_fork([] {
            asio::io_context ctx;
            channel<std::uint64_t> c(ctx.get_executor(), few);
            error_code ec;
            const auto pass_two = [&](std::uint64_t n) {
                auto loan = c.sender.try_loan(2, ec);
                if (loan.size() != 2)
                    return false;
                loan[0] = n;
                loan[1] = n + 1;
                loan.commit();
                auto batch = c.receiver.try_receive_batch(ec);
                const auto all = batch.in_place();
                return all.size() == 2 && all[0] == n && all[1] == n + 1;
            };
            if (!pass_two(1))
                return 1;
            if (!only_exit_from_here())
                return 2;
            for (std::uint64_t i = 0; i < 1000; ++i)
                if (!pass_two(i))
                    ::_exit(3);
            ::_exit(0);
            return 4;
        });
        CHECK(result == 0);
    }

    TEST_CASE("none for a message between two processes that are busy (case 19)")
    {
        constexpr std::uint64_t many = 100'000;
        // Of 1,024 tries that find no room, or nothing, one asks whether the peer is alive, by a
        // poll. However many there are, that is none for a message: at most one for 1,024 tries of
        // any kind, and one for those that came before.
        constexpr std::size_t sent = 0;
        constexpr std::size_t received = 1;
        const procyard_test::shared_array<std::uint64_t> tries(2);
        const procyard_test::shared_array<std::uint64_t> counted_polls(2);
        // A ring that lasts for a while: where there is one processor, each has it in turns.
        between_two(
            {.capacity_messages = 4096}, SYS_poll, false,
            [&](asio::io_context&, sender<std::uint64_t>& to) {
                if (!count_polls_from_here())
                    return false;
                for (std::uint64_t n = 0; n < many; ++tries[sent])
                    n += to.try_send(n) ? 1U : 0U;
                counted_polls[sent] = polls.load();
                return true;
            },
            [&](asio::io_context&, receiver<std::uint64_t>& from) {
                if (!count_polls_from_here())
                    return false;
                for (std::uint64_t n = 0; n < many; ++n) {
                    if (!receive_busily(from, n, tries[received]))
                        return false;
                }
                counted_polls[received] = polls.load();
                return true;
            });
        for (const auto side : {sent, received}) {
            CHECK(tries[side].load() >= many);
            CHECK(counted_polls[side].load() <= tries[side].load() / 1024 + 1);
        }
    }

    TEST_CASE("none for one that is awaited, between two processes, where it need not wait")
    {
        constexpr int rounds = 20;
        constexpr std::uint64_t of_each = 8;  // as many as there is room for
        // Where an operation has slept before, Asio looks at its reactor in each turn.
        for (const bool has_slept : {false, true}) {
            CAPTURE(has_slept);
            const turns turn(1);
            between_two(
                few, has_slept ? SYS_epoll_wait : -1, has_slept,
                [&](asio::io_context& ctx, sender<std::uint64_t>& to) {
                    for (int round = 0; round < rounds; ++round) {
                        await_turn(turn, 2 * round + 1);
                        ctx.restart();
                        run_unbounded(ctx, [&]() -> asio::awaitable<void> {
                            for (std::uint64_t n = 0; n < of_each; ++n)
                                co_await to.async_send(n);
                        });
                        turn[0].store(2 * round + 2);
                    }
                    return to.statistics().sleeps == 0;
                },
                [&](asio::io_context& ctx, receiver<std::uint64_t>& from) {
                    std::uint64_t good = 0;
                    turn[0].store(1);  // the ring is empty
                    for (int round = 0; round < rounds; ++round) {
                        await_turn(turn, 2 * round + 2);
                        ctx.restart();
                        run_unbounded(ctx, [&]() -> asio::awaitable<void> {
                            for (std::uint64_t n = 0; n < of_each; ++n)
                                good += co_await from.async_receive() == n ? 1U : 0U;
                        });
                        turn[0].store(2 * round + 3);
                    }
                    return good == rounds * of_each && from.statistics().sleeps == 0;
                });
        }
    }

    TEST_CASE("a receiver that sleeps is rung for once, whatever number of messages comes")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), few);
        outcome<error_code> readable;
        c.receiver.async_wait_readable(readable.handler());
        ctx.poll();
        procyard_test::fill(c.sender);
        CHECK(c.sender.statistics().rung == 1);
        run(ctx);
        CHECK(c.receiver.statistics().woken == 1);
    }

    TEST_CASE("an idle channel keeps nothing busy: run() returns")
    {
        asio::io_context ctx;
        const channel<int> c(ctx.get_executor());
        auto unconnected = make_channel<int>();
        const sender<int> s(ctx.get_executor(), std::move(unconnected.sender));
        CHECK(run(ctx) == 0);
    }
}

TEST_SUITE("channel costs: membarrier")
{
    TEST_CASE("not there: each side has a fence of its own, and wakes the other")
    {
        const procyard_test::io_feature_off none(&procyard::detail::io_features::membarrier);
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 1});
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (int i = 0; i < 100; ++i) {
                co_await c.sender.async_send(i);
                CHECK(co_await c.receiver.async_receive() == i);
            }
        });
    }

    TEST_CASE("refused from the start: the same")
    {
        const int result = procyard_test::in_fork([] {
            if (!procyard_test::refuse({.number = SYS_membarrier, .error_number = EPERM}))
                return 1;
            asio::io_context ctx;
            channel<int> c(ctx.get_executor(), few);
            outcome<error_code, int> received;
            c.receiver.async_receive(received.handler());
            ctx.poll();
            if (received.done() || !c.sender.try_send(7))
                return 2;
            ctx.restart();
            ctx.run_for(procyard_test::deadlock_guard);
            return received.done() && received.result() == 7 ? 0 : 3;
        });
        CHECK(result == 0);
    }

    TEST_CASE("refused after the ends have agreed upon it: an error of who would sleep, no hang")
    {
        const int result = procyard_test::in_fork([] {
            ::alarm(static_cast<unsigned>(procyard_test::deadlock_guard.count()));
            asio::io_context ctx;
            channel<int> c(ctx.get_executor(), few);
            // Busy, so that the sender leaves out its fences.
            for (int n = 0; n < 1000; ++n) {
                if (!c.sender.try_send(n) || c.receiver.try_receive() != n)
                    return 4;
            }
            if (!procyard_test::refuse({.number = SYS_membarrier, .error_number = EPERM}))
                return 1;
            outcome<error_code, int> received;
            c.receiver.async_receive(received.handler());
            while (!received.done() && ctx.poll_one() > 0) { }
            if (!received.done())
                return 2;
            if (received.error() != boost::system::errc::operation_not_permitted)
                return 3;
            // What needs no sleep goes on.
            if (!c.sender.try_send(7) || c.receiver.try_receive() != 7)
                return 4;
            return 0;
        });
        // Where there is no membarrier, nobody agrees upon it, and nobody is refused.
        const bool is_there =
            ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
        CHECK(result == (is_there ? 0 : 2));
    }
}

TEST_SUITE("channel costs: descriptors and memory")
{
    TEST_CASE("an end has two descriptors, and a socket more as long as its peer has not come")
    {
        asio::io_context ctx;
        {
            const channel<int> first(ctx.get_executor());
        }
        const auto before = procyard_test::open_descriptors();
        auto ends = make_channel<int>();
        CHECK(procyard_test::open_descriptors() == before + 2);
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(s.try_send(1));
        CHECK(r.try_receive() == 1);
        CHECK(procyard_test::open_descriptors() == before + 4);
        s.close();
        r.close();
        CHECK(procyard_test::open_descriptors() == before);
    }

    TEST_CASE("a thousand rounds leave nothing, with operations pending or not (cases 38, 40)")
    {
        asio::io_context ctx;
        {
            // Makes the reactor.
            channel<int> first(ctx.get_executor());
            outcome<error_code, int> received;
            first.receiver.async_receive(received.handler());
            first.receiver.cancel();
            run(ctx);
        }
        const procyard_test::descriptor_check no_leak;
        const auto watched = procyard_test::watched_descriptors();
        for (int i = 0; i < 1000; ++i) {
            channel<int> c(ctx.get_executor(), few);
            outcome<error_code, int> received;
            outcome<error_code> sent;
            c.receiver.async_receive(received.handler());
            ctx.restart();
            ctx.poll();
            if (i % 2 == 0)
                c.sender.async_send(i, sent.handler());
            c.sender.close();
            c.receiver.close();
            run(ctx);
        }
        CHECK(mapped_segments() == 0);
        CHECK(procyard_test::watched_descriptors() == watched);
    }

    TEST_CASE("a hundred channels at once, each with somebody who waits")
    {
        asio::io_context ctx;
        std::vector<channel<int>> many;
        int received = 0;
        for (int i = 0; i < 100; ++i)
            many.emplace_back(ctx.get_executor(), few);
        for (auto& each : many)
            each.receiver.async_receive([&](error_code ec, int n) { received += ec ? 0 : n; });
        ctx.poll();
        for (auto& each : many)
            CHECK(each.sender.try_send(1));
        run(ctx);
        CHECK(received == 100);
    }
}
