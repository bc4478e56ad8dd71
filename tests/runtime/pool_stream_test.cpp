// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pool_stream.hpp>

#include <doctest/doctest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <procyard/ipc/channel_error.hpp>

#include "pool_fixture.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::channel_errc;
using procyard::pool_errc;

namespace {

// Throws when it is decoded, if it is 0.
struct picky_item {
    std::uint64_t number = 0;
};

}  // namespace

namespace choosy {

// That of pool_types.hpp, as somebody knows it who cannot decode the fourth that is given.
struct moody_item {
    std::uint64_t number = 0;
};

}  // namespace choosy

template <>
struct procyard::codec<picky_item> {
    static std::size_t size(const picky_item&) noexcept { return sizeof(std::uint64_t); }
    static void encode(const picky_item& item, procyard::encoder& out) { out.put(item.number); }
    static bool decode(procyard::decoder& in, picky_item& item)
    {
        if (in.get(item.number) && item.number == 0)
            throw std::runtime_error("a nought");
        return true;
    }
};

template <>
struct procyard::codec<choosy::moody_item> {
    static std::size_t size(const choosy::moody_item&) noexcept { return sizeof(std::uint64_t); }
    static void encode(const choosy::moody_item& item, procyard::encoder& out)
    {
        out.put(item.number);
    }
    static bool decode(procyard::decoder& in, choosy::moody_item& item)
    {
        return in.get(item.number) && item.number != 1003;
    }
    static constexpr std::string_view layout = "{u64}";
};

namespace {

// No worker is ended since it is slow.
procyard::pool_options patient()
{
    auto options = of_workers(1);
    options.ask_grace = options.term_grace = std::chrono::hours(1);
    return options;
}

struct streamed : pooled {
    explicit streamed(const procyard::pool_options& options = of_workers(1),
                      const std::string& entry = "items")
        : pooled(options, entry)
    {
        must_start();
    }

    procyard::pool_stream<answer> stream(const work& what)
    {
        outcome<procyard::error_code, procyard::pool_stream<answer>> got;
        it->async_submit_stream(what, {}, got.handler());
        run_until(ctx, [&] { return got.done(); });
        REQUIRE_FALSE(got.error());
        return std::move(got.result());
    }
    procyard::error_code next(procyard::pool_stream<answer>& from, answer& item)
    {
        outcome<procyard::error_code, answer> got;
        from.async_next(got.handler());
        run_until(ctx, [&] { return got.done(); });
        item = got.result();
        return got.error();
    }
};

// Each item is the one after the last; the first of the two that ends is the end.
asio::awaitable<void> take_from_both(procyard::pool_stream<answer>& a,
                                     procyard::pool_stream<answer>& b, std::uint64_t& from_a,
                                     std::uint64_t& from_b, std::uint64_t most)
{
    using namespace asio::experimental::awaitable_operators;
    while (from_a < most && from_b < most) {
        const auto got =
            co_await (a.async_next(asio::use_awaitable) || b.async_next(asio::use_awaitable));
        auto& taken = got.index() == 0 ? from_a : from_b;
        const auto& item = got.index() == 0 ? std::get<0>(got) : std::get<1>(got);
        CHECK(item.number == taken);
        if (item.number != taken)
            co_return;
        ++taken;
    }
}

}  // namespace

