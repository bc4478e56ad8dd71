// SPDX-License-Identifier: BSL-1.0
// What goes in comes out: messages of every kind, full and empty rings, batches, numbers.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/system/errc.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "message_samples.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard_test::drain;
using procyard_test::fill;
using procyard_test::outcome;
using procyard_test::run;

namespace {

struct twelve {
    std::array<std::uint32_t, 3> words{};
    friend bool operator==(const twelve&, const twelve&) = default;
};
struct page {
    std::array<std::uint64_t, 512> words{};
    friend bool operator==(const page&, const page&) = default;
};

// Several times around a ring of few, one at a time and in bursts.
template <class T, class Make>
void check_round_trip(const channel_options& options, Make make)
{
    asio::io_context ctx;
    channel<T> c(ctx.get_executor(), options);
    for (std::uint64_t n = 0; n < 50; ++n) {
        CHECK(c.sender.try_send(make(n)));
        const auto got = c.receiver.try_receive();
        REQUIRE(got);
        CHECK(*got == make(n));
    }
    std::uint64_t received = 0;
    for (std::uint64_t sent = 0; sent < 200;) {
        while (c.sender.try_send(make(sent)))
            ++sent;
        for (auto got = c.receiver.try_receive(); got; got = c.receiver.try_receive()) {
            REQUIRE(*got == make(received));
            ++received;
        }
        REQUIRE(received == sent);
    }
}

constexpr channel_options five{.capacity_messages = 5};

}  // namespace

TEST_SUITE("channel: messages")
{
    TEST_CASE("of one byte, of eight, of twelve, of a page")
    {
        check_round_trip<std::uint8_t>(five, [](auto n) { return static_cast<std::uint8_t>(n); });
        check_round_trip<bool>(five, [](auto n) { return n % 3 == 0; });
        check_round_trip<std::uint64_t>(five, [](auto n) { return n * 0x0101010101010101U; });
        check_round_trip<twelve>(five, [](auto n) {
            twelve t;
            t.words.fill(static_cast<std::uint32_t>(n));
            return t;
        });
        check_round_trip<page>(five, [](auto n) {
            page p;
            p.words.fill(n);
            return p;
        });
    }

    TEST_CASE("of padded structures, of structures with strings and vectors")
    {
        check_round_trip<procyard_test::padded>(five, [](auto n) {
            return procyard_test::padded{'p', static_cast<int>(n), n % 2 == 0};
        });
        check_round_trip<procyard_test::report>({.capacity_bytes = 1024}, [](auto n) {
            auto made = procyard_test::sample_report();
            made.title = std::string(n % 100, 't');
            made.numbers.assign(n % 17, static_cast<std::uint32_t>(n));
            return made;
        });
    }

    TEST_CASE("of bytes of every length, none to the longest that a ring takes (cases 2, 3)")
    {
        constexpr std::size_t capacity = 256;
        constexpr std::size_t longest = capacity - 8 - 4;  // a record's header, a string's length
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = capacity});
        for (std::size_t shift = 0; shift < 5; ++shift) {
            for (std::size_t length = 0; length <= longest; ++length) {
                CAPTURE(length);
                const std::string text(length, static_cast<char>('a' + length % 26));
                outcome<error_code> sent;
                outcome<error_code, std::string> received;
                c.sender.async_send(text, sent.handler());
                c.receiver.async_receive(received.handler());
                run(ctx);
                REQUIRE_FALSE(sent.error());
                REQUIRE(received.result() == text);
            }
            CHECK(c.sender.try_send(std::string(shift, 'x')));  // another alignment
            CHECK(c.receiver.try_receive());
        }
    }

    TEST_CASE("too long for the ring are refused at once, and nothing changes (case 8)")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 64, .max_message_bytes = 0});
        for (const std::size_t length : {53U, 64U, 1000U, 1'000'000U}) {
            error_code ec;
            CHECK_FALSE(c.sender.try_send(std::string(length, 'x'), ec));
            CHECK(ec == channel_errc::too_long);
            outcome<error_code> sent;
            c.sender.async_send(std::string(length, 'x'), sent.handler());
            run(ctx);
            CHECK(sent.error() == channel_errc::too_long);
        }
        fill(c.sender, std::string("x"));
        outcome<error_code> sent;
        c.sender.async_send(std::string(53, 'x'), sent.handler());
        run(ctx);
        CHECK(sent.error() == channel_errc::too_long);
        CHECK(drain(c.receiver) > 0);
        CHECK(c.sender.try_send(std::string(52, 'x')));
        CHECK(c.receiver.try_receive() == std::string(52, 'x'));
    }
}

