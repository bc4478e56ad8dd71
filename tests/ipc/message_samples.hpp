// SPDX-License-Identifier: BSL-1.0
// Messages of every kind, for the tests of codecs and of what is built on them.
#ifndef PROCYARD_TESTS_IPC_MESSAGE_SAMPLES_HPP
#define PROCYARD_TESTS_IPC_MESSAGE_SAMPLES_HPP

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <procyard/ipc/codec.hpp>

namespace procyard_test {

enum class side : std::uint8_t { buy, sell };

struct padded {
    char letter = 0;
    int number = 0;
    bool flag = false;

    friend bool operator==(const padded&, const padded&) = default;
};

struct tick {
    std::uint64_t time = 0;
    double price = 0;
    char name[8] = {};
    padded inner[2] = {};
    side direction = side::buy;
    std::chrono::milliseconds age{};
};

struct report {
    std::string title;
    padded plain;
    std::vector<std::string> lines;
    std::vector<std::uint32_t> numbers;
    std::vector<padded> flags;
    std::optional<std::string> note;
    std::variant<std::monostate, int, std::string> choice;
    std::pair<int, std::string> pair;
    std::tuple<char, double> tuple;
    std::array<std::string, 2> words;
    std::string more[2];
    std::int16_t raw[3] = {};

    friend bool operator==(const report&, const report&) = default;
};

inline report sample_report()
{
    return {"a title",
            {'x', -7, true},
            {"one", "", std::string("nul\0byte", 8)},
            {1, 2, 0xffffffff},
            {{'a', 1, false}, {'b', 2, true}},
            "note",
            std::string("third"),
            {5, "five"},
            {'t', 2.5},
            {"left", "right"},
            {"", "more"},
            {1, -2, 3}};
}

template <class T>
std::vector<std::byte> encoded(const T& value)
{
    std::vector<std::byte> bytes(procyard::encoded_size(value));
    if (!procyard::encode_message(value, bytes))
        bytes.clear();
    return bytes;
}

template <class T>
std::optional<T> decoded(std::span<const std::byte> bytes)
{
    T value{};
    if (!procyard::decode_message(bytes, value))
        return std::nullopt;
    return value;
}

/// xorshift64*: the same sequence everywhere.
class fixed_random {
public:
    explicit fixed_random(std::uint64_t seed) : state_(seed) { }
    std::uint64_t next()
    {
        state_ ^= state_ >> 12U;
        state_ ^= state_ << 25U;
        state_ ^= state_ >> 27U;
        return state_ * 0x2545F4914F6CDD1DU;
    }
    std::size_t below(std::size_t n) { return static_cast<std::size_t>(next() % n); }

private:
    std::uint64_t state_;
};

}  // namespace procyard_test

#endif
