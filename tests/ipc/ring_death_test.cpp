// SPDX-License-Identifier: BSL-1.0
// Two processes, two sealed segments, two doorbells, and kill -9 at moments that nobody chooses.
#include <procyard/ipc/detail/doorbell.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <utility>

#include "forked.hpp"

using namespace procyard::detail;
using procyard::error_code;
using procyard::unique_fd;

namespace {

constexpr auto without_end = std::numeric_limits<std::uint64_t>::max();
constexpr int deadlock_guard_ms = 60'000;

struct cell {
    std::array<std::uint64_t, 3> words;
};

/// How a side has come to its end.
enum class ending { done, peer_gone, lie, stuck };

/// One side, with all that it needs of the other.
struct side_of_ring {
    ring_memory own;
    ring_memory peer;
    doorbell bell;
    doorbell_button button;
    unique_fd alive;  // a pipe whose other end the peer holds as long as it lives

    [[nodiscard]] ring_side side(ring_role role, const ring_shape& shape)
    {
        return {role, own.own_words(), peer.words(), shape.unit_count};
    }

    [[nodiscard]] bool peer_is_gone() const
    {
        pollfd one{alive.get(), 0, 0};
        return ::poll(&one, 1, 0) == 1;
    }

    /// False: nothing came for a minute.
    [[nodiscard]] bool wait_for_bell()
    {
        std::array<pollfd, 2> two{pollfd{bell.native_handle(), POLLIN, 0},
                                  pollfd{alive.get(), 0, 0}};
        const bool woken = ::poll(two.data(), two.size(), deadlock_guard_ms) > 0;
        bell.answer();
        return woken;
    }

    /// Until there is room. First how the peer has ended, then what it had published.
    ending wait(ring_side& side)
    {
        for (;;) {
            const bool gone = peer_is_gone() || side.peer_closed();
            if (!side.refresh())
                return ending::lie;
            if (side.room() > 0)
                return ending::done;
            if (gone)
                return ending::peer_gone;
            if (side.must_ring_before_sleep())
                button.press();
            side.announce(1);
            if (!side.refresh())
                return ending::lie;
            if (side.room() == 0 && !side.peer_closed() && !wait_for_bell())
                return ending::stuck;
            side.withdraw();
        }
    }

    void publish(ring_side& side) const
    {
        side.publish();
        if (side.must_ring())
            button.press();
    }
};

/// Both sides of a ring, as a handshake would have made them. A fork makes each its own.
struct ring_of_two {
    static constexpr ring_shape shape{64, sizeof(cell), 1};
    side_of_ring producer;
    side_of_ring consumer;

    ring_of_two()
    {
        make(producer, consumer, ring_role::producer);
        make(consumer, producer, ring_role::consumer);
    }

    /// In one of the two processes: what is the other's alone.
    static void leave(side_of_ring& other)
    {
        other.alive.reset();
        other.bell = {};
    }

private:
    static void make(side_of_ring& one, side_of_ring& other, ring_role role)
    {
        error_code ec;
        one.own = ring_memory::create(role, shape, feature_none, ec);
        REQUIRE_FALSE(ec);
        auto fd = one.own.memory().duplicate(ec);
        REQUIRE_FALSE(ec);
        other.peer = ring_memory::attach(std::move(fd), one.own.memory().size(), role, shape, ec);
        REQUIRE_FALSE(ec);
        unique_fd button;
        one.bell = doorbell::create(doorbell_kind::pipe, button, ec);
        REQUIRE_FALSE(ec);
        other.button = doorbell_button::attach(std::move(button), ec);
        REQUIRE_FALSE(ec);
    }
};

/// The two ends of what tells a side of the other's death: (ours, the peer's).
std::pair<unique_fd, unique_fd> make_life_line()
{
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}

ending send(side_of_ring& mine, std::uint64_t count, std::uint64_t seed)
{
    const auto shape = ring_of_two::shape;
    auto side = mine.side(ring_role::producer, shape);
    auto* const cells = reinterpret_cast<cell*>(mine.own.own_units());
    std::minstd_rand random(static_cast<unsigned>(seed));
    for (std::uint64_t sent = 0; sent < count;) {
        if (side.room() == 0) {
            if (const auto end = mine.wait(side); end != ending::done)
                return end;
        }
        const auto some = std::min({side.room(), count - sent, std::uint64_t{1} + random() % 8});
        for (std::uint64_t i = 0; i < some; ++i)
            cells[(side.position() + i) % shape.unit_count].words.fill(sent + i);
        sent += some;
        side.advance(some);
        mine.publish(side);
    }
    side.close();
    if (side.must_ring())
        mine.button.press();
    return ending::done;
}

/// Receives `count` messages, or all; each must be the next one, and whole.
ending receive(side_of_ring& mine, std::uint64_t count, std::uint64_t& received)
{
    const auto shape = ring_of_two::shape;
    auto side = mine.side(ring_role::consumer, shape);
    const auto* const cells = reinterpret_cast<const cell*>(mine.peer.units());
    for (received = side.position(); received < count;) {
        if (side.room() == 0) {
            if (const auto end = mine.wait(side); end != ending::done)
                return end;
        }
        const auto& one = cells[side.position() % shape.unit_count];
        for (const auto word : one.words) {
            if (word != received)
                return ending::lie;
        }
        ++received;
        side.advance(1);
        mine.publish(side);
    }
    return ending::done;
}

}  // namespace

