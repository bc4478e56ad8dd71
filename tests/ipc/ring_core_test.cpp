// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/ring_core.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <vector>

using procyard::detail::ring_role;
using procyard::detail::ring_side;
using procyard::detail::ring_words;

namespace {

constexpr auto end_of_numbers = std::numeric_limits<std::uint64_t>::max();

/// Both sides of a ring in one thread, at any position.
struct ring {
    explicit ring(std::uint64_t capacity, std::uint64_t start = 0)
    {
        producer_words.position = start;
        consumer_words.position = start;
        producer = ring_side(ring_role::producer, producer_words, consumer_words, capacity);
        consumer = ring_side(ring_role::consumer, consumer_words, producer_words, capacity);
    }

    bool send()
    {
        if (producer.room() == 0 && (!producer.refresh() || producer.room() == 0))
            return false;
        producer.advance(1);
        producer.publish();
        return true;
    }

    bool receive()
    {
        if (consumer.room() == 0 && (!consumer.refresh() || consumer.room() == 0))
            return false;
        consumer.advance(1);
        consumer.publish();
        return true;
    }

    ring_words producer_words;
    ring_words consumer_words;
    ring_side producer{ring_role::producer, producer_words, consumer_words, 1};
    ring_side consumer{ring_role::consumer, consumer_words, producer_words, 1};
};

}  // namespace

TEST_SUITE("ring_side")
{
    TEST_CASE("as many units as the capacity and no more, in any lap and across 2^64 (case 4)")
    {
        for (const std::uint64_t start :
             {std::uint64_t{0}, (std::uint64_t{1} << 32) - 3, end_of_numbers - 5, end_of_numbers}) {
            for (const std::uint64_t capacity : {1U, 2U, 7U}) {
                CAPTURE(start);
                CAPTURE(capacity);
                ring r(capacity, start);
                for (int lap = 0; lap < 5; ++lap) {
                    for (std::uint64_t i = 0; i < capacity; ++i)
                        REQUIRE(r.send());
                    CHECK_FALSE(r.send());
                    CHECK(r.receive());
                    CHECK(r.send());  // after one receive exactly one send (case 6)
                    CHECK_FALSE(r.send());
                    for (std::uint64_t i = 0; i < capacity; ++i)
                        REQUIRE(r.receive());
                    CHECK_FALSE(r.receive());
                }
                CHECK(r.consumer.position() == start + 5 * (capacity + 1));
            }
        }
    }

    TEST_CASE("what is not published is not there")
    {
        ring r(4);
        REQUIRE(r.producer.refresh());
        r.producer.advance(2);
        CHECK_FALSE(r.producer.is_published());
        REQUIRE(r.consumer.refresh());
        CHECK(r.consumer.room() == 0);
        r.producer.publish();
        CHECK(r.producer.is_published());
        REQUIRE(r.consumer.refresh());
        CHECK(r.consumer.room() == 2);
        r.consumer.advance(2);
        REQUIRE(r.producer.refresh());
        CHECK(r.producer.room() == 2);
        r.consumer.publish();
        REQUIRE(r.producer.refresh());
        CHECK(r.producer.room() == 4);
    }

    TEST_CASE("another side goes on where the first has stopped")
    {
        ring r(4, 100);
        REQUIRE(r.send());
        REQUIRE(r.send());
        REQUIRE(r.receive());
        ring_side next_producer(ring_role::producer, r.producer_words, r.consumer_words, 4);
        REQUIRE(next_producer.refresh());
        CHECK(next_producer.position() == 102);
        CHECK(next_producer.room() == 3);
        ring_side next_consumer(ring_role::consumer, r.consumer_words, r.producer_words, 4);
        REQUIRE(next_consumer.refresh());
        CHECK(next_consumer.position() == 101);
        CHECK(next_consumer.room() == 1);
    }

    TEST_CASE("a position that an honest peer cannot have is refused (case 42)")
    {
        for (const std::uint64_t start : {std::uint64_t{0}, end_of_numbers - 1}) {
            CAPTURE(start);
            ring r(4, start);
            REQUIRE(r.send());
            REQUIRE(r.send());
            REQUIRE(r.receive());
            const auto head = r.producer_words.position.load();
            const auto tail = r.consumer_words.position.load();
            for (const auto lie : {head - 1, head - 2, tail + 5, tail - 1, head + 1000,
                                   end_of_numbers / 2, head + end_of_numbers / 2 + 1}) {
                CAPTURE(lie);
                r.producer_words.position = lie;
                const auto known = r.consumer.room();
                CHECK_FALSE(r.consumer.refresh());
                CHECK(r.consumer.room() == known);  // what was known before still holds
            }
            REQUIRE(r.producer.refresh());
            for (const auto lie :
                 {tail - 1, tail - 4, head + 1, head + 4, end_of_numbers / 2 + tail}) {
                CAPTURE(lie);
                r.consumer_words.position = lie;
                CHECK_FALSE(r.producer.refresh());
                CHECK(r.producer.room() == 3);
            }
        }
    }
}

