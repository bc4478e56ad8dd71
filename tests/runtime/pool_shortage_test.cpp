// SPDX-License-Identifier: BSL-1.0
// A pool to which the kernel refuses what it needs, or for which there is no memory.
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/process_pool.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "allocations.hpp"
#include "each_allocation.hpp"
#include "pool_fixture.hpp"
#include "syscall_refusal.hpp"
#include "temporary_directory.hpp"

using namespace procyard_test;
using namespace std::chrono_literals;
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

// For some long items at once.
procyard::pool_options with_room()
{
    auto options = of_workers(1);
    options.channels.capacity_bytes = 1U << 20U;
    return options;
}

procyard::pool_options of_workers_by(const std::shared_ptr<procyard::manual_clock>& clock,
                                     unsigned count)
{
    auto options = of_workers(count);
    options.clock = clock;
    options.start_timeout = 24h;
    return options;
}

bool is_ready_or_not(const procyard::error_code& ec)
{
    return !ec || ec == pool_errc::not_ready;
}

// Waits for the next worker, or for what is wrong with it.
procyard::error_code start_by(procyard::manual_clock& clock, pooled& pool)
{
    outcome<procyard::error_code> got;
    pool.it->async_start(got.handler());
    pool.until([&] {
        clock.advance(soon().cap);
        return got.done();
    });
    return got.error();
}

// All that come, at most so many, and what is behind them.
procyard::error_code end_of(pooled& pool, procyard::pool_stream<answer>& items, std::uint64_t most)
{
    for (std::uint64_t taken = 0;; ++taken) {
        outcome_of_next got;
        items.async_next(got.handler());
        run_until(pool.ctx, [&] { return got.done(); });
        if (got.error())
            return got.error();
        REQUIRE(taken < most);
        REQUIRE(got.result().number == taken);
    }
}

// All has come, or there was no memory for an item, or none for the worker.
bool is_clear(const procyard::error_code& ec)
{
    return ec == procyard::channel_errc::closed || ec == pool_errc::bad_message
        || ec == pool_errc::truncated;
}

std::uint64_t ended(const pooled& pool)
{
    const auto ends = pool.it->metrics().outcomes;
    return std::accumulate(ends.begin(), ends.end(), std::uint64_t{0});
}

// There is no memory at all, until that is told.
void run_out(boost::asio::io_context& ctx)
{
    const exhausted_memory none(1);
    ctx.restart();
    CHECK_THROWS_AS(ctx.poll(), std::bad_alloc);
}

// Between its next two looks the nth allocation fails. The end of a worker looks before it hears
// the last of it, and behind that.
class failing_clock final : public procyard::timer_clock {
public:
    explicit failing_clock(std::size_t nth) : nth_(nth) { }
    void arm() noexcept { armed_ = true; }
    [[nodiscard]] bool is_over() const noexcept { return over_; }
    [[nodiscard]] bool has_failed() const noexcept { return has_failed_; }
    [[nodiscard]] time_point now() const noexcept override
    {
        if (none_) {
            has_failed_ = none_->has_failed();
            none_.reset();
            over_ = true;
        }
        if (std::exchange(armed_, false))
            none_.emplace(nth_);
        return std::chrono::steady_clock::now();
    }

private:
    void start_wait(boost::asio::any_io_executor ex, time_point when,
                    boost::asio::any_completion_handler<void(procyard::error_code)> h) override
    {
        procyard::steady_timer_clock()->async_wait_until(std::move(ex), when, std::move(h));
    }

    std::size_t nth_;
    mutable bool armed_ = false;
    mutable bool over_ = false;
    mutable bool has_failed_ = false;
    mutable std::optional<failing_allocation> none_{};
};

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
        const auto ec = end_of(pool, items, 2);
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

// Whatever looks at the time first hears all of them, before the channel says that it is readable.
TEST_CASE("a worker for which there is no memory to hear it when a time is over is heard later, or "
          "ends: none is waited for for ever")
{
    for (const bool by_call : {false, true}) {
        CAPTURE(by_call);
        const auto is_short = [&](std::size_t nth) {
            CAPTURE(nth);
            const temporary_directory where;
            const auto path = (where.path() / "notes").string();
            const auto clock = std::make_shared<procyard::manual_clock>();
            auto options = with_room();
            options.clock = clock;
            options.prefetch = 0;
            pooled pool(options, "items");
            pool.must_start();
            auto items = stream_of(pool, make_work("note long items", 2, path));
            pooled::stand_still_until_lines(path, 2);  // they are in the channel
            procyard::submit_options how;
            how.queue_deadline = 1h;
            auto waits = pool.submit(make_work("items", 1), how);
            clock->advance(1h);
            const bool has_failed = fail_in(nth, pool.ctx, [&] {
                if (by_call)
                    waits.cancel();
                else
                    pool.ctx.poll_one();
            });
            try {
                pool.until([&] { return ended(pool) == 2; });
            } catch (
                const std::bad_alloc&) {  // a call's: not for who calls, who may be a destructor
                CHECK(by_call);
            }
            const auto ec = end_of(pool, items, 2);
            INFO(items.report().to_string());
            CHECK_MESSAGE(is_clear(ec), ec.message());
            CHECK(pool.error(waits) == pool_errc::queue_deadline);
            // And the pool goes on.
            auto others = stream_of(pool, make_work("items", 1));
            must_come(pool, others, 0);
            pool.stop();
            return has_failed;
        };
        CHECK(fail_each(is_short) > 1);
    }
}

