// SPDX-License-Identifier: BSL-1.0
// A sender that drops the oldest, and its receiver, in threads of their own: the memory model's
// test (ThreadSanitizer).
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>

#include <doctest/doctest.h>

#include "numbered_messages.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::when_full;
using procyard_test::is_numbered;
using procyard_test::numbered;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::whole;

namespace {

std::uint64_t number_of(const whole& message)
{
    return message.words[0];
}
std::uint64_t number_of(const std::string& message)
{
    return std::strtoull(message.c_str(), nullptr, 10);
}

struct counted {
    std::uint64_t next = 0;
    std::uint64_t received = 0;
    std::uint64_t wrong = 0;
    error_code end;

    template <class T>
    void add(const T& message)
    {
        const auto number = number_of(message);
        wrong += is_numbered(message, number) && number >= next ? 0 : 1;
        next = number + 1;
        ++received;
    }
};

// One after the other, or as many as there are, in turns with sleeps.
template <class T>
void receive_all(asio::io_context& ctx, receiver<T>& from, counted& all)
{
    for (int turn = 0; !all.end; ++turn) {
        error_code ec;
        T message{};
        if (turn % 3 == 0) {
            auto batch = from.try_receive_batch(ec);
            while (batch.next(message))
                all.add(message);
        } else if (from.try_receive(message, ec)) {
            all.add(message);
        }
        if (ec == asio::error::would_block) {
            outcome<error_code> readable;
            from.async_wait_readable(readable.handler());
            run(ctx);
            ec = readable.error();
        }
        if (ec && ec != channel_errc::lapped)
            all.end = ec;
    }
}

template <class T>
void in_two_threads(const channel_options& options, std::uint64_t count)
{
    auto ends = make_channel<T>(options);
    counted all;
    std::uint64_t lost = 0;
    std::thread receiving([&all, &lost, end = std::move(ends.receiver)]() mutable {
        asio::io_context ctx;
        receiver<T> r(ctx.get_executor(), std::move(end));
        receive_all(ctx, r, all);
        lost = r.lost();
    });
    asio::io_context ctx;
    sender<T> s(ctx.get_executor(), std::move(ends.sender));
    std::uint64_t refused = 0;
    for (std::uint64_t n = 0; n < count; ++n) {
        refused += s.try_send(numbered<T>(n)) ? 0 : 1;
        if (n % 100 == 0)
            std::this_thread::yield();
    }
    s.close();
    receiving.join();
    CHECK(refused == 0);
    CHECK(all.end == channel_errc::closed);
    CHECK(all.wrong == 0);
    CHECK(all.next == count);
    CHECK(all.received + lost == count);
}

constexpr std::uint64_t many = 20'000;

}  // namespace

TEST_SUITE("channel: drop_oldest, two threads")
{
    TEST_CASE("cells: whole, in order, and counted")
    {
        for (const auto capacity : std::to_array<std::size_t>({1, 2, 16, 1024})) {
            CAPTURE(capacity);
            in_two_threads<whole>({.capacity_messages = capacity, .full = when_full::drop_oldest},
                                  many);
        }
    }

    TEST_CASE("records: whole, in order, and counted")
    {
        for (const auto capacity : std::to_array<std::size_t>({1024, 8192, 65'536})) {
            CAPTURE(capacity);
            in_two_threads<std::string>(
                {.capacity_bytes = capacity, .full = when_full::drop_oldest}, many);
        }
    }
}