TEST_SUITE("channel: capacity")
{
    TEST_CASE("is the number of messages, rounded up to a power of two (case 5)")
    {
        for (const auto& [asked, expected] : std::vector<std::pair<std::size_t, std::size_t>>{
                 {1, 1}, {2, 2}, {3, 4}, {4, 4}, {5, 8}, {1000, 1024}}) {
            asio::io_context ctx;
            channel<twelve> c(ctx.get_executor(), {.capacity_messages = asked});
            CHECK(c.sender.statistics().capacity == expected);
            CHECK(fill(c.sender) == expected);
            CHECK(drain(c.receiver) == expected);
        }
    }

    TEST_CASE("in bytes holds at least one message of a fixed length")
    {
        asio::io_context ctx;
        channel<page> small(ctx.get_executor(), {.capacity_bytes = 1});
        CHECK(fill(small.sender) == 1);
        channel<std::uint64_t> more(ctx.get_executor(), {.capacity_bytes = 100});
        CHECK(fill(more.sender) == 16);
    }

    TEST_CASE("that cannot be is refused, before anything is made (case 5)")
    {
        constexpr auto most = std::numeric_limits<std::size_t>::max();
        const procyard_test::descriptor_check no_leak;
        const auto refused = [](auto ends_of) {
            error_code ec;
            (void)ends_of(ec);
            return ec == channel_errc::bad_shape && ec == boost::system::errc::invalid_argument;
        };
        for (const auto& options :
             std::vector<channel_options>{{.capacity_messages = most},
                                          {.capacity_messages = most / 2},
                                          {.capacity_messages = std::size_t{1} << 60U},
                                          {.capacity_bytes = most}}) {
            CHECK(refused([&](error_code& ec) { return make_channel<twelve>(options, ec); }));
        }
        // Of strings, nobody can say how many a ring will hold.
        for (const auto& options :
             std::vector<channel_options>{{.capacity_messages = 8},
                                          {.capacity_messages = 8, .capacity_bytes = 4096},
                                          {.capacity_bytes = 0},
                                          {.capacity_bytes = 8},
                                          {.capacity_bytes = most}}) {
            CHECK(refused([&](error_code& ec) { return make_channel<std::string>(options, ec); }));
        }
        CHECK_THROWS_AS((void)make_channel<int>({.capacity_messages = most}),
                        boost::system::system_error);
    }

    TEST_CASE("that memory cannot give is an error of the opening (case 54)")
    {
        const procyard_test::descriptor_check no_leak;
        asio::io_context ctx;
        auto ends = make_channel<int>({.capacity_bytes = std::size_t{1} << 46U});
        error_code ec;
        const procyard::sender<int> s(ctx.get_executor(), std::move(ends.sender), ec);
        CHECK(ec);
        CHECK_FALSE(s.is_open());
    }
}

TEST_SUITE("channel: full and empty")
{
    TEST_CASE("full: a send changes nothing, and after one receive exactly one goes (case 6)")
    {
        for (const std::size_t capacity : {1U, 2U, 8U}) {
            asio::io_context ctx;
            channel<std::uint64_t> c(ctx.get_executor(), {.capacity_messages = capacity});
            std::uint64_t next = 0;
            while (c.sender.try_send(next))
                ++next;
            for (std::uint64_t expected = 0; expected < 20; ++expected) {
                error_code ec;
                CHECK_FALSE(c.sender.try_send(99, ec));
                CHECK(ec == asio::error::would_block);
                CHECK(c.receiver.try_receive() == expected);
                CHECK(c.sender.try_send(next++));
                CHECK_FALSE(c.sender.try_send(99));
            }
            CHECK(drain(c.receiver) == capacity);
        }
    }

    TEST_CASE("full of strings: the same, and each in its order")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 128});
        const std::string twenty(20, 'x');  // 32 bytes in the ring
        CHECK(fill(c.sender, twenty) == 4);
        for (int i = 0; i < 20; ++i) {
            CHECK_FALSE(c.sender.try_send(twenty));
            CHECK(c.receiver.try_receive() == twenty);
            CHECK(c.sender.try_send(twenty));
        }
    }

    TEST_CASE("empty: a receive changes nothing (case 7)")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        for (int i = 0; i < 3; ++i) {
            int n = 42;
            error_code ec;
            CHECK_FALSE(c.receiver.try_receive(n, ec));
            CHECK(ec == asio::error::would_block);
            CHECK(n == 42);
        }
        CHECK(c.sender.try_send(1));
        CHECK(c.receiver.try_receive() == 1);
    }
}
