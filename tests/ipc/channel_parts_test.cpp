// SPDX-License-Identifier: BSL-1.0
// Messages that are longer than the ring: whole or not at all, whoever gives up, closes or dies.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "numbered_messages.hpp"
#include "raw_peer.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard::detail::record_header;
using procyard::detail::record_kind;
using procyard_test::fixed_random;
using procyard_test::numbered_text;
using procyard_test::outcome;
using procyard_test::raw_peer;
using procyard_test::run;
using procyard_test::run_coroutine;
using procyard_test::sending_process;

namespace {

constexpr procyard::channel_options small{.capacity_bytes = 256};

asio::awaitable<void> send_each(sender<std::string>& to, const std::vector<std::size_t>& lengths)
{
    for (std::size_t n = 0; n < lengths.size(); ++n) {
        auto message = numbered_text(n, lengths[n]);
        co_await to.async_send(std::move(message), asio::use_awaitable);
    }
}

asio::awaitable<void> receive_each(receiver<std::string>& from,
                                   const std::vector<std::size_t>& lengths)
{
    for (std::size_t n = 0; n < lengths.size(); ++n) {
        CAPTURE(n);
        const auto got = co_await from.async_receive(asio::use_awaitable);
        REQUIRE(got == numbered_text(n, lengths[n]));
    }
}

void check_each(const procyard::channel_options& options, const std::vector<std::size_t>& lengths)
{
    asio::io_context ctx;
    channel<std::string> c(ctx.get_executor(), options);
    asio::co_spawn(ctx, send_each(c.sender, lengths),
                   [](std::exception_ptr failure) { CHECK_FALSE(failure); });
    run_coroutine(ctx, [&] { return receive_each(c.receiver, lengths); });
    CHECK(c.sender.statistics().messages == lengths.size());
    CHECK(c.receiver.statistics().messages == lengths.size());
    CHECK(c.receiver.statistics().depth == 0);
    CHECK(c.receiver.statistics().used == 0);
}

// A sender's operation that waits in the middle of a long message.
struct half_sent {
    explicit half_sent(const procyard::channel_options& options = small)
        : c(ctx.get_executor(), options)
    {
        c.sender.async_send(numbered_text(1, 1000),
                            asio::bind_cancellation_slot(signal.slot(), sent.handler()));
        ctx.poll();
        CHECK_FALSE(sent.done());
        CHECK(c.sender.statistics().used > 0);
    }

    asio::io_context ctx;
    channel<std::string> c;
    asio::cancellation_signal signal;
    outcome<error_code> sent;
};

}  // namespace

