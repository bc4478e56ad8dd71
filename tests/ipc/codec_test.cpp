// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/codec.hpp>

#include <limits>
#include <map>
#include <span>
#include <string_view>

#include <doctest/doctest.h>

#include "message_samples.hpp"

using procyard::borrows_message;
using procyard::decodable_message;
using procyard::encodable_message;
using procyard::fixed_bytes;
using procyard::message;
using procyard_test::decoded;
using procyard_test::encoded;
using procyard_test::padded;
using procyard_test::report;
using procyard_test::sample_report;
using procyard_test::tick;

namespace {

class account {
public:
    account() = default;
    account(std::string owner, std::int64_t cents) : owner_(std::move(owner)), cents_(cents) { }
    const std::string& owner() const { return owner_; }
    std::int64_t cents() const { return cents_; }

private:
    std::string owner_;
    std::int64_t cents_ = 0;
};

struct tree {
    int value = 0;
    std::vector<tree> children;
};

struct liar { };

struct views {
    std::string_view text;
    std::span<const std::byte> bytes;
};

struct mixed {
    std::string text;
    std::span<std::byte> bytes;
};

struct pointer_inside {
    std::string text;
    std::vector<int*> pointers;
};

}  // namespace

template <>
struct procyard::codec<account> {
    static std::size_t size(const account& a) noexcept
    {
        return procyard::encoded_size(a.owner()) + procyard::encoded_size(a.cents());
    }
    static void encode(const account& a, procyard::encoder& out)
    {
        out.put(a.owner());
        out.put(a.cents());
    }
    static bool decode(procyard::decoder& in, account& a)
    {
        std::string owner;
        std::int64_t cents = 0;
        if (!in.get(owner) || !in.get(cents))
            return false;
        a = account(owner, cents);
        return true;
    }
};

template <>
struct procyard::codec<tree> {
    static std::size_t size(const tree& t) noexcept;
    static void encode(const tree& t, procyard::encoder& out);
    static bool decode(procyard::decoder& in, tree& t);
};

std::size_t procyard::codec<tree>::size(const tree& t) noexcept
{
    return procyard::encoded_size(t.value) + procyard::encoded_size(t.children);
}
void procyard::codec<tree>::encode(const tree& t, procyard::encoder& out)
{
    out.put(t.value);
    out.put(t.children);
}
bool procyard::codec<tree>::decode(procyard::decoder& in, tree& t)
{
    return in.get(t.value) && in.get(t.children);
}

template <>
struct procyard::codec<liar> {
    static std::size_t size(const liar&) noexcept { return 4; }
    static void encode(const liar&, procyard::encoder& out) { out.put(std::uint64_t{1}); }
    static bool decode(procyard::decoder&, liar&) { return true; }
};

static_assert(message<int> && message<report> && message<tick> && message<account>);
static_assert(message<std::vector<report>> && message<std::optional<account>>);
static_assert(encodable_message<std::span<std::byte>> && !decodable_message<std::span<std::byte>>);
static_assert(encodable_message<mixed> && !decodable_message<mixed>);
static_assert(!encodable_message<int*> && !encodable_message<pointer_inside>);
static_assert(!encodable_message<std::vector<bool>> && !encodable_message<std::tuple<>>);
static_assert(!encodable_message<std::map<int, int>> && !encodable_message<int&>);
static_assert(!encodable_message<std::variant<int, int*>> && !encodable_message<std::vector<int*>>);

static_assert(fixed_bytes<tick> == sizeof(tick) && fixed_bytes<report> == 0);
static_assert(fixed_bytes<std::pair<int, char>> == 5 && fixed_bytes<std::string> == 0);
static_assert(fixed_bytes<std::tuple<int, std::array<std::pair<char, char>, 3>>> == 10);
static_assert(fixed_bytes<std::pair<int, std::string>> == 0);

static_assert(borrows_message<std::string_view> && borrows_message<views>);
static_assert(borrows_message<std::vector<std::optional<std::string_view>>>);
static_assert(!borrows_message<std::string> && !borrows_message<report>);

