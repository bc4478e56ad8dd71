// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/plain_message.hpp>

#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <tuple>

#include <doctest/doctest.h>

#include <procyard/ipc/codec.hpp>

#include "message_samples.hpp"

using procyard::plain_message;
using procyard_test::padded;
using procyard_test::tick;

namespace {

enum loose { one };
enum fixed : int { two };
struct empty { };
struct with_pointer {
    int n;
    char* text;
};
struct nested_pointer {
    with_pointer inner[2];
};
struct with_reference {
    int& n;
};
struct with_base : empty {
    int n;
};
union number {
    int i;
    float f;
};
class closed {
public:
    int n() const { return n_; }

private:
    int n_ = 0;
};
class vouched {
public:
    vouched() = default;
    explicit vouched(int n) : n_(n) { }
    int n() const { return n_; }

private:
    int n_ = 0;
};
struct holds_vouched {
    vouched inner;
    char c = 0;
};
struct large {
    char bytes[1 << 20U];
};
struct extended {
    char c = 0;
    long double number = 0;
};

#define FIELDS(n) int a##n##0, a##n##1, a##n##2, a##n##3, a##n##4, a##n##5, a##n##6, a##n##7
struct fields_64 {
    FIELDS(0);
    FIELDS(1);
    FIELDS(2);
    FIELDS(3);
    FIELDS(4);
    FIELDS(5);
    FIELDS(6);
    FIELDS(7);
};
struct fields_65 {
    FIELDS(0);
    FIELDS(1);
    FIELDS(2);
    FIELDS(3);
    FIELDS(4);
    FIELDS(5);
    FIELDS(6);
    FIELDS(7);
    int last;
};
#undef FIELDS

}  // namespace

template <>
inline constexpr bool procyard::is_plain_message<vouched> = true;
template <>
inline constexpr bool procyard::is_plain_message<std::string> = true;  // in vain

static_assert(plain_message<int> && plain_message<bool> && plain_message<std::byte>);
static_assert(plain_message<double> && plain_message<char32_t> && plain_message<int[3][4]>);
static_assert(plain_message<fixed> && plain_message<procyard_test::side> && !plain_message<loose>);
static_assert(plain_message<tick> && plain_message<std::array<padded, 3>> && plain_message<empty>);
static_assert(plain_message<std::chrono::system_clock::time_point>);
static_assert(plain_message<large> && plain_message<fields_64> && !plain_message<fields_65>);
static_assert(!plain_message<int*> && !plain_message<std::nullptr_t> && !plain_message<int&>);
static_assert(!plain_message<int empty::*> && !plain_message<void (*)()>);
static_assert(!plain_message<with_pointer> && !plain_message<nested_pointer>);
static_assert(!plain_message<with_reference> && !plain_message<with_base>);
static_assert(!plain_message<number> && !plain_message<closed> && !plain_message<const int>);
static_assert(plain_message<vouched> && plain_message<holds_vouched>);
static_assert(!plain_message<std::string> && !plain_message<std::atomic<int>>);
static_assert(!plain_message<std::optional<int>> && !plain_message<std::tuple<int, int>>);
static_assert(procyard::detail::is_dense<fields_64>() && procyard::detail::is_dense<large>());
static_assert(!procyard::detail::is_dense<padded>() && !procyard::detail::is_dense<empty>());

TEST_SUITE("plain_message")
{
    TEST_CASE("its padding is zero, whatever was in memory")
    {
        alignas(tick) std::byte memory[sizeof(tick)];
        std::memset(memory, 0xa5, sizeof memory);
        // Default-initialised: the constructor leaves padding as it is.
        const auto* const value = new (memory) tick;
        std::byte out[sizeof(tick)];
        std::memset(out, 0x5a, sizeof out);
        REQUIRE(procyard::encode_message(*value, out));
        for (const auto each : out)
            CHECK(each == std::byte{0});
    }

    TEST_CASE("its values are in their places")
    {
        const padded value{'p', 0x01020304, true};
        std::byte out[sizeof(padded)];
        REQUIRE(procyard::encode_message(value, out));
        int number = 0;
        std::memcpy(&number, out + offsetof(padded, number), sizeof number);
        CHECK(out[0] == std::byte{'p'});
        CHECK(number == 0x01020304);
        CHECK(out[offsetof(padded, flag)] == std::byte{1});
    }

    TEST_CASE("comes back through memory of any alignment")
    {
        tick sent;
        sent.time = 1234567890123;
        sent.price = 99.5;
        std::memcpy(sent.name, "EURUSD", 7);
        sent.inner[1] = {'z', -1, true};
        sent.direction = procyard_test::side::sell;
        sent.age = std::chrono::milliseconds(5);
        std::byte out[sizeof(tick) + 1];
        REQUIRE(procyard::encode_message(sent, std::span(out).subspan(1)));
        tick got;
        REQUIRE(procyard::decode_message(std::span<const std::byte>(out).subspan(1), got));
        CHECK(got.time == sent.time);
        CHECK(got.price == sent.price);
        CHECK(std::string(got.name) == "EURUSD");
        CHECK(got.inner[1] == sent.inner[1]);
        CHECK(got.direction == sent.direction);
        CHECK(got.age == sent.age);
    }

    TEST_CASE("a long double has padding too")
    {
        alignas(extended) std::byte memory[sizeof(extended)];
        std::memset(memory, 0xa5, sizeof memory);
        const auto* const value = new (memory) extended;
        std::byte out[sizeof(extended)];
        REQUIRE(procyard::encode_message(*value, out));
        for (const auto each : out)
            CHECK(each == std::byte{0});
        extended got;
        REQUIRE(procyard::encode_message(extended{'a', 0.1L}, out));
        REQUIRE(procyard::decode_message(std::span<const std::byte>(out), got));
        CHECK(got.number == 0.1L);
    }

    TEST_CASE("a class that is vouched for is its bytes")
    {
        const auto bytes = procyard_test::encoded(holds_vouched{vouched(7), 'c'});
        CHECK(bytes.size() == sizeof(holds_vouched));
        const auto got = procyard_test::decoded<holds_vouched>(bytes);
        REQUIRE(got);
        CHECK(got->inner.n() == 7);
        CHECK(got->c == 'c');
    }

    TEST_CASE("a large array is one field")
    {
        const auto sent = std::make_unique<large>();
        sent->bytes[sizeof(large) - 1] = 'e';
        const auto bytes = procyard_test::encoded(*sent);
        CHECK(bytes.size() == sizeof(large));
        CHECK(bytes.back() == std::byte{'e'});
    }
}
