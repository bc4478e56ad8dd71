// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_STANDARD_CODECS_HPP
#define PROCYARD_IPC_DETAIL_STANDARD_CODECS_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/fields.hpp>
#include <procyard/ipc/plain_message.hpp>

// The codecs of what is not plain. A length is 32 bits in the order of this machine, and stands
// before what it counts; nothing is aligned.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

inline constexpr std::size_t length_bytes = sizeof(std::uint32_t);

template <class... Elements>
inline constexpr bool any_borrows = (borrows_message<Elements> || ...);

// Of what is made of parts that always come, one after the other.
template <class... Elements>
inline constexpr std::size_t sum_of_fixed_bytes =
    ((fixed_bytes<Elements> != 0) && ...) ? (fixed_bytes<Elements> + ... + 0) : 0;

template <class... Elements>
struct sequence_codec {
    static constexpr std::size_t fixed_bytes = sum_of_fixed_bytes<Elements...>;
    static constexpr bool borrows = any_borrows<Elements...>;

    static std::size_t size(const Elements&... elements) noexcept
    {
        return (codec<Elements>::size(elements) + ... + 0);
    }
    static void encode(encoder& out, const Elements&... elements) { (out.put(elements), ...); }
    static bool decode(decoder& in, Elements&... elements) { return (in.get(elements) && ...); }
};

template <class Fields>
struct sequence_of;
template <class... Fields>
struct sequence_of<std::tuple<std::type_identity<Fields>...>> {
    using type = sequence_codec<Fields...>;
    static constexpr bool encodable = (encodable_message<Fields> && ...);
    static constexpr bool decodable = (decodable_message<Fields> && ...);
};

// Bytes with their number before them.
template <class View, bool Borrows>
struct bytes_codec {
    static constexpr bool borrows = Borrows;

    static std::size_t size(const View& view) noexcept { return length_bytes + view.size(); }
    static void encode(const View& view, encoder& out) noexcept
    {
        out.put_length(view.size());
        out.put_bytes(std::as_bytes(std::span(view.data(), view.size())));
    }
    static bool decode(decoder& in, View& view)
        requires(!std::is_same_v<View, std::span<std::byte>>)
    {
        std::size_t n = 0;
        std::span<const std::byte> bytes;
        if (!in.get_length(n) || !in.get_bytes(n, bytes))
            return false;
        if constexpr (std::is_same_v<View, std::span<const std::byte>>)
            view = bytes;
        else if constexpr (std::is_same_v<View, std::string>)
            view.assign(reinterpret_cast<const char*>(bytes.data()), n);  // keeps what it has
        else
            view = View(reinterpret_cast<const char*>(bytes.data()), n);
        return true;
    }
};

}  // namespace detail

template <>
struct codec<std::string> : detail::bytes_codec<std::string, false> { };
template <>
struct codec<std::string_view> : detail::bytes_codec<std::string_view, true> { };
template <>
struct codec<std::span<const std::byte>> : detail::bytes_codec<std::span<const std::byte>, true> {
};
template <>
struct codec<std::span<std::byte>> : detail::bytes_codec<std::span<std::byte>, true> { };

/// Elements of fixed bytes without padding are copied in one piece.
template <message T>
    requires(!std::is_same_v<T, bool>)
struct codec<std::vector<T>> {
    static constexpr bool borrows = borrows_message<T>;

    static std::size_t size(const std::vector<T>& values) noexcept
    {
        std::size_t sum = detail::length_bytes;
        if constexpr (fixed_bytes<T> != 0)
            sum += fixed_bytes<T> * values.size();
        else
            for (const auto& value : values)
                sum += codec<T>::size(value);
        return sum;
    }
    static void encode(const std::vector<T>& values, encoder& out)
    {
        out.put_length(values.size());
        if constexpr (copied_whole())
            out.put_bytes(std::as_bytes(std::span(values)));
        else
            for (const auto& value : values)
                out.put(value);
    }
    static bool decode(decoder& in, std::vector<T>& values)
    {
        std::size_t n = 0;
        if (!in.get_length(n, fixed_bytes<T>))
            return false;
        values.clear();
        if constexpr (fixed_bytes<T> != 0)
            values.reserve(n);
        if constexpr (copied_whole()) {
            std::span<const std::byte> bytes;
            if (!in.get_bytes(n * sizeof(T), bytes))
                return false;
            values.resize(n);
            if (n != 0)
                std::memcpy(static_cast<void*>(values.data()), bytes.data(), bytes.size());
            return true;
        } else {
            for (std::size_t i = 0; i < n; ++i)
                if (!in.get(values.emplace_back()))
                    return false;
            return true;
        }
    }

private:
    static consteval bool copied_whole()
    {
        if constexpr (plain_message<T>)
            return detail::is_dense<T>() && detail::is_total<T>();
        else
            return false;
    }
};

namespace detail {

template <class Array, class T, std::size_t N>
struct array_codec {
    static constexpr std::size_t fixed_bytes = procyard::fixed_bytes<T> * N;
    static constexpr bool borrows = borrows_message<T>;