// It was killed since there was no memory to hear it, nor to listen on: what it has answered is
// heard when its end is told.
TEST_CASE("a worker that has died with answers in its channel is heard as far as there is memory, "
          "and its end is told")
{
    const auto is_short = [](std::size_t nth) {
        CAPTURE(nth);
        const temporary_directory where;
        const auto path = (where.path() / "notes").string();
        const auto clock = std::make_shared<failing_clock>(nth);
        auto options = with_room();
        options.clock = clock;
        pooled pool(options, "items");
        pool.must_start();
        auto items = stream_of(pool, make_work("note long items", 3, path));
        pooled::stand_still_until_lines(path, 3);
        run_out(pool.ctx);
        clock->arm();
        try {
            pool.until([&] { return clock->is_over(); });
        } catch (const std::bad_alloc&) {  // as told by has_failed()
        }
        REQUIRE(clock->is_over());
        const bool has_failed = clock->has_failed();
        const auto ec = end_of(pool, items, 3);
        INFO(items.report().to_string());
        CHECK_MESSAGE(is_clear(ec), ec.message());
        auto others = stream_of(pool, make_work("items", 1));
        must_come(pool, others, 0);
        pool.stop();
        return has_failed;
    };
    CHECK(fail_each(is_short) > 1);
}

// A manual clock's waits know what to do without memory; Asio's timers (1.81) do not. Nor do its
// coroutines where there is none at all: what they throw in a destructor ends the process.
TEST_CASE(
    "a worker that there is no memory to start is started later, and who waits for it is told")
{
    // Also those that wait no time between two attempts.
    for (const auto& delays : {soon(), procyard::restart_backoff{.first = 0ms, .cap = 0ms}}) {
        const auto is_short = [&](std::size_t nth) {
            CAPTURE(nth);
            const auto clock = std::make_shared<procyard::manual_clock>();
            auto options = of_workers_by(clock, 2);
            options.backoff = delays;
            pooled pool(options);
            outcome<procyard::error_code> first;
            bool has_failed = false;
            bool waits = false;
            {
                const failing_allocation none(nth);
                try {
                    pool.it->async_start(first.handler());
                    waits = true;
                } catch (const std::bad_alloc&) {  // as told by has_failed()
                }
                has_failed = none.has_failed();
            }
            if (waits) {
                pool.until([&] {
                    clock->advance(soon().cap);
                    return first.done();
                });
                CHECK_MESSAGE(is_ready_or_not(first.error()), first.error().message());
            }
            while (const auto ec = start_by(*clock, pool)) {
                REQUIRE(ec == pool_errc::not_ready);
                CHECK(!pool.it->explanation().empty());
            }
            CHECK(pool.call(make_work("length", 0, "four")).number == 4);
            pool.stop();
            return has_failed;
        };
        CHECK(fail_each(is_short) > 1);
    }
}

TEST_CASE("a worker that has died is replaced later when there was no memory to do so")
{
    const auto is_short = [](std::size_t nth) {
        CAPTURE(nth);
        const auto clock = std::make_shared<procyard::manual_clock>();
        pooled pool(of_workers_by(clock, 1));
        pool.must_start();
        REQUIRE(::kill(pool.it->workers().at(0), SIGKILL) == 0);
        pool.until([&] { return pool.it->workers().empty(); });
        auto waits = pool.submit(make_work("length", 0, "four"));
        clock->advance(soon().first);
        // Its timer, its coroutine, and the order to spawn. Not the answer, which comes when it
        // likes: Asio 1.81 uses the executor of its handler, for which there may be no memory.
        const bool has_failed = fail_in(nth, pool.ctx, [&] {
            for (int turn = 0; turn < 3; ++turn)
                pool.ctx.poll_one();
        });
        while (start_by(*clock, pool))
            CHECK(!pool.it->explanation().empty());
        CHECK(pool.result(waits).number == 4);
        pool.stop();
        return has_failed;
    };
    CHECK(fail_each(is_short) > 1);
}