TEST_SUITE("codec")
{
    TEST_CASE("a message of everything comes back as it was")
    {
        const auto sent = sample_report();
        const auto bytes = encoded(sent);
        REQUIRE(!bytes.empty());
        CHECK(decoded<report>(bytes) == sent);
        report empty;
        CHECK(decoded<report>(encoded(empty)) == empty);
    }

    TEST_CASE("a message written over an old value leaves nothing of it")
    {
        auto value = sample_report();
        REQUIRE(procyard::decode_message(std::span<const std::byte>(encoded(report())), value));
        CHECK(value == report());
    }

    TEST_CASE("numbers are their own bytes, a string is its length and its bytes")
    {
        CHECK(encoded(std::uint32_t{7}).size() == 4);
        CHECK(decoded<double>(encoded(-0.5)) == -0.5);
        const auto bytes = encoded(std::string("abc"));
        REQUIRE(bytes.size() == 7);
        std::uint32_t length = 0;
        std::memcpy(&length, bytes.data(), 4);
        CHECK(length == 3);
        CHECK(bytes.back() == std::byte{'c'});
    }

    TEST_CASE("every alternative of a variant, with and without a value")
    {
        using choice = std::variant<std::monostate, int, std::string, padded>;
        for (const choice& each :
             {choice(), choice(5), choice(std::string("text")), choice(padded{'a', 1, true})})
            CHECK(decoded<choice>(encoded(each)) == each);
        for (const auto& each : {std::optional<int>(), std::optional<int>(3)})
            CHECK(decoded<std::optional<int>>(encoded(each)).value() == each);
    }

    TEST_CASE("a view refers to the bytes it was decoded from")
    {
        const std::string text = "text";
        std::byte raw[2] = {std::byte{1}, std::byte{2}};
        const auto bytes = encoded(views{text, raw});
        views got;
        REQUIRE(procyard::decode_message(std::span<const std::byte>(bytes), got));
        CHECK(got.text == text);
        CHECK(got.text.data() == reinterpret_cast<const char*>(bytes.data() + 4));
        CHECK(got.bytes.data() == bytes.data() + bytes.size() - 2);
    }

    TEST_CASE("mutable bytes are sent, and arrive as const ones or as a vector")
    {
        std::byte raw[3] = {std::byte{1}, std::byte{2}, std::byte{3}};
        const auto bytes = encoded(std::span<std::byte>(raw));
        CHECK(decoded<std::vector<std::byte>>(bytes) == std::vector<std::byte>(raw, raw + 3));
        const auto back = decoded<std::span<const std::byte>>(bytes);
        REQUIRE(back);
        CHECK(back->size() == 3);
    }

    TEST_CASE("a class of one's own goes through its codec, also within other messages")
    {
        const std::vector<account> sent{{"ann", 100}, {"bob", -5}};
        const auto got = decoded<std::vector<account>>(encoded(sent));
        REQUIRE(got);
        REQUIRE(got->size() == 2);
        CHECK(got->at(1).owner() == "bob");
        CHECK(got->at(1).cents() == -5);
    }

    TEST_CASE("a type that contains itself is decoded to a bounded depth")
    {
        const auto nested = [](int depth) {
            tree root;
            for (int i = 0; i < depth; ++i) {
                tree parent;
                parent.children.push_back(std::move(root));
                root = std::move(parent);
            }
            return root;
        };
        CHECK(decoded<tree>(encoded(nested(30))));
        CHECK_FALSE(decoded<tree>(encoded(nested(32))));
        // 100,000 levels, as a peer could send them.
        std::vector<std::byte> deep;
        for (int i = 0; i < 100'000; ++i)
            for (const std::uint32_t word : {0U, 1U}) {
                const auto at = deep.size();
                deep.resize(at + 4);
                std::memcpy(deep.data() + at, &word, 4);
            }
        CHECK_FALSE(decoded<tree>(deep));
    }

    TEST_CASE("a codec whose size is wrong writes nothing beyond it, and the message is refused")
    {
        std::array<std::byte, 12> bytes{};
        CHECK_FALSE(procyard::encode_message(liar(), std::span(bytes).first(4)));
        CHECK_FALSE(procyard::encode_message(std::uint32_t{1}, bytes));
        for (const auto each : bytes)
            CHECK((each == std::byte{0} || each == std::byte{1}));
        CHECK(bytes.at(8) == std::byte{0});
    }

    TEST_CASE("what is longer than 32 bits can say is refused")
    {
        procyard::encoder out({});
        out.put_length(std::size_t{1} << 32U);
        CHECK(out.failed());
    }

    TEST_CASE("an encoder that has failed writes no more")
    {
        std::array<std::byte, 8> bytes{};
        procyard::encoder out(bytes);
        out.fail();
        out.put(std::uint32_t{0xffffffff});
        CHECK(out.remaining() == 8);
        CHECK(bytes.front() == std::byte{0});
    }
}
