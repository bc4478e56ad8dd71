// SPDX-License-Identifier: BSL-1.0
// The two ends in one io_context, in two threads, in two processes: the same messages, in numbers.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "skip.hpp"

namespace asio = boost::asio;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard_test::fixed_random;
using procyard_test::run_coroutine;

namespace {

using namespace std::chrono_literals;

struct numbered {
    std::uint64_t number = 0;
    std::uint64_t check = 0;
};

numbered message(std::uint64_t n)
{
    return {n, fixed_random(n + 1).next()};
}
bool is_message(const numbered& m, std::uint64_t n)
{
    return m.number == n && m.check == message(n).check;
}

std::string text(std::uint64_t n)
{
    return std::to_string(n) + std::string(n * 13 % 300, static_cast<char>('a' + n % 26));
}

// As many as fit at once, and a wait when none does: as a program would.
asio::awaitable<void> send_batches(sender<numbered>& to, std::uint64_t count)
{
    fixed_random random(11);
    std::vector<numbered> batch;
    for (std::uint64_t n = 0; n < count;) {
        batch.clear();
        const auto size = 1 + random.below(64);
        for (std::uint64_t i = n; i < std::min(count, n + size); ++i)
            batch.push_back(message(i));
        error_code ec;
        n += to.try_send_some(batch, ec);
        if (ec)
            co_await to.async_wait_writable(asio::use_awaitable);
    }
}

// 0, or the number of the first message that was another one, plus 1.
asio::awaitable<void> receive_batches(receiver<numbered>& from, std::uint64_t count,
                                      std::uint64_t& wrong)
{
    fixed_random random(12);
    std::array<numbered, 64> batch;
    for (std::uint64_t n = 0; n < count && wrong == 0;) {
        error_code ec;
        const auto size = 1 + random.below(batch.size());
        const auto got = from.try_receive_some(std::span(batch).first(size), ec);
        for (std::size_t i = 0; i < got; ++i, ++n)
            wrong = is_message(batch[i], n) || wrong != 0 ? wrong : n + 1;
        if (ec)
            co_await from.async_wait_readable(asio::use_awaitable);
    }
}

asio::awaitable<void> send_texts(sender<std::string>& to, std::uint64_t count)
{
    for (std::uint64_t n = 0; n < count; ++n) {
        if (!to.try_send(text(n)))
            co_await to.async_send(text(n), asio::use_awaitable);
    }
}

asio::awaitable<void> receive_texts(receiver<std::string>& from, std::uint64_t count,
                                    std::uint64_t& wrong)
{
    for (std::uint64_t n = 0; n < count && wrong == 0; ++n) {
        auto got = from.try_receive();
        if (!got)
            got = co_await from.async_receive(asio::use_awaitable);
        wrong = *got == text(n) ? 0 : n + 1;
    }
}

// Both ends in two threads, with `send` and `receive` as their coroutines. What was wrong.
template <class T, class Send, class Receive>
std::uint64_t between_threads(const channel_options& options, std::uint64_t count, Send send,
                              Receive receive)
{
    auto ends = make_channel<T>(options);
    std::thread other([&, end = std::move(ends.sender)]() mutable {
        asio::io_context ctx;
        sender<T> s(ctx.get_executor(), std::move(end));
        run_coroutine(ctx, [&] { return send(s, count); });
    });
    asio::io_context ctx;
    receiver<T> r(ctx.get_executor(), std::move(ends.receiver));
    std::uint64_t wrong = 0;
    run_coroutine(ctx, [&] { return receive(r, count, wrong); });
    other.join();
    return wrong;
}

template <class T, class Send, class Receive>
std::uint64_t between_processes(const channel_options& options, std::uint64_t count, Send send,
                                Receive receive)
{
    auto ends = make_channel<T>(options);
    procyard_test::sending_process<T> peer(ends, [&](unopened<sender<T>> end) {
        asio::io_context ctx;
        sender<T> s(ctx.get_executor(), std::move(end));
        run_coroutine(ctx, [&] { return send(s, count); });
        return 0;
    });
    asio::io_context ctx;
    receiver<T> r(ctx.get_executor(), std::move(ends.receiver));
    std::uint64_t wrong = 0;
    run_coroutine(ctx, [&] { return receive(r, count, wrong); });
    CHECK(peer.result() == 0);
    return wrong;
}

// To and fro, each message an answer to the last.
std::uint64_t ping_pong(const channel_options& options, std::uint64_t rounds)
{
    auto there = make_channel<std::uint64_t>(options);
    auto back = make_channel<std::uint64_t>(options);
    std::thread other([&, in = std::move(there.receiver), out = std::move(back.sender)]() mutable {
        asio::io_context ctx;
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(in));
        sender<std::uint64_t> s(ctx.get_executor(), std::move(out));
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (std::uint64_t i = 0; i < rounds; ++i)
                co_await s.async_send(co_await r.async_receive(asio::use_awaitable) + 1,
                                      asio::use_awaitable);
        });
    });
    asio::io_context ctx;
    sender<std::uint64_t> s(ctx.get_executor(), std::move(there.sender));
    receiver<std::uint64_t> r(ctx.get_executor(), std::move(back.receiver));
    std::uint64_t n = 0;
    run_coroutine(ctx, [&]() -> asio::awaitable<void> {
        for (std::uint64_t i = 0; i < rounds; ++i) {
            co_await s.async_send(n, asio::use_awaitable);
            n = co_await r.async_receive(asio::use_awaitable);
        }
    });
    other.join();
    return n;
}