TEST_SUITE("channel: messages longer than the ring")
{
    TEST_CASE("arrive whole, among short ones, of every length around the capacity")
    {
        std::vector<std::size_t> lengths;
        for (std::size_t length = 200; length < 600; length += 3) {
            lengths.push_back(length);
            if (length % 2 == 0)
                lengths.push_back(length % 60);
        }
        check_each(small, lengths);
    }

    TEST_CASE("arrive whole through the smallest ring there is, and through a large one")
    {
        check_each({.capacity_bytes = 16}, {0, 1, 4, 5, 6, 7, 8, 100, 3, 1000});
        check_each({.capacity_bytes = 65536}, {65500, 1 << 20, 3, 65536, (1 << 22) + 1});
    }

    TEST_CASE("of vectors and structures with everything in them")
    {
        asio::io_context ctx;
        channel<procyard_test::report> c(ctx.get_executor(), small);
        auto sent = procyard_test::sample_report();
        sent.numbers.assign(1000, 77);
        sent.lines.assign(40, "line");
        outcome<error_code> done;
        c.sender.async_send(sent, done.handler());
        outcome<error_code, procyard_test::report> got;
        c.receiver.async_receive(got.handler());
        run(ctx);
        CHECK_FALSE(done.error());
        CHECK(got.result() == sent);
    }

    TEST_CASE("wait for room in the middle: who tries meanwhile is ahead of them")
    {
        half_sent test;
        CHECK_FALSE(test.c.receiver.try_receive());
        CHECK(test.c.sender.try_send("quick"));
        CHECK(test.c.receiver.try_receive() == "quick");
        outcome<error_code, std::string> got;
        test.c.receiver.async_receive(got.handler());
        run(test.ctx);
        CHECK(got.result() == numbered_text(1, 1000));
        CHECK_FALSE(test.sent.error());
    }

    TEST_CASE("are not for who tries: too_long, and nothing has been sent")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), small);
        error_code ec;
        CHECK_FALSE(c.sender.try_send(numbered_text(1, 1000), ec));
        CHECK(ec == channel_errc::too_long);
        CHECK(c.sender.statistics().used == 0);
    }

    TEST_CASE("in async_send_all, in the middle and at both ends")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), small);
        const std::vector<std::size_t> lengths{700, 3, 5, 900, 901, 2, 1500};
        std::vector<std::string> all;
        for (std::size_t n = 0; n < lengths.size(); ++n)
            all.push_back(numbered_text(n, lengths[n]));
        outcome<error_code, std::size_t> sent;
        c.sender.async_send_all(all, sent.handler());
        run_coroutine(ctx, [&] { return receive_each(c.receiver, lengths); });
        CHECK_FALSE(sent.error());
        CHECK(sent.result() == lengths.size());
        CHECK(c.sender.statistics().messages == lengths.size());
    }

    TEST_CASE("in batches: the first of one, where they are put together")
    {
        asio::io_context ctx;
        channel<std::string_view> c(ctx.get_executor(), small);
        const auto first = numbered_text(1, 1000);
        const auto second = numbered_text(2, 2000);
        outcome<error_code, std::size_t> sent;
        c.sender.async_send_all(std::vector<std::string_view>{"a", first, "b", second, "c"},
                                sent.handler());
        std::vector<std::string> got;
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            while (got.size() < 5) {
                auto batch = co_await c.receiver.async_receive_some(asio::use_awaitable);
                REQUIRE_FALSE(batch.empty());
                std::vector<std::string_view> views;
                for (const auto view : batch)
                    views.push_back(view);
                CHECK(batch.empty());
                CHECK_FALSE(views.empty());
                for (const auto view : views)  // all of them are good until now
                    got.emplace_back(view);
            }
        });
        CHECK(got == std::vector<std::string>{"a", first, "b", second, "c"});
        CHECK(sent.result() == 5);
        CHECK(c.receiver.statistics().messages == 5);
    }

    TEST_CASE("readable means whole")
    {
        half_sent test;
        outcome<error_code> readable;
        test.c.receiver.async_wait_readable(readable.handler());
        run(test.ctx);
        CHECK_FALSE(readable.error());
        CHECK(test.c.receiver.try_receive() == numbered_text(1, 1000));
    }

    TEST_CASE("up to the limit of the sender, which refuses longer ones")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(),
                               {.capacity_bytes = 256, .max_message_bytes = 1004});
        outcome<error_code> refused;
        c.sender.async_send(std::string(1001, 'x'), refused.handler());
        run(ctx);
        CHECK(refused.error() == channel_errc::too_long);
        check_each({.capacity_bytes = 256, .max_message_bytes = 1004}, {1000});
    }

    TEST_CASE("above the receiver's limit end the channel")
    {
        auto ends = make_channel<std::string>(small);
        ends.receiver.options().max_message_bytes = 999;
        asio::io_context ctx;
        sender<std::string> s(ctx.get_executor(), std::move(ends.sender));
        receiver<std::string> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(s.try_send("before"));
        outcome<error_code> sent;
        s.async_send(numbered_text(1, 1000), sent.handler());
        outcome<error_code, std::string> before;
        outcome<error_code, std::string> got;
        r.async_receive(before.handler());
        r.async_receive(got.handler());
        run(ctx);
        CHECK(before.result() == "before");
        CHECK(got.error() == channel_errc::too_long);
        CHECK(sent.error() == channel_errc::closed);
    }
}

