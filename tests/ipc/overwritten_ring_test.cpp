// SPDX-License-Identifier: BSL-1.0
// The ring of a sender that drops the oldest, without a channel around it: what is staged, claimed,
// mirrored and counted. How the words are ordered is the business of broadcast_relacy and of
// channel_drop_oldest_threads_test.
#include <procyard/ipc/detail/overwriting.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/detail/record_ring.hpp>

#include "message_samples.hpp"

using namespace procyard::detail;
using procyard::error_code;
using found = ring_mirror::found;

namespace {

constexpr std::uint64_t all = ~std::uint64_t{0};
constexpr ring_shape cells{8, 8};
constexpr ring_shape records{256, 1};

ring_memory memory(ring_role role, const ring_shape& shape, std::uint64_t start)
{
    error_code ec;
    auto made = ring_memory::create(
        role, shape, role == ring_role::producer ? feature_overwrites : feature_none, ec);
    REQUIRE_MESSAGE(!ec, ec.message());
    made.own_words().position.store(start);
    return made;
}

// Both ends, whose messages are numbers: in a cell, or in a record with as many words more as the
// number says.
class both_ends {
public:
    explicit both_ends(const ring_shape& shape, std::uint64_t start = 0, std::uint64_t gone = 0)
        : shape_(shape),
          sender_(memory(ring_role::producer, shape, start)),
          receiver_(memory(ring_role::consumer, shape, start)),
          staging(sender_, shape),
          mirror(sender_, receiver_, shape),
          staged(staging.staged_side()),
          side(ring_role::consumer, receiver_.own_words(), sender_.words(), shape.unit_count)
    {
        staging.begin_after(gone);
        staged = staging.staged_side();
        (void)staged.refresh();
        staging.connect(receiver_.words(), false);
    }

