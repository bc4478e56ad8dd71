// SPDX-License-Identifier: BSL-1.0
// A writer and its subscribers in threads of their own: the memory model's test (ThreadSanitizer),
// and of what is received.
#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/latest_value.hpp>

#include <boost/asio/io_context.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "broadcast_fixture.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::broadcaster;
using procyard::channel_errc;
using procyard::error_code;
using procyard::latest_reader;
using procyard::latest_value;
using procyard::slow_reader;
using procyard::subscriber;
using procyard_test::mark;
using procyard_test::marked;
using procyard_test::tally;

namespace {

constexpr std::uint64_t many = 20'000;
constexpr std::uint64_t some = 2'000;  // where each may take a sleep of everybody

struct sent_all {
    std::uint64_t sent = 0;
    std::array<tally, 3> seen;
    std::array<std::uint64_t, 3> lost{};
};

// Sends as fast as it can; three receive, each in a thread of its own.
template <class T, class Make>
sent_all broadcast_in_threads(const procyard::broadcast_options& options, slow_reader manner,
                              Make make)
{
    sent_all result;
    const auto count = manner == slow_reader::holds_back ? some : many;
    asio::io_context ctx;
    broadcaster<T> b(ctx.get_executor(), options);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < result.seen.size(); ++i) {
        threads.emplace_back([&result, i, end = b.subscribe({.when_slow = manner})]() mutable {
            asio::io_context own;
            subscriber<T> s(own.get_executor(), std::move(end));
            result.seen[i] = procyard_test::receive_all(own, s);
            result.lost[i] = s.lost();
        });
    }
    for (; result.sent < count; ++result.sent) {
        const auto message = make(result.sent);
        if (b.try_send(message))
            continue;
        b.async_send(message, [](error_code ec) { REQUIRE(!ec); });
        procyard_test::run(ctx);
    }
    b.close();
    for (auto& each : threads)
        each.join();
    return result;
}

void check_exact(const sent_all& result, bool may_lose)
{
    for (std::size_t i = 0; i < result.seen.size(); ++i) {
        const auto& seen = result.seen[i];
        CAPTURE(i);
        CAPTURE(seen.received);
        CAPTURE(seen.lapses);
        CHECK(seen.torn == 0);
        CHECK(seen.wrong == 0);
        CHECK(seen.end == channel_errc::closed);
        CHECK(seen.received + result.lost[i] == result.sent);
        if (!may_lose)
            CHECK(result.lost[i] == 0);
    }
}

}  // namespace

TEST_SUITE("broadcast: threads")
{
    TEST_CASE("lossy: nothing torn, nothing twice, received and lost make up what was sent")
    {
        for (const std::size_t capacity : {2U, 8U, 64U}) {
            CAPTURE(capacity);
            check_exact(broadcast_in_threads<marked>({.capacity_messages = capacity},
                                                     slow_reader::loses, mark),
                        true);
        }
    }

    TEST_CASE("lossy, of different lengths: the same")
    {
        for (const std::size_t capacity : {2048U, 16384U}) {
            CAPTURE(capacity);
            check_exact(broadcast_in_threads<std::string>({.capacity_bytes = capacity},
                                                          slow_reader::loses,
                                                          procyard_test::mark_text),
                        true);
        }
    }

    TEST_CASE("holding back: everything, in order, with sleeps on both sides")
    {
        for (const std::size_t capacity : {2U, 64U}) {
            CAPTURE(capacity);
            check_exact(broadcast_in_threads<marked>({.capacity_messages = capacity},
                                                     slow_reader::holds_back, mark),
                        false);
        }
        check_exact(broadcast_in_threads<std::string>({.capacity_bytes = 2048},
                                                      slow_reader::holds_back,
                                                      procyard_test::mark_text),
                    false);
    }
}

TEST_SUITE("latest value: threads")
{
    TEST_CASE("never torn, never older than before, and the last one at last")
    {
        asio::io_context ctx;
        latest_value<marked> value(ctx.get_executor());
        std::uint64_t torn = 0;
        std::uint64_t backwards = 0;
        std::uint64_t last = 0;
        error_code end;
        std::thread reading([&, unopened = value.subscribe()]() mutable {
            asio::io_context own;
            latest_reader<marked> reader(own.get_executor(), std::move(unopened));
            std::uint64_t version = 0;
            while (!end) {
                reader.async_wait_changed([&](error_code ec) { end = ec; });
                procyard_test::run(own);
                const auto& now = reader.load();
                if (!now)
                    continue;
                torn += is_whole(*now) ? 0U : 1U;
                backwards += reader.version() < version || now->number < last ? 1U : 0U;
                version = reader.version();
                last = now->number;
            }
        });
        for (std::uint64_t n = 0; n <= many; ++n)
            CHECK(value.store(mark(n)));
        value.close();
        reading.join();
        CHECK(torn == 0);
        CHECK(backwards == 0);
        CHECK(last == many);
        CHECK(end == channel_errc::closed);
    }
}
