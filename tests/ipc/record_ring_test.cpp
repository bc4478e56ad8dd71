// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/record_ring.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

using namespace procyard::detail;

namespace {

using place_answer = record_place::answer;
using next_answer = record_consumer::answer;

/// A ring of records with both sides in one thread.
struct record_pair {
    explicit record_pair(std::uint64_t capacity, std::uint64_t start = 0)
        : bytes(std::make_unique<std::uint64_t[]>(capacity / 8)),
          size(capacity)
    {
        producer_words.position = start;
        consumer_words.position = start;
        producing = ring_side(ring_role::producer, producer_words, consumer_words, size);
        consuming = ring_side(ring_role::consumer, consumer_words, producer_words, size);
    }

    [[nodiscard]] std::byte* data() const { return reinterpret_cast<std::byte*>(bytes.get()); }

    place_answer send(const std::string& text)
    {
        bool good = false;
        auto at = producer.place(text.size(), good);
        REQUIRE(good);
        if (at.what == place_answer::pad) {
            producing.publish();
            at = producer.place(text.size(), good);
            REQUIRE(good);
        }
        if (at.what != place_answer::ready)
            return at.what;
        std::memcpy(producer.payload(at), text.data(), text.size());
        producer.commit(at, static_cast<std::uint32_t>(text.size()));
        producing.publish();
        return at.what;
    }

    next_answer receive(std::string& text)
    {
        std::span<const std::byte> payload;
        const auto answer = consumer.next(payload);
        if (answer == next_answer::record)
            text.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
        consuming.publish();
        return answer;
    }

    std::unique_ptr<std::uint64_t[]> bytes;
    std::uint64_t size;
    ring_words producer_words;
    ring_words consumer_words;
    ring_side producing{ring_role::producer, producer_words, consumer_words, size};
    ring_side consuming{ring_role::consumer, consumer_words, producer_words, size};
    record_producer producer{producing, data()};
    record_consumer consumer{consuming, data()};
};

std::string text_of(std::size_t length, std::uint64_t number)
{
    std::string text(length, '\0');
    for (std::size_t i = 0; i < length; ++i)
        text[i] = static_cast<char>(number * 31 + i * 7);
    return text;
}

}  // namespace

TEST_SUITE("place_record")
{
    TEST_CASE("a ring must have room for two headers, and ends on a boundary")
    {
        for (const std::uint64_t good : {16ULL, 32ULL, 4096ULL, 1ULL << 40})
            CHECK(is_record_capacity(good));
        for (const std::uint64_t bad : {0ULL, 1ULL, 8ULL, 15ULL, 17ULL, 24ULL, 4097ULL,
                                        std::numeric_limits<unsigned long long>::max() - 7}) {
            CAPTURE(bad);
            CHECK_FALSE(is_record_capacity(bad));
        }
    }

    TEST_CASE("too long is said at once, whatever the room (case 8)")
    {
        CHECK(place_record(0, 0, 64, 57).what == place_answer::too_long);
        CHECK(place_record(0, 64, 64, 57).what == place_answer::too_long);
        CHECK(place_record(0, 64, 64, std::numeric_limits<std::uint64_t>::max()).what
              == place_answer::too_long);
        CHECK(place_record(0, 64, 64, 56).what == place_answer::ready);
        CHECK(longest_record(std::uint64_t{1} << 40) == std::numeric_limits<std::uint32_t>::max());
    }

    TEST_CASE("every length that fits goes through at every offset, and always in one piece")
    {
        for (const std::uint64_t capacity : {16ULL, 32ULL, 64ULL, 128ULL}) {
            for (std::uint64_t offset = 0; offset < capacity; offset += 8) {
                for (std::uint64_t length = 0; length <= longest_record(capacity); ++length) {
                    CAPTURE(capacity);
                    CAPTURE(offset);
                    CAPTURE(length);
                    // The consumer has read everything: what is asked for must come in two steps.
                    auto position = capacity * 3 + offset;
                    auto at = place_record(position, capacity, capacity, length);
                    if (at.what == place_answer::pad) {
                        position += at.padding;
                        CHECK(position % capacity == 0);
                        at = place_record(position, capacity, capacity, length);
                    }
                    REQUIRE(at.what == place_answer::ready);
                    CHECK(at.offset + record_bytes(length) <= capacity);
                    CHECK((position + at.padding) % capacity == at.offset);
                    CHECK(at.padding + record_bytes(length) <= capacity);
                }
            }
        }
    }

    TEST_CASE("what is waited for can come, and is enough")
    {
        const std::uint64_t capacity = 64;
        for (std::uint64_t position = 0; position < 2 * capacity; position += 8) {
            for (std::uint64_t room = 0; room <= capacity; room += 8) {
                for (std::uint64_t length = 0; length <= longest_record(capacity); ++length) {
                    CAPTURE(position);
                    CAPTURE(room);
                    CAPTURE(length);
                    const auto at = place_record(position, room, capacity, length);
                    if (at.what != place_answer::wait)
                        continue;
                    CHECK(at.wanted > room);
                    CHECK(at.wanted <= capacity);
                    CHECK(place_record(position, at.wanted, capacity, length).what
                          != place_answer::wait);
                }
            }
        }
    }
}

