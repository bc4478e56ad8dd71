// SPDX-License-Identifier: BSL-1.0
// When a publisher fences, and when a sleeper needs a barrier. In one thread, by a script.
#include <procyard/ipc/detail/ring_core.hpp>

#include <doctest/doctest.h>

#include <cstdint>

using procyard::detail::basic_ring_side;
using procyard::detail::basic_ring_words;
using procyard::detail::machine_atomics;
using procyard::detail::ring_role;

namespace {

/// Counts what each publication and each sleep costs.
struct counted : machine_atomics {
    static inline int full_fences = 0;
    static inline int compiler_fences = 0;

    static void full_fence() noexcept { ++full_fences; }
    static void compiler_fence() noexcept { ++compiler_fences; }
};

using counted_words = basic_ring_words<counted>;
using counted_side = basic_ring_side<counted>;

/// The producer publishes, the consumer sleeps and may relax; in one thread.
struct relaxed_ring {
    static constexpr std::uint64_t capacity = 64;

    counted_words producer_words;
    counted_words consumer_words;
    counted_side producer{ring_role::producer, producer_words, consumer_words, capacity, true};
    counted_side consumer{ring_role::consumer, consumer_words, producer_words, capacity, true};
    int barriers = 0;
    bool barrier_works = true;

    /// Whether this publication has a full fence.
    bool fences()
    {
        const auto before = counted::full_fences;
        const auto before_without = counted::compiler_fences;
        REQUIRE(producer.refresh());
        producer.advance(1);
        producer.publish();
        (void)producer.must_ring();
        const auto count = counted::full_fences - before;
        CHECK(count + counted::compiler_fences - before_without == 1);
        return count == 1;
    }

    void receive_all()
    {
        REQUIRE(consumer.refresh());
        consumer.advance(consumer.room());
        consumer.publish();
    }

    /// Whether this sleep needs a barrier.
    bool sleep_needs_barrier()
    {
        const auto before = barriers;
        const bool can_sleep = consumer.announce(1, [this] {
            ++barriers;
            return barrier_works;
        });
        CHECK(can_sleep == (barriers == before || barrier_works));
        return barriers != before;
    }

    /// Until the producer goes without.
    void begin_burst()
    {
        consumer.relax();
        while (fences())
            receive_all();
        receive_all();
    }
};

}  // namespace