TEST_SUITE("a ring between two processes")
{
    TEST_CASE("everything arrives in order, and then the close")
    {
        ring_of_two ring;
        auto [ours, theirs] = make_life_line();
        procyard_test::forked sender([&, &life_line = theirs] {
            ring_of_two::leave(ring.consumer);
            ring.producer.alive = unique_fd(::open("/dev/null", O_WRONLY | O_CLOEXEC));
            (void)life_line;  // held until the end
            return static_cast<int>(send(ring.producer, 100'000, 1));
        });
        theirs.reset();
        ring_of_two::leave(ring.producer);
        ring.consumer.alive = std::move(ours);
        std::uint64_t received = 0;
        CHECK(receive(ring.consumer, without_end, received) == ending::peer_gone);
        CHECK(received == 100'000);
        CHECK(sender.result() == 0);
    }

    TEST_CASE("kill -9 of the producer at any moment: all that it had committed arrives (case 29)")
    {
        std::minstd_rand random(3);
        for (int round = 0; round < 200; ++round) {
            CAPTURE(round);
            ring_of_two ring;
            auto [ours, theirs] = make_life_line();
            procyard_test::forked sender([&] {
                ring_of_two::leave(ring.consumer);
                ring.producer.alive = unique_fd(::open("/dev/null", O_WRONLY | O_CLOEXEC));
                return static_cast<int>(send(ring.producer, without_end, random()));
            });
            theirs.reset();
            ring_of_two::leave(ring.producer);
            ring.consumer.alive = std::move(ours);
            std::uint64_t received = 0;
            REQUIRE(receive(ring.consumer, random() % 1000, received) == ending::done);
            sender.kill_hard();
            REQUIRE(receive(ring.consumer, without_end, received) == ending::peer_gone);
            CHECK(received == ring.consumer.peer.words().position.load());
        }
    }

    TEST_CASE("kill -9 of the consumer at any moment: a producer that waits hears of it (case 30)")
    {
        std::minstd_rand random(4);
        for (int round = 0; round < 200; ++round) {
            CAPTURE(round);
            ring_of_two ring;
            auto [ours, theirs] = make_life_line();
            procyard_test::forked receiver([&] {
                ring_of_two::leave(ring.producer);
                ring.consumer.alive = unique_fd(::open("/dev/null", O_WRONLY | O_CLOEXEC));
                std::uint64_t received = 0;
                return static_cast<int>(receive(ring.consumer, without_end, received));
            });
            theirs.reset();
            ring_of_two::leave(ring.consumer);
            ring.producer.alive = std::move(ours);
            auto side = ring.producer.side(ring_role::producer, ring_of_two::shape);
            auto* const cells = reinterpret_cast<cell*>(ring.producer.own.own_units());
            const std::uint64_t kill_at = random() % 1000;
            auto end = ending::done;
            for (std::uint64_t sent = 0; end == ending::done; ++sent) {
                if (sent == kill_at)
                    receiver.kill_hard();
                if (side.room() == 0)
                    end = ring.producer.wait(side);
                if (end != ending::done)
                    break;
                cells[side.position() % ring_of_two::shape.unit_count].words.fill(sent);
                side.advance(1);
                ring.producer.publish(side);
            }
            CHECK(end == ending::peer_gone);
            const auto released = ring.producer.peer.words().position.load();
            CHECK(side.position() - released == ring_of_two::shape.unit_count);
        }
    }
}
