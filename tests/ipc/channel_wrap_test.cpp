// SPDX-License-Identifier: BSL-1.0
// A channel whose positions run past 2^64, and past 2^32. Nobody waits for that: the ends are
// opened before either knows of the other, their own words are set, which are in this process's
// memory, and then the hellos are handed over.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <fstream>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "channel_fixture.hpp"
#include "numbered_messages.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::receiver;
using procyard::sender;
using procyard::unique_fd;
using procyard::unopened;
using procyard_test::is_numbered;
using procyard_test::numbered;
using procyard_test::receive_numbered;
using procyard_test::run;
using procyard_test::whole;

namespace {

constexpr std::uint64_t capacity = 8;
constexpr procyard::channel_options cells{.capacity_messages = capacity};
constexpr procyard::channel_options records{.capacity_bytes = 4096};

// Of all ends that are open in this process.
void set_positions(std::uint64_t start)
{
    int found = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.find(" rw-s ") == line.npos || line.find("/memfd:procyard") == line.npos)
            continue;
        std::uintptr_t begin = 0;
        std::istringstream(line) >> std::hex >> begin;
        auto* const words = reinterpret_cast<procyard::detail::ring_words*>(
            begin + procyard::detail::ring_words_offset);
        REQUIRE(words->position.load() == 0);
        words->position.store(start);
        ++found;
    }
    REQUIRE(found == 2);
}

// What came in here goes out there, descriptors and all.
void hand_over(const unique_fd& from, const unique_fd& to)
{
    std::array<std::byte, 4096> bytes;
    std::array<unique_fd, 2> fds;
    error_code ec;
    const auto got = procyard::try_receive_descriptors(from.get(), bytes, fds, ec);
    REQUIRE_FALSE(ec);
    const std::array<int, 2> numbers{fds[0].get(), fds[1].get()};
    (void)procyard::try_send_descriptors(to.get(), std::span(bytes).first(got.bytes), numbers, ec);
    REQUIRE_FALSE(ec);
}

// A channel that has carried so many units.
template <class T>
struct old_channel {
    asio::io_context ctx;
    procyard::sender<T> sender;
    procyard::receiver<T> receiver;

    old_channel(const procyard::channel_options& options, std::uint64_t start)
        : old_channel(options, start, make_sockets(), make_sockets())
    {
    }

private:
    using sockets = procyard::raw_socket_pair;

    old_channel(const procyard::channel_options& options, std::uint64_t start, sockets ours,
                sockets theirs)
        : sender(ctx.get_executor(), unopened<procyard::sender<T>>(std::move(ours.first), options)),
          receiver(ctx.get_executor(),
                   unopened<procyard::receiver<T>>(std::move(theirs.first), options))
    {
        set_positions(start);
        hand_over(ours.second, theirs.second);
        hand_over(theirs.second, ours.second);
        error_code ec;
        T message{};
        CHECK_FALSE(receiver.try_receive(message, ec));
        CHECK_MESSAGE(ec == asio::error::would_block, ec.message());
        REQUIRE(receiver.is_connected());
    }

    static sockets make_sockets()
    {
        error_code ec;
        auto made = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
        REQUIRE_FALSE(ec);
        return made;
    }
};

std::vector<std::uint64_t> starts(std::uint64_t step)
{
    std::vector<std::uint64_t> made{0};
    for (const auto end : {std::uint64_t{1} << 32U, std::uint64_t{0}}) {
        for (const auto before : {std::uint64_t{1}, std::uint64_t{3}, capacity - 1, capacity,
                                  capacity + 1, 2 * capacity})
            made.push_back(end - before * step);
    }
    return made;
}

template <class T>
void to_and_fro(const procyard::channel_options& options, std::uint64_t step)
{
    for (const auto start : starts(step)) {
        CAPTURE(start);
        old_channel<T> c(options, start);
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        for (std::uint64_t burst = 1; received < 100; burst = burst % 7 + 1) {
            for (std::uint64_t i = 0; i < burst && c.sender.try_send(numbered<T>(sent)); ++i)
                ++sent;
            CHECK((c.receiver.statistics().depth > 0) == (sent > received));
            while (const auto message = c.receiver.try_receive())
                REQUIRE(is_numbered(*message, received++));
            REQUIRE(received == sent);
            CHECK(c.sender.statistics().depth == 0);
        }
    }
}

