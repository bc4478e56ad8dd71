// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_NAME_HPP
#define PROCYARD_IPC_CHANNEL_NAME_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What a channel is called, for people who look at errors, or into /proc. Up to 31 letters, digits
/// and `_-.`; what else it is made of is kept as "not good", and refused where a channel is made.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
class channel_name {
public:
    static constexpr std::size_t max_length = 31;

    /// None.
    constexpr channel_name() noexcept = default;
    // Implicit, so that one can be written as what it is: `{.name = "ticks"}`.
    constexpr channel_name(std::string_view text) noexcept : is_good_(is_name(text))
    {
        if (is_good_)
            std::copy(text.begin(), text.end(), text_.begin());
    }
    constexpr channel_name(const char* text) noexcept : channel_name(std::string_view(text)) { }

    /// Whether it is one, or none.
    [[nodiscard]] constexpr bool is_good() const noexcept { return is_good_; }
    [[nodiscard]] constexpr bool empty() const noexcept { return text_[0] == '\0'; }
    [[nodiscard]] constexpr std::string_view view() const noexcept { return text_.data(); }

    friend bool operator==(const channel_name&, const channel_name&) = default;

private:
    [[nodiscard]] static constexpr bool is_name(std::string_view text) noexcept
    {
        constexpr std::string_view good = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                          "0123456789_-.";
        return text.size() <= max_length && text.find_first_not_of(good) == std::string_view::npos;
    }

    std::array<char, max_length + 1> text_{};
    bool is_good_ = true;
};

PROCYARD_NAMESPACE_END

#endif
