// SPDX-License-Identifier: BSL-1.0
// What a peer may send instead of a message.
#include <procyard/ipc/codec.hpp>

#include <cstring>
#include <span>

#include <doctest/doctest.h>

#include "message_samples.hpp"

using procyard_test::decoded;
using procyard_test::encoded;
using procyard_test::fixed_random;
using procyard_test::padded;
using procyard_test::report;
using procyard_test::sample_report;
using procyard_test::tick;

namespace {

// In memory of its own, so that a sanitizer sees a read beyond the end.
template <class T>
bool accepts(std::span<const std::byte> bytes)
{
    const std::vector<std::byte> copy(bytes.begin(), bytes.end());
    T value{};
    return procyard::decode_message(std::span<const std::byte>(copy), value);
}

std::vector<std::byte> lengths(std::initializer_list<std::uint32_t> words)
{
    std::vector<std::byte> bytes(words.size() * 4);
    std::memcpy(bytes.data(), words.begin(), bytes.size());
    return bytes;
}

}  // namespace

TEST_SUITE("codec")
{
    TEST_CASE("a message that is cut anywhere, or goes on, is refused")
    {
        auto bytes = encoded(sample_report());
        for (std::size_t n = 0; n < bytes.size(); ++n)
            CHECK_FALSE(accepts<report>(std::span(bytes).first(n)));
        CHECK(accepts<report>(bytes));
        bytes.push_back(std::byte{0});
        CHECK_FALSE(accepts<report>(bytes));
    }

    TEST_CASE("a message with any one bit flipped is refused or another message")
    {
        const auto good = encoded(sample_report());
        for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
            auto bytes = good;
            bytes[bit / 8] ^= std::byte{static_cast<unsigned char>(1U << (bit % 8))};
            if (const auto got = decoded<report>(bytes))
                // What was accepted is a value: it can be sent again.
                CHECK(decoded<report>(encoded(*got)) == *got);
        }
    }

    TEST_CASE("random bytes are refused or a message")
    {
        fixed_random random(20240101);
        int accepted = 0;
        for (int round = 0; round < 20'000; ++round) {
            std::vector<std::byte> bytes(random.below(96));
            // Small numbers, or no length would ever be short enough.
            for (auto& each : bytes)
                each = static_cast<std::byte>(random.below(8) == 0 ? random.below(256) : 0);
            accepted += accepts<report>(bytes) ? 1 : 0;
            accepted += accepts<std::vector<std::variant<int, std::string>>>(bytes) ? 1 : 0;
            accepted += accepts<std::vector<std::optional<padded>>>(bytes) ? 1 : 0;
        }
        CHECK(accepted > 0);
    }

    TEST_CASE("a length that the message cannot hold allocates nothing")
    {
        // Would be 4 GiB and more; an allocation of that size fails under sanitizers.
        const auto huge = lengths({0xffffffff, 1, 2, 3, 4});
        CHECK_FALSE(accepts<std::string>(huge));
        CHECK_FALSE(accepts<std::vector<std::uint64_t>>(huge));
        CHECK_FALSE(accepts<std::vector<std::string>>(huge));
        CHECK_FALSE(accepts<std::vector<std::vector<report>>>(huge));
        // Five elements of four bytes, of which four have come.
        CHECK_FALSE(accepts<std::vector<std::uint32_t>>(lengths({5, 1, 2, 3, 4})));
        CHECK(accepts<std::vector<std::uint32_t>>(lengths({4, 1, 2, 3, 4})));
        // One byte each at least.
        CHECK_FALSE(accepts<std::vector<std::optional<tick>>>(lengths({17, 0, 0, 0, 0})));
        CHECK(accepts<std::vector<std::optional<tick>>>(lengths({16, 0, 0, 0, 0})));
    }

    TEST_CASE("a bool is 0 or 1 wherever it stands")
    {
        for (unsigned value = 0; value < 256; ++value) {
            const bool good = value <= 1;
            const std::byte raw{static_cast<unsigned char>(value)};
            CHECK(accepts<bool>(std::span(&raw, 1)) == good);
            auto bytes = encoded(padded{'a', 1, true});
            bytes[offsetof(padded, flag)] = raw;
            CHECK(accepts<padded>(bytes) == good);
            auto many = encoded(std::vector<padded>(2));
            many[4 + sizeof(padded) + offsetof(padded, flag)] = raw;
            CHECK(accepts<std::vector<padded>>(many) == good);
            auto nested = encoded(tick());
            nested[offsetof(tick, inner) + sizeof(padded) + offsetof(padded, flag)] = raw;
            CHECK(accepts<tick>(nested) == good);
        }
    }

    TEST_CASE("a plain value that was refused is zero, and no invalid one")
    {
        auto bytes = encoded(padded{'a', 1, true});
        bytes[offsetof(padded, flag)] = std::byte{2};
        padded value{'x', 5, true};
        REQUIRE_FALSE(procyard::decode_message(std::span<const std::byte>(bytes), value));
        CHECK(value == padded());
    }

    TEST_CASE("an index or a flag that means nothing is refused")
    {
        using choice = std::variant<char, std::string>;
        for (unsigned index = 2; index < 256; ++index) {
            std::vector<std::byte> bytes(6);
            bytes[0] = static_cast<std::byte>(index);
            for (std::size_t n = 1; n <= bytes.size(); ++n)
                CHECK_FALSE(accepts<choice>(std::span(bytes).first(n)));
            CHECK_FALSE(accepts<std::optional<char>>(std::span(bytes).first(1)));
            CHECK_FALSE(accepts<std::optional<char>>(std::span(bytes).first(2)));
        }
    }
}
