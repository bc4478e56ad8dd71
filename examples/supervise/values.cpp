// SPDX-License-Identifier: BSL-1.0
#include "values.hpp"

#include <charconv>
#include <limits>
#include <stdexcept>
#include <system_error>

namespace supervise {

namespace {

[[noreturn]] void refuse(std::string_view text, const char* what)
{
    throw std::invalid_argument('"' + std::string(text) + "\" is no " + what);
}

struct unit {
    std::string_view name;
    std::uint64_t factor;
};

// A number and a unit, multiplied; nothing when it is not that, or too much.
template <std::size_t Count>
bool parse_with_unit(std::string_view text, const unit (&units)[Count], std::uint64_t& value)
{
    const auto* const end = text.data() + text.size();
    std::uint64_t number = 0;
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || rest == text.data())
        return false;
    const std::string_view name(rest, static_cast<std::size_t>(end - rest));
    for (const auto& one : units) {
        const auto most = std::numeric_limits<std::int64_t>::max() / one.factor;
        if (one.name == name && number <= most) {
            value = number * one.factor;
            return true;
        }
    }
    return false;
}

}  // namespace

std::chrono::nanoseconds to_duration(std::string_view text)
{
    constexpr std::uint64_t second = 1'000'000'000;
    constexpr unit units[] = {{"ms", 1'000'000},
                              {"s", second},
                              {"m", 60 * second},
                              {"h", 3600 * second},
                              {"d", 24 * 3600 * second}};
    std::uint64_t value = 0;
    if (!parse_with_unit(text, units, value))
        refuse(text, "duration (500ms, 5s, 2m, 1h, 7d)");
    return std::chrono::nanoseconds(static_cast<std::int64_t>(value));
}

std::uint64_t to_bytes(std::string_view text)
{
    constexpr unit units[] = {{"", 1}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}};
    std::uint64_t value = 0;
    if (!parse_with_unit(text, units, value))
        refuse(text, "number of bytes (4096, 64K, 10M, 2G)");
    return value;
}

std::uint64_t to_number(std::string_view text, std::uint64_t least, std::uint64_t most)
{
    constexpr unit units[] = {{"", 1}};
    std::uint64_t value = 0;
    if (!parse_with_unit(text, units, value) || value < least || value > most) {
        const auto range = "number from " + std::to_string(least) + " to " + std::to_string(most);
        refuse(text, range.c_str());
    }
    return value;
}

bool to_bool(std::string_view text)
{
    if (text != "yes" && text != "no")
        refuse(text, "answer (yes, no)");
    return text == "yes";
}

std::vector<std::string> to_words(std::string_view text)
{
    std::vector<std::string> words;
    while (!text.empty()) {
        const auto end = std::min(text.find_first_of(", \t"), text.size());
        if (end > 0)
            words.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

}  // namespace supervise
