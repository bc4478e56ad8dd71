// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pool_stream.hpp>

#include <doctest/doctest.h>

#include <string>

#include <procyard/ipc/channel_error.hpp>

#include "pool_fixture.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::channel_errc;
using procyard::pool_errc;

namespace {

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
