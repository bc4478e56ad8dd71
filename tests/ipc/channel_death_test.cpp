// SPDX-License-Identifier: BSL-1.0
// Channels between two processes of which one dies: what it had committed arrives, and then it is
// peer_died and not closed.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "numbered_messages.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard_test::fixed_random;
using procyard_test::numbered;
using procyard_test::outcome;
using procyard_test::receive_numbered;
using procyard_test::receiving_process;
using procyard_test::run;
using procyard_test::sending_process;
using procyard_test::whole;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr int kills = 40;  // to fork takes a sanitizer its time
#else
constexpr int kills = 200;
#endif
constexpr procyard::channel_options small{.capacity_messages = 64};
constexpr procyard::channel_options few_bytes{.capacity_bytes = 4096};

// Sends for ever, by all the ways there are.
template <class T>
asio::awaitable<void> send_for_ever(sender<T>& to, std::uint64_t seed)
{
    fixed_random random(seed);
    std::vector<T> batch;
    for (std::uint64_t n = 0;;) {
        error_code ec;
        switch (random.below(4)) {
        case 0: co_await to.async_send(numbered<T>(n++), asio::use_awaitable); break;
        case 1: n += to.try_send(numbered<T>(n)) ? 1U : 0U; break;
        case 2: co_await to.async_wait_writable(asio::use_awaitable); break;
        default:
            batch.clear();
            for (std::uint64_t i = 0; i < 5; ++i)
                batch.push_back(numbered<T>(n + i));
            n += to.try_send_some(batch, ec);
        }
    }
}

template <class T>
void kill_senders(const procyard::channel_options& options)
{
    fixed_random random(5);
    for (int round = 0; round < kills; ++round) {
        CAPTURE(round);
        auto ends = make_channel<T>(options);
        const auto seed = random.next() | 1U;
        sending_process<T> peer(ends, [seed](unopened<sender<T>> end) {
            asio::io_context ctx;
            sender<T> s(ctx.get_executor(), std::move(end));
            asio::co_spawn(ctx, send_for_ever(s, seed), [](std::exception_ptr) { });
            ctx.run();
            return 1;
        });
        asio::io_context ctx;
        receiver<T> r(ctx.get_executor(), std::move(ends.receiver));
        std::uint64_t next = 0;
        error_code ec;
        procyard_test::run_coroutine(
            ctx, [&] { return receive_numbered(r, random.below(500), next, ec); });
        REQUIRE_FALSE(ec);
        peer.kill_hard();
        procyard_test::run_coroutine(ctx, [&] { return receive_numbered(r, ~0U, next, ec); });
        REQUIRE(ec == channel_errc::peer_died);
        CHECK(r.statistics().depth == 0);
        CHECK(r.statistics().messages == next);
    }
}

}  // namespace