TEST_SUITE("channel: messages longer than the ring, given up")
{
    TEST_CASE("a cancelled one is never seen, and the next arrive")
    {
        for (const std::size_t passed : {0U, 1U, 2U, 3U}) {
            CAPTURE(passed);
            half_sent test;
            for (std::size_t n = 0; n < passed; ++n) {  // each takes what is in the ring
                CHECK_FALSE(test.c.receiver.try_receive());
                test.ctx.restart();
                test.ctx.poll();
            }
            REQUIRE_FALSE(test.sent.done());
            test.signal.emit(asio::cancellation_type::total);
            run(test.ctx);
            CHECK(test.sent.error() == asio::error::operation_aborted);
            CHECK_FALSE(test.c.receiver.try_receive());
            CHECK(test.c.sender.try_send("next"));
            CHECK(test.c.receiver.try_receive() == "next");
            outcome<error_code> sent;
            outcome<error_code, std::string> got;
            test.c.sender.async_send(numbered_text(5, 3000), sent.handler());
            test.c.receiver.async_receive(got.handler());
            run(test.ctx);
            CHECK(got.result() == numbered_text(5, 3000));
            CHECK(test.c.sender.statistics().messages == 2);
        }
    }

    TEST_CASE("cancelled at any step: it arrives whole, or not at all")
    {
        int arrived = 0;
        for (int steps = 0; steps < 40; ++steps) {
            CAPTURE(steps);
            half_sent test;
            outcome<error_code, std::string> got;
            test.c.receiver.async_receive(got.handler());
            test.ctx.restart();
            for (int i = 0; i < steps; ++i)
                test.ctx.poll_one();
            test.signal.emit(asio::cancellation_type::terminal);
            test.ctx.poll();
            const bool was_sent = !test.sent.error();
            CHECK(got.done() == was_sent);
            if (got.done()) {
                ++arrived;
                CHECK(got.result() == numbered_text(1, 1000));
            } else {
                CHECK(test.c.sender.try_send("after"));
                run(test.ctx);
                CHECK(got.result() == "after");
            }
        }
        CHECK(arrived > 0);
        CHECK(arrived < 40);
    }

    TEST_CASE("a cancelled receive has taken nothing: the next gets all of it")
    {
        half_sent test;
        asio::cancellation_signal stop;
        outcome<error_code, std::string> first;
        test.c.receiver.async_receive(asio::bind_cancellation_slot(stop.slot(), first.handler()));
        test.ctx.restart();
        test.ctx.poll_one();
        test.ctx.poll_one();
        stop.emit(asio::cancellation_type::total);
        if (!first.done())
            procyard_test::run_until(test.ctx, [&] { return first.done(); });
        REQUIRE(first.error() == asio::error::operation_aborted);
        outcome<error_code, std::string> second;
        test.c.receiver.async_receive(second.handler());
        run(test.ctx);
        CHECK(second.result() == numbered_text(1, 1000));
    }

    TEST_CASE("a sender that closes in the middle has sent nothing of it")
    {
        half_sent test;
        test.c.sender.close();
        outcome<error_code, std::string> got;
        test.c.receiver.async_receive(got.handler());
        run(test.ctx);
        CHECK(test.sent.error() == asio::error::operation_aborted);
        CHECK(got.error() == channel_errc::closed);
        CHECK(test.c.receiver.statistics().messages == 0);
    }

    TEST_CASE("a receiver that closes in the middle: the sender hears of it")
    {
        half_sent test;
        test.c.receiver.close();
        run(test.ctx);
        CHECK(test.sent.error() == channel_errc::closed);
    }

    TEST_CASE("kill -9 of the sender at any moment: whole ones arrive, and then peer_died")
    {
        fixed_random random(12);
        for (int round = 0; round < 30; ++round) {
            CAPTURE(round);
            auto ends = make_channel<std::string>(small);
            sending_process<std::string> peer(ends, [](unopened<sender<std::string>> end) {
                asio::io_context there;
                sender<std::string> s(there.get_executor(), std::move(end));
                run_coroutine(there, [&]() -> asio::awaitable<void> {
                    for (std::uint64_t n = 0;; ++n) {
                        auto message = numbered_text(n, 500 + n % 1000);
                        co_await s.async_send(std::move(message), asio::use_awaitable);
                    }
                });
                return 1;
            });
            asio::io_context ctx;
            receiver<std::string> r(ctx.get_executor(), std::move(ends.receiver));
            const auto kill_at = random.below(40);
            std::uint64_t n = 0;
            error_code ec;
            run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                for (;; ++n) {
                    if (n == kill_at)
                        peer.kill_hard();
                    const auto got =
                        co_await r.async_receive(asio::redirect_error(asio::use_awaitable, ec));
                    if (ec)
                        break;
                    REQUIRE(got == numbered_text(n, 500 + n % 1000));
                }
            });
            CHECK(ec == channel_errc::peer_died);
            CHECK(n >= kill_at);
        }
    }
}