TEST_SUITE("pool_stream")
{
    TEST_CASE("items come in order, and then the end, as often as it is asked for")
    {
        streamed pool;
        auto items = pool.stream(make_work("items", 100));
        answer item;
        for (std::uint64_t n = 0; n < 100; ++n) {
            REQUIRE_FALSE(pool.next(items, item));
            REQUIRE(item.number == n);
        }
        CHECK(pool.next(items, item) == channel_errc::closed);
        CHECK(pool.next(items, item) == channel_errc::closed);
        CHECK(items.report().outcome == procyard::pool_outcome::done);
        pool.stop();
    }

    TEST_CASE("one without items ends at once, and items longer than the ring go through")
    {
        auto options = of_workers(1);
        options.channels.capacity_bytes = 4096;
        streamed pool(options);
        answer item;
        auto none = pool.stream(make_work("items", 0));
        CHECK(pool.next(none, item) == channel_errc::closed);
        auto items = pool.stream(make_work("long items", 20));
        for (std::uint64_t n = 0; n < 20; ++n) {
            REQUIRE_FALSE(pool.next(items, item));
            CHECK(item.text == std::string(100'000, char('a' + n % 26)));
        }
        CHECK(pool.next(items, item) == channel_errc::closed);
        pool.stop();
    }

    TEST_CASE("a worker whose consumer is slow waits (case 37)")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        streamed pool;
        auto items = pool.stream(make_work("note items", 1000, notes));
        const auto window = std::size_t{procyard::detail::stream_window};
        pool.until_lines(notes, window);
        // A round trip behind it: had there been more credits, they would have been used.
        answer item;
        for (std::size_t n = 0; n < window / 2; ++n)
            REQUIRE_FALSE(pool.next(items, item));
        pool.until_lines(notes, window + window / 2);
        CHECK(lines_of(notes).size() == window + window / 2);
        for (std::uint64_t n = window / 2; n < 1000; ++n) {
            REQUIRE_FALSE(pool.next(items, item));
            REQUIRE(item.number == n);
        }
        CHECK(pool.next(items, item) == channel_errc::closed);
        pool.stop();
    }

    TEST_CASE("a worker that dies in the middle is no end: the stream is truncated, after what "
              "came (case 37)")
    {
        streamed pool;
        auto items = pool.stream(make_work("die after", 10, "5"));
        answer item;
        for (std::uint64_t n = 0; n < 5; ++n) {
            REQUIRE_FALSE(pool.next(items, item));
            CHECK(item.number == n);
        }
        CHECK(pool.next(items, item) == pool_errc::truncated);
        CHECK(items.report().deaths.size() == 1);
        pool.stop();
    }

    TEST_CASE("a handler that throws in the middle says so, after what came")
    {
        streamed pool;
        auto items = pool.stream(make_work("throw after", 2, "no more"));
        answer item;
        REQUIRE_FALSE(pool.next(items, item));
        REQUIRE_FALSE(pool.next(items, item));
        CHECK(pool.next(items, item) == pool_errc::task_failed);
        CHECK(items.report().text == "no more");
        pool.stop();
    }

    TEST_CASE("a stream that is dropped is cancelled, and its worker goes on with others")
    {
        streamed pool;
        answer item;
        {
            auto items = pool.stream(make_work("items", 1'000'000));
            REQUIRE_FALSE(pool.next(items, item));
        }
        auto items = pool.stream(make_work("items", 1));
        REQUIRE_FALSE(pool.next(items, item));
        CHECK(pool.next(items, item) == channel_errc::closed);
        pool.stop();
    }

    TEST_CASE("an item whose codec throws is an error of its giver, who goes on, with room or not")
    {
        using pool_test::moody_item;
        asio::io_context ctx;
        procyard::process_pool<work, moody_item> pool(ctx.get_executor(), pool_worker(),
                                                      "moody items", of_workers(1));
        outcome<procyard::error_code> started;
        pool.async_start(started.handler());
        run_until(ctx, [&] { return started.done(); });
        REQUIRE_MESSAGE(!started.error(), pool.explanation());
        constexpr std::uint64_t most = 100;  // the window is shorter
        outcome<procyard::error_code, procyard::pool_stream<moody_item>> got;
        pool.async_submit_stream(make_work("", most), {}, got.handler());
        run_until(ctx, [&] { return got.done(); });
        auto items = std::move(got.result());
        for (std::uint64_t n = 0; n < most; ++n) {
            outcome<procyard::error_code, moody_item> next;
            items.async_next(next.handler());
            run_until(ctx, [&] { return next.done(); });
            REQUIRE_MESSAGE(!next.error(), next.error().message(), ": ",
                            items.report().to_string());
            CHECK(next.result().number == n + (n % 2 == 1 ? 1000 : 0));
        }
        outcome<procyard::error_code> stopped;
        pool.async_stop(std::chrono::hours(1), stopped.handler());
        run_until(ctx, [&] { return stopped.done(); });
    }

    TEST_CASE("an item that cannot be decoded, since its codec throws, is none")
    {
        using stream = procyard::detail::typed_pool_stream<picky_item>;
        asio::io_context ctx;
        const auto items = std::make_shared<stream>();
        items->executor = ctx.get_executor();
        const auto give = [&](std::uint64_t number) {
            std::array<std::byte, sizeof number> bytes{};
            REQUIRE(procyard::encode_message(picky_item{number}, bytes));
            return items->take(bytes);
        };
        CHECK(give(1));
        CHECK_THROWS_AS((void)give(0), std::runtime_error);
        CHECK(give(2));
        for (std::uint64_t n = 1; n < 3; ++n) {
            outcome<procyard::error_code, picky_item> got;
            items->wait(stream::next_handler(items->executor, got.handler()));
            run_until(ctx, [&] { return got.done(); });
            CHECK_FALSE(got.error());
            CHECK(got.result().number == n);
        }
    }

    TEST_CASE("an item that cannot be decoded ends its stream, behind those before it")
    {
        asio::io_context ctx;
        procyard::process_pool<work, choosy::moody_item> pool(ctx.get_executor(), pool_worker(),
                                                              "moody items", patient());
        outcome<procyard::error_code> started;
        pool.async_start(started.handler());
        run_until(ctx, [&] { return started.done(); });
        REQUIRE_MESSAGE(!started.error(), pool.explanation());
        const auto before = pool.workers();
        // The first giver ends when it is cancelled. The second one goes on, and has more than a
        // window has credits for behind the bad item: they come back, or it would never end.
        for (const bool heeds : {true, false}) {
            CAPTURE(heeds);
            const auto request = heeds
                ? make_work("", std::numeric_limits<std::uint64_t>::max())
                : make_work("deaf", std::uint64_t{8} * procyard::detail::stream_window);
            outcome<procyard::error_code, procyard::pool_stream<choosy::moody_item>> got;
            pool.async_submit_stream(request, {}, got.handler());
            run_until(ctx, [&] { return got.done(); });
            REQUIRE_FALSE(got.error());
            auto items = std::move(got.result());
            for (const std::uint64_t n : {0U, 1001U, 2U}) {
                outcome<procyard::error_code, choosy::moody_item> next;
                items.async_next(next.handler());
                run_until(ctx, [&] { return next.done(); });
                REQUIRE_MESSAGE(!next.error(), next.error().message());
                CHECK(next.result().number == n);
            }
            outcome<procyard::error_code, choosy::moody_item> end;
            items.async_next(end.handler());
            run_until(ctx, [&] { return end.done(); });
            REQUIRE_MESSAGE(end.error() == pool_errc::bad_message, end.error().message());
            CHECK(items.report().outcome == procyard::pool_outcome::task_failed);
            INFO(items.report().text);
            CHECK(items.report().text.find("no response") != std::string::npos);
        }
        CHECK(pool.workers() == before);  // who was told, and is there
        outcome<procyard::error_code> stopped;
        pool.async_stop(std::chrono::hours(1), stopped.handler());
        run_until(ctx, [&] { return stopped.done(); });
    }

    TEST_CASE("two streams that are raced: no item is lost")
    {
        constexpr std::uint64_t most = 1000;
        streamed pool(of_workers(2));
        auto a = pool.stream(make_work("items", most));
        auto b = pool.stream(make_work("items", most));
        std::uint64_t from_a = 0;
        std::uint64_t from_b = 0;
        bool over = false;
        asio::co_spawn(pool.ctx, take_from_both(a, b, from_a, from_b, most),
                       [&](const std::exception_ptr& error) {
                           CHECK(error == nullptr);
                           over = true;
                       });
        run_until(pool.ctx, [&] { return over; });
        answer item;
        for (; from_a < most; ++from_a) {
            REQUIRE_FALSE(pool.next(a, item));
            REQUIRE(item.number == from_a);
        }
        for (; from_b < most; ++from_b) {
            REQUIRE_FALSE(pool.next(b, item));
            REQUIRE(item.number == from_b);
        }
        CHECK(pool.next(a, item) == channel_errc::closed);
        CHECK(pool.next(b, item) == channel_errc::closed);
        pool.stop();
    }

    TEST_CASE("a wait that is cancelled in the turn in which its item is there has taken nothing")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        streamed pool;
        auto items = pool.stream(make_work("note items", 3, notes));
        answer item;
        REQUIRE_FALSE(pool.next(items, item));
        pool.until_lines(notes, 3);
        pool.ctx.restart();
        pool.ctx.poll();
        asio::cancellation_signal signal;
        outcome<procyard::error_code, answer> got;
        items.async_next(asio::bind_cancellation_slot(signal.slot(), got.handler()));
        signal.emit(asio::cancellation_type::total);
        run_until(pool.ctx, [&] { return got.done(); });
        CHECK(got.error() == asio::error::operation_aborted);
        for (std::uint64_t n = 1; n < 3; ++n) {
            REQUIRE_FALSE(pool.next(items, item));
            CHECK(item.number == n);
        }
        CHECK(pool.next(items, item) == channel_errc::closed);
        pool.stop();
    }

    TEST_CASE("who cancels an operation that is over changes nothing of its stream")
    {
        streamed pool(of_workers(1), "later");
        asio::cancellation_signal first;
        asio::cancellation_signal second;
        outcome<procyard::error_code, procyard::pool_stream<answer>> got;
        pool.it->async_submit_stream(make_work("wait"), {},
                                     asio::bind_cancellation_slot(first.slot(), got.handler()));
        run_until(pool.ctx, [&] { return got.done(); });
        REQUIRE_FALSE(got.error());
        auto items = std::move(got.result());
        first.emit(asio::cancellation_type::terminal);
        outcome<procyard::error_code, answer> left;
        items.async_next(asio::bind_cancellation_slot(second.slot(), left.handler()));
        second.emit(asio::cancellation_type::total);
        run_until(pool.ctx, [&] { return left.done(); });
        CHECK(left.error() == asio::error::operation_aborted);
        outcome<procyard::error_code, answer> stays;
        items.async_next(stays.handler());
        second.emit(asio::cancellation_type::terminal);
        // One behind it comes and goes meanwhile.
        auto other = pool.submit(make_work("square", 2));
        other.cancel();
        CHECK(pool.error(other) == asio::error::operation_aborted);
        CHECK_FALSE(stays.done());
        items.cancel();
        run_until(pool.ctx, [&] { return stays.done(); });
        CHECK(stays.error() == asio::error::operation_aborted);
        pool.stop();
    }

    TEST_CASE("who cancels a yield that is over changes nothing of the one that waits")
    {
        temporary_directory place;
        const auto notes = (place.path() / "notes").string();
        streamed pool(of_workers(1), "cancels late");
        constexpr std::uint64_t half = procyard::detail::stream_window / 2;
        constexpr std::uint64_t most = 100;
        auto items = pool.stream(make_work("", most, notes));
        pool.until_lines(notes, 1);
        answer item;
        for (std::uint64_t n = 0; n < most; ++n) {
            if (n == half)
                pool.until_lines(notes, 2);
            const auto ec = pool.next(items, item);
            REQUIRE_MESSAGE(!ec, n, ": ", ec.message(), ": ", items.report().to_string());
            REQUIRE(item.number == n);
        }
        CHECK(pool.next(items, item) == channel_errc::closed);
        pool.stop();
    }

    TEST_CASE("a context that goes takes a coroutine with it whose item was there")
    {
        const auto alive = std::make_shared<int>(0);
        {
            streamed pool;
            auto items = pool.stream(make_work("items", 3));
            answer item;
            REQUIRE_FALSE(pool.next(items, item));
            pool.stop();
            bool waits = false;
            asio::co_spawn(
                pool.ctx,
                [](std::shared_ptr<int> held, procyard::pool_stream<answer> mine,
                   bool* said) -> asio::awaitable<void> {
                    *said = true;
                    (void)co_await mine.async_next(asio::use_awaitable);
                    *held = 1;
                }(alive, std::move(items), &waits),
                [](const std::exception_ptr&) {});
            pool.ctx.restart();
            while (!waits)
                REQUIRE(pool.ctx.poll_one() == 1);
        }
        CHECK(alive.use_count() == 1);
        CHECK(*alive == 0);
    }

    TEST_CASE("a plain task to an entry that gives items is told what it should be")
    {
        streamed pool;
        auto task = pool.submit(make_work("items", 0));
        CHECK(pool.error(task) == pool_errc::task_failed);
        CHECK_MESSAGE(task.report().text.find("as a stream") != std::string::npos,
                      task.report().text);
        pool.stop();
    }

    TEST_CASE("a stream of an entry with one response has one item")
    {
        streamed pool(of_workers(1), "later");
        auto items = pool.stream(make_work("square", 7));
        answer item;
        REQUIRE_FALSE(pool.next(items, item));
        CHECK(item.number == 49);
        CHECK(pool.next(items, item) == channel_errc::closed);
        pool.stop();
    }
}