TEST_SUITE("the fences of a publisher")
{
    TEST_CASE("one for each publication, as long as nobody has relaxed")
    {
        relaxed_ring r;
        for (int i = 0; i < 10; ++i) {
            CHECK(r.fences());
            r.receive_all();
        }
    }

    TEST_CASE("a publisher that has seen the peer relaxed fences once more, and then no more")
    {
        relaxed_ring r;
        r.consumer.relax();
        CHECK(r.fences());
        CHECK(r.producer_words.unfenced == 1);
        CHECK(r.fences());  // so that the peer has seen it, or is seen
        for (int i = 0; i < 10; ++i)
            CHECK_FALSE(r.fences());
    }

    TEST_CASE("it fences again from the publication after the one that has seen an announcement")
    {
        relaxed_ring r;
        for (int burst = 0; burst < 3; ++burst) {
            r.begin_burst();
            CHECK(r.sleep_needs_barrier());
            CHECK_FALSE(r.fences());  // sees it
            CHECK(r.producer_words.unfenced == 0);
            CHECK(r.fences());
            r.consumer.withdraw();
            CHECK(r.fences());
            r.receive_all();
        }
    }

    TEST_CASE("it fences again when it has missed the announcement, and seen it withdrawn")
    {
        relaxed_ring r;
        r.begin_burst();
        CHECK(r.sleep_needs_barrier());
        r.consumer.withdraw();
        CHECK_FALSE(r.fences());
        CHECK(r.fences());
        CHECK(r.producer_words.unfenced == 0);
    }

    TEST_CASE("an announcement before the last fence is over is seen by that one")
    {
        relaxed_ring r;
        r.consumer.relax();
        CHECK(r.fences());
        CHECK(r.sleep_needs_barrier());  // the producer has said that it may go without
        CHECK(r.fences());
        CHECK(r.fences());
    }

    TEST_CASE("a ping-pong needs no barrier")
    {
        relaxed_ring r;
        for (int i = 0; i < 100; ++i) {
            CHECK_FALSE(r.sleep_needs_barrier());
            CHECK(r.fences());
            r.consumer.withdraw();
            r.receive_all();
            CHECK(r.consumer.since_sleep() == 1);
        }
    }

    TEST_CASE("the first sleep after a burst needs a barrier, and no other one")
    {
        relaxed_ring r;
        r.begin_burst();
        for (int i = 0; i < 10; ++i) {
            CHECK(r.sleep_needs_barrier() == (i == 0));
            (void)r.fences();
            r.consumer.withdraw();
            r.receive_all();
        }
        r.begin_burst();
        CHECK(r.sleep_needs_barrier());
    }

    TEST_CASE("where nothing has been published since the first, the next one needs one as well")
    {
        relaxed_ring r;
        r.begin_burst();
        CHECK(r.sleep_needs_barrier());
        r.consumer.withdraw();  // a cancelled wait
        CHECK(r.sleep_needs_barrier());
        r.consumer.withdraw();
        CHECK_FALSE(r.fences());
        r.receive_all();
        CHECK_FALSE(r.sleep_needs_barrier());
    }

    TEST_CASE("who may not sleep, since the barrier has failed, relaxes no more")
    {
        relaxed_ring r;
        r.begin_burst();
        r.barrier_works = false;
        CHECK(r.sleep_needs_barrier());
        r.consumer.withdraw();
        r.consumer.relax();
        CHECK(r.consumer_words.sleep % 4 == 0);
        CHECK_FALSE(r.fences());  // and the fences come back
        r.receive_all();
        CHECK_FALSE(r.sleep_needs_barrier());
    }

    TEST_CASE("one that may not relax does not, and believes no peer that says it has no fence")
    {
        relaxed_ring r;
        r.consumer = counted_side(ring_role::consumer, r.consumer_words, r.producer_words,
                                  relaxed_ring::capacity);
        r.consumer.relax();
        CHECK(r.consumer_words.sleep == 0);
        r.producer_words.unfenced = 1;
        CHECK_FALSE(r.sleep_needs_barrier());
    }

    TEST_CASE("nobody relaxes asleep, and a number that says so is one of a sleeper")
    {
        relaxed_ring r;
        CHECK_FALSE(r.sleep_needs_barrier());
        const auto asleep = r.consumer_words.sleep.load();
        r.consumer.relax();
        CHECK(r.consumer_words.sleep == asleep);
        r.consumer_words.sleep = asleep | 2;
        for (int i = 0; i < 3; ++i)
            CHECK(r.fences());
    }

    TEST_CASE(
        "who goes on for one that died relaxed is not, and knows that the peer may be unfenced")
    {
        relaxed_ring r;
        r.begin_burst();
        counted_side next(ring_role::consumer, r.consumer_words, r.producer_words,
                          relaxed_ring::capacity, true);
        CHECK(r.consumer_words.sleep % 4 == 0);
        r.consumer = next;
        CHECK(r.sleep_needs_barrier());
        CHECK_FALSE(r.fences());
        CHECK(r.fences());
    }

    TEST_CASE("who goes on for a publisher that died without fences has them, and says so")
    {
        relaxed_ring r;
        r.begin_burst();
        CHECK(r.producer_words.unfenced == 1);
        r.producer = counted_side(ring_role::producer, r.producer_words, r.consumer_words,
                                  relaxed_ring::capacity, true);
        CHECK(r.producer_words.unfenced == 0);
        CHECK(r.fences());
    }

    TEST_CASE("the same of the consumer, which publishes what it has read")
    {
        relaxed_ring r;
        for (std::uint64_t i = 0; i < relaxed_ring::capacity; ++i)
            CHECK(r.fences());
        r.producer.relax();
        int fences = 0;
        for (int i = 0; i < 10; ++i) {
            REQUIRE(r.consumer.refresh());
            const auto before = counted::full_fences;
            r.consumer.advance(1);
            r.consumer.publish();
            CHECK_FALSE(r.consumer.must_ring());
            fences += counted::full_fences - before;
        }
        CHECK(fences == 2);
        bool called = false;
        CHECK(r.producer.announce(1, [&called] { return called = true; }));
        CHECK(called);
        r.consumer.advance(1);
        r.consumer.publish();
        CHECK(r.consumer.must_ring());
    }
}
