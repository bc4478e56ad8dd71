// SPDX-License-Identifier: BSL-1.0
// The ring of a broadcast as a machine, step by step: what each side sees between the steps of
// another; and positions that run past 2^64.
#include <procyard/ipc/detail/broadcast_ring.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/detail/broadcast_operations.hpp>

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::slow_reader;
using procyard::detail::broadcast_reader_core;
using procyard::detail::broadcast_reader_side;
using procyard::detail::broadcast_words;
using procyard::detail::broadcast_writer_core;
using procyard::detail::broadcast_writer_side;
using procyard::detail::known_reader;

namespace {

// Four cells, a writer and a reader.
struct ring {
    explicit ring(std::uint64_t start = 0)
    {
        words[0].position.store(start);
        writer.emplace(words[0], 4);
        known.emplace(words[1], start);
        reader.emplace(words[1], words[0], 4, start);
    }
    void write(std::uint64_t count)
    {
        for (; count > 0; --count) {
            writer->claim(writer->floor_for(1));
            writer->advance(1);
            writer->publish();
        }
    }

    broadcast_words words[2];
    std::optional<broadcast_writer_side> writer;
    std::optional<known_reader> known;
    std::optional<broadcast_reader_side> reader;
};

// A writer that begins at `start`, and a reader of it.
template <class T>
struct cores {
    cores(const procyard::broadcast_options& options, std::uint64_t start, slow_reader manner)
    {
        auto terms = procyard::detail::broadcast_terms_of<T>(options);
        terms.first_position = start;
        error_code ec;
        writer = broadcast_writer_core::open(ctx.get_executor(), terms, ec);
        REQUIRE_FALSE(ec);
        auto socket = writer->subscribe({.when_slow = manner}, ec);
        REQUIRE_FALSE(ec);
        std::string why;
        reader = broadcast_reader_core::open(ctx.get_executor(), std::move(socket), terms, why, ec);
        REQUIRE_FALSE(ec);
    }
    error_code send(const T& message)
    {
        std::uint64_t wanted = 0;
        return procyard::detail::broadcast_now(*writer, message, wanted);
    }
    error_code receive(T& message)
    {
        return procyard::detail::receive_broadcast_now(*reader, message);
    }

    asio::io_context ctx;
    std::shared_ptr<broadcast_writer_core> writer;
    std::shared_ptr<broadcast_reader_core> reader;
};

}  // namespace

TEST_SUITE("broadcast ring")
{
    TEST_CASE("what is copied is worth nothing once its place has been claimed")
    {
        ring r;
        r.write(4);
        CHECK(r.reader->refresh());
        CHECK(r.reader->room() == 4);
        CHECK(r.reader->is_intact());
        r.writer->claim(r.writer->floor_for(1));
        CHECK(!r.reader->is_intact());
        r.reader->advance(1);
        CHECK(r.reader->is_intact());
    }

    TEST_CASE("skipping stops at the oldest, which is never beyond what is there")
    {
        ring r;
        r.write(11);
        CHECK(r.reader->skip_lost());
        CHECK(r.reader->position() == 7);
        CHECK(r.reader->room() == 4);
        CHECK(r.reader->skip_lost());
        CHECK(r.reader->position() == 7);
        r.words[0].oldest.store(12);
        CHECK(!r.reader->skip_lost());
    }

    TEST_CASE(
        "the middle is that of what the ring can hold, whatever the writer says it has written")
    {
        ring r;
        CHECK(r.reader->half() == 0);
        r.write(3);
        CHECK(r.reader->refresh());
        CHECK(r.reader->half() == 1);
        r.words[0].position.store(std::uint64_t{1} << 62U);
        CHECK(r.reader->refresh());
        CHECK(r.reader->half() == 2);
    }

    TEST_CASE("an announcement is rung for once, also if it comes between publication and look")
    {
        ring r;
        CHECK(!r.known->must_ring());
        r.reader->announce();
        CHECK(r.known->must_ring());
        CHECK(!r.known->must_ring());
        r.reader->withdraw();
        CHECK(!r.known->must_ring());
        r.write(1);
        r.reader->announce();
        CHECK(r.reader->refresh());  // the last look before the sleep
        CHECK(r.reader->room() == 1);
        r.reader->withdraw();
        r.reader->announce();
        CHECK(r.known->must_ring());
    }

    TEST_CASE("of the readers that a writer sleeps for, only who comes past the mark rings")
    {
        ring r;
        r.write(4);
        CHECK(r.reader->refresh());
        r.writer->announce(2);
        r.reader->advance(1);
        CHECK(!r.reader->publish());
        r.reader->advance(1);
        CHECK(r.reader->publish());
        r.reader->advance(1);
        CHECK(!r.reader->publish());
        CHECK(r.reader->close());
        r.writer->withdraw();
        CHECK(!r.reader->close());
    }

    TEST_CASE("a position that goes back, or beyond the other's, is a violation")
    {
        ring r;
        r.write(3);
        CHECK(r.reader->refresh());
        r.reader->advance(2);
        (void)r.reader->publish();
        CHECK(r.known->refresh(3));
        r.words[1].position.store(1);
        CHECK(!r.known->refresh(3));
        r.words[1].position.store(4);
        CHECK(!r.known->refresh(3));
        r.words[0].position.store(2);
        CHECK(!r.reader->refresh());
    }

    TEST_CASE("positions run past 2^64 unharmed (case 4)")
    {
        ring r(~std::uint64_t{0} - 5);
        r.write(10);
        CHECK(r.reader->refresh());
        CHECK(r.reader->room() == 10);
        CHECK(!r.reader->is_intact());
        CHECK(r.reader->skip_lost());
        CHECK(r.reader->room() == 4);
        CHECK(r.reader->is_intact());
    }
}