// PROCYARD_ROUND_TRIPS in the environment says it; CONTRIBUTING.md has a number.
std::uint64_t round_trips()
{
    const auto* const asked = std::getenv("PROCYARD_ROUND_TRIPS");
    return asked == nullptr ? 2'000 : std::strtoull(asked, nullptr, 10);
}

// The processors that this process may use.
std::vector<std::size_t> processors()
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    REQUIRE(::sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    std::vector<std::size_t> found;
    for (std::size_t n = 0; n < CPU_SETSIZE; ++n) {
        if (CPU_ISSET(n, &allowed))
            found.push_back(n);
    }
    return found;
}

void be_busy(fixed_random& random)
{
    constexpr std::size_t longest_ns = 50'000;
    const auto until =
        std::chrono::steady_clock::now() + std::chrono::nanoseconds(random.below(longest_ns + 1));
    while (std::chrono::steady_clock::now() < until) { }
}

// One of two processes that answer each other. 0: all was as it should be.
struct correspondent {
    bool begins;
    std::size_t processor;

    int run(unopened<receiver<std::uint64_t>> in, unopened<sender<std::uint64_t>> out) const
    {
        constexpr std::uint64_t at_once = 1'000;
        cpu_set_t mine;
        CPU_ZERO(&mine);
        CPU_SET(processor, &mine);
        if (::sched_setaffinity(0, sizeof mine, &mine) != 0)
            return 2;
        asio::io_context ctx;
        receiver<std::uint64_t> from(ctx.get_executor(), std::move(in));
        sender<std::uint64_t> to(ctx.get_executor(), std::move(out));
        fixed_random random(begins ? 31 : 37);
        bool good = true;
        for (std::uint64_t left = round_trips(); left > 0 && good;) {
            const auto rounds = std::min(left, at_once);
            left -= rounds;
            // So many must not take longer than this; run_coroutine() sees to the same.
            ::alarm(static_cast<unsigned>(procyard_test::deadlock_guard.count()));
            run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                for (std::uint64_t n = 0; n < rounds; ++n) {
                    if (begins)
                        co_await to.async_send(n, asio::use_awaitable);
                    good = co_await from.async_receive(asio::use_awaitable) == n && good;
                    be_busy(random);
                    if (!begins)
                        co_await to.async_send(n, asio::use_awaitable);
                }
            });
        }
        return good ? 0 : 1;
    }
};

void correspond(const channel_options& options, std::size_t one, std::size_t other)
{
    auto there = make_channel<std::uint64_t>(options);
    auto back = make_channel<std::uint64_t>(options);
    procyard_test::forked first([&] {
        there.receiver = {};
        back.sender = {};
        return correspondent{true, one}.run(std::move(back.receiver), std::move(there.sender));
    });
    there.sender = {};
    back.receiver = {};
    procyard_test::forked second([&] {
        return correspondent{false, other}.run(std::move(there.receiver), std::move(back.sender));
    });
    there = {};
    back = {};
    CHECK(first.result() == 0);
    CHECK(second.result() == 0);
}

}  // namespace

TEST_SUITE("channel places")
{
    TEST_CASE("two threads: a hundred thousand messages in batches, of cells")
    {
        CHECK(between_threads<numbered>({.capacity_messages = 128}, 100'000, send_batches,
                                        receive_batches)
              == 0);
        CHECK(between_threads<numbered>({.capacity_messages = 2}, 5'000, send_batches,
                                        receive_batches)
              == 0);
    }

    TEST_CASE("two threads: texts of all lengths, in a ring that is often full")
    {
        CHECK(
            between_threads<std::string>({.capacity_bytes = 512}, 20'000, send_texts, receive_texts)
            == 0);
    }

    TEST_CASE("two threads, to and fro: no wake-up is lost, spinning or not (case 18)")
    {
        for (const auto spin : {0ns, 1ns, 20'000ns}) {
            CHECK(ping_pong({.capacity_messages = 1, .spin = spin}, 5'000) == 5'000);
            CHECK(ping_pong({.capacity_bytes = 4096, .spin = spin}, 5'000) == 5'000);
        }
    }

    TEST_CASE("two processes on one processor, to and fro, busy between: no wake-up is lost")
    {
        const auto one = processors().front();
        for (const auto spin : {0ns, 20'000ns})
            correspond({.capacity_messages = 1, .spin = spin}, one, one);
    }

    TEST_CASE("two processes on two processors, to and fro, busy between: no wake-up is lost")
    {
        const auto all = processors();
        if (all.size() < 2)
            return procyard_test::skip("only one processor");
        for (const auto spin : {0ns, 20'000ns})
            correspond({.capacity_messages = 1, .spin = spin}, all.front(), all.back());
    }

    TEST_CASE("two processes: a million messages, each the next and whole (case 1)")
    {
        CHECK(between_processes<numbered>({.capacity_messages = 1024}, 1'000'000, send_batches,
                                          receive_batches)
              == 0);
    }

    TEST_CASE("two processes: texts of all lengths (case 2)")
    {
        CHECK(between_processes<std::string>({.capacity_bytes = 1024}, 50'000, send_texts,
                                             receive_texts)
              == 0);
    }
}