TEST_SUITE("a ring of records")
{
    TEST_CASE("random lengths arrive whole and in order, in every lap (cases 2, 3 and 4)")
    {
        const auto far = std::numeric_limits<std::uint64_t>::max();
        for (const std::uint64_t capacity : {16ULL, 64ULL, 256ULL}) {
            const auto start = far - 16 * capacity + 1;  // the numbers run out on the way
            record_pair ring(capacity, start);
            std::minstd_rand random(static_cast<unsigned>(capacity));
            std::uint64_t sent = 0;
            std::uint64_t received = 0;
            std::uint64_t full = 0;
            std::string text;
            std::vector<std::size_t> lengths;
            while (received < 3000) {
                CAPTURE(sent);
                CAPTURE(received);
                if (random() % 2 == 0) {
                    const auto length = random() % (longest_record(capacity) + 1);
                    if (ring.send(text_of(length, sent)) == place_answer::ready) {
                        lengths.push_back(length);
                        ++sent;
                    } else {
                        ++full;
                    }
                } else {
                    const auto answer = ring.receive(text);
                    REQUIRE(answer != next_answer::violation);
                    CHECK((answer == next_answer::record) == (received < sent));
                    if (answer == next_answer::record) {
                        REQUIRE(text == text_of(lengths[received], received));
                        ++received;
                    }
                }
            }
            CHECK(full > 0);
        }
    }

    TEST_CASE("lengths around the end of the ring: to it, one byte less, one more (case 2)")
    {
        for (const std::size_t before : {0U, 1U, 8U, 16U}) {
            for (const std::size_t length :
                 {0U, 7U, 8U, 9U, 15U, 16U, 17U, 23U, 24U, 25U, 32U, 40U}) {
                CAPTURE(before);
                CAPTURE(length);
                record_pair ring(64);
                std::string text;
                REQUIRE(ring.send(text_of(before, 1)) == place_answer::ready);
                REQUIRE(ring.receive(text) == next_answer::record);
                if (ring.send(text_of(length, 2)) == place_answer::wait) {
                    // The padding first: no room for both.
                    REQUIRE(ring.receive(text) == next_answer::nothing);
                    REQUIRE(ring.send(text_of(length, 2)) == place_answer::ready);
                }
                REQUIRE(ring.receive(text) == next_answer::record);
                CHECK(text == text_of(length, 2));
                CHECK(ring.receive(text) == next_answer::nothing);
            }
        }
    }

    TEST_CASE("the longest record goes through from any offset, in two steps where it must")
    {
        for (std::size_t before = 0; before <= 48; before += 8) {
            CAPTURE(before);
            record_pair ring(64);
            std::string text;
            REQUIRE(ring.send(text_of(before, 1)) == place_answer::ready);
            REQUIRE(ring.receive(text) == next_answer::record);
            const auto first = ring.send(text_of(56, 2));
            CHECK(first == place_answer::wait);
            CHECK(ring.receive(text) == next_answer::nothing);  // passes the padding
            CHECK(ring.send(text_of(56, 2)) == place_answer::ready);
            REQUIRE(ring.receive(text) == next_answer::record);
            CHECK(text == text_of(56, 2));
        }
    }

    TEST_CASE("who sleeps is rung for when there is a padding, so that it can be passed")
    {
        record_pair ring(64);
        std::string text;
        REQUIRE(ring.send(text_of(8, 1)) == place_answer::ready);
        REQUIRE(ring.receive(text) == next_answer::record);
        ring.consuming.announce(1);
        bool good = false;
        REQUIRE(ring.producer.place(56, good).what == place_answer::pad);
        CHECK_FALSE(ring.producing.is_published());
        ring.producing.publish();
        CHECK(ring.producing.must_ring());
        CHECK(ring.producer.place(56, good).what == place_answer::wait);
        ring.consuming.withdraw();
        CHECK(ring.receive(text) == next_answer::nothing);
        CHECK(ring.producer.place(56, good).what == place_answer::ready);
    }

    TEST_CASE("unused bytes show nothing of what was there before (case 50)")
    {
        record_pair ring(64);
        std::fill_n(ring.data(), ring.size, std::byte{0x5a});
        REQUIRE(ring.send("abc") == place_answer::ready);
        for (std::size_t i = 8 + 3; i < 16; ++i)
            CHECK(ring.data()[i] == std::byte{0});
    }

    TEST_CASE("at once goes what needs no padding, with zeros after it (case 50)")
    {
        constexpr std::uint64_t capacity = 128;
        constexpr auto huge = std::numeric_limits<std::uint64_t>::max();
        for (std::uint64_t start = 0; start < capacity; start += 8) {
            for (std::uint64_t length = 0; length <= capacity; ++length) {
                CAPTURE(start);
                CAPTURE(length);
                record_pair ring(capacity, start);
                std::memset(ring.data(), 0xff, capacity);
                REQUIRE(ring.producing.refresh());
                const auto expected = place_record(start, capacity, capacity, length);
                const bool fits = expected.what == place_answer::ready && expected.padding == 0;
                auto* const payload = ring.producer.payload_at_once(length);
                REQUIRE((payload != nullptr) == fits);
                for (const auto wrong : {huge, huge - 6, huge - 7, huge - 15, huge / 2})
                    CHECK(ring.producer.payload_at_once(wrong) == nullptr);
                if (!fits)
                    continue;
                CHECK(payload == ring.data() + expected.offset + 8);
                std::memset(payload, 'x', length);
                ring.producer.commit_at_once(length);
                ring.producing.publish();
                const auto taken = record_bytes(length);
                for (auto i = 8 + length; i < taken; ++i)
                    CHECK(ring.data()[expected.offset + i] == std::byte{0});
                std::string text;
                REQUIRE(ring.receive(text) == next_answer::record);
                CHECK(text == std::string(length, 'x'));
            }
        }
    }

    TEST_CASE("fewer bytes than were asked for can be committed")
    {
        record_pair ring(64);
        bool good = false;
        const auto at = ring.producer.place(40, good);
        REQUIRE(at.what == place_answer::ready);
        std::memcpy(ring.producer.payload(at), "ab", 2);
        ring.producer.commit(at, 2);
        ring.producing.publish();
        std::string text;
        REQUIRE(ring.receive(text) == next_answer::record);
        CHECK(text == "ab");
        CHECK(ring.producing.position() == 16);
    }
}

