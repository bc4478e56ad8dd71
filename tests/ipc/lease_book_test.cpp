// SPDX-License-Identifier: BSL-1.0
// Who has which item, and until when: every way of a lease, and what a simple model says of long
// random histories.
#include "lease_book.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "allocations.hpp"
#include "message_samples.hpp"

using procyard::return_reason;
using procyard::work_queue_options;
using procyard::detail::hand_out;
using procyard::detail::lease_book;
using verdict = lease_book::verdict;
using time_point = lease_book::time_point;
using std::chrono::seconds;

namespace {

constexpr work_queue_options usual{
    .capacity = 4, .lease = seconds(10), .max_attempts = 2, .leases_per_consumer = 3};

time_point at(int s)
{
    return time_point(seconds(1000 + s));
}

// A book with an item that consumer 1 has.
struct leased_one {
    explicit leased_one(const work_queue_options& options = usual) : book(options)
    {
        book.attach(1);
        book.attach(2);
        item = book.add();
        REQUIRE(book.want(1));
        const auto handed = book.next(at(0));
        REQUIRE(handed);
        first = *handed;
    }

    lease_book book;
    std::uint64_t item = 0;
    hand_out first;
};

}  // namespace

TEST_SUITE("lease_book")
{
    TEST_CASE("an item goes to who has asked, with its attempt and deadline")
    {
        leased_one b;
        CHECK(b.first.item == b.item);
        CHECK(b.first.consumer == 1);
        CHECK(b.first.attempt == 1);
        CHECK(b.first.deadline == at(10));
        CHECK(b.book.next_deadline() == at(10));
        CHECK(b.book.statistics().leased == 1);
        CHECK_FALSE(b.book.next(at(0)));
    }

    TEST_CASE("nobody who has not asked gets anything, and who asks first is first")
    {
        lease_book book(usual);
        book.attach(1);
        book.attach(2);
        (void)book.add();
        (void)book.add();
        CHECK_FALSE(book.next(at(0)));
        CHECK(book.want(2));
        CHECK(book.want(1));
        CHECK(book.next(at(0))->consumer == 2);
        CHECK(book.next(at(0))->consumer == 1);
    }

    TEST_CASE("acknowledged: gone, and its room is free")
    {
        leased_one b;
        const auto answer = b.book.acknowledge(1, b.first.lease);
        CHECK(answer.what == verdict::done);
        CHECK(answer.item == b.item);
        CHECK(b.book.is_drained());
        CHECK_FALSE(b.book.next_deadline());
        CHECK(b.book.acknowledge(1, b.first.lease).what == verdict::unknown);
        CHECK(b.book.reject(1, b.first.lease).what == verdict::unknown);
        CHECK(b.book.statistics().done == 1);
    }

    TEST_CASE("rejected: handed out again, with the next attempt; then dead, with the reason")
    {
        leased_one b;
        CHECK(b.book.reject(1, b.first.lease).what == verdict::returned);
        CHECK(b.book.want(2));
        const auto again = b.book.next(at(1));
        REQUIRE(again);
        CHECK(again->item == b.item);
        CHECK(again->attempt == 2);
        CHECK(again->lease != b.first.lease);
        CHECK_FALSE(b.book.has_dead());
        CHECK(b.book.reject(2, again->lease).what == verdict::returned);
        CHECK(b.book.want(1));
        CHECK_FALSE(b.book.next(at(1)));
        const auto dead = b.book.collect();
        REQUIRE(dead);
        CHECK(dead->item == b.item);
        CHECK(dead->attempts == 2);
        CHECK(dead->reason == return_reason::rejected);
        CHECK_FALSE(b.book.collect());
    }

    TEST_CASE("whatever is taken back takes no memory for it: answered, overrun, or left behind")
    {
        constexpr work_queue_options roomy{
            .capacity = 200, .lease = seconds(10), .max_attempts = 2, .leases_per_consumer = 100};
        lease_book book(roomy);
        book.attach(1);
        book.attach(2);
        for (int attempt = 0; attempt < 2; ++attempt) {
            std::vector<hand_out> handed;
            for (int i = 0; i < 100; ++i) {
                if (attempt == 0)
                    (void)book.add();
                REQUIRE(book.want(i % 2 == 0 ? 1 : 2));
                handed.push_back(book.next(at(attempt)).value());
            }
            const auto before = procyard_test::allocations();
            for (std::size_t i = 0; i < 20; ++i)
                CHECK(book.reject(handed[i].consumer, handed[i].lease).what == verdict::returned);
            book.expire(at(attempt + 10));
            for (std::size_t i = 20; i < 40; ++i)
                CHECK(book.acknowledge(handed[i].consumer, handed[i].lease).what == verdict::late);
            book.detach(1);
            book.detach(2);
            CHECK(procyard_test::allocations() == before);
            book.attach(1);
            book.attach(2);
        }
        CHECK(book.statistics().dead == 100);
        CHECK(book.statistics().returned == 200);
        const auto before = procyard_test::allocations();
        std::uint64_t last = 0;
        while (const auto dead = book.collect())
            last = dead->item;
        CHECK(last != 0);
        CHECK(procyard_test::allocations() == before);
        CHECK(book.is_drained());
    }

    TEST_CASE("a consumer that leaves with leases that are not over takes no memory, either")
    {
        leased_one b;
        const auto before = procyard_test::allocations();
        b.book.detach(1);
        CHECK(procyard_test::allocations() == before);
        CHECK(b.book.statistics().ready == 1);
    }

    TEST_CASE("overrun: returned at its deadline and not before; a late answer is refused, once")
    {
        for (const bool acknowledges : {true, false}) {
            leased_one b;
            b.book.expire(at(10) - std::chrono::nanoseconds(1));
            CHECK(b.book.statistics().leased == 1);
            b.book.expire(at(10));
            CHECK(b.book.statistics().leased == 0);
            CHECK(b.book.statistics().ready == 1);
            const auto answer = acknowledges ? b.book.acknowledge(1, b.first.lease)
                                             : b.book.reject(1, b.first.lease);
            CHECK(answer.what == verdict::late);
            CHECK(b.book.late_answers(1) == (acknowledges ? 1 : 0));
            CHECK(b.book.acknowledge(1, b.first.lease).what == verdict::unknown);
            CHECK(b.book.statistics().ready == 1);  // still there
            CHECK(b.book.statistics().done == 0);
        }
    }

    TEST_CASE("a late answer does not touch the lease of who has it now")
    {
        leased_one b;
        b.book.expire(at(10));
        CHECK(b.book.want(2));
        const auto again = b.book.next(at(11));
        REQUIRE(again);
        CHECK(b.book.acknowledge(1, b.first.lease).what == verdict::late);
        CHECK(b.book.statistics().leased == 1);
        CHECK(b.book.acknowledge(2, again->lease).what == verdict::done);
    }

    TEST_CASE("its consumer ends: returned, for that reason, and its wishes are forgotten")
    {
        leased_one b;
        CHECK(b.book.want(1));
        b.book.detach(1);
        CHECK(b.book.statistics().ready == 1);
        CHECK_FALSE(b.book.next(at(0)));  // nobody asks any more
        CHECK(b.book.acknowledge(1, b.first.lease).what == verdict::unknown);
        CHECK_FALSE(b.book.want(1));
        b.book.detach(1);
        CHECK(b.book.want(2));
        const auto again = b.book.next(at(0));
        REQUIRE(again);
        b.book.detach(2);
        CHECK(b.book.collect()->reason == return_reason::consumer_ended);
    }

    TEST_CASE("whoever answers for another's lease is no honest one, and changes nothing")
    {
        leased_one b;
        CHECK(b.book.acknowledge(2, b.first.lease).what == verdict::unknown);
        CHECK(b.book.reject(2, b.first.lease).what == verdict::unknown);
        CHECK(b.book.acknowledge(1, b.first.lease + 1).what == verdict::unknown);
        CHECK(b.book.acknowledge(7, 0).what == verdict::unknown);
        CHECK(b.book.statistics().leased == 1);
    }

    TEST_CASE("more than its share is not given: wishes, leases, and those that were overrun")
    {
        leased_one b;
        CHECK(b.book.want(1));
        CHECK(b.book.want(1));
        CHECK_FALSE(b.book.want(1));
        b.book.expire(at(10));
        CHECK_FALSE(b.book.want(1));
        CHECK(b.book.acknowledge(1, b.first.lease).what == verdict::late);
        CHECK(b.book.want(1));
        CHECK_FALSE(b.book.want(1));
    }

    TEST_CASE("who is paused is passed over and keeps its turn")
    {
        lease_book book(usual);
        book.attach(1);
        book.attach(2);
        CHECK(book.want(1));
        CHECK(book.want(2));
        book.pause(1, true);
        (void)book.add();
        (void)book.add();
        CHECK(book.next(at(0))->consumer == 2);
        CHECK_FALSE(book.next(at(0)));
        book.pause(1, false);
        CHECK(book.next(at(0))->consumer == 1);
    }

    TEST_CASE("not sent after all: no attempt, and the same again; never to be sent: dead")
    {
        leased_one b;
        b.book.undo(b.first);
        CHECK(b.book.statistics().leased == 0);
        CHECK_FALSE(b.book.next_deadline());
        const auto again = b.book.next(at(5));
        REQUIRE(again);
        CHECK(again->consumer == 1);
        CHECK(again->attempt == 1);
        b.book.bury(*again);
        const auto dead = b.book.collect();
        REQUIRE(dead);
        CHECK(dead->attempts == 0);
        CHECK(dead->reason == return_reason::unsendable);
        (void)b.book.add();
        CHECK(b.book.next(at(6))->consumer == 1);  // its wish is still open
    }

    TEST_CASE("the oldest goes first, also after it has been back")
    {
        leased_one b;
        const auto younger = b.book.add();
        CHECK(b.book.reject(1, b.first.lease).what == verdict::returned);
        CHECK(b.book.want(2));
        CHECK(b.book.want(2));
        CHECK(b.book.next(at(0))->item == b.item);
        CHECK(b.book.next(at(0))->item == younger);
    }

    TEST_CASE("full: what is ready, leased and dead counts")
    {
        auto options = usual;
        options.max_attempts = 1;
        leased_one b(options);
        for (int i = 0; i < 3; ++i) {
            CHECK_FALSE(b.book.is_full());
            (void)b.book.add();
        }
        CHECK(b.book.is_full());
        CHECK(b.book.reject(1, b.first.lease).what == verdict::returned);
        CHECK(b.book.is_full());
        CHECK(b.book.collect());
        CHECK_FALSE(b.book.is_full());
    }

    TEST_CASE("a lease for ever has no deadline; attempts without a limit go on")
    {
        auto options = usual;
        options.lease = std::chrono::nanoseconds::max();
        options.max_attempts = 0;
        leased_one b(options);
        CHECK_FALSE(b.book.next_deadline());
        auto lease = b.first.lease;
        for (unsigned i = 2; i < 100; ++i) {
            CHECK(b.book.reject(1, lease).what == verdict::returned);
            CHECK(b.book.want(1));
            const auto again = b.book.next(at(0));
            REQUIRE(again);
            CHECK(again->attempt == i);
            lease = again->lease;
        }
        CHECK_FALSE(b.book.has_dead());
    }
}