    // As often as is said before all of it is published.
    void send(std::uint64_t count = 1)
    {
        for (; count > 0; --count)
            stage();
        flush();
    }
    // The next message; false: there is none.
    bool receive(std::uint64_t& number)
    {
        for (;;) {
            if (side.room() == 0) {
                last_found = mirror.fetch(side, most);
                if (last_found != found::some)
                    return false;
            } else if (!mirror.is_accounted(side)) {
                mirror.account(side);
            }
            if (take(number))
                return true;
        }
    }
    // By what the receiver has published; see check_reckoning.
    [[nodiscard]] auto reckon() const { return staging.reckon(&receiver_); }
    account_words& accounts() { return receiver_.own_accounts(); }
    ring_words& receiver_words() { return receiver_.own_words(); }
    claim_words& claims() { return sender_.own_claims(); }
    ring_words& words() { return sender_.own_words(); }
    std::byte* shared_units() { return sender_.own_units(); }
    [[nodiscard]] std::uint64_t sent() const { return sent_; }

private:
    const ring_shape shape_;
    ring_memory sender_;
    ring_memory receiver_;
    std::uint64_t sent_ = 0;

public:
    ring_staging staging;
    ring_mirror mirror;
    ring_side staged;
    ring_side side;
    std::uint64_t most = 1;
    found last_found = found::none;

private:
    void flush()
    {
        staged.publish();
        REQUIRE(staged.must_ring());
        (void)staging.flush(staged.position());
        REQUIRE(staged.refresh());
    }
    void stage()
    {
        if (shape_.unit_bytes != 1) {
            if (staged.room() == 0)
                flush();
            std::memcpy(staging.units() + ring_offset(staged.position(), shape_.unit_count) * 8,
                        &sent_, sizeof sent_);
            staged.advance(1);
        } else {
            const std::vector<std::uint64_t> words(1 + sent_ % 9, sent_);
            const auto bytes = std::as_bytes(std::span(words));
            record_producer producer(staged, staging.units());
            bool good = true;
            auto at = producer.place(bytes.size(), good);
            for (; at.what != record_place::answer::ready; at = producer.place(bytes.size(), good))
                flush();
            std::memcpy(producer.payload(at), bytes.data(), bytes.size());
            producer.commit(at, static_cast<std::uint32_t>(bytes.size()));
        }
        ++sent_;
    }
    // False: it was a padding.
    bool take(std::uint64_t& number)
    {
        if (shape_.unit_bytes != 1) {
            std::memcpy(&number,
                        mirror.units() + ring_offset(side.position(), shape_.unit_count) * 8,
                        sizeof number);
            side.advance(1);
            return true;
        }
        record_consumer consumer(side, mirror.units());
        std::span<const std::byte> payload;
        if (consumer.next_of(side.room(), payload) != record_consumer::answer::record)
            return false;
        REQUIRE(payload.size() >= sizeof number);
        std::memcpy(&number, payload.data(), sizeof number);
        CHECK(payload.size() == 8 * (1 + number % 9));
        return true;
    }
};

constexpr std::array starts{std::uint64_t{0}, (std::uint64_t{1} << 32) - 64,
                            std::uint64_t{0} - 1024, std::uint64_t{0} - 64};

void to_and_fro(const ring_shape& shape, std::uint64_t most)
{
    for (const auto start : starts) {
        CAPTURE(start);
        both_ends ends(shape, start);
        ends.most = most;
        procyard_test::fixed_random random(7);
        std::uint64_t next = 0;
        std::uint64_t received = 0;
        for (int round = 0; round < 3000; ++round) {
            CAPTURE(round);
            if (const auto count = random.below(12); count > 0)
                ends.send(count);
            std::uint64_t number = 0;
            for (auto n = random.below(8); n > 0 && ends.receive(number); --n) {
                REQUIRE(number >= next);
                next = number + 1;
                ++received;
                if (ends.side.room() == 0)
                    REQUIRE(received + ends.mirror.lost() == next);
            }
        }
        for (std::uint64_t number = 0; ends.receive(number); ++received)
            next = number + 1;
        CHECK(ends.last_found == found::none);
        CHECK(next == ends.sent());
        CHECK(received + ends.mirror.lost() == ends.sent());
        CHECK(ends.mirror.lost() > 100);
        CHECK(received > 1000);
    }
}

// What a sender would count that goes on without this receiver, which has got `received`.
void check_reckoning(const both_ends& ends, std::uint64_t received)
{
    if (!ends.side.is_published())
        return;  // see the steps of channel_drop_oldest_steps_test
    const auto known = received + ends.mirror.lost();
    const auto found = ends.reckon();
    REQUIRE(found.lost == ends.mirror.lost());
    REQUIRE(found.unnoticed == (ends.staging.gone() > known ? ends.staging.gone() - known : 0));
}

// One by one, many at once, or of many only some.
void reckon_at_each_step(const ring_shape& shape, std::uint64_t most)
{
    for (const auto start : {starts[0], starts[1]}) {
        CAPTURE(start);
        both_ends ends(shape, start);
        ends.most = most;
        procyard_test::fixed_random random(start + most);
        std::uint64_t received = 0;
        std::uint64_t unnoticed = 0;
        for (int round = 0; round < 3000; ++round) {
            CAPTURE(round);
            for (auto n = random.below(12); n > 0; --n)
                ends.send();
            check_reckoning(ends, received);
            unnoticed += ends.reckon().unnoticed;
            std::uint64_t number = 0;
            for (auto n = random.below(8); n > 0 && ends.receive(number); --n) {
                ++received;
                if (random.below(2) == 0)
                    ends.side.publish();
                check_reckoning(ends, received);
            }
            ends.mirror.account(ends.side);
            check_reckoning(ends, received);
        }
        CHECK(unnoticed > 1000);
        CHECK(received > 1000);
    }
}

// A claim that an honest sender would not make.
void claim_falsely(both_ends& ends, std::uint64_t oldest, std::uint64_t gone)
{
    const auto number = ends.claims().claims.load() + 1;
    ends.claims().places[number % 2].oldest.store(oldest);
    ends.claims().places[number % 2].gone.store(gone);
    ends.claims().claims.store(number);
}

}  // namespace