TEST_SUITE("channel: parts of a hostile sender")
{
    TEST_CASE("parts without a beginning, of no bytes, too many or too few: peer_broke_rules")
    {
        struct lie {
            record_kind kind;
            std::uint64_t all;  // 0: not written
            std::uint32_t length;
        };
        const std::vector<std::vector<lie>> lies{
            {{record_kind::part, 0, 8}},
            {{record_kind::last_part, 0, 8}},
            {{record_kind::dropped_parts, 0, 0}},
            {{record_kind::first_part, 0, 4}},
            {{record_kind::first_part, 8, 24}},
            {{record_kind::first_part, 100, 24}, {record_kind::part, 0, 0}},
            {{record_kind::first_part, 100, 24}, {record_kind::last_part, 0, 8}},
            {{record_kind::first_part, 20, 24}, {record_kind::part, 0, 4}},
        };
        for (std::size_t n = 0; n < lies.size(); ++n) {
            CAPTURE(n);
            auto ends = make_channel<std::string>(small);
            raw_peer<std::string> peer(procyard::detail::ring_role::producer,
                                       std::move(ends.sender).take(), small);
            peer.greet();
            asio::io_context ctx;
            receiver<std::string> r(ctx.get_executor(), std::move(ends.receiver));
            peer.meet();
            std::uint64_t position = 0;
            for (const auto& each : lies[n]) {
                const record_header header{each.length, static_cast<std::uint32_t>(each.kind)};
                std::memcpy(peer.units().data() + position, &header, sizeof header);
                std::memcpy(peer.units().data() + position + 8, &each.all, sizeof each.all);
                position += procyard::detail::record_bytes(each.length);
            }
            outcome<error_code, std::string> got;
            r.async_receive(got.handler());
            peer.jump_to(position);
            run(ctx);
            CHECK(got.error() == channel_errc::peer_broke_rules);
        }
    }

    TEST_CASE("beginnings without end are passed, and no message comes of them")
    {
        // What is in the ring goes round: the peer publishes a whole ring each time it is looked
        // at, so the receiver would never be done with it in one turn.
        auto ends = make_channel<std::string>(small);
        raw_peer<std::string> peer(procyard::detail::ring_role::producer,
                                   std::move(ends.sender).take(), small);
        peer.greet();
        asio::io_context ctx;
        receiver<std::string> r(ctx.get_executor(), std::move(ends.receiver));
        peer.meet();
        for (std::uint64_t at = 0; at < 256; at += 32) {
            const record_header header{24, static_cast<std::uint32_t>(record_kind::first_part)};
            const std::uint64_t all = 100;
            std::memcpy(peer.units().data() + at, &header, sizeof header);
            std::memcpy(peer.units().data() + at + 8, &all, sizeof all);
        }
        outcome<error_code, std::string> got;
        r.async_receive(got.handler());
        for (std::uint64_t round = 1; round <= 100; ++round) {
            peer.jump_to(round * 256);
            ctx.restart();
            ctx.poll();
            REQUIRE_FALSE(got.done());
            CHECK(r.statistics().used == 0);
        }
        r.close();
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
    }
}
