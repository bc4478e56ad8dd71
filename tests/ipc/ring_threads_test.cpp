// SPDX-License-Identifier: BSL-1.0
// Two threads in the place of two processes, so that ThreadSanitizer sees both sides.
#include <procyard/ipc/detail/ring_core.hpp>

#include <doctest/doctest.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
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

/// Both threads are of this process, so the private kind does. False: there is none.
bool can_call_membarrier()
{
    return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

bool call_membarrier()
{
    return ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/// What a side has done.
struct tally {
    bool good = true;
    int sleeps = 0;
    int barriers = 0;
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
                   tally& done)
{
    if (side.since_sleep() >= 3)  // often: the way there and back is what goes wrong
        side.relax();
    while (side.refresh()) {
        if (side.room() > 0)
            return true;
        if (side.must_ring_before_sleep())
            peer.ring();
        const bool can_sleep = side.announce(liked, [&done] {
            ++done.barriers;
            return call_membarrier();
        });
        if (!can_sleep || !side.refresh())
            return false;
        if (side.room() == 0) {
            ++done.sleeps;
            if (!bell.wait())
                return false;
        }
        side.withdraw();
    }
    return false;
}

void produce(shared& s, std::uint64_t messages, std::uint64_t low_water, bool relaxes, tally& done)
{
    ring_side side(ring_role::producer, s.producer, s.consumer, s.cells.size(), relaxes);
    std::minstd_rand random(1);
    for (std::uint64_t sent = 0; sent < messages;) {
        if (side.room() == 0
            && !wait_for_room(side, low_water, s.for_producer, s.for_consumer, done)) {
            done.good = false;
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

void consume(shared& s, std::uint64_t messages, bool relaxes, tally& done)
{
    ring_side side(ring_role::consumer, s.consumer, s.producer, s.cells.size(), relaxes);
    std::minstd_rand random(2);
    for (std::uint64_t received = 0; received < messages;) {
        if (side.room() == 0 && !wait_for_room(side, 1, s.for_consumer, s.for_producer, done)) {
            done.good = false;
            return;
        }
        const auto count = std::min(side.room(), 1 + random() % 4);
        for (std::uint64_t i = 0; i < count; ++i) {
            for (const auto word : s.cells[(side.position() + i) % s.cells.size()].words)
                done.good = done.good && word == received + i;
        }
        side.advance(count);
        side.publish();
        if (side.must_ring())
            s.for_producer.ring();
        received += count;
    }
}

/// All of it, at several capacities; what both sides have done.
tally run(bool relaxes)
{
    tally all;
    for (const std::size_t capacity : {1U, 2U, 3U, 64U}) {
        CAPTURE(capacity);
        shared s(capacity);
        const std::uint64_t messages = 20'000;
        const auto low_water = capacity / 2 + 1;
        tally of_producer;
        tally of_consumer;
        std::thread producer([&] { produce(s, messages, low_water, relaxes, of_producer); });
        consume(s, messages, relaxes, of_consumer);
        producer.join();
        CHECK(of_producer.good);
        CHECK(of_consumer.good);
        CHECK(s.producer.position.load() == messages);
        CHECK(s.consumer.position.load() == messages);
        all.sleeps += of_producer.sleeps + of_consumer.sleeps;
        all.barriers += of_producer.barriers + of_consumer.barriers;
    }
    return all;
}

}  // namespace

TEST_SUITE("a ring between two threads")
{
    TEST_CASE("in order, nothing torn or lost, no wake-up lost, whatever its capacity")
    {
        const auto all = run(false);
        CHECK(all.sleeps > 0);  // else nothing was tried
        CHECK(all.barriers == 0);
    }

    TEST_CASE("the same while both sides relax, and go without fences, again and again")
    {
        if (!can_call_membarrier()) {
            MESSAGE("skipped: no membarrier here");
            return;
        }
        const auto all = run(true);
        CHECK(all.sleeps > 0);
        CHECK(all.barriers > 0);
    }
}
