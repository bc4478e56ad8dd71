// SPDX-License-Identifier: BSL-1.0
// A pool to which the kernel refuses what it needs, or for which there is no memory.
#include <procyard/runtime/process_pool.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <sys/epoll.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "allocations.hpp"
#include "each_allocation.hpp"
#include "pool_fixture.hpp"
#include "syscall_refusal.hpp"
#include "temporary_directory.hpp"

using namespace procyard_test;
using procyard::pool_errc;
using outcome_of_next = outcome<procyard::error_code, answer>;

namespace {

using stream_of_numbers = procyard::detail::typed_pool_stream<std::uint64_t>;

bool give(stream_of_numbers& to, std::uint64_t number)
{
    std::array<std::byte, sizeof number> bytes{};
    return procyard::encode_message(number, bytes) && to.take(bytes);
}

procyard::pool_stream<answer> stream_of(pooled& pool, const work& what)
{
    outcome<procyard::error_code, procyard::pool_stream<answer>> got;
    pool.it->async_submit_stream(what, {}, got.handler());
    run_until(pool.ctx, [&] { return got.done(); });
    REQUIRE_FALSE(got.error());
    return std::move(got.result());
}

void must_come(pooled& pool, procyard::pool_stream<answer>& from, std::uint64_t number)
{
    outcome_of_next got;
    from.async_next(got.handler());
    run_until(pool.ctx, [&] { return got.done(); });
    REQUIRE_MESSAGE(!got.error(), number, ": ", from.report().to_string());
    REQUIRE(got.result().number == number);
}

}  // namespace

// In a thread of its own, which keeps what it is refused.
TEST_CASE("a worker that a task cannot be sent to ends, and says why")
{
    std::thread([] {
        temporary_directory place;
        pool_gate gate((place.path() / "gate").string());
        auto options = of_workers(1);
        options.channels.capacity_bytes = 4096;
        pooled pool(options);
        pool.must_start();
        auto first = pool.submit(make_work("gate", 0, gate.path()));
        pool.until([&] { return gate.is_reached(); });
        // It has to wait for room, and cannot.
        REQUIRE(refuse({.number = SYS_epoll_ctl,
                        .error_number = ENOSPC,
                        .argument = 1,
                        .mask = ~std::uint32_t{0},
                        .value = EPOLL_CTL_ADD}));
        auto second = pool.submit(make_work("length", 0, std::string(200'000, 'r')));
        // Else another worker is started for it, which is refused as well.
        second.cancel();
        pool.stop();
        gate.open();
        CHECK(pool.error(first) == pool_errc::worker_died);
        CHECK(pool.error(second) == boost::asio::error::operation_aborted);
        REQUIRE(first.report().deaths.size() == 1);
        const auto& said = first.report().deaths.front()->text;
        CHECK_MESSAGE(said.find("its channel: ") == 0, said);
    }).join();
}

TEST_CASE("who waits for an item is told of it by the next one, or by the end, when there was no "
          "memory to do so")
{
    for (const bool by_end : {false, true}) {
        boost::asio::io_context ctx;
        const auto items = std::make_shared<stream_of_numbers>();
        items->executor = ctx.get_executor();
        outcome<procyard::error_code, std::uint64_t> got;
        items->wait(stream_of_numbers::next_handler(items->executor, got.handler()));
        bool is_good = false;
        {
            const failing_allocation none(1);
            is_good = give(*items, 7);
            REQUIRE(none.has_failed());
        }
        CHECK(is_good);
        CHECK(ctx.poll() == 0);
        REQUIRE_FALSE(got.done());
        if (by_end) {
            items->over = true;
            items->on_over(true);
        } else {
            CHECK(give(*items, 8));
            ctx.restart();
            ctx.poll();
        }
        REQUIRE(got.done());
        CHECK_FALSE(got.error());
        CHECK(got.result() == 7);
    }
}

// One that has taken half a window: its credits are a message, for which there is no memory.
TEST_CASE("an item that was taken is handed out, whatever fails for its credits, which come with "
          "the next one")
{
    constexpr std::uint64_t half = procyard::detail::stream_window / 2;
    constexpr std::uint64_t most = 4 * half;
    const auto failed = fail_each([](std::size_t nth) {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        pooled pool(of_workers(1), "items");
        pool.must_start();
        auto items = stream_of(pool, make_work("note items", most, notes));
        pool.until_lines(notes, 2 * half);
        pool.ctx.restart();
        pool.ctx.poll();
        for (std::uint64_t n = 0; n + 1 < half; ++n)
            must_come(pool, items, n);
        outcome_of_next got;
        items.async_next(got.handler());
        const bool has_failed = fail_in(nth, pool.ctx, [&] { pool.ctx.poll_one(); });
        REQUIRE_MESSAGE(got.done(), nth);
        CHECK(got.result().number == half - 1);
        for (std::uint64_t n = half; n < most; ++n)
            must_come(pool, items, n);
        pool.stop();
        return has_failed;
    });
    CHECK(failed > 0);
}

// Each allocation fails once, of those in the turns in which it is heard.
TEST_CASE("a worker for which there is no memory to hear it is heard later, or ends: none is "
          "waited for for ever")
{
    const auto is_short = [](std::size_t nth) {
        CAPTURE(nth);
        const temporary_directory where;
        const auto path = (where.path() / "notes").string();
        pooled pool(of_workers(1), "items");
        pool.must_start();
        auto items = stream_of(pool, make_work("note items", 2, path));
        pooled::stand_still_until_lines(path, 2);  // they are in the channel
        const bool has_failed = fail_in(nth, pool.ctx, [&] { pool.ctx.poll(); });
        procyard::error_code ec;
        for (std::size_t taken = 0; !ec; ++taken) {
            CAPTURE(taken);
            REQUIRE(taken < 3);
            outcome_of_next got;
            items.async_next(got.handler());
            run_until(pool.ctx, [&] { return got.done(); });
            ec = got.error();
        }
        INFO(items.report().to_string());
        const bool is_good = ec == procyard::channel_errc::closed || ec == pool_errc::truncated;
        CHECK_MESSAGE(is_good, ec.message());
        // And the pool goes on.
        auto others = stream_of(pool, make_work("items", 1));
        must_come(pool, others, 0);
        pool.stop();
        return has_failed;
    };
    CHECK(fail_each(is_short) > 1);
}