TEST_SUITE("overwritten ring")
{
    TEST_CASE("cells: in order, and received and lost is sent, wherever the positions are")
    {
        to_and_fro(cells, 1);
        to_and_fro(cells, 3);
        to_and_fro(cells, all);
    }

    TEST_CASE("records: in order, and received and lost is sent, wherever the positions are")
    {
        to_and_fro(records, 1);
        to_and_fro(records, all);
    }

    TEST_CASE("as many as there is room for are kept, and no more are lost than must be")
    {
        for (const auto count : std::to_array<std::uint64_t>({1, 7, 8, 9, 16, 17, 100})) {
            CAPTURE(count);
            both_ends ends(cells);
            ends.send(count);
            const auto lost = count > 8 ? count - 8 : 0;
            CHECK(ends.mirror.used(ends.side) == std::min<std::uint64_t>(count, 8));
            std::uint64_t number = 0;
            for (std::uint64_t n = lost; n < count; ++n) {
                REQUIRE(ends.receive(number));
                CHECK(number == n);
                CHECK(ends.mirror.lost() == lost);
            }
            CHECK(ends.mirror.has_lost() == (lost > 0));
            CHECK_FALSE(ends.mirror.has_lost());
            CHECK_FALSE(ends.receive(number));
        }
    }

    TEST_CASE("what has been copied is no more overwritten, and what follows it is")
    {
        both_ends ends(cells);
        ends.send(3);
        std::uint64_t number = 9;
        REQUIRE(ends.mirror.fetch(ends.side, 1) == found::some);
        ends.send(20);
        REQUIRE(ends.receive(number));
        CHECK(number == 0);
        REQUIRE(ends.receive(number));
        CHECK(number == 15);
        CHECK(ends.mirror.lost() == 14);
    }

    TEST_CASE("a sender that dies between a claim and its message: what was claimed is counted")
    {
        for (const auto& shape : {cells, records}) {
            both_ends ends(shape);
            ends.send(4);
            claim_falsely(ends, ends.words().position.load(), 4);  // all of it, and nothing new
            CHECK(ends.mirror.has_more(ends.side));
            CHECK(ends.mirror.fetch(ends.side, 1) == found::none);
            CHECK(ends.mirror.lost() == 4);
            CHECK_FALSE(ends.mirror.has_more(ends.side));
        }
    }

    TEST_CASE("what the receiver has not found to be gone is known at each step (cells)")
    {
        for (const auto most : {std::uint64_t{1}, std::uint64_t{3}, all})
            reckon_at_each_step(cells, most);
    }

    TEST_CASE("what the receiver has not found to be gone is known at each step (records)")
    {
        reckon_at_each_step(records, 1);
        reckon_at_each_step(records, all);
    }

    TEST_CASE("what is released last of all leaves what belonged to the position before it")
    {
        // As a closed receiver that gives a batch back, while the sender reads what it has left.
        int paddings = 0;
        for (std::uint64_t first = 0; first < 20; ++first) {
            for (const auto taken : std::to_array<std::uint64_t>({0, 1, 2, 3})) {
                CAPTURE(first);
                CAPTURE(taken);
                both_ends ends(records);
                std::uint64_t number = 0;
                for (std::uint64_t n = 0; n < first; ++n) {
                    ends.send();
                    REQUIRE(ends.receive(number));
                }
                ends.send(3);
                REQUIRE(ends.mirror.fetch(ends.side, all) == found::some);
                const auto before = ends.side.position();
                const auto walk = walk_records(ends.mirror.units(), records.unit_count, before,
                                               ends.side.room(), taken, all);
                REQUIRE(walk.messages == taken);
                ends.side.advance(walk.position - before);
                const auto after = ends.side.position();
                const auto offset = ring_offset(after, records.unit_count);
                if (ends.side.room() != 0
                    && check_record(read_record_header(ends.mirror.units() + offset), offset,
                                    ends.side.room(), records.unit_count)
                        == record_check::padding)
                    ++paddings;
                ends.mirror.account_released(ends.side);
                CHECK(ends.side.is_published());
                ends.send(100);
                CHECK(ends.reckon().unnoticed == ends.staging.gone() - first - taken);
                ends.receiver_words().position.store(before);
                CHECK(ends.reckon().unnoticed == ends.staging.gone() - first);
                ends.receiver_words().position.store(after);
                CHECK(ends.reckon().unnoticed == ends.staging.gone() - first - taken);
            }
        }
        CHECK(paddings > 0);
    }

    TEST_CASE("of a receiver that keeps no accounts, what it says that was dropped counts")
    {
        for (const auto& shape : {cells, records}) {
            for (const auto gone : std::to_array<std::uint64_t>({0, 1000})) {
                CAPTURE(gone);
                both_ends ends(shape, 0, gone);
                ends.send(100);
                std::uint64_t number = 0;
                REQUIRE(ends.receive(number));
                ends.side.publish();
                ends.send(100);
                for (auto& place : ends.accounts().places) {
                    place.position.store(0);
                    place.number.store(0);
                    place.lost.store(0);
                }
                REQUIRE(ends.mirror.lost() > gone);
                CHECK(ends.reckon().lost == ends.mirror.lost());
                CHECK(ends.reckon().unnoticed == 0);
            }
        }
    }

    TEST_CASE("a receiver that never came, or has got nothing, has found nothing to be gone")
    {
        for (const auto& shape : {cells, records}) {
            both_ends ends(shape);
            ends.send(100);
            CHECK(ends.staging.reckon(nullptr).unnoticed == ends.staging.gone());
            CHECK(ends.staging.reckon(nullptr).lost == 0);
            CHECK(ends.reckon().unnoticed == ends.staging.gone());
            CHECK(ends.reckon().lost == 0);
        }
    }

    TEST_CASE("who begins after what is gone says so, and it is lost, whatever its number")
    {
        for (const auto& shape : {cells, records}) {
            for (const auto gone : std::to_array<std::uint64_t>({0, 1, 8, 9, 255, 256, 10'000})) {
                CAPTURE(gone);
                both_ends ends(shape, 0, gone);
                CHECK(ends.mirror.used(ends.side) == 0);
                CHECK(ends.reckon().unnoticed == gone);
                std::uint64_t number = 0;
                CHECK_FALSE(ends.receive(number));
                CHECK(ends.last_found == found::none);
                CHECK(ends.mirror.lost() == gone);
                CHECK(ends.reckon().unnoticed == 0);
                CHECK(ends.reckon().lost == gone);
                ends.send(3);
                for (std::uint64_t n = 0; n < 3; ++n) {
                    REQUIRE(ends.receive(number));
                    CHECK(number == n);
                }
                ends.send(100);
                REQUIRE(ends.receive(number));
                CHECK(ends.mirror.lost() == gone + number - 3);
            }
        }
    }

    TEST_CASE("where a receiver stood that has gone is asked once")
    {
        both_ends ends(cells);
        ends.send(5);
        std::uint64_t number = 0;
        REQUIRE(ends.receive(number));
        ends.side.publish();
        ends.staging.receiver_left(ends.reckon());
        REQUIRE(ends.receive(number));
        ends.side.publish();
        CHECK(ends.staging.first_unread() == 1);
    }

    TEST_CASE("what a receiver says of itself counts only if it can be")
    {
        for (const auto& shape : {cells, records}) {
            both_ends ends(shape);
            ends.send(4);
            std::uint64_t number = 0;
            REQUIRE(ends.receive(number));
            ends.side.publish();
            ends.send(100);
            const auto honest = ends.reckon().unnoticed;
            CHECK(honest == ends.staging.gone() - 1);
            for (const auto lie : {honest + 2, all, all - 1000}) {
                for (auto& place : ends.accounts().places)
                    place.number.store(lie);
                CHECK(ends.reckon().unnoticed <= ends.staging.gone());
            }
            for (auto& place : ends.accounts().places)
                place.position.store(all - 7);
            CHECK(ends.reckon().unnoticed == 0);
        }
    }

    TEST_CASE("a message as long as the ring takes the place of all others, which are counted")
    {
        both_ends ends(records);
        ends.send(5);
        record_producer producer(ends.staged, ends.staging.units());
        const auto length = longest_record(records.unit_count);
        bool good = true;
        auto at = producer.place(length, good);
        REQUIRE(at.what == record_place::answer::pad);
        ends.staged.publish();
        (void)ends.staging.flush(ends.staged.position());
        at = producer.place(length, good);
        REQUIRE(at.what == record_place::answer::ready);
        const std::vector<std::byte> bytes(length, std::byte{7});
        std::memcpy(producer.payload(at), bytes.data(), length);
        producer.commit(at, static_cast<std::uint32_t>(length));
        ends.staged.publish();
        (void)ends.staging.flush(ends.staged.position());
        REQUIRE(ends.mirror.fetch(ends.side, 1) == found::some);
        CHECK(ends.mirror.lost() == 5);
        record_consumer consumer(ends.side, ends.mirror.units());
        std::span<const std::byte> payload;
        REQUIRE(consumer.next_of(ends.side.room(), payload) == record_consumer::answer::record);
        CHECK(payload.size() == length);
    }

    TEST_CASE("what no honest sender says is not believed")
    {
        const auto after = [](const ring_shape& shape, auto lie) {
            both_ends ends(shape);
            ends.send(3);
            lie(ends);
            return ends.mirror.fetch(ends.side, 1);
        };
        for (const auto& shape : {cells, records}) {
            const std::uint64_t step = shape.unit_bytes == 1 ? 8 : 1;
            CHECK(after(shape, [](both_ends&) { }) == found::some);
            CHECK(after(shape, [&](auto& e) { claim_falsely(e, e.words().position + step, 1); })
                  == found::violation);
            CHECK(after(shape, [&](auto& e) { claim_falsely(e, e.words().position, all); })
                  == found::violation);
            CHECK(after(shape, [&](auto& e) { claim_falsely(e, e.words().position, 1000); })
                  == found::violation);
            CHECK(after(shape, [&](auto& e) { e.words().position = shape.unit_count + step; })
                  == found::violation);
            CHECK(after(shape, [&](auto& e) { e.words().position = std::uint64_t{0} - step; })
                  == found::violation);
        }
        CHECK(after(records, [](auto& e) { claim_falsely(e, 4, 0); }) == found::violation);
        CHECK(after(records, [](auto& e) { e.words().position = 12; }) == found::violation);
        CHECK(after(records, [](auto& e) { std::memset(e.shared_units(), 0xff, 8); })
              == found::violation);
    }

    TEST_CASE("a padding alone is nothing, and is passed")
    {
        both_ends ends(records);
        ends.send(4);
        std::uint64_t number = 0;
        while (ends.receive(number)) { }
        const auto offset = ring_offset(ends.staged.position(), records.unit_count);
        REQUIRE(offset != 0);
        record_producer(ends.staged, ends.staging.units()).pad(records.unit_count - offset);
        ends.staged.publish();
        (void)ends.staging.flush(ends.staged.position());
        CHECK(ends.mirror.has_more(ends.side));
        for (const auto most : {std::uint64_t{1}, all}) {
            CHECK(ends.mirror.fetch(ends.side, most) == found::none);
            CHECK(ends.side.room() == 0);
            CHECK_FALSE(ends.mirror.has_more(ends.side));
        }
        CHECK(ends.mirror.lost() == 0);
    }

    TEST_CASE("whatever the words and the units are, nothing beyond them is read, and it ends")
    {
        procyard_test::fixed_random random(3);
        for (int round = 0; round < 20'000; ++round) {
            const auto& shape = round % 2 == 0 ? cells : records;
            both_ends ends(shape);
            ends.most = round % 3 == 0 ? all : 1;
            ends.send(1 + random.below(20));
            const auto word = [&] {
                const auto near = ends.words().position.load() + random.below(600) - 300;
                return random.below(4) == 0 ? random.below(all) : near;
            };
            for (auto n = 1 + random.below(3); n > 0; --n) {
                switch (random.below(5)) {
                case 0: ends.words().position.store(word()); break;
                case 1: ends.claims().claims.store(random.below(3)); break;
                case 2: ends.claims().places[random.below(2)].oldest.store(word()); break;
                case 3: ends.claims().places[random.below(2)].gone.store(word()); break;
                default:
                    for (auto i = random.below(40); i > 0; --i)
                        ends.shared_units()[random.below(shape.unit_count * shape.unit_bytes)] =
                            static_cast<std::byte>(random.below(256));
                }
            }
            for (int fetches = 0; fetches < 8; ++fetches) {
                if (ends.mirror.fetch(ends.side, ends.most) == found::some) {
                    REQUIRE(ends.side.room() <= shape.unit_count);
                    ends.side.advance(ends.side.room());
                }
            }
            (void)ends.mirror.depth(ends.side);
            (void)ends.mirror.used(ends.side);
        }
    }

    TEST_CASE("a memory of one that overwrites is another version, with and without the words")
    {
        error_code ec;
        const auto overwriting =
            ring_memory::create(ring_role::producer, cells, feature_overwrites, ec);
        REQUIRE_FALSE(ec);
        std::uint32_t version = 0;
        std::memcpy(&version, overwriting.memory().data() + 8, sizeof version);
        CHECK(version == overwritten_ring_version);
        const auto usual = ring_memory::create(ring_role::producer, cells, feature_none, ec);
        std::memcpy(&version, usual.memory().data() + 8, sizeof version);
        CHECK(version == ring_version);
    }

    TEST_CASE("where the receiver says that it stands is believed only if it can be")
    {
        both_ends ends(cells);
        ends.send(20);
        CHECK(ends.staging.gone() == 12);
        CHECK(ends.staging.first_unread() == 12);
        std::uint64_t number = 0;
        REQUIRE(ends.receive(number));
        ends.side.publish();
        CHECK(ends.staging.first_unread() == 13);
        ends.side.go_on(21, 21);
        ends.side.publish();
        CHECK(ends.staging.first_unread() == 12);
    }
}
