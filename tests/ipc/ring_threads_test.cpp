// SPDX-License-Identifier: BSL-1.0
// Two threads in the place of two processes, so that ThreadSanitizer sees both sides.
#include <procyard/ipc/detail/ring_core.hpp>

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <procyard/ipc/unique_fd.hpp>

using procyard::unique_fd;
using procyard::detail::ring_role;
using procyard::detail::ring_side;
using procyard::detail::ring_words;

namespace {

constexpr int deadlock_guard_ms = 60'000;

struct doorbell {
    unique_fd fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

    void ring() const
    {
        const std::uint64_t one = 1;
        REQUIRE(::write(fd.get(), &one, sizeof one) == sizeof one);
    }

    /// False: a wake-up was lost.
    [[nodiscard]] bool wait() const
    {
        pollfd ready{fd.get(), POLLIN, 0};
        if (::poll(&ready, 1, deadlock_guard_ms) != 1)
            return false;
        std::uint64_t count = 0;
        return ::read(fd.get(), &count, sizeof count) == sizeof count;
    }
};

// Plain memory: what is read of it without the ring's permission is a race.
struct cell {
    std::array<std::uint64_t, 4> words;
};

struct shared {
    explicit shared(std::size_t capacity) : cells(capacity) { }

    ring_words producer;
    ring_words consumer;
    std::vector<cell> cells;
    doorbell for_producer;
    doorbell for_consumer;
};

/// Sleeps until there is room; false when it slept for ever or met a lie.
bool wait_for_room(ring_side& side, std::uint64_t liked, const doorbell& bell, const doorbell& peer,
                   int& sleeps)
{
    while (side.refresh()) {
        if (side.room() > 0)
            return true;
        if (side.must_ring_before_sleep())
            peer.ring();
        side.announce(liked);
        if (!side.refresh())
            return false;
        if (side.room() == 0) {
            ++sleeps;
            if (!bell.wait())
                return false;
        }
        side.withdraw();
    }
    return false;
}

void produce(shared& s, std::uint64_t messages, std::uint64_t low_water, bool& good, int& sleeps)
{
    ring_side side(ring_role::producer, s.producer, s.consumer, s.cells.size());
    std::minstd_rand random(1);
    for (std::uint64_t sent = 0; sent < messages;) {
        if (side.room() == 0
            && !wait_for_room(side, low_water, s.for_producer, s.for_consumer, sleeps)) {
            good = false;
            return;
        }
        const auto count = std::min({side.room(), messages - sent, 1 + random() % 4});
        for (std::uint64_t i = 0; i < count; ++i)
            s.cells[(side.position() + i) % s.cells.size()].words.fill(sent + i);
        side.advance(count);
        side.publish();
        if (side.must_ring())
            s.for_consumer.ring();
        sent += count;
    }
}

void consume(shared& s, std::uint64_t messages, bool& good, int& sleeps)
{
    ring_side side(ring_role::consumer, s.consumer, s.producer, s.cells.size());
    std::minstd_rand random(2);
    for (std::uint64_t received = 0; received < messages;) {
        if (side.room() == 0 && !wait_for_room(side, 1, s.for_consumer, s.for_producer, sleeps)) {
            good = false;
            return;
        }
        const auto count = std::min(side.room(), 1 + random() % 4);
        for (std::uint64_t i = 0; i < count; ++i) {
            for (const auto word : s.cells[(side.position() + i) % s.cells.size()].words)
                good = good && word == received + i;
        }
        side.advance(count);
        side.publish();
        if (side.must_ring())
            s.for_producer.ring();
        received += count;
    }
}

}  // namespace

TEST_SUITE("a ring between two threads")
{
    TEST_CASE("in order, nothing torn or lost, no wake-up lost, whatever its capacity")
    {
        int sleeps = 0;
        for (const std::size_t capacity : {1U, 2U, 3U, 64U}) {
            CAPTURE(capacity);
            shared s(capacity);
            const std::uint64_t messages = 20'000;
            const auto low_water = capacity / 2 + 1;
            bool good_producer = true;
            bool good_consumer = true;
            int producer_sleeps = 0;
            int consumer_sleeps = 0;
            std::thread producer(
                [&] { produce(s, messages, low_water, good_producer, producer_sleeps); });
            consume(s, messages, good_consumer, consumer_sleeps);
            producer.join();
            CHECK(good_producer);
            CHECK(good_consumer);
            sleeps += producer_sleeps + consumer_sleeps;
            CHECK(s.producer.position.load() == messages);
            CHECK(s.consumer.position.load() == messages);
        }
        CHECK(sleeps > 0);  // else nothing was tried
    }
}
