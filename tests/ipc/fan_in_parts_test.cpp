// SPDX-License-Identifier: BSL-1.0
// Many senders of messages that are longer than their rings, and one receiver: each comes whole or
// not at all, whatever the others do meanwhile.
#include <procyard/ipc/fan_in.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "forked.hpp"
#include "message_samples.hpp"
#include "numbered_messages.hpp"

namespace asio = boost::asio;
using procyard::arrival;
using procyard::channel;
using procyard::channel_errc;
using procyard::error_code;
using procyard::fan_in;
using procyard::make_channel;
using procyard::sender;
using procyard::source_id;
using procyard::unopened;
using procyard_test::forked;
using procyard_test::numbered_text;
using procyard_test::outcome;
using procyard_test::run_coroutine;

namespace {

constexpr procyard::channel_options small{.capacity_bytes = 256};
constexpr std::size_t long_one = 1000;

// Of one source: long ones only, short ones only, or both.
enum class kind : std::uint8_t { of_long, of_short, of_both };

std::size_t length_of(kind of, std::uint64_t n)
{
    const auto longer = long_one + n * 37 % 900;
    const auto shorter = n * 7 % 100;
    switch (of) {
    case kind::of_long: return longer;
    case kind::of_short: return shorter;
    case kind::of_both: break;
    }
    return n % 3 == 0 ? longer : shorter;
}

asio::awaitable<void> send_each(sender<std::string>& to, kind of, std::uint64_t count)
{
    for (std::uint64_t n = 0; n < count; ++n)
        co_await to.async_send(numbered_text(n, length_of(of, n)), asio::use_awaitable);
    to.close();
}

// What has come from whom.
class in_order {
public:
    void expect(source_id from, kind of) { next_[from] = {of, 0}; }
    void operator()(const arrival<std::string>& got)
    {
        auto& [of, n] = next_.at(got.source);
        CAPTURE(n);
        REQUIRE(got.message == numbered_text(n, length_of(of, n)));
        ++n;
    }
    [[nodiscard]] std::uint64_t count(source_id from) const { return next_.at(from).second; }

private:
    std::map<source_id, std::pair<kind, std::uint64_t>> next_;
};

// Until `ended` sources have ended, with closed.
asio::awaitable<void> receive_each(fan_in<std::string>& from, in_order& check, int ended)
{
    while (ended > 0) {
        const auto got = co_await from.async_receive(asio::use_awaitable);
        if (got.ended)
            CHECK_MESSAGE(got.ended == channel_errc::closed, got.ended.message());
        got.ended ? static_cast<void>(--ended) : check(got);
    }
}

// A process that sends, until it has sent so much that it waits in the middle of a long message,
// and dies there.
int die_in_the_middle(unopened<sender<std::string>> end)
{
    asio::io_context ctx;
    sender<std::string> s(ctx.get_executor(), std::move(end));
    (void)s.try_send(numbered_text(0, length_of(kind::of_short, 0)));
    outcome<error_code> sent;
    s.async_send(numbered_text(1, long_one), sent.handler());
    ctx.poll();
    if (sent.done())
        return 1;
    ::raise(SIGKILL);
    return 0;
}

int send_for_ever(unopened<sender<std::string>> end)
{
    asio::io_context ctx;
    sender<std::string> s(ctx.get_executor(), std::move(end));
    run_coroutine(ctx, [&] { return send_each(s, kind::of_both, ~std::uint64_t{0}); });
    return 1;
}

}  // namespace