template <class T>
void waiting_for_each_other(const procyard::channel_options& options, std::uint64_t step)
{
    for (const auto start : starts(step)) {
        CAPTURE(start);
        old_channel<T> c(options, start);
        std::uint64_t received = 0;
        error_code ec;
        asio::co_spawn(
            c.ctx,
            [&]() -> asio::awaitable<void> {
                for (std::uint64_t n = 0; n < 100; ++n)
                    co_await c.sender.async_send(numbered<T>(n), asio::use_awaitable);
            },
            [](std::exception_ptr failure) { REQUIRE_FALSE(failure); });
        c.ctx.poll();  // so that the ring is full, and it waits
        procyard_test::run_coroutine(
            c.ctx, [&] { return receive_numbered(c.receiver, 100, received, ec); });
        CHECK_MESSAGE(!ec, ec.message());
        CHECK(received == 100);
        CHECK(c.sender.statistics().stalls > 0);
    }
}

}  // namespace

TEST_SUITE("channel: positions beyond 2^32 and 2^64 (case 4)")
{
    TEST_CASE("cells, as they are tried")
    {
        to_and_fro<whole>(cells, 1);
    }

    TEST_CASE("records, as they are tried")
    {
        to_and_fro<std::string>(records, 8);
    }

    TEST_CASE("cells, with both ends waiting for each other")
    {
        waiting_for_each_other<whole>(cells, 1);
    }

    TEST_CASE("records, with both ends waiting for each other")
    {
        waiting_for_each_other<std::string>(records, 8);
    }

    TEST_CASE("a full ring is full, and an empty one empty")
    {
        for (const auto start : starts(1)) {
            CAPTURE(start);
            old_channel<whole> c(cells, start);
            for (int lap = 0; lap < 3; ++lap) {
                CHECK(procyard_test::fill(c.sender) == capacity);
                CHECK(c.sender.statistics().depth == capacity);
                CHECK(procyard_test::drain(c.receiver) == capacity);
            }
        }
    }

    TEST_CASE("loans, batches, and what is looked at in place")
    {
        for (const auto start : starts(1)) {
            CAPTURE(start);
            old_channel<whole> c(cells, start);
            std::uint64_t sent = 0;
            std::uint64_t received = 0;
            error_code ec;
            while (received < 100) {
                auto room = c.sender.try_loan(5, ec);
                REQUIRE(room);
                for (auto& each : room.messages())
                    each = numbered<whole>(sent++);
                REQUIRE(room.commit());
                const std::array<whole, 2> two{numbered<whole>(sent), numbered<whole>(sent + 1)};
                sent += c.sender.try_send_some(two, ec);
                auto batch = c.receiver.try_receive_batch(ec);
                if (received % 2 == 0) {
                    for (const auto& message : batch)
                        REQUIRE(is_numbered(message, received++));
                } else {
                    for (auto piece = batch.in_place(); !piece.empty(); piece = batch.in_place())
                        for (const auto& message : piece)
                            REQUIRE(is_numbered(message, received++));
                }
                batch.release();
                REQUIRE(received == sent);
            }
        }
    }

    TEST_CASE("the end is told there as well")
    {
        old_channel<whole> c(cells, std::uint64_t{0} - 2);
        for (std::uint64_t n = 0; n < 4; ++n)
            CHECK(c.sender.try_send(numbered<whole>(n)));
        c.sender.close();
        std::uint64_t received = 0;
        error_code ec;
        procyard_test::run_coroutine(
            c.ctx, [&] { return receive_numbered(c.receiver, 100, received, ec); });
        CHECK(ec == procyard::channel_errc::closed);
        CHECK(received == 4);
    }
}
