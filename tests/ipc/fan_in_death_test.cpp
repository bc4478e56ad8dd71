// SPDX-License-Identifier: BSL-1.0
// Senders in other processes that are killed, flood or break the rules: it harms nobody else.
#include <procyard/ipc/fan_in.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "raw_peer.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::fan_in;
using procyard::make_channel;
using procyard::sender;
using procyard::source_id;
using procyard::unopened;
using procyard_test::forked;

namespace {

constexpr procyard::channel_options few{.capacity_messages = 16};
constexpr std::uint64_t for_ever = ~std::uint64_t{0};

// Sends 0, 1, 2, … and closes.
int send_numbers(unopened<sender<std::uint64_t>> end, std::uint64_t count)
{
    asio::io_context ctx;
    sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
    procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
        for (std::uint64_t n = 0; n < count; ++n) {
            if (n % 3 == 0 || !s.try_send(n))
                co_await s.async_send(n, asio::use_awaitable);
        }
    });
    return 0;
}

// A fan-in and processes that send to it. Each is a copy of this one as it was before any of the
// channels was opened here.
struct processes {
    explicit processes(const std::vector<std::uint64_t>& counts) : from(ctx.get_executor())
    {
        std::vector<procyard::unopened_channel<std::uint64_t>> ends;
        for (std::size_t i = 0; i < counts.size(); ++i)
            ends.push_back(make_channel<std::uint64_t>(few));
        for (std::size_t i = 0; i < counts.size(); ++i) {
            peers.emplace_back([&] {
                auto mine = std::move(ends[i].sender);
                ends.clear();
                from = {};
                return send_numbers(std::move(mine), counts[i]);
            });
        }
        for (auto& each : ends) {
            each.sender = {};
            ids.push_back(from.add(std::move(each.receiver)));
        }
    }

    asio::io_context ctx;
    fan_in<std::uint64_t> from;
    std::deque<forked> peers;
    std::vector<source_id> ids;
    std::map<source_id, std::uint64_t> next;

    /// Receives until a source ends or so many messages have come; checks that none is missing.
    asio::awaitable<procyard::arrival<std::uint64_t>> receive(std::uint64_t messages)
    {
        procyard::arrival<std::uint64_t> got;
        for (std::uint64_t i = 0; i < messages; ++i) {
            got = co_await from.async_receive(asio::use_awaitable);
            if (got.ended)
                break;
            REQUIRE(got.message == next[got.source]++);
        }
        co_return got;
    }
};

}  // namespace