TEST_SUITE("fan_in: messages longer than a source's ring")
{
    TEST_CASE("of each source whole and in its order, among short ones and those of others")
    {
        constexpr std::uint64_t count = 200;
        for (const unsigned burst : {1U, 2U, 16U}) {
            CAPTURE(burst);
            asio::io_context ctx;
            fan_in<std::string> from(ctx.get_executor(), {.burst = burst});
            std::deque<sender<std::string>> senders;
            std::vector<source_id> ids;
            in_order check;
            for (const kind of : {kind::of_long, kind::of_short, kind::of_both, kind::of_long}) {
                channel<std::string> c(ctx.get_executor(), small);
                ids.push_back(from.add(std::move(c.receiver)));
                check.expect(ids.back(), of);
                senders.push_back(std::move(c.sender));
                asio::co_spawn(ctx, send_each(senders.back(), of, count),
                               [](std::exception_ptr failure) { CHECK_FALSE(failure); });
            }
            run_coroutine(ctx, [&] { return receive_each(from, check, 4); });
            for (const auto id : ids)
                CHECK(check.count(id) == count);
        }
    }

    TEST_CASE("readable means whole, and one that is half sent keeps nobody waiting")
    {
        asio::io_context ctx;
        asio::io_context there;
        fan_in<std::string> from(ctx.get_executor());
        auto ends = make_channel<std::string>(small);
        sender<std::string> slow(there.get_executor(), std::move(ends.sender));
        const auto half =
            from.add(procyard::receiver<std::string>(ctx.get_executor(), std::move(ends.receiver)));
        channel<std::string> other(ctx.get_executor(), small);
        const auto whole = from.add(std::move(other.receiver));
        outcome<error_code> sent;
        slow.async_send(numbered_text(0, long_one), sent.handler());
        there.poll();
        outcome<error_code> readable;
        from.async_wait_readable(readable.handler());
        const auto work = asio::make_work_guard(ctx);
        ctx.poll();
        CHECK_FALSE(readable.done());
        arrival<std::string> got;
        error_code ec;
        CHECK_FALSE(from.try_receive(got, ec));
        CHECK(ec == asio::error::would_block);
        CHECK(other.sender.try_send("short"));
        CHECK(from.try_receive(got, ec));
        CHECK(got.source == whole);
        CHECK(got.message == "short");
        for (int turns = 0; !readable.done() && turns < 1000; ++turns) {
            there.poll();
            ctx.poll();
        }
        CHECK(sent.count == 1);
        REQUIRE(readable.done());
        REQUIRE(from.try_receive(got, ec));
        CHECK(got.source == half);
        CHECK(got.message == numbered_text(0, long_one));
    }

    TEST_CASE("above the receiver's limit they end their source, and no other")
    {
        asio::io_context ctx;
        fan_in<std::string> from(ctx.get_executor());
        auto ends = make_channel<std::string>(small);
        ends.receiver.options().max_message_bytes = long_one - 1;
        sender<std::string> bad(ctx.get_executor(), std::move(ends.sender));
        const auto ended =
            from.add(procyard::receiver<std::string>(ctx.get_executor(), std::move(ends.receiver)));
        channel<std::string> good(ctx.get_executor(), small);
        const auto goes_on = from.add(std::move(good.receiver));
        outcome<error_code> sent;
        outcome<error_code> also;
        bad.async_send(numbered_text(0, long_one), sent.handler());
        good.sender.async_send(numbered_text(0, long_one), also.handler());
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (int i = 0; i < 2; ++i) {
                const auto got = co_await from.async_receive(asio::use_awaitable);
                if (got.source == ended)
                    CHECK_MESSAGE(got.ended == channel_errc::too_long, got.ended.message());
                else
                    CHECK(got.message == numbered_text(0, long_one));
            }
        });
        CHECK(sent.error() == channel_errc::closed);
        CHECK_FALSE(also.error());
        CHECK(from.source_count() == 1);
        CHECK(from.name(goes_on).empty());
    }

    TEST_CASE("a sender that is killed between two parts has sent what was before, and dies once")
    {
        auto ends = make_channel<std::string>(small);
        procyard_test::sending_process<std::string> peer(ends, &die_in_the_middle);
        asio::io_context ctx;
        fan_in<std::string> from(ctx.get_executor());
        in_order check;
        const auto victim =
            from.add(procyard::receiver<std::string>(ctx.get_executor(), std::move(ends.receiver)));
        check.expect(victim, kind::of_short);
        CHECK(peer.result() == -SIGKILL);
        channel<std::string> other(ctx.get_executor(), small);
        const auto goes_on = from.add(std::move(other.receiver));
        check.expect(goes_on, kind::of_both);
        asio::co_spawn(ctx, send_each(other.sender, kind::of_both, 50),
                       [](std::exception_ptr failure) { CHECK_FALSE(failure); });
        int died = 0;
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (int ended = 0; ended < 2;) {
                const auto got = co_await from.async_receive(asio::use_awaitable);
                if (!got.ended) {
                    check(got);
                    continue;
                }
                ++ended;
                died += got.source == victim && got.ended == channel_errc::peer_died ? 1 : 0;
            }
        });
        CHECK(died == 1);
        CHECK(check.count(victim) == 1);
        CHECK(check.count(goes_on) == 50);
    }

    TEST_CASE("senders that are killed at any moment: whole ones arrive, and then peer_died")
    {
        procyard_test::fixed_random random(13);
        for (int round = 0; round < 30; ++round) {
            CAPTURE(round);
            auto first = make_channel<std::string>(small);
            auto second = make_channel<std::string>(small);
            forked peer([&] {
                auto mine = std::move(first.sender);
                first = {};
                second = {};
                return send_for_ever(std::move(mine));
            });
            first.sender = {};
            asio::io_context ctx;
            fan_in<std::string> from(ctx.get_executor());
            in_order check;
            const auto victim = from.add(
                procyard::receiver<std::string>(ctx.get_executor(), std::move(first.receiver)));
            check.expect(victim, kind::of_both);
            sender<std::string> other(ctx.get_executor(), std::move(second.sender));
            const auto goes_on = from.add(
                procyard::receiver<std::string>(ctx.get_executor(), std::move(second.receiver)));
            check.expect(goes_on, kind::of_both);
            asio::co_spawn(ctx, send_each(other, kind::of_both, 60),
                           [](std::exception_ptr failure) { CHECK_FALSE(failure); });
            const auto kill_at = random.below(40);
            error_code victims_end;
            run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                bool is_killed = false;
                for (int ended = 0; ended < 2;) {
                    if (!is_killed && check.count(victim) >= kill_at) {
                        is_killed = true;
                        peer.kill_hard();
                    }
                    const auto got = co_await from.async_receive(asio::use_awaitable);
                    if (got.ended && got.source == victim)
                        victims_end = got.ended;
                    got.ended ? static_cast<void>(++ended) : check(got);
                }
            });
            CHECK_MESSAGE(victims_end == channel_errc::peer_died, victims_end.message());
            CHECK(check.count(victim) >= kill_at);
            CHECK(check.count(goes_on) == 60);
        }
    }
}
