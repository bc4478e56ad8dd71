// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/message_batch.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/channel.hpp>

#include "operation_contract.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using namespace procyard;

namespace {

struct pair {
    std::uint64_t first;
    std::uint64_t second;
};

struct flags {
    bool set;
};

struct padded {
    char c;
    std::uint64_t n;
};

template <class T>
concept has_pieces = requires(message_batch<T> b) { b.in_place(); };
template <class T>
concept is_counted = requires(message_batch<T> b) { b.size(); };
template <class T>
concept is_copied = requires(receiver<T> r) { r.try_receive(); };

template <class T>
std::vector<T> take_all(message_batch<T>& batch)
{
    std::vector<T> taken;
    for (const T& message : batch)
        taken.push_back(message);
    return taken;
}

template <class T>
message_batch<T> batch_of(receiver<T>& rx)
{
    error_code ec;
    auto batch = rx.try_receive_batch(ec);
    REQUIRE_FALSE(ec);
    return batch;
}

struct receive_some {
    explicit receive_some(asio::io_context& ctx) : ends(ctx.get_executor())
    {
        receiving.emplace(std::move(ends.receiver));
    }
    void start(auto&& token)
    {
        receiving->async_receive_some(std::forward<decltype(token)>(token));
    }
    void satisfy() { CHECK(ends.sender.try_send(1)); }
    void break_it() { ends.sender.close(); }
    [[nodiscard]] error_code breakage() const { return channel_errc::closed; }
    void destroy() { receiving.reset(); }

    channel<int> ends;
    std::optional<receiver<int>> receiving;
};

}  // namespace

TEST_SUITE("async_receive_some"){PROCYARD_OPERATION_CONTRACT(receive_some)}

TEST_SUITE("message_batch")
{
    TEST_CASE("has all that has arrived, in order, and gives the room back when it is destroyed")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), {.capacity_messages = 4});
        for (int i = 0; i < 4; ++i)
            CHECK(c.sender.try_send(i));
        {
            auto batch = batch_of(c.receiver);
            CHECK(batch.size() == 4);
            CHECK(take_all(batch) == std::vector<int>{0, 1, 2, 3});
            CHECK(batch.size() == 0);
            CHECK_FALSE(c.sender.try_send(4));
        }
        for (int i = 4; i < 8; ++i)
            CHECK(c.sender.try_send(i));
    }

    TEST_CASE("what was not looked at stays for the next receive")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor());
        for (const char* text : {"one", "two", "three"})
            CHECK(c.sender.try_send(text));
        {
            auto batch = batch_of(c.receiver);
            std::string text;
            CHECK(batch.next(text));
            CHECK(text == "one");
        }
        CHECK(c.receiver.try_receive() == "two");
        CHECK(c.receiver.statistics().messages == 2);
        CHECK(c.receiver.try_receive() == "three");
    }

    TEST_CASE("does not grow while it is looked at")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor());
        CHECK(c.sender.try_send("first"));
        auto batch = batch_of(c.receiver);
        CHECK(c.sender.try_send("later"));
        CHECK(take_all(batch) == std::vector<std::string>{"first"});
        batch.release();
        CHECK(c.receiver.try_receive() == "later");
    }

    TEST_CASE("messages that borrow are good as long as the batch is, across the ring's end too")
    {
        asio::io_context ctx;
        channel<std::string_view> c(ctx.get_executor(), {.capacity_bytes = 128});
        std::string text;
        for (int round = 0; round < 200; ++round) {
            text.assign(static_cast<std::size_t>(round % 40), 'x');
            CHECK(c.sender.try_send(text));
            auto batch = batch_of(c.receiver);
            CHECK(take_all(batch) == std::vector<std::string_view>{text});
        }
    }

    TEST_CASE("while there is one, the receiver does nothing else")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor());
        CHECK(c.sender.try_send(1));
        CHECK(c.sender.try_send(2));
        auto batch = batch_of(c.receiver);
        error_code ec;
        int n = 0;
        CHECK_FALSE(c.receiver.try_receive(n, ec));
        CHECK(ec == channel_errc::lent);
        (void)c.receiver.try_receive_batch(ec);
        CHECK(ec == channel_errc::lent);
        procyard_test::outcome<error_code, int> got;
        c.receiver.async_receive(got.handler());
        procyard_test::run(ctx);
        CHECK(got.error() == channel_errc::lent);
        CHECK(c.receiver.is_open());
        batch.release();
        CHECK(c.receiver.try_receive() == 1);
    }

    TEST_CASE("one piece of the ring can be looked at without a copy, and then the next")
    {
        asio::io_context ctx;
        channel<pair> c(ctx.get_executor(), {.capacity_messages = 4});
        const auto send = [&](std::uint64_t n) { CHECK(c.sender.try_send({n, n * n})); };
        for (std::uint64_t n = 0; n < 3; ++n)
            send(n);
        CHECK(batch_of(c.receiver).in_place().size() == 3);
        for (std::uint64_t n = 3; n < 7; ++n)
            send(n);
        auto batch = batch_of(c.receiver);
        CHECK(batch.size() == 4);
        const auto before_the_end = batch.in_place();
        REQUIRE(before_the_end.size() == 1);
        CHECK(before_the_end[0].second == 9);
        const auto from_the_beginning = batch.in_place();
        REQUIRE(from_the_beginning.size() == 3);
        CHECK(from_the_beginning[2].second == 36);
        CHECK(batch.in_place().empty());
    }

    TEST_CASE("outlives its receiver, and a moved one is empty")
    {
        asio::io_context ctx;
        std::optional<channel<int>> c(std::in_place, ctx.get_executor());
        CHECK(c->sender.try_send(7));
        auto batch = batch_of(c->receiver);
        c.reset();
        auto moved = std::move(batch);
        int n = 0;
        CHECK_FALSE(batch.next(n));
        CHECK(moved.next(n));
        CHECK(n == 7);
        moved = message_batch<int>();
        message_batch<int> empty;
        CHECK(empty.begin() == empty.end());
        CHECK(empty.size() == 0);
    }

    TEST_CASE("only types without padding and without invalid values are looked at in place")
    {
        static_assert(has_pieces<pair>);
        static_assert(!has_pieces<padded>);
        static_assert(!has_pieces<flags>);
        static_assert(!has_pieces<std::uint32_t>);
        static_assert(!has_pieces<std::string>);
    }

    TEST_CASE("only messages of one length are counted, only those that do not borrow are copied")
    {
        static_assert(is_counted<pair>);
        static_assert(!is_counted<std::string>);
        static_assert(is_copied<std::string>);
        static_assert(!is_copied<std::string_view>);
    }
}