TEST_SUITE("a hostile producer")
{
    record_header header(std::uint64_t length, record_kind kind)
    {
        return {static_cast<std::uint32_t>(length), static_cast<std::uint32_t>(kind)};
    }

    TEST_CASE("a record is inside of what was published, and of the ring (case 43)")
    {
        const auto data = record_kind::data;
        CHECK(check_record(header(0, data), 0, 8, 64) == record_check::data);
        CHECK(check_record(header(8, data), 48, 64, 64) == record_check::data);
        CHECK(check_record(header(9, data), 48, 64, 64) == record_check::violation);
        CHECK(check_record(header(8, data), 0, 8, 64) == record_check::violation);
        CHECK(check_record(header(0xffffffff, data), 0, 64, 64) == record_check::violation);
        CHECK(check_record(header(0xfffffff8, data), 56, 64, 64) == record_check::violation);
        CHECK(check_record({8, 0}, 0, 64, 64) == record_check::violation);
        CHECK(check_record({8, 0xffffffff}, 0, 64, 64) == record_check::violation);
    }

    TEST_CASE("a padding goes to the end and nowhere else, and never fills a whole ring (case 43)")
    {
        const auto padding = record_kind::padding;
        CHECK(check_record(header(0, padding), 56, 64, 64) == record_check::padding);
        CHECK(check_record(header(48, padding), 8, 64, 64) == record_check::padding);
        CHECK(check_record(header(40, padding), 8, 64, 64) == record_check::violation);
        CHECK(check_record(header(56, padding), 0, 64, 64) == record_check::violation);
        CHECK(check_record(header(0, padding), 0, 64, 64) == record_check::violation);
        CHECK(check_record(header(48, padding), 8, 48, 64) == record_check::violation);
    }

    TEST_CASE(
        "random bytes and positions: an end, an error, or records inside of the ring (case 41)")
    {
        std::minstd_rand random(7);
        for (int round = 0; round < 20'000; ++round) {
            const std::uint64_t capacity = std::uint64_t{16} << (random() % 5);
            record_pair ring(capacity);
            for (std::uint64_t i = 0; i < capacity / 8; ++i) {
                const auto kind = random() % 3 == 0 ? record_kind::padding : record_kind::data;
                const auto one = header(random() % 4 == 0 ? random() : random() % capacity, kind);
                std::memcpy(ring.data() + i * 8, &one, sizeof one);
            }
            ring.producer_words.position = random() % 8 == 0 ? random() : random() % (capacity + 1);
            std::uint64_t total = 0;
            for (;;) {
                std::span<const std::byte> payload;
                if (ring.consumer.next(payload) != next_answer::record)
                    break;
                total += 8 + payload.size();
                REQUIRE(payload.data() >= ring.data());
                REQUIRE(payload.data() + payload.size() <= ring.data() + capacity);
                REQUIRE(total <= capacity);  // and it does not go on for ever
            }
        }
    }
}
