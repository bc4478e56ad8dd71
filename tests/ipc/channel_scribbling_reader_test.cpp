// SPDX-License-Identifier: BSL-1.0
// A receiving peer in a process of its own that writes random words over all that it can write,
// while we send: only errors come of it, and nothing is written outside of the ring.
#include <procyard/ipc/channel.hpp>

#include <sched.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "against_peer.hpp"
#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "numbered_messages.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::sender;
using procyard_test::against_consumer;
using procyard_test::fixed_random;
using procyard_test::is_numbered;
using procyard_test::numbered;
using procyard_test::outcome;
using procyard_test::raw_peer;
using procyard_test::run;
using procyard_test::whole;

namespace {

constexpr int attempts = 300;

// Mostly what an honest one could say.
template <class T>
int scribble(raw_peer<T>& peer, std::uint64_t seed, bool lies_often)
{
    fixed_random random(seed);
    auto& words = peer.words();
    const std::uint64_t step = procyard::fixed_bytes<T> != 0 ? 1 : 8;
    const auto steps = peer.capacity() / step;
    for (;;) {
        const auto committed = peer.peer_words().position.load();
        const auto behind = step * random.below(steps + 1);
        words.position.store(committed < behind ? committed : committed - behind);
        if (lies_often && random.below(50) == 0) {
            words.position.store(random.next());
            words.closed.store(static_cast<std::uint32_t>(random.below(2)));
        }
        words.sleep.store(random.next());
        words.wake_at.store(random.next());
        words.unfenced.store(static_cast<std::uint32_t>(random.next()));
        auto& account = peer.accounts().places[random.below(2)];  // for one that drops the oldest
        account.position.store(random.below(2) != 0 ? words.position.load() : random.next());
        account.number.store(random.below(committed + 1));
        account.lost.store(random.below(4) != 0 ? random.below(committed + 1) : random.next());
        peer.press();
    }
}

// What a hostile peer may make of an attempt.
bool is_expected(const error_code& ec)
{
    return !ec || ec == asio::error::would_block || ec == asio::error::operation_aborted
        || ec == channel_errc::peer_broke_rules || ec == channel_errc::closed;
}

// In some of the ways there are. False: the channel has ended.
template <class T>
bool send_somehow(against_consumer<T>& test, int i)
{
    error_code ec;
    const auto n = static_cast<std::uint64_t>(i);
    if (i % 4 == 0) {
        outcome<error_code> sent;
        test.end.async_send(numbered<T>(n), sent.handler());
        test.ctx.restart();
        test.ctx.poll();
        test.end.cancel();
        run(test.ctx);
        ec = sent.error();
    } else if (i % 4 == 1) {
        const std::vector<T> some{numbered<T>(n), numbered<T>(n + 1), numbered<T>(n + 2)};
        (void)test.end.try_send_some(some, ec);
    } else if (i % 4 == 2) {
        if constexpr (procyard::detail::in_place_message<T>) {
            auto room = test.end.try_loan(3, ec);
            for (auto& each : room.messages())
                each = numbered<T>(n);
            room.commit();
        }
    } else {
        (void)test.end.try_send(numbered<T>(n), ec);
    }
    CHECK_MESSAGE(is_expected(ec), ec.message());
    return test.end.is_open();
}

// What the old one has said of itself says how much the next one is told of; no more.
template <class T>
void go_on_with_another(against_consumer<T>& test)
{
    error_code ec;
    auto made = test.end.resume(ec);
    if (ec)
        return;
    procyard::receiver<T> next(test.ctx.get_executor(), std::move(made));
    T message{};
    std::uint64_t received = 0;
    for (; !ec || ec == channel_errc::lapped; received += ec ? 0U : 1U)
        (void)next.try_receive(message, ec);
    CHECK_MESSAGE(ec == asio::error::would_block, ec.message());
    CHECK(received <= test.peer.capacity());
    CHECK(test.end.try_send(numbered<T>(7), ec));
    CHECK(next.try_receive(message, ec));
    CHECK(is_numbered(message, 7));
}

template <class T>
void survive_scribbling(const procyard::channel_options& options)
{
    for (int round = 0; round < 20; ++round) {
        CAPTURE(round);
        against_consumer<T> test(options);
        procyard_test::forked peer([&] {
            return scribble(test.peer, static_cast<std::uint64_t>(round) + 1, round % 2 == 0);
        });
        while (test.peer.words().sleep.load() == 0)
            ::sched_yield();  // it has not begun
        for (int i = 0; i < attempts && send_somehow(test, i); ++i) { }
        const auto why = test.end.failure();
        CHECK_MESSAGE(is_expected(why), why.message());
        CHECK(test.end.statistics().depth <= test.peer.capacity());
        peer.kill_hard();
        if (options.full == procyard::when_full::drop_oldest)
            go_on_with_another(test);
    }
}

}  // namespace

TEST_SUITE("channel against a receiving peer that scribbles")
{
    TEST_CASE("over its words, as we send cells (cases 41, 42, 44)")
    {
        survive_scribbling<whole>({.capacity_messages = 16});
    }

    TEST_CASE("over its words, as we send records (cases 41, 42, 44)")
    {
        survive_scribbling<std::string>({.capacity_bytes = 4096});
    }

    TEST_CASE("over its words, as we drop the oldest, and go on with another (cases 41, 42, 44)")
    {
        constexpr auto drop_oldest = procyard::when_full::drop_oldest;
        survive_scribbling<whole>({.capacity_messages = 16, .full = drop_oldest});
        survive_scribbling<std::string>({.capacity_bytes = 4096, .full = drop_oldest});
    }
}