TEST_SUITE("fan_in death")
{
    TEST_CASE("everybody sends what he has: each in order, nothing lost or twice, each end once")
    {
        processes p({1000, 0, 5000, 1, 3000, 777, 2000, 4000});
        procyard_test::run_coroutine(p.ctx, [&]() -> asio::awaitable<void> {
            std::map<source_id, int> ends;
            while (ends.size() < p.ids.size()) {
                const auto got = co_await p.receive(for_ever);
                CHECK(got.ended == channel_errc::closed);
                CHECK(++ends[got.source] == 1);
            }
        });
        CHECK(p.next[p.ids[2]] == 5000);
        CHECK(p.next[p.ids[1]] == 0);
        CHECK(p.next[p.ids[7]] == 4000);
        CHECK(p.from.source_count() == 0);
        for (auto& peer : p.peers)
            CHECK(peer.result() == 0);
    }

    TEST_CASE("kill -9 of one at any moment: told once, after all it had committed; others go on")
    {
        procyard_test::fixed_random random(11);
        for (int round = 0; round < 60; ++round) {
            CAPTURE(round);
            processes p({for_ever, for_ever, for_ever});
            procyard_test::run_coroutine(p.ctx, [&]() -> asio::awaitable<void> {
                const auto before = co_await p.receive(1 + random.below(200));
                REQUIRE_FALSE(before.ended);
                const auto victim = random.below(3);
                p.peers[victim].kill_hard();
                const auto end = co_await p.receive(for_ever);
                CHECK(end.ended == channel_errc::peer_died);
                CHECK(end.source == p.ids[victim]);
                const auto after = co_await p.receive(200);
                CHECK_FALSE(after.ended);
            });
            CHECK(p.from.source_count() == 2);
        }
    }

    TEST_CASE("one that dies while it has nothing to say is heard of though others never stop")
    {
        processes p({for_ever, for_ever});
        auto quiet = make_channel<std::uint64_t>(few);
        forked other([&, end = std::move(quiet.sender)]() mutable {
            asio::io_context ctx;
            const sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
            ::pause();
            return 0;
        });
        quiet.sender = {};
        const auto id = p.from.add(std::move(quiet.receiver));
        procyard_test::run_coroutine(p.ctx, [&]() -> asio::awaitable<void> {
            (void)co_await p.receive(1000);
            other.kill_hard();
            const auto end = co_await p.receive(for_ever);
            CHECK(end.source == id);
            CHECK(end.ended == channel_errc::peer_died);
        });
    }

    TEST_CASE("the same of one that comes while the others never stop, so that nothing ever sleeps")
    {
        asio::io_context ctx;
        fan_in<std::uint64_t> from(ctx.get_executor());
        auto ends = make_channel<std::uint64_t>(few);
        std::optional<procyard_test::raw_peer<std::uint64_t>> peer(
            std::in_place, procyard::detail::ring_role::producer, std::move(ends.sender).take(),
            few);
        const auto id = from.add(std::move(ends.receiver));
        procyard::channel<std::uint64_t> busy(ctx.get_executor(), few);
        from.add(std::move(busy.receiver));
        CHECK(busy.sender.try_send(0));
        bool has_ended = false;
        const auto receive = [&](int count) {
            for (int i = 0; i < count && !has_ended; ++i) {
                CHECK(busy.sender.try_send(0));  // one is left when the other has been received
                procyard_test::outcome<error_code, procyard::arrival<std::uint64_t>> got;
                from.async_receive(got.handler());
                procyard_test::run_until(ctx, [&] { return got.done(); });
                has_ended = static_cast<bool>(got.result().ended);
                if (has_ended)
                    CHECK(got.result().source == id);
            }
        };
        receive(100);
        peer->greet();
        receive(1000);
        CHECK_FALSE(has_ended);
        peer.reset();
        receive(3000);
        CHECK(has_ended);
    }

    TEST_CASE("one that stands still holds up nobody, and goes on later (case 35)")
    {
        processes p({for_ever, for_ever});
        procyard_test::run_coroutine(p.ctx, [&]() -> asio::awaitable<void> {
            (void)co_await p.receive(100);
            ::kill(p.peers[0].pid(), SIGSTOP);
            const auto stood = p.next[p.ids[1]];
            while (p.next[p.ids[1]] < stood + 1000)
                CHECK_FALSE((co_await p.receive(1)).ended);
            ::kill(p.peers[0].pid(), SIGCONT);
            const auto before = p.next[p.ids[0]];
            while (p.next[p.ids[0]] < before + 1000)
                CHECK_FALSE((co_await p.receive(1)).ended);
        });
    }

    TEST_CASE("one that breaks the rules ends, the others do not notice")
    {
        for (const std::uint64_t position : {std::uint64_t{17}, std::uint64_t{1} << 63U}) {
            asio::io_context ctx;
            fan_in<std::uint64_t> from(ctx.get_executor());
            auto bad = make_channel<std::uint64_t>(few);
            procyard_test::raw_peer<std::uint64_t> peer(procyard::detail::ring_role::producer,
                                                        std::move(bad.sender).take(), few);
            peer.greet();
            const auto bad_id = from.add(std::move(bad.receiver));
            peer.meet();
            procyard::channel<std::uint64_t> good(ctx.get_executor(), few);
            const auto good_id = from.add(std::move(good.receiver));
            procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                CHECK(good.sender.try_send(1));
                CHECK((co_await from.async_receive()).source == good_id);
                asio::post(ctx, [&] { peer.jump_to(position); });
                const auto end = co_await from.async_receive();
                CHECK(end.source == bad_id);
                CHECK(end.ended == channel_errc::peer_broke_rules);
                CHECK(good.sender.try_send(2));
                CHECK((co_await from.async_receive()).message == 2);
            });
        }
    }

    TEST_CASE("one that rings all the time for nothing costs turns and no more (case 48)")
    {
        asio::io_context ctx;
        fan_in<std::uint64_t> from(ctx.get_executor());
        auto loud = make_channel<std::uint64_t>(few);
        procyard_test::raw_peer<std::uint64_t> peer(procyard::detail::ring_role::producer,
                                                    std::move(loud.sender).take(), few);
        peer.greet();
        const auto id = from.add(std::move(loud.receiver));
        peer.meet();
        procyard::channel<std::uint64_t> good(ctx.get_executor(), few);
        from.add(std::move(good.receiver));
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (std::uint64_t n = 0; n < 100; ++n) {
                for (int i = 0; i < 50; ++i)
                    peer.press();
                asio::post(ctx, [&, n] {
                    peer.press();
                    CHECK(good.sender.try_send(n));
                });
                CHECK((co_await from.async_receive()).message == n);
            }
            CHECK(from.statistics(id).messages == 0);
        });
    }

    TEST_CASE("a message that is tried for before its ring: who waits is rung for the next one")
    {
        asio::io_context ctx;
        fan_in<std::uint64_t> from(ctx.get_executor());
        auto ends = make_channel<std::uint64_t>(few);
        procyard_test::raw_peer<std::uint64_t> peer(procyard::detail::ring_role::producer,
                                                    std::move(ends.sender).take(), few);
        peer.greet();
        from.add(std::move(ends.receiver));
        peer.meet();
        procyard_test::outcome<error_code, procyard::arrival<std::uint64_t>> waits;
        from.async_receive(waits.handler());
        ctx.poll();
        const auto is_to_be_rung = [&] { return (peer.peer_words().sleep.load() & 1U) != 0; };
        CHECK(is_to_be_rung());
        peer.words().position.store(1, std::memory_order_release);
        procyard::arrival<std::uint64_t> got;
        error_code ec;
        CHECK(from.try_receive(got, ec));
        CHECK_FALSE(is_to_be_rung());
        procyard_test::run_until(ctx, [&] { return is_to_be_rung(); });
        CHECK_FALSE(waits.done());
        peer.jump_to(2);
        procyard_test::run(ctx);
        CHECK_FALSE(waits.result().ended);
    }

    TEST_CASE("a copy of the process that leaves disturbs nobody")
    {
        asio::io_context ctx;
        fan_in<int> from(ctx.get_executor());
        procyard::channel<int> c(ctx.get_executor(), few);
        from.add(std::move(c.receiver));
        procyard_test::outcome<error_code, procyard::arrival<int>> got;
        from.async_receive(got.handler());
        ctx.poll();
        CHECK(procyard_test::in_fork([&] {
                  from.close();
                  return 0;
              })
              == 0);
        ctx.poll();
        CHECK_FALSE(got.done());
        CHECK(c.sender.try_send(1));
        procyard_test::run(ctx);
        CHECK(got.result().message == 1);
    }
}
