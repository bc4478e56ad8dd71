// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/look_pace.hpp>

#include <doctest/doctest.h>

#include <cstdint>

using procyard::detail::look_pace;

namespace {

// An end, all of whose looks so far have been at once.
class looking_end {
public:
    // A look, after those messages that the one before it has brought have been used.
    bool waits_after(std::uint64_t brought) { return pace_.is_patient(messages_ += brought); }
    // The same, and it finds nothing.
    bool looks_in_vain_after(std::uint64_t brought)
    {
        const bool waits = waits_after(brought);
        pace_.has_found_nothing();
        return waits;
    }
    void find_much() { pace_.has_found_much(); }

    // How many looks that bring so much come at once before one waits.
    int eager_looks(std::uint64_t brought)
    {
        int looks = 0;
        while (!waits_after(brought) && looks < 10 * look_pace::most_eager)
            ++looks;
        return looks;
    }

private:
    look_pace pace_;
    std::uint64_t messages_ = 0;
};

}  // namespace

TEST_SUITE("look_pace")
{
    TEST_CASE("an end that finds a little each time begins to wait")
    {
        for (const std::uint64_t brought : {std::uint64_t{1}, look_pace::few - 1}) {
            looking_end end;
            CHECK(end.eager_looks(brought) == look_pace::looks_to_be_patient - 1);
        }
    }

    TEST_CASE("waits for as long as that brings enough")
    {
        looking_end end;
        end.eager_looks(1);
        for (int i = 0; i < 1000; ++i)
            CHECK(end.waits_after(look_pace::worth_a_moment));
        CHECK(end.waits_after(look_pace::few + 1));
    }

    TEST_CASE("an end that finds many does not begin to wait")
    {
        looking_end end;
        for (int i = 0; i < 1000; ++i)
            CHECK_FALSE(end.waits_after(look_pace::few));
    }

    TEST_CASE(
        "an end that looks in vain each time before it finds something does not begin to wait")
    {
        for (const int in_vain : {1, 2, 100}) {
            CAPTURE(in_vain);
            looking_end end;
            for (int i = 0; i < 1000; ++i) {
                CHECK_FALSE(end.looks_in_vain_after(1));
                for (int j = 1; j < in_vain; ++j)
                    CHECK_FALSE(end.looks_in_vain_after(0));
                CHECK_FALSE(end.waits_after(0));
            }
        }
    }

    TEST_CASE("one that looks in vain now and then waits most of the time")
    {
        looking_end end;
        int waits = 0;
        for (int i = 0; i < 100; ++i) {
            waits += end.waits_after(0) ? 1 : 0;
            for (int j = 0; j < 8; ++j)
                waits += end.waits_after(look_pace::worth_a_moment) ? 1 : 0;
            waits += end.looks_in_vain_after(look_pace::worth_a_moment) ? 1 : 0;
        }
        CHECK(waits > 800);
    }

    TEST_CASE("looks in vain end the waiting")
    {
        looking_end end;
        end.eager_looks(1);
        CHECK(end.looks_in_vain_after(look_pace::few));
        CHECK_FALSE(end.looks_in_vain_after(0));
        CHECK_FALSE(end.looks_in_vain_after(0));
        CHECK_FALSE(end.waits_after(0));
        CHECK(end.eager_looks(1) == look_pace::looks_to_be_patient - 2);
    }

    TEST_CASE("waiting that brings hardly a message more ends, for longer each time")
    {
        looking_end end;
        end.eager_looks(1);
        int before = 0;
        for (int eager = look_pace::least_eager; eager < look_pace::most_eager; eager *= 2) {
            CAPTURE(eager);
            CHECK_FALSE(end.waits_after(look_pace::worth_a_moment - 1));
            const int looks = end.eager_looks(1);
            CHECK(looks > before);
            CHECK(looks >= eager);
            before = looks;
        }
        // Not for ever: what the peer does may change.
        for (int i = 0; i < 3; ++i) {
            CHECK_FALSE(end.waits_after(1));
            CHECK(end.eager_looks(1) <= look_pace::most_eager + look_pace::looks_to_be_patient);
        }
    }

    TEST_CASE("waiting that has filled half of the ring ends")
    {
        looking_end end;
        end.eager_looks(1);
        end.find_much();
        CHECK_FALSE(end.waits_after(look_pace::few));
        CHECK(end.eager_looks(1) >= look_pace::least_eager - 1);
    }

    TEST_CASE("an end that finds much without waiting is as eager as before")
    {
        looking_end end;
        end.find_much();
        CHECK(end.eager_looks(1) == look_pace::looks_to_be_patient - 1);
    }

    TEST_CASE("a look in vain does not end the time in which it is eager")
    {
        looking_end end;
        end.eager_looks(1);
        CHECK_FALSE(end.looks_in_vain_after(1));
        CHECK(end.eager_looks(1) >= look_pace::least_eager - 2);
    }
}