TEST_SUITE("the announcement of sleep")
{
    TEST_CASE("nobody is rung for who is awake (case 19)")
    {
        ring r(4);
        for (int i = 0; i < 100; ++i) {
            REQUIRE(r.send());
            CHECK_FALSE(r.producer.must_ring());
            REQUIRE(r.receive());
            CHECK_FALSE(r.consumer.must_ring());
        }
    }

    TEST_CASE("who sleeps is rung for once")
    {
        for (const bool relaxed : {false, true}) {
            ring r(8);
            r.consumer =
                ring_side(ring_role::consumer, r.consumer_words, r.producer_words, 8, relaxed);
            for (int nap = 0; nap < 3; ++nap) {
                r.consumer.relax();
                CHECK(r.consumer.announce(1, [] { return true; }));
                CHECK(r.consumer.is_announced());
                CHECK_FALSE(r.producer.must_ring());  // nothing has been sent as yet
                REQUIRE(r.send());
                CHECK(r.producer.must_ring());
                REQUIRE(r.send());
                CHECK_FALSE(r.producer.must_ring());
                r.consumer.withdraw();
                CHECK_FALSE(r.consumer.is_announced());
                REQUIRE(r.receive());
                REQUIRE(r.receive());
                REQUIRE(r.send());
                CHECK_FALSE(r.producer.must_ring());
                REQUIRE(r.receive());
            }
        }
    }

    TEST_CASE("what is sent between the announcement and the sleep is seen (case 17)")
    {
        ring r(4);
        SUBCASE("before the announcement")
        {
            REQUIRE(r.send());
            CHECK_FALSE(r.producer.must_ring());
            r.consumer.announce(1);
        }
        SUBCASE("published before, looked for after")
        {
            REQUIRE(r.send());
            r.consumer.announce(1);
            CHECK(r.producer.must_ring());  // once too often, which harms nobody
        }
        SUBCASE("after the announcement")
        {
            r.consumer.announce(1);
            REQUIRE(r.send());
            CHECK(r.producer.must_ring());
        }
        REQUIRE(r.consumer.refresh());
        CHECK(r.consumer.room() == 1);
    }

    TEST_CASE("a sleeper is rung for when there is as much as it wants, and not before")
    {
        for (const std::uint64_t start : {std::uint64_t{0}, end_of_numbers - 2}) {
            CAPTURE(start);
            ring r(8, start);
            r.consumer.announce(3);
            for (const bool rings : {false, false, true, false}) {
                REQUIRE(r.send());
                CHECK(r.producer.must_ring() == rings);
            }
            while (r.send()) { }
            r.producer.announce(4);  // low water: half of it free
            for (const bool rings : {false, false, false, true, false}) {
                REQUIRE(r.receive());
                CHECK(r.consumer.must_ring() == rings);
            }
            REQUIRE(r.producer.refresh());
            CHECK(r.producer.room() == 5);
        }
    }

    TEST_CASE("who has gone on since its announcement is rung for, however far it has come")
    {
        constexpr std::uint64_t capacity = 4;
        for (const std::uint64_t start : {std::uint64_t{0}, end_of_numbers - 6}) {
            for (const bool producer_sleeps : {false, true}) {
                for (const std::uint64_t published_at_once : {1U, 2U, 3U, 4U}) {
                    CAPTURE(start);
                    CAPTURE(producer_sleeps);
                    CAPTURE(published_at_once);
                    ring r(capacity, start);
                    auto& sleeper = producer_sleeps ? r.producer : r.consumer;
                    auto& other = producer_sleeps ? r.consumer : r.producer;
                    if (producer_sleeps)
                        while (r.send()) { }
                    // What it is to find after its announcement: a whole lap, published before.
                    REQUIRE(other.refresh());
                    REQUIRE(other.room() == capacity);
                    other.advance(capacity);
                    other.publish();
                    REQUIRE_FALSE(other.must_ring());
                    sleeper.announce(1);
                    REQUIRE(sleeper.refresh());
                    REQUIRE(sleeper.room() == capacity);
                    sleeper.advance(capacity);
                    sleeper.publish();
                    REQUIRE(other.refresh());
                    other.advance(published_at_once);
                    other.publish();
                    CHECK(other.must_ring());
                    CHECK_FALSE(other.must_ring());
                }
            }
        }
    }

    TEST_CASE("who goes to sleep rings for a sleeper that would like more, once")
    {
        ring r(8);
        while (r.send()) { }
        r.producer.announce(4);
        REQUIRE(r.receive());
        CHECK_FALSE(r.consumer.must_ring());
        CHECK(r.consumer.must_ring_before_sleep());
        CHECK_FALSE(r.consumer.must_ring_before_sleep());
        REQUIRE(r.producer.refresh());
        CHECK(r.producer.room() == 1);
        r.producer.withdraw();
        CHECK_FALSE(r.consumer.must_ring_before_sleep());
    }

    TEST_CASE("who goes on for one that died asleep is awake, and can be rung for")
    {
        ring r(4);
        r.consumer.announce(1);
        ring_side next(ring_role::consumer, r.consumer_words, r.producer_words, 4);
        CHECK_FALSE(next.is_announced());
        REQUIRE(r.send());
        CHECK_FALSE(r.producer.must_ring());
        next.announce(2);
        CHECK(next.is_announced());
        REQUIRE(r.send());
        CHECK(r.producer.must_ring());
    }

    TEST_CASE("a close rings for whoever sleeps, and comes after what was committed")
    {
        ring r(4);
        r.consumer.announce(4);
        REQUIRE(r.send());
        CHECK_FALSE(r.producer.must_ring());
        CHECK_FALSE(r.consumer.peer_closed());
        r.producer.close();
        CHECK(r.producer.must_ring());
        CHECK_FALSE(r.producer.must_ring());
        CHECK(r.consumer.peer_closed());
        REQUIRE(r.consumer.refresh());
        CHECK(r.consumer.room() == 1);
    }

    TEST_CASE("whatever a peer says of its sleep, it is rung for no more than once a publication")
    {
        ring r(4);
        int rings = 0;
        for (const std::uint64_t sleep : {1ULL, 1ULL, 3ULL, 1ULL, 2ULL, 7ULL, 0ULL, 7ULL}) {
            r.consumer_words.sleep = sleep;
            r.consumer_words.wake_at = sleep * 1'000'000'007U;
            REQUIRE(r.send());
            rings += r.producer.must_ring() ? 1 : 0;
            CHECK_FALSE(r.producer.must_ring());
            REQUIRE(r.receive());
        }
        CHECK(rings <= 8);
    }
}
