// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/type_description.hpp>

#include <chrono>
#include <cstring>
#include <span>
#include <string>

#include <doctest/doctest.h>

#include "message_samples.hpp"

using procyard::describe;
using procyard::explain_difference;
using procyard::type_description;
using procyard_test::padded;
using procyard_test::report;
using procyard_test::tick;

namespace ours {

struct quote {
    std::uint64_t time;
    double price;
    std::int64_t volume;
};
struct versioned {
    int n;
};
struct holds_versioned {
    std::string text;
    versioned inner;
};
struct renamed {
    int n;
};
template <class T>
struct box {
    T value;
};
class own { };
struct unknown { };
struct wide {
    std::string fields[200];
};

}  // namespace ours

namespace theirs {

struct quote {
    std::uint64_t time;
    float price;
    std::int64_t volume;
};
struct versioned {
    int n;
};

namespace {
struct renamed {
    int n;
};
}  // namespace

}  // namespace theirs

template <>
inline constexpr unsigned procyard::schema_version<ours::versioned> = 3;
template <>
inline constexpr std::string_view procyard::message_name<ours::renamed> = "company.renamed";

template <>
struct procyard::codec<ours::own> {
    static std::size_t size(const ours::own&) noexcept { return 1; }
    static void encode(const ours::own&, procyard::encoder& out) { out.put('o'); }
    static bool decode(procyard::decoder& in, ours::own&)
    {
        char c = 0;
        return in.get(c) && c == 'o';
    }
    static constexpr std::string_view layout = "{an o}";
};

namespace {

std::span<const std::byte> bytes_of(const std::string& text)
{
    return std::as_bytes(std::span(text));
}

template <class T>
std::string layout()
{
    return describe<T>().layout;
}

}  // namespace

