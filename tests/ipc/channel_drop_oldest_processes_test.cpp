// SPDX-License-Identifier: BSL-1.0
// A sender that drops the oldest, and its receiver, in different processes, of which one is killed,
// stopped or hostile.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "forked.hpp"
#include "message_samples.hpp"
#include "numbered_messages.hpp"
#include "shared_array.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard::when_full;
using procyard_test::is_numbered;
using procyard_test::numbered;
using procyard_test::outcome;
using procyard_test::receiving_process;
using procyard_test::run;
using procyard_test::sending_process;
using procyard_test::shared_array;
using procyard_test::whole;

namespace {

constexpr channel_options cells{.capacity_messages = 16, .full = when_full::drop_oldest};
constexpr channel_options records{.capacity_bytes = 8192, .full = when_full::drop_oldest};

template <class T>
std::uint64_t number_of(const T& message)
{
    if constexpr (std::is_same_v<T, whole>)
        return message.words[0];
    else
        return std::strtoull(message.c_str(), nullptr, 10);
}

struct seen {
    std::uint64_t received = 0;
    std::uint64_t next = 0;  // the number behind the last
    std::uint64_t wrong = 0;
    std::uint64_t gaps = 0;
    error_code end;
};

// Tries, and sleeps when there is nothing, until the channel has ended.
template <class T, class Then>
seen receive_all(asio::io_context& ctx, receiver<T>& from, Then then)
{
    seen all;
    while (!all.end) {
        T message{};
        error_code ec;
        bool got = from.try_receive(message, ec);
        if (ec == asio::error::would_block) {
            outcome<error_code, T> waited;
            from.async_receive(waited.handler());
            run(ctx);
            ec = waited.error();
            got = !ec;
            message = std::move(waited.result());
        }
        if (got) {
            const auto number = number_of(message);
            all.wrong += is_numbered(message, number) && number >= all.next ? 0 : 1;
            all.wrong += all.received + from.lost() == number ? 0 : 1;
            all.next = number + 1;
            then(++all.received);
        } else if (ec == channel_errc::lapped) {
            ++all.gaps;
        } else {
            all.end = ec;
        }
    }
    return all;
}
template <class T>
seen receive_all(asio::io_context& ctx, receiver<T>& from)
{
    return receive_all(ctx, from, [](std::uint64_t) { });
}

template <class T>
void flood(const channel_options& options, std::uint64_t count)
{
    auto ends = make_channel<T>(options);
    sending_process<T> peer(ends, [count](unopened<sender<T>> end) {
        asio::io_context ctx;
        sender<T> s(ctx.get_executor(), std::move(end));
        error_code ec;
        for (std::uint64_t n = 0; n < count; ++n) {
            if (!s.try_send(numbered<T>(n), ec))
                return 2;
            if (n % 1000 == 0)
                ::sched_yield();
        }
        s.close();
        return s.statistics().stalls == 0 ? 0 : 3;
    });
    asio::io_context ctx;
    receiver<T> r(ctx.get_executor(), std::move(ends.receiver));
    const auto all = receive_all(ctx, r);
    CHECK(all.end == channel_errc::closed);
    CHECK(all.wrong == 0);
    CHECK(all.received + r.lost() == count);
    CHECK(all.next == count);
    CHECK(peer.result() == 0);
}

template <class T>
void kill_the_sender(const channel_options& options)
{
    procyard_test::fixed_random random(5);
    for (int round = 0; round < 20; ++round) {
        CAPTURE(round);
        shared_array<std::uint64_t> sent(1);
        auto ends = make_channel<T>(options);
        sending_process<T> peer(ends, [&sent](unopened<sender<T>> end) {
            asio::io_context ctx;
            sender<T> s(ctx.get_executor(), std::move(end));
            for (;; ++sent[0])
                (void)s.try_send(numbered<T>(sent[0]));
            return 1;
        });
        asio::io_context ctx;
        receiver<T> r(ctx.get_executor(), std::move(ends.receiver));
        for (const auto until = random.below(20'000); sent[0] < until;)
            ::sched_yield();
        if (round % 2 == 0)
            peer.kill_hard();
        const auto all = receive_all(ctx, r, [&](std::uint64_t received) {
            if (received == 1 && round % 2 != 0)
                peer.kill_hard();
        });
        CHECK(all.end == channel_errc::peer_died);
        CHECK(all.wrong == 0);
        const auto found = all.received + r.lost();
        CHECK_MESSAGE((found == sent[0] || found == sent[0] + 1), found, " of ", sent[0].load());
    }
}

// In the middle of a flood. What it has received, and what it and the next one have lost, and what
// the ring held, is what was sent.
template <class T>
void kill_the_receiver(const channel_options& options)
{
    shared_array<std::uint64_t> received(1);
    auto ends = make_channel<T>(options);
    receiving_process<T> peer(ends, [&](unopened<receiver<T>> end) {
        asio::io_context ctx;
        receiver<T> r(ctx.get_executor(), std::move(end));
        (void)receive_all(ctx, r, [&](std::uint64_t count) { received[0] = count; });
        return 1;
    });
    asio::io_context ctx;
    sender<T> s(ctx.get_executor(), std::move(ends.sender));
    std::uint64_t n = 0;
    error_code ec;
    for (; !s.is_connected(); ::sched_yield())
        REQUIRE(s.try_send(numbered<T>(n++), ec));
    for (const auto until = n + 5000; n < until || received[0] == 0; ++n)
        REQUIRE(s.try_send(numbered<T>(n), ec));
    peer.kill_hard();
    for (const auto until = n + 5000; n < until && s.try_send(numbered<T>(n), ec);)
        ++n;
    CHECK(ec == channel_errc::peer_died);
    const auto dropped = s.statistics().dropped;
    const auto left = s.statistics().depth;
    receiver<T> next(ctx.get_executor(), s.resume());
    s.close();
    // All that the ring holds, whole and in order: the last that have been sent.
    T message{};
    while (!next.try_receive(message, ec))
        REQUIRE_MESSAGE(ec == channel_errc::lapped, ec.message());
    for (auto number = n - left; number < n; ++number) {
        CHECK(is_numbered(message, number));
        CHECK(next.try_receive(message, ec) == (number + 1 < n));
    }
    CHECK(ec == channel_errc::closed);
    CHECK(next.lost() > 0);
    CHECK(s.statistics().dropped >= dropped);
    const auto got = n - left - s.statistics().dropped;
    CHECK_MESSAGE((got == received[0] || got == received[0] + 1), got, " of ", received[0].load());
}

}  // namespace

TEST_SUITE("channel: drop_oldest, two processes")
{
    TEST_CASE("a flood of cells: in order, whole, and received and lost is sent")
    {
        flood<whole>(cells, 200'000);
    }

    TEST_CASE("a flood of records: in order, whole, and received and lost is sent")
    {
        flood<std::string>(records, 100'000);
    }

    TEST_CASE("rings that hold one message or two: nothing torn, and the count is exact")
    {
        flood<whole>({.capacity_messages = 1, .full = when_full::drop_oldest}, 20'000);
        flood<std::string>({.capacity_bytes = 1024, .full = when_full::drop_oldest}, 20'000);
    }

    TEST_CASE(
        "kill -9 of the sender at any moment: what was committed is received, or lost (cells)")
    {
        kill_the_sender<whole>(cells);
    }

    TEST_CASE(
        "kill -9 of the sender at any moment: what was committed is received, or lost (records)")
    {
        kill_the_sender<std::string>(records);
    }

    TEST_CASE(
        "kill -9 of the receiver: a sender that only tries hears of it, and goes on till then")
    {
        kill_the_receiver<whole>(cells);
    }

    TEST_CASE("kill -9 of the receiver: the next one knows what it had not found to be lost")
    {
        kill_the_receiver<std::string>(records);
    }

    TEST_CASE("kill -9 of the receiver: a sender of batches hears of it after as many messages")
    {
        auto ends = make_channel<whole>(cells);
        receiving_process<whole> peer(ends, [](unopened<receiver<whole>> end) {
            asio::io_context ctx;
            receiver<whole> r(ctx.get_executor(), std::move(end));
            (void)receive_all(ctx, r);
            return 1;
        });
        asio::io_context ctx;
        sender<whole> s(ctx.get_executor(), std::move(ends.sender));
        const std::vector<whole> batch(16, numbered<whole>(0));
        error_code ec;
        for (; !s.is_connected(); ::sched_yield())
            REQUIRE(s.try_send_some(batch, ec) == batch.size());
        peer.kill_hard();
        std::size_t sent = 0;
        while (sent < 100'000 && ec != channel_errc::peer_died)
            sent += s.try_send_some(batch, ec);
        CHECK(ec == channel_errc::peer_died);
        CHECK(sent <= 1024 + 2 * batch.size());
    }

    TEST_CASE("to and fro, with a sleep for each, and bursts between: no wake-up is lost")
    {
        auto there = make_channel<whole>(cells);
        auto back = make_channel<std::string>(records);
        constexpr std::uint64_t rounds = 3000;
        const procyard_test::forked peer([&] {
            there.sender = {};
            back.receiver = {};
            asio::io_context ctx;
            receiver<whole> r(ctx.get_executor(), std::move(there.receiver));
            sender<std::string> s(ctx.get_executor(), std::move(back.sender));
            for (std::uint64_t next = 0; next < rounds;) {
                outcome<error_code, whole> got;
                r.async_receive(got.handler());
                run(ctx);
                if (got.error() && got.error() != channel_errc::lapped)
                    return 1;
                if (!got.error() && got.result().words[0] == next
                    && !s.try_send(numbered<std::string>(next++)))
                    return 2;
            }
            return 0;
        });
        there.receiver = {};
        back.sender = {};
        asio::io_context ctx;
        sender<whole> s(ctx.get_executor(), std::move(there.sender));
        receiver<std::string> r(ctx.get_executor(), std::move(back.receiver));
        for (std::uint64_t n = 0; n < rounds; ++n) {
            // Of a burst only the last one is answered, and it cannot be among those that are lost.
            for (auto before = n % 5 == 0 ? 40 : 0; before > 0; --before)
                REQUIRE(s.try_send(numbered<whole>(~std::uint64_t{0})));
            REQUIRE(s.try_send(numbered<whole>(n)));
            outcome<error_code, std::string> got;
            r.async_receive(got.handler());
            run(ctx);
            REQUIRE_FALSE(got.error());
            REQUIRE(is_numbered(got.result(), n));
        }
        CHECK(r.lost() == 0);
    }

    TEST_CASE("a receiver that is stopped holds nobody up, and goes on with what is there")
    {
        auto ends = make_channel<whole>(cells);
        shared_array<std::uint64_t> at(2);
        receiving_process<whole> peer(ends, [&at](unopened<receiver<whole>> end) {
            asio::io_context ctx;
            receiver<whole> r(ctx.get_executor(), std::move(end));
            at[0] = 1;
            const auto all = receive_all(ctx, r);
            at[1] = r.lost();
            return all.end == channel_errc::closed && all.wrong == 0
                    && all.received + r.lost() == 50'000
                ? 0
                : 1;
        });
        asio::io_context ctx;
        sender<whole> s(ctx.get_executor(), std::move(ends.sender));
        while (at[0] == 0)
            ::sched_yield();
        for (std::uint64_t n = 0; n < 50'000; ++n) {
            if (n == 10'000)
                ::kill(peer.pid(), SIGSTOP);
            if (n == 40'000)
                ::kill(peer.pid(), SIGCONT);
            REQUIRE(s.try_send(numbered<whole>(n)));
        }
        s.close();
        CHECK(peer.result() == 0);
        CHECK(at[1] >= 20'000);
    }
}