TEST_SUITE("channel death")
{
    TEST_CASE("kill -9 of the sender at any moment: all that it had committed arrives (case 29)")
    {
        kill_senders<whole>(small);
    }

    TEST_CASE("kill -9 of a sender of strings at any moment: the same (case 29)")
    {
        kill_senders<std::string>(few_bytes);
    }

    TEST_CASE("kill -9 of the receiver at any moment: a sender that waits hears of it (case 30)")
    {
        fixed_random random(6);
        for (int round = 0; round < kills; ++round) {
            CAPTURE(round);
            auto ends = make_channel<whole>(small);
            receiving_process<whole> peer(ends, [](unopened<receiver<whole>> end) {
                asio::io_context ctx;
                receiver<whole> r(ctx.get_executor(), std::move(end));
                std::uint64_t next = 0;
                error_code ec;
                procyard_test::run_coroutine(ctx,
                                             [&] { return receive_numbered(r, ~0U, next, ec); });
                return 1;
            });
            asio::io_context ctx;
            sender<whole> s(ctx.get_executor(), std::move(ends.sender));
            const auto kill_at = random.below(1000);
            error_code ec;
            procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                for (std::uint64_t n = 0; !ec; ++n) {
                    if (n == kill_at)
                        peer.kill_hard();
                    co_await s.async_send(numbered<whole>(n),
                                          asio::redirect_error(asio::use_awaitable, ec));
                }
            });
            CHECK(ec == channel_errc::peer_died);
        }
    }

    TEST_CASE("kill -9 of the receiver: a sender that never waits hears of it as well")
    {
        using procyard::when_full;
        for (const auto full : {when_full::drop_newest, when_full::fail, when_full::suspend}) {
            CAPTURE(static_cast<int>(full));
            auto options = small;
            options.full = full;
            auto ends = make_channel<whole>(options);
            receiving_process<whole> peer(ends, [](unopened<receiver<whole>> end) {
                asio::io_context ctx;
                receiver<whole> r(ctx.get_executor(), std::move(end));
                std::uint64_t next = 0;
                error_code ec;
                procyard_test::run_coroutine(ctx, [&] { return receive_numbered(r, 1, next, ec); });
                ::pause();
                return 1;
            });
            asio::io_context ctx;
            sender<whole> s(ctx.get_executor(), std::move(ends.sender));
            std::uint64_t n = 0;
            error_code ec;
            for (; !s.is_connected(); ::sched_yield())
                (void)s.try_send(numbered<whole>(n++), ec);
            for (const auto until = n + 5000; n < until; ++n) {
                (void)s.try_send(numbered<whole>(n), ec);
                const bool lives = !ec || ec == asio::error::would_block;
                REQUIRE(lives);
            }
            peer.kill_hard();
            for (const auto until = n + 5000; n < until && ec != channel_errc::peer_died; ++n)
                (void)s.try_send(numbered<whole>(n), ec);
            CHECK(ec == channel_errc::peer_died);
        }
    }

    TEST_CASE(
        "kill -9 of the sender: a receiver that never waits hears of it, behind what was sent")
    {
        auto ends = make_channel<whole>(small);
        sending_process<whole> peer(ends, [](unopened<sender<whole>> end) {
            asio::io_context ctx;
            sender<whole> s(ctx.get_executor(), std::move(end));
            for (std::uint64_t n = 0; n < 3; ++n)
                (void)s.try_send(numbered<whole>(n));
            ::pause();
            return 1;
        });
        asio::io_context ctx;
        receiver<whole> r(ctx.get_executor(), std::move(ends.receiver));
        error_code ec;
        whole message;
        std::uint64_t got = 0;
        for (; got < 2; ::sched_yield())
            got += r.try_receive(message, ec) ? 1U : 0U;
        for (int tries = 0; tries < 5000; ++tries) {
            got += r.try_receive(message, ec) ? 1U : 0U;
            const bool lives = !ec || ec == asio::error::would_block;
            REQUIRE(lives);
        }
        peer.kill_hard();
        for (int tries = 0; tries < 5000 && ec != channel_errc::peer_died; ++tries)
            got += r.try_receive(message, ec) ? 1U : 0U;
        CHECK(ec == channel_errc::peer_died);
        CHECK(got == 3);
    }

    TEST_CASE("an exit without a close is a death, one after a close is none (cases 31, 37)")
    {
        for (const bool closes : {false, true}) {
            CAPTURE(closes);
            auto ends = make_channel<std::string>();
            sending_process<std::string> peer(ends, [&](unopened<sender<std::string>> end) {
                asio::io_context ctx;
                sender<std::string> s(ctx.get_executor(), std::move(end));
                const bool sent = s.try_send("last words");
                if (closes)
                    s.close();
                ::_exit(sent ? 0 : 1);
                return 1;
            });
            CHECK(peer.result() == 0);
            asio::io_context ctx;
            receiver<std::string> r(ctx.get_executor(), std::move(ends.receiver));
            outcome<error_code, std::string> received;
            outcome<error_code, std::string> end;
            r.async_receive(received.handler());
            r.async_receive(end.handler());
            run(ctx);
            CHECK(received.result() == "last words");
            CHECK(end.error() == (closes ? channel_errc::closed : channel_errc::peer_died));
        }
    }

    TEST_CASE("a peer that dies while we wait for it to come, or for it to send")
    {
        for (const bool opens : {false, true}) {
            CAPTURE(opens);
            auto ends = make_channel<int>(small);
            sending_process<int> peer(ends, [&](unopened<sender<int>> end) {
                asio::io_context ctx;
                std::optional<sender<int>> s;
                if (opens)
                    s.emplace(ctx.get_executor(), std::move(end));
                ::raise(SIGKILL);
                return 1;
            });
            asio::io_context ctx;
            receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
            outcome<error_code> readable;
            outcome<error_code, int> received;
            r.async_wait_readable(readable.handler());
            r.async_receive(received.handler());
            run(ctx);
            CHECK(readable.error() == channel_errc::peer_died);
            CHECK(received.error() == channel_errc::peer_died);
            CHECK(peer.result() == -SIGKILL);
        }
    }

    TEST_CASE("a sender that waits for room hears of a death, with several that wait (case 34)")
    {
        auto ends = make_channel<int>(small);
        asio::io_context ctx;
        int ready[2];
        REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
        receiving_process<int> peer(ends, [&](unopened<receiver<int>> end) {
            asio::io_context there;
            const receiver<int> r(there.get_executor(), std::move(end));
            (void)::write(ready[1], "x", 1);
            ::pause();
            return 1;
        });
        char byte = 0;
        REQUIRE(::read(ready[0], &byte, 1) == 1);
        ::close(ready[0]);
        ::close(ready[1]);
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        procyard_test::fill(s);
        std::array<outcome<error_code>, 3> sent;
        for (auto& each : sent)
            s.async_send(1, each.handler());
        ctx.poll();
        CHECK_FALSE(sent[0].done());
        peer.kill_hard();
        run(ctx);
        for (auto& each : sent)
            CHECK(each.error() == channel_errc::peer_died);
    }

    TEST_CASE("a peer that stands still is not dead (case 35)")
    {
        auto ends = make_channel<std::uint64_t>(small);
        sending_process<std::uint64_t> peer(ends, [](unopened<sender<std::uint64_t>> end) {
            asio::io_context ctx;
            sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
            procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                for (std::uint64_t n = 0; n < 1000; ++n)
                    co_await s.async_send(n, asio::use_awaitable);
            });
            return 0;
        });
        asio::io_context ctx;
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            std::uint64_t next = 0;
            while (next < 1000) {
                ::kill(peer.pid(), SIGSTOP);
                error_code ec;
                for (std::uint64_t n = 0; r.try_receive(n, ec); ++next)
                    REQUIRE(n == next);
                ::kill(peer.pid(), SIGCONT);
                if (next == 1000)
                    break;
                REQUIRE(ec == asio::error::would_block);
                REQUIRE(co_await r.async_receive(asio::use_awaitable) == next);
                ++next;
            }
        });
        CHECK(peer.result() == 0);
    }
}