TEST_SUITE("type_description")
{
    TEST_CASE("says what a message is made of, and where")
    {
        CHECK(layout<int>() == "i32");
        CHECK(layout<std::string>() == "str");
        CHECK(layout<padded>() == "{char@0 i32@4 bool@8}/12");
        CHECK(layout<tick>()
              == "{u64@0 f64@8 char[8]@16 {char@0 i32@4 bool@8}/12[2]@24 enum:u8@48 "
                 "duration:i64*1/1000@56}/64");
        CHECK(layout<report>()
              == "{str {char@0 i32@4 bool@8}/12 [str] [u32] [{char@0 i32@4 bool@8}/12] str? "
                 "({}/1|i32|str) (i32 str) (char f64) str[2] str[2] i16[3]}");
        CHECK(layout<ours::own>() == "{an o}");
        CHECK(layout<ours::box<std::int8_t>>() == "{i8@0}");
    }

    TEST_CASE("names a type without namespaces, which compilers spell in different ways")
    {
        struct local {
            int n;
        };
        CHECK(describe<tick>().name == "tick");
        CHECK(describe<theirs::renamed>().name == "renamed");
        CHECK(describe<ours::box<ours::versioned>>().name == "box");
        CHECK(describe<local>().name == "local");
        CHECK(describe<procyard_test::side>().name == "side");
        CHECK(describe<std::vector<int>>().name == "[i32]");
        CHECK(describe<ours::renamed>().name == "company.renamed");
    }

    TEST_CASE("has sizes where there is one")
    {
        CHECK(describe<padded>().size_bytes == 12);
        CHECK(describe<padded>().alignment == 4);
        CHECK(describe<report>().size_bytes == 0);
        CHECK(describe<report>().alignment == 1);
    }

    // The same in every build: whoever changes these numbers cuts off who runs the last release.
    TEST_CASE("a fingerprint is the same whatever compiler and options")
    {
        CHECK(describe<int>().fingerprint == 0xee34c01e425aba11U);
        CHECK(describe<tick>().fingerprint == 0x5ccd0fc02b6e9d44U);
        CHECK(describe<report>().fingerprint == 0xa6d8de76213a8d6eU);
    }

    TEST_CASE("what is sent the same way is the same type")
    {
        CHECK(describe<std::string>() == describe<std::string_view>());
        CHECK(describe<std::vector<std::byte>>() == describe<std::span<const std::byte>>());
        CHECK(describe<std::span<std::byte>>() == describe<std::span<const std::byte>>());
        CHECK(describe<long>() == describe<long long>());
        CHECK(describe<int>().fingerprint != describe<unsigned>().fingerprint);
        CHECK(describe<std::chrono::seconds>().fingerprint
              != describe<std::chrono::milliseconds>().fingerprint);
    }

    TEST_CASE("a schema version tells types apart, also inside another")
    {
        CHECK(describe<ours::versioned>().version == 3);
        CHECK(explain_difference(describe<ours::versioned>(), describe<theirs::versioned>())
              == "here versioned version 3, 4 bytes {i32@0}#3; there versioned, 4 bytes {i32@0}: "
                 "the schema version is 3 here and 0 there");
        CHECK(layout<ours::holds_versioned>() == "{str {i32@0}#3}");
    }

    TEST_CASE("the same name with another layout names both and the first field that differs")
    {
        CHECK(explain_difference(describe<ours::quote>(), describe<theirs::quote>())
              == "here quote, 24 bytes {u64@0 f64@8 i64@16}; there quote, 24 bytes "
                 "{u64@0 f32@8 i64@16}/24: field 2 is f64@8 here and f32@8 there");
        CHECK(explain_difference(describe<ours::quote>(), describe<ours::quote>()).empty());
        auto shorter = describe<ours::quote>();
        shorter.layout = "{u64@0 f64@8}";
        shorter.fingerprint = 1;
        CHECK(explain_difference(describe<ours::quote>(), shorter)
                  .ends_with(": field 3 is i64@16 here and missing there"));
    }

    TEST_CASE("every other difference has its sentence")
    {
        const auto& mine = describe<ours::quote>();
        const auto says = [&](auto change, const std::string& end) {
            auto other = mine;
            other.fingerprint ^= 1U;
            change(other);
            const auto text = explain_difference(mine, other);
            CHECK_MESSAGE(text.ends_with(": " + end), text);
        };
        says([](auto& t) { t.name = "trade"; }, "the names differ");
        says([](auto& t) { t.big_endian = !t.big_endian; }, "the order of bytes differs");
        says([](auto& t) { t.size_bytes = 25; }, "the size is 24 here and 25 there");
        says([](auto& t) { t.alignment = 16; }, "the alignment is 8 here and 16 there");
        says([](auto& t) { t.layout = "str"; }, "field 1 is u64@0 here and missing there");
        says([](auto& t) { t.layout += "/32"; }, "the layouts differ");
        says([](auto&) { }, "the fingerprints differ");
    }

    TEST_CASE("goes to the peer and back")
    {
        for (const auto* each : {&describe<tick>(), &describe<report>(), &describe<ours::wide>(),
                                 &describe<std::string>()}) {
            const auto bytes = each->to_bytes();
            CHECK(bytes.size() <= type_description::max_bytes);
            type_description got;
            REQUIRE(type_description::parse(bytes_of(bytes), got));
            CHECK(got == *each);
        }
    }

    TEST_CASE("a long layout is cut where it is shown, and counts in full")
    {
        using many = std::tuple<tick, tick, tick, tick, tick, tick, tick, tick, tick, tick, tick,
                                tick, tick, tick>;
        using more = std::tuple<tick, tick, tick, tick, tick, tick, tick, tick, tick, tick, tick,
                                tick, tick, tick, int>;
        CHECK(layout<many>().size() == type_description::max_text);
        CHECK(layout<many>().ends_with("..."));
        CHECK(layout<many>() == layout<more>());
        CHECK(describe<many>().fingerprint != describe<more>().fingerprint);
    }

    TEST_CASE("what a hostile peer sends is refused or can be shown")
    {
        const auto good = describe<tick>().to_bytes();
        type_description got;
        for (std::size_t n = 0; n < good.size(); ++n)
            CHECK_FALSE(type_description::parse(bytes_of(good.substr(0, n)), got));
        CHECK_FALSE(type_description::parse(bytes_of(good + "x"), got));
        CHECK_FALSE(type_description::parse(bytes_of(std::string(5000, 'x')), got));
        for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
            auto bytes = good;
            bytes[bit / 8] =
                static_cast<char>(static_cast<unsigned char>(bytes[bit / 8]) ^ (1U << (bit % 8)));
            if (!type_description::parse(bytes_of(bytes), got))
                continue;
            CHECK(got.to_bytes() == bytes);
            for (const char c : explain_difference(describe<tick>(), got))
                CHECK((c >= ' ' && c <= '~'));
        }
    }

    TEST_CASE("broken layouts of a peer are split without harm")
    {
        auto peer = describe<ours::quote>();
        peer.fingerprint = 0;
        for (const char* text :
             {"", "{", "}", "{}", "{{{{", "}}}} {", "{ ) ] }", "{   }", "{a b"}) {
            peer.layout = text;
            CHECK_FALSE(explain_difference(describe<ours::quote>(), peer).empty());
            CHECK_FALSE(explain_difference(peer, describe<ours::quote>()).empty());
        }
    }
}
