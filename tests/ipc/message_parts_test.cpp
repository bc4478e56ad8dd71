// SPDX-License-Identifier: BSL-1.0
// Putting a message together from its parts, without a ring: what an honest sender sends, and what
// no honest sender does.
#include <procyard/ipc/detail/message_parts.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include <doctest/doctest.h>

using procyard::detail::part_assembly;
using procyard::detail::record_kind;
using answer = part_assembly::answer;

namespace {

// Aligned as a payload in a ring is.
class payload {
public:
    payload(std::uint64_t length_of_all, std::size_t bytes, unsigned char fill)
        : payload(bytes + sizeof length_of_all, fill)
    {
        words_[0] = length_of_all;
    }
    payload(std::size_t bytes, unsigned char fill) : words_(bytes / 8 + 1), bytes_(bytes)
    {
        std::memset(words_.data(), fill, bytes);
    }
    operator std::span<const std::byte>() const
    {
        return std::as_bytes(std::span(words_)).first(bytes_);
    }

private:
    std::vector<std::uint64_t> words_;
    std::size_t bytes_;
};

constexpr std::uint64_t most = 1000;

}  // namespace

TEST_SUITE("part_assembly")
{
    TEST_CASE("puts parts together, in their order")
    {
        part_assembly parts;
        CHECK_FALSE(parts.is_under_way());
        CHECK(parts.add(record_kind::first_part, payload(30, 10, 'a'), most) == answer::more);
        CHECK(parts.is_under_way());
        CHECK(parts.add(record_kind::part, payload(10, 'b'), most) == answer::more);
        CHECK(parts.add(record_kind::last_part, payload(10, 'c'), most) == answer::complete);
        const auto all = parts.message();
        REQUIRE(all.size() == 30);
        CHECK(all[9] == std::byte{'a'});
        CHECK(all[10] == std::byte{'b'});
        CHECK(all[29] == std::byte{'c'});
        parts.finish();
        CHECK_FALSE(parts.is_under_way());
    }

    TEST_CASE("an announced length takes no memory before it has come")
    {
        part_assembly parts;
        const auto too_much = std::uint64_t{1} << 60U;
        CHECK(parts.add(record_kind::first_part, payload(too_much, 10, 'a'), too_much)
              == answer::more);
        CHECK(parts.message().size() == 10);
        CHECK(parts.add(record_kind::part, payload(10, 'b'), too_much) == answer::more);
        CHECK(parts.message().size() == 20);
    }

    TEST_CASE("a last part that was not used is the same when it is looked at again")
    {
        part_assembly parts;
        CHECK(parts.add(record_kind::first_part, payload(20, 10, 'a'), most) == answer::more);
        for (int i = 0; i < 3; ++i)
            CHECK(parts.add(record_kind::last_part, payload(10, 'b'), most) == answer::complete);
        CHECK(parts.message().size() == 20);
    }

    TEST_CASE("a message that is given up is forgotten, by a mark or by the next first part")
    {
        part_assembly parts;
        CHECK(parts.add(record_kind::first_part, payload(30, 10, 'a'), most) == answer::more);
        CHECK(parts.add(record_kind::dropped_parts, payload(0, 0), most) == answer::more);
        CHECK_FALSE(parts.is_under_way());
        CHECK(parts.message().data() == nullptr);
        CHECK(parts.add(record_kind::first_part, payload(30, 10, 'b'), most) == answer::more);
        CHECK(parts.add(record_kind::first_part, payload(12, 2, 'c'), most) == answer::more);
        CHECK(parts.add(record_kind::last_part, payload(10, 'c'), most) == answer::complete);
        CHECK(parts.message().size() == 12);
        CHECK(std::all_of(parts.message().begin(), parts.message().end(),
                          [](std::byte b) { return b == std::byte{'c'}; }));
    }

    TEST_CASE("its memory is freed when it is told so, and not before it has been finished")
    {
        part_assembly parts;
        CHECK(parts.add(record_kind::first_part, payload(20, 10, 'a'), most) == answer::more);
        parts.release();
        CHECK(parts.add(record_kind::last_part, payload(10, 'b'), most) == answer::complete);
        parts.release();
        REQUIRE(parts.message().size() == 20);
        parts.finish();
        CHECK(parts.message().size() == 20);
        CHECK(parts.message()[19] == std::byte{'b'});
        parts.release();
        CHECK(parts.message().data() == nullptr);
    }

    TEST_CASE("longer than is allowed is refused before anything is allocated")
    {
        part_assembly parts;
        CHECK(parts.add(record_kind::first_part, payload(most, 8, 'a'), most) == answer::more);
        CHECK(parts.add(record_kind::first_part, payload(most + 1, 8, 'a'), most)
              == answer::too_long);
        constexpr auto huge = std::numeric_limits<std::uint64_t>::max();
        CHECK(parts.add(record_kind::first_part, payload(huge, 8, 'a'), huge) == answer::too_long);
    }

    TEST_CASE("what no honest sender sends is a violation")
    {
        const auto begun = [] {
            part_assembly parts;
            CHECK(parts.add(record_kind::first_part, payload(30, 10, 'a'), most) == answer::more);
            return parts;
        };
        part_assembly none;
        CHECK(none.add(record_kind::part, payload(10, 'x'), most) == answer::violation);
        CHECK(none.add(record_kind::last_part, payload(10, 'x'), most) == answer::violation);
        CHECK(none.add(record_kind::dropped_parts, payload(0, 0), most) == answer::violation);
        CHECK(none.add(record_kind::first_part, payload(7, 'x'), most) == answer::violation);
        CHECK(none.add(record_kind::first_part, payload(10, 10, 'x'), most) == answer::violation);
        CHECK(none.add(record_kind::first_part, payload(0, 0, 'x'), most) == answer::violation);
        CHECK(begun().add(record_kind::part, payload(0, 0), most) == answer::violation);
        CHECK(begun().add(record_kind::part, payload(20, 'x'), most) == answer::violation);
        CHECK(begun().add(record_kind::part, payload(21, 'x'), most) == answer::violation);
        CHECK(begun().add(record_kind::last_part, payload(19, 'x'), most) == answer::violation);
        CHECK(begun().add(record_kind::last_part, payload(21, 'x'), most) == answer::violation);
        CHECK(begun().add(record_kind::dropped_parts, payload(1, 'x'), most) == answer::violation);
        auto complete = begun();
        CHECK(complete.add(record_kind::last_part, payload(20, 'x'), most) == answer::complete);
        CHECK(complete.add(record_kind::part, payload(1, 'x'), most) == answer::violation);
    }
}
