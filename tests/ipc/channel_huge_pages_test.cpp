// SPDX-License-Identifier: BSL-1.0
// Channels whose messages lie in huge pages, where the administrator has some to spare, and where
// there are none.
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/segment.hpp>
#include <procyard/ipc/segment_error.hpp>

#include <boost/asio/io_context.hpp>

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/work_queue.hpp>

#include "channel_fixture.hpp"
#include "huge_pages.hpp"
#include "skip.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::huge_page_policy;
using procyard::make_channel;
using procyard::receiver;
using procyard::segment_errc;
using procyard::sender;
using procyard::when_full;
using procyard_test::drain;
using procyard_test::fill;
using procyard_test::free_huge_pages;
using procyard_test::huge_page_bytes;
using procyard_test::page_bytes_of_mappings;

namespace {

constexpr auto* called = "in-pages";

std::size_t ordinary_page()
{
    return static_cast<std::size_t>(::getpagesize());
}

std::string in_words(std::vector<std::size_t> page_bytes)
{
    std::ranges::sort(page_bytes, std::greater<>());
    std::string text;
    for (const auto bytes : page_bytes)
        text += std::to_string(bytes) + ' ';
    return text;
}

std::vector<std::size_t> page_bytes()
{
    return page_bytes_of_mappings(std::string("memfd:procyard:") + called);
}

// The pages of what is mapped for the channel of that name.
std::string pages()
{
    return in_words(page_bytes());
}

// Of both ends, each of which sees its own memory and the other's: the sender's has these pages.
std::string both_ends(std::size_t sender_page)
{
    return in_words({sender_page, sender_page, ordinary_page(), ordinary_page()});
}

// To and fro around the ring, which may be larger than what was asked for is.
void use_all_of_it(channel<std::uint64_t>& c)
{
    for (int times = 0; times < 3; ++times) {
        const auto count = fill(c.sender, std::uint64_t{7});
        CHECK(count == c.sender.statistics().capacity);
        CHECK(c.receiver.try_receive() == 7);
        CHECK(drain(c.receiver) == count - 1);
    }
}

}  // namespace

