// SPDX-License-Identifier: BSL-1.0
// Whose turn it is: lanes, rounds, bursts, and which sources are looked at for it.
#include "fan_in_schedule.hpp"

#include <array>
#include <cstddef>
#include <deque>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "message_samples.hpp"

using procyard::detail::fan_in_schedule;
using state = fan_in_schedule::state;

namespace {

struct fake : fan_in_schedule::place {
    fake(char n, unsigned lane) : place(lane), name(n) { }
    char name;
    int has = 0;
    int looks = 0;
};

struct world {
    explicit world(unsigned burst) : schedule(burst) { }
    world(const world&) = delete;
    world& operator=(const world&) = delete;
    ~world()
    {
        for (auto& f : fakes)
            schedule.remove(f);
    }

    fake& add(char name, unsigned lane = 0)
    {
        auto& f = fakes.emplace_back(name, lane);
        schedule.add(f);
        return f;
    }
    static bool ask(fan_in_schedule::place& p)
    {
        auto& f = static_cast<fake&>(p);
        ++f.looks;
        return f.has > 0;
    }
    /// One message, as fan_in_core::find does it; ' ' when there is none.
    char take()
    {
        if (schedule.first() != nullptr)
            schedule.look_ahead(ask);
        else
            schedule.look_at_quiet(ask);
        while (auto* const first = schedule.first()) {
            auto& f = static_cast<fake&>(*first);
            if (f.has == 0) {
                schedule.set(f, state::quiet);
                if (schedule.first() == nullptr)
                    schedule.look_at_quiet(ask);
                continue;
            }
            --f.has;
            schedule.has_served(f);
            return f.name;
        }
        return ' ';
    }
    std::string take_all()
    {
        std::string all;
        for (char c = take(); c != ' '; c = take())
            all += c;
        return all;
    }
    void sleep()
    {
        schedule.for_each_quiet([this](auto& p) { schedule.set(p, state::asleep); });
    }

    fan_in_schedule schedule;
    std::deque<fake> fakes;
};

}  // namespace

TEST_SUITE("fan_in_schedule")
{
    TEST_CASE("goes round, a burst of each")
    {
        world w(2);
        w.add('a').has = 5;
        w.add('b').has = 3;
        w.add('c').has = 1;
        CHECK(w.take_all() == "aabbcaaba");
        CHECK(w.take() == ' ');
    }

    TEST_CASE("a burst of 0 is one of 1")
    {
        world w(0);
        w.add('a').has = 2;
        w.add('b').has = 2;
        CHECK(w.take_all() == "abab");
    }

    TEST_CASE("a lower number goes first, and what comes there meanwhile, too")
    {
        world w(16);
        auto& low = w.add('l', 7);
        auto& high = w.add('h', 0);
        low.has = 4;
        CHECK(w.take() == 'l');
        high.has = 2;
        CHECK(w.take_all() == "hhlll");
    }

    TEST_CASE("one that sleeps is found though nobody hears it, by a look for each message")
    {
        world w(4);
        auto& busy = w.add('b');
        std::vector<fake*> idle;
        for (int i = 0; i < 10; ++i)
            idle.push_back(&w.add(static_cast<char>('0' + i)));
        CHECK(w.take() == ' ');
        w.sleep();
        busy.has = 1000;
        w.schedule.set(busy, state::quiet);
        for (auto* f : idle)
            f->looks = 0;
        for (int i = 0; i < 20; ++i)
            CHECK(w.take() == 'b');
        for (auto* f : idle)
            CHECK((f->looks == 1 || f->looks == 2));  // not more than one look for a message
        idle[3]->has = 1;
        int messages = 0;
        while (w.take() == 'b')
            ++messages;
        CHECK(idle[3]->has == 0);
        CHECK(messages <= 10 + 4);
    }

    TEST_CASE("sources of lanes below are not looked at while there is something above")
    {
        world w(4);
        w.add('h', 1).has = 100;
        auto& below = w.add('l', 2);
        CHECK(w.take() == 'h');
        below.looks = 0;
        for (int i = 0; i < 50; ++i)
            CHECK(w.take() == 'h');
        CHECK(below.looks == 0);
    }

    TEST_CASE("only those that became quiet are put to sleep")
    {
        world w(4);
        for (int i = 0; i < 100; ++i)
            w.add('i');
        auto& one = w.add('o');
        CHECK(w.take() == ' ');
        w.sleep();
        one.has = 1;
        w.schedule.set(one, state::quiet);  // it has rung
        CHECK(w.take_all() == "o");
        int put_to_sleep = 0;
        w.schedule.for_each_quiet([&](auto& p) {
            ++put_to_sleep;
            w.schedule.set(p, state::asleep);
        });
        CHECK(put_to_sleep == 1);
    }

    TEST_CASE("whatever happens, nobody who has something is passed over for ever")
    {
        procyard_test::fixed_random random(7);
        for (int round = 0; round < 200; ++round) {
            CAPTURE(round);
            const auto burst = static_cast<unsigned>(1 + random.below(4));
            world w(burst);
            const auto count = 1 + random.below(8);
            for (std::size_t i = 0; i < count; ++i)
                w.add(static_cast<char>('a' + i)).has = static_cast<int>(random.below(3));
            for (int step = 0; step < 200; ++step) {
                auto& f = w.fakes[random.below(count)];
                switch (random.below(4)) {
                case 0: f.has += 3; break;
                case 1: (void)w.take(); break;
                case 2:
                    if (w.take() == ' ')
                        w.sleep();
                    break;
                default: w.schedule.set(f, state::quiet);
                }
            }
            // Each message before it is one of a burst of another, or bought a look at one of them.
            auto& watched = w.fakes[random.below(count)];
            watched.has += 1;
            w.schedule.set(watched, state::quiet);
            for (auto& f : w.fakes)
                f.has += 1000;
            std::size_t before = 0;
            while (w.take() != watched.name)
                REQUIRE(++before <= 2 * count * burst + count);
        }
    }
}