TEST_SUITE("broadcast cores")
{
    TEST_CASE("cells past 2^64: everything, and an exact loss (case 4)")
    {
        const std::uint64_t start = ~std::uint64_t{0} - 20;
        cores<int> waiting({.capacity_messages = 8}, start, slow_reader::holds_back);
        int got = 0;
        for (int n = 0; n < 100; ++n) {
            REQUIRE(!waiting.send(n));
            REQUIRE(!waiting.receive(got));
            CHECK(got == n);
        }
        cores<int> lossy({.capacity_messages = 8}, start, slow_reader::loses);
        for (int n = 0; n < 50; ++n)
            REQUIRE(!lossy.send(n));
        CHECK(lossy.receive(got) == channel_errc::lapped);
        CHECK(lossy.reader->lost() == 42);
        CHECK(!lossy.receive(got));
        CHECK(got == 42);
    }

    TEST_CASE("records past 2^64, of every length, from every place (cases 2, 3, 4)")
    {
        for (std::uint64_t before = 0; before < 256; before += 8) {
            CAPTURE(before);
            cores<std::string> c({.capacity_bytes = 256}, 0 - before, slow_reader::holds_back);
            std::string got;
            for (std::size_t n = 0; n < 150; ++n) {
                const std::string sent(n % 45, static_cast<char>('a' + n % 26));
                REQUIRE(!c.send(sent));
                REQUIRE(!c.receive(got));
                REQUIRE(got == sent);
            }
            CHECK(c.reader->lost() == 0);
        }
    }

    TEST_CASE("records: an exact loss, and an exact history, at every fill")
    {
        for (std::size_t sent = 1; sent < 60; ++sent) {
            CAPTURE(sent);
            cores<std::string> c({.capacity_bytes = 512}, 0, slow_reader::loses);
            for (std::size_t n = 0; n < sent; ++n)
                REQUIRE(!c.send(std::to_string(n) + std::string(n % 40, 'x')));
            // The rest, from whatever is the first.
            const auto drain = [&](auto& core) {
                std::string got;
                std::uint64_t count = 0;
                error_code ec;
                while (ec = procyard::detail::receive_broadcast_now(core, got),
                       !ec || ec == channel_errc::lapped) {
                    count += ec ? 0U : 1U;
                }
                CHECK(ec == asio::error::would_block);
                CHECK(std::stoull(got) == sent - 1);
                return count;
            };
            const auto kept = drain(*c.reader);
            CHECK(kept + c.reader->lost() == sent);
            auto terms = procyard::detail::broadcast_terms_of<std::string>({.capacity_bytes = 512});
            for (const std::size_t history : {1U, 3U, 1000U}) {
                error_code ec;
                auto socket = c.writer->subscribe({.history = history}, ec);
                REQUIRE_FALSE(ec);
                std::string why;
                const auto late = broadcast_reader_core::open(c.ctx.get_executor(),
                                                              std::move(socket), terms, why, ec);
                REQUIRE_FALSE(ec);
                CHECK(drain(*late) == std::min<std::uint64_t>(history, kept));
                CHECK(late->lost() == 0);
            }
        }
    }
}