namespace {

// The same said as simply as can be, a list of items in which everything is searched for; and a
// book that lives through the same history.
struct history {
    struct item {
        std::uint64_t id;
        unsigned attempts = 0;
        enum { ready, leased, dead, gone } state = ready;
        std::uint64_t lease = 0;
        std::uint64_t consumer = 0;
        time_point deadline{};
    };

    explicit history(procyard_test::fixed_random& r) : random(r) { }

    procyard_test::fixed_random& random;
    lease_book book{usual};
    std::vector<item> items;
    std::map<std::uint64_t, std::uint64_t> overrun;  // lease, consumer
    std::vector<std::uint64_t> consumers;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> answers;  // consumer, lease
    std::uint64_t last_consumer = 0;
    int now = 0;

    item& with_id(std::uint64_t id) { return *std::ranges::find(items, id, &item::id); }
    static void give_back(item& i)
    {
        i.state = i.attempts >= usual.max_attempts ? item::dead : item::ready;
    }
    std::size_t count(int state) const
    {
        return static_cast<std::size_t>(
            std::ranges::count_if(items, [&](const item& i) { return i.state == state; }));
    }

    void add()
    {
        if (!book.is_full())
            items.push_back({.id = book.add()});
    }
    void attach()
    {
        if (consumers.size() == 4)
            return;
        consumers.push_back(++last_consumer);
        book.attach(last_consumer);
    }
    void detach()
    {
        if (consumers.empty() || random.below(5) != 0)
            return;
        const auto who = random.below(consumers.size());
        const auto number = consumers[who];
        consumers.erase(consumers.begin() + static_cast<std::ptrdiff_t>(who));
        book.detach(number);
        for (auto& i : items) {
            if (i.state == item::leased && i.consumer == number)
                give_back(i);
        }
        std::erase_if(overrun, [&](const auto& o) { return o.second == number; });
        std::erase_if(answers, [&](const auto& a) { return a.first == number; });
    }
    void want()
    {
        if (!consumers.empty())
            (void)book.want(consumers[random.below(consumers.size())]);
    }
    void hand_out_all()
    {
        while (const auto handed = book.next(at(now))) {
            auto& i = with_id(handed->item);
            REQUIRE(i.state == item::ready);
            for (const auto& other : items)
                REQUIRE((other.state != item::ready || other.id >= i.id));
            i.state = item::leased;
            i.lease = handed->lease;
            i.consumer = handed->consumer;
            i.deadline = handed->deadline;
            REQUIRE(handed->attempt == ++i.attempts);
            answers.emplace_back(handed->consumer, handed->lease);
        }
    }
    void answer()
    {
        if (answers.empty())
            return;
        const auto which = random.below(answers.size());
        const auto [who, lease] = answers[which];
        answers.erase(answers.begin() + static_cast<std::ptrdiff_t>(which));
        const auto held = std::ranges::find_if(
            items, [&](const item& i) { return i.state == item::leased && i.lease == lease; });
        const bool late = overrun.erase(lease) == 1;
        REQUIRE((held != items.end()) != late);
        const bool acknowledges = random.below(2) == 0;
        const auto said = acknowledges ? book.acknowledge(who, lease) : book.reject(who, lease);
        const auto in_time = acknowledges ? verdict::done : verdict::returned;
        REQUIRE(said.what == (late ? verdict::late : in_time));
        if (late)
            return;
        REQUIRE(said.item == held->id);
        if (acknowledges)
            held->state = item::gone;
        else
            give_back(*held);
    }
    void pass_time()
    {
        now += static_cast<int>(random.below(6));
        book.expire(at(now));
        for (auto& i : items) {
            if (i.state == item::leased && i.deadline <= at(now)) {
                overrun.emplace(i.lease, i.consumer);
                give_back(i);
            }
        }
    }
    void collect()
    {
        const auto dead = book.collect();
        if (!dead)
            return;
        auto& i = with_id(dead->item);
        REQUIRE(i.state == item::dead);
        REQUIRE(dead->attempts == i.attempts);
        i.state = item::gone;
    }
    void step()
    {
        switch (random.below(9)) {
        case 0: add(); break;
        case 1: attach(); break;
        case 2: detach(); break;
        case 3: hand_out_all(); break;
        case 4: answer(); break;
        case 5: pass_time(); break;
        case 6: collect(); break;
        default: want();
        }
    }
    void compare() const
    {
        const auto statistics = book.statistics();
        REQUIRE(statistics.ready == count(item::ready));
        REQUIRE(statistics.leased == count(item::leased));
        REQUIRE(statistics.dead == count(item::dead));
        std::optional<time_point> earliest;
        for (const auto& i : items) {
            if (i.state == item::leased && (!earliest || i.deadline < *earliest))
                earliest = i.deadline;
        }
        REQUIRE(book.next_deadline() == earliest);
    }
};

}  // namespace

TEST_SUITE("lease_book: histories")
{
    TEST_CASE("each item is done or dead once, and in one place at any time")
    {
        procyard_test::fixed_random random(1);
        for (int round = 0; round < 300; ++round) {
            CAPTURE(round);
            history h(random);
            for (int step = 0; step < 300; ++step) {
                h.step();
                h.compare();
            }
        }
    }
}