TEST_SUITE("channel: huge pages")
{
    TEST_CASE("if_available: of huge pages if one is free, else of ordinary ones, and used alike")
    {
        for (const auto policy : {huge_page_policy::never, huge_page_policy::if_available}) {
            CAPTURE(static_cast<int>(policy));
            const auto unused = free_huge_pages();
            CAPTURE(unused);
            const bool are_huge = policy != huge_page_policy::never && unused > 0;
            asio::io_context ctx;
            channel<std::uint64_t> c(ctx.get_executor(), {.huge_pages = policy, .name = called});
            CHECK(c.receiver.try_receive() == std::nullopt);  // they know each other
            CHECK(c.sender.try_send(1));
            CHECK(c.receiver.try_receive() == 1);
            CHECK(pages() == both_ends(are_huge ? huge_page_bytes() : ordinary_page()));
            use_all_of_it(c);
        }
    }

    TEST_CASE("required: more than any pool has is refused, to the sender alone, by its name")
    {
        // 32 TiB, of which nothing is taken: the pool is asked first.
        constexpr channel_options huge{.capacity_bytes = std::size_t{1} << 45,
                                       .max_peer_bytes = ~std::size_t{0},
                                       .huge_pages = huge_page_policy::required};
        auto ends = make_channel<int>(huge);
        asio::io_context ctx;
        error_code ec;
        const sender<int> s(ctx.get_executor(), std::move(ends.sender), ec);
        CHECK_MESSAGE(ec == segment_errc::no_huge_pages, ec.message());
        CHECK_FALSE(s.is_open());
        const receiver<int> r(ctx.get_executor(), std::move(ends.receiver), ec);
        CHECK_MESSAGE(!ec, ec.message());
    }

    TEST_CASE("required: a small channel is refused if none is free, and nothing in between")
    {
        const auto unused = free_huge_pages();
        CAPTURE(unused);
        asio::io_context ctx;
        auto ends = make_channel<int>(
            {.capacity_messages = 4, .huge_pages = huge_page_policy::required, .name = called});
        const receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        error_code ec;
        const sender<int> s(ctx.get_executor(), std::move(ends.sender), ec);
        CHECK_MESSAGE(ec == (unused > 0 ? error_code() : error_code(segment_errc::no_huge_pages)),
                      ec.message());
        CHECK(std::ranges::count(page_bytes(), huge_page_bytes()) == (unused > 0 ? 1 : 0));
    }

    TEST_CASE("required: both ends see huge pages, of a ring of several too, and give them back")
    {
        const auto unused = free_huge_pages();
        if (unused < 2)
            return procyard_test::skip("fewer than two huge pages are free");
        for (const auto full : {when_full::suspend, when_full::drop_oldest}) {
            CAPTURE(static_cast<int>(full));
            asio::io_context ctx;
            // One of messages, and a page of words before them.
            channel<std::uint64_t> c(ctx.get_executor(),
                                     {.capacity_bytes = huge_page_bytes(),
                                      .full = full,
                                      .huge_pages = huge_page_policy::required,
                                      .name = called});
            CHECK(c.receiver.try_receive() == std::nullopt);
            CHECK(c.sender.try_send(0));
            CHECK(c.receiver.try_receive() == 0);
            CHECK(pages() == both_ends(huge_page_bytes()));
            CHECK(unused - free_huge_pages() == 2);
            if (full == when_full::suspend)
                use_all_of_it(c);
            for (std::uint64_t n = 0; n < 3; ++n)
                CHECK(c.sender.try_send(n));
            for (std::uint64_t n = 0; n < 3; ++n)
                CHECK(c.receiver.try_receive() == n);
        }
        CHECK(free_huge_pages() == unused);
        CHECK(pages() == "");
    }

    TEST_CASE("required: the next receiver's ring lies in them, too, and without one stays the old")
    {
        const auto unused = free_huge_pages();
        if (unused < 2)
            return procyard_test::skip("fewer than two huge pages are free");
        asio::io_context ctx;
        constexpr channel_options huge{
            .capacity_messages = 4, .huge_pages = huge_page_policy::required, .name = called};
        channel<int> c(ctx.get_executor(), huge);
        for (int n = 0; n < 3; ++n)
            CHECK(c.sender.try_send(n));
        CHECK(c.receiver.try_receive() == 0);
        c.receiver.close();
        if (unused <= 64) {  // more would be much memory
            const auto all_others = procyard::segment::create(
                (unused - 1) * huge_page_bytes(), {.huge_pages = huge_page_policy::required});
            error_code ec;
            CHECK_FALSE(c.sender.resume(ec));
            CHECK_MESSAGE(ec == segment_errc::no_huge_pages, ec.message());
        }
        c.receiver = receiver<int>(ctx.get_executor(), c.sender.resume());
        CHECK(c.receiver.try_receive() == 1);
        CHECK(c.receiver.try_receive() == 2);
        CHECK(c.sender.try_send(3));
        CHECK(c.receiver.try_receive() == 3);
        CHECK(pages() == both_ends(huge_page_bytes()));
        CHECK(unused - free_huge_pages() == 1);
    }

    TEST_CASE("a receiver without the option bounds them by max_peer_bytes, one with it needs not")
    {
        if (free_huge_pages() < 1)
            return procyard_test::skip("no huge page is free");
        const auto failure_with = [](const channel_options& options) {
            asio::io_context ctx;
            auto ends = make_channel<int>(
                {.capacity_messages = 4, .huge_pages = huge_page_policy::required});
            ends.receiver.options().huge_pages = options.huge_pages;
            ends.receiver.options().max_peer_bytes = options.max_peer_bytes;
            sender<int> s(ctx.get_executor(), std::move(ends.sender));
            CHECK(s.try_send(7));
            receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
            int message = 0;
            error_code ec;
            return r.try_receive(message, ec) ? error_code() : ec;
        };
        CHECK_FALSE(failure_with({.max_peer_bytes = 0, .huge_pages = huge_page_policy::required}));
        CHECK_FALSE(
            failure_with({.max_peer_bytes = 0, .huge_pages = huge_page_policy::if_available}));
        CHECK_FALSE(failure_with({.max_peer_bytes = huge_page_bytes()}));
        CHECK(failure_with({.max_peer_bytes = huge_page_bytes() - 1}) == channel_errc::over_limit);
    }
}

TEST_SUITE("work_queue: huge pages")
{
    TEST_CASE("if_available: the items lie in them if one is free, and the answers never do")
    {
        const auto unused = free_huge_pages();
        CAPTURE(unused);
        asio::io_context ctx;
        procyard::work_queue<int> queue(
            ctx.get_executor(),
            {.channels = {.huge_pages = huge_page_policy::if_available, .name = called}});
        procyard::work_source<int> source(ctx.get_executor(), queue.consumer());
        error_code ec;
        procyard::leased<int> item;
        CHECK_FALSE(source.try_take(item, ec));  // they know each other
        CHECK(queue.try_push(7, ec));
        ctx.poll();
        REQUIRE_MESSAGE(source.try_take(item, ec), ec.message());
        CHECK(item.value() == 7);
        CHECK(item.acknowledge());
        // The queue's and the consumer's view of the items.
        CHECK(std::ranges::count(page_bytes(), huge_page_bytes()) == (unused > 0 ? 2 : 0));
    }

    TEST_CASE("required at a consumer: it needs none for what it says to the queue")
    {
        const auto unused = free_huge_pages();
        CAPTURE(unused);
        asio::io_context ctx;
        procyard::work_queue<int> queue(ctx.get_executor());
        auto end = queue.consumer();
        end.options().huge_pages = huge_page_policy::required;
        end.options().name = called;
        error_code ec;
        const procyard::work_source<int> source(ctx.get_executor(), std::move(end), ec);
        CHECK_MESSAGE(!ec, ec.message());
        CHECK(std::ranges::count(page_bytes(), huge_page_bytes()) == 0);
    }
}