    static std::size_t size(const Array& values) noexcept
    {
        std::size_t sum = 0;
        for (const auto& value : values)
            sum += codec<T>::size(value);
        return sum;
    }
    static void encode(const Array& values, encoder& out)
    {
        for (const auto& value : values)
            out.put(value);
    }
    static bool decode(decoder& in, Array& values)
        requires decodable_message<T>
    {
        for (auto& value : values)
            if (!in.get(value))
                return false;
        return true;
    }
};

}  // namespace detail

template <encodable_message T, std::size_t N>
    requires(!plain_message<T>)
struct codec<std::array<T, N>> : detail::array_codec<std::array<T, N>, T, N> { };
template <encodable_message T, std::size_t N>
    requires(!plain_message<T>)
struct codec<T[N]> : detail::array_codec<T[N], T, N> { };

/// A byte, 0 or 1; with 1 the value follows.
template <message T>
struct codec<std::optional<T>> {
    static constexpr bool borrows = borrows_message<T>;

    static std::size_t size(const std::optional<T>& value) noexcept
    {
        return 1 + (value ? codec<T>::size(*value) : 0);
    }
    static void encode(const std::optional<T>& value, encoder& out)
    {
        out.put(value.has_value());
        if (value)
            out.put(*value);
    }
    static bool decode(decoder& in, std::optional<T>& value)
    {
        unsigned there = 0;
        value.reset();
        if (!in.get_byte(there) || there > 1)
            return false;
        return there == 0 || in.get(value.emplace());
    }
};

template <encodable_message A, encodable_message B>
struct codec<std::pair<A, B>> {
    using parts = detail::sequence_codec<A, B>;
    static constexpr std::size_t fixed_bytes = parts::fixed_bytes;
    static constexpr bool borrows = parts::borrows;

    static std::size_t size(const std::pair<A, B>& value) noexcept
    {
        return parts::size(value.first, value.second);
    }
    static void encode(const std::pair<A, B>& value, encoder& out)
    {
        parts::encode(out, value.first, value.second);
    }
    static bool decode(decoder& in, std::pair<A, B>& value)
        requires(decodable_message<A> && decodable_message<B>)
    {
        return parts::decode(in, value.first, value.second);
    }
};

template <encodable_message... Elements>
    requires(sizeof...(Elements) != 0)
struct codec<std::tuple<Elements...>> {
    using parts = detail::sequence_codec<Elements...>;
    static constexpr std::size_t fixed_bytes = parts::fixed_bytes;
    static constexpr bool borrows = parts::borrows;

    static std::size_t size(const std::tuple<Elements...>& value) noexcept
    {
        return std::apply([](const auto&... each) { return parts::size(each...); }, value);
    }
    static void encode(const std::tuple<Elements...>& value, encoder& out)
    {
        std::apply([&out](const auto&... each) { parts::encode(out, each...); }, value);
    }
    static bool decode(decoder& in, std::tuple<Elements...>& value)
        requires(decodable_message<Elements> && ...)
    {
        return std::apply([&in](auto&... each) { return parts::decode(in, each...); }, value);
    }
};

/// A byte with the index, and that alternative's value. One without a value cannot be sent.
template <message... Alternatives>
    requires(sizeof...(Alternatives) <= 256)
struct codec<std::variant<Alternatives...>> {
    using value_type = std::variant<Alternatives...>;
    static constexpr bool borrows = detail::any_borrows<Alternatives...>;

    static std::size_t size(const value_type& value) noexcept
    {
        if (value.valueless_by_exception())
            return 1;
        return 1 + std::visit([]<class T>(const T& v) { return codec<T>::size(v); }, value);
    }
    static void encode(const value_type& value, encoder& out)
    {
        if (value.valueless_by_exception()) {
            out.fail();
            return;
        }
        out.put(static_cast<std::uint8_t>(value.index()));
        std::visit([&out](const auto& v) { out.put(v); }, value);
    }
    static bool decode(decoder& in, value_type& value)
    {
        unsigned index = 0;
        if (!in.get_byte(index))
            return false;
        return decode_index(in, value, index, std::index_sequence_for<Alternatives...>());
    }

private:
    template <std::size_t... I>
    static bool decode_index(decoder& in, value_type& value, unsigned index,
                             std::index_sequence<I...>)
    {
        return ((index == I && in.get(value.template emplace<I>())) || ...);
    }
};

/// An aggregate that is not plain: its fields, one after the other.
template <class T>
    requires(detail::has_fields<T> && !plain_message<T>
             && detail::sequence_of<detail::field_types<T>>::encodable)
struct codec<T> {
    using fields = detail::sequence_of<detail::field_types<T>>;
    using parts = typename fields::type;
    static constexpr std::size_t fixed_bytes = parts::fixed_bytes;
    static constexpr bool borrows = parts::borrows;

    static std::size_t size(const T& value) noexcept
    {
        return std::apply([](const auto&... each) { return parts::size(each...); },
                          detail::tie_fields(value));
    }
    static void encode(const T& value, encoder& out)
    {
        std::apply([&out](const auto&... each) { parts::encode(out, each...); },
                   detail::tie_fields(value));
    }
    static bool decode(decoder& in, T& value)
        requires fields::decodable
    {
        return std::apply([&in](auto&... each) { return parts::decode(in, each...); },
                          detail::tie_fields(value));
    }
};

PROCYARD_NAMESPACE_END

#endif
