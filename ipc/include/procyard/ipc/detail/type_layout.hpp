// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_TYPE_LAYOUT_HPP
#define PROCYARD_IPC_DETAIL_TYPE_LAYOUT_HPP

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
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
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/plain_message.hpp>

PROCYARD_NAMESPACE_BEGIN

struct type_description;

namespace detail {

// A text that ends somewhere: a codec may describe a type that contains itself.
class type_text {
public:
    static constexpr std::size_t most_bytes = 16384;

    void put(std::string_view more)
    {
        if (text_.size() < most_bytes)
            text_.append(more);
    }
    void put_number(std::uint64_t n) { put(std::to_string(n)); }
    [[nodiscard]] const std::string& text() const noexcept { return text_; }

private:
    std::string text_;
};

// The last part of a name, out of what a compiler makes of `T` in a signature.
[[nodiscard]] PROCYARD_IPC_EXPORT std::string short_type_name(std::string_view signature);

// The fingerprint, and the rest that follows from the other members.
PROCYARD_IPC_EXPORT void finish_description(type_description& result, const type_text& layout);

// Not a string_view: GCC would explain that name in the signature, too.
template <class T>
const char* signature_of() noexcept
{
    return __PRETTY_FUNCTION__;
}

// Types that are a part of no program in particular have their layout for a name.
template <class T>
struct layout_writer;

template <class T>
void write_layout(type_text& text)
{
    layout_writer<T>::write(text);
    if constexpr (schema_version<T> != 0) {
        text.put("#");
        text.put_number(schema_version<T>);
    }
}

template <class T>
std::string type_name()
{
    if constexpr (!message_name<T>.empty())
        return std::string(message_name<T>);
    else if constexpr (requires { layout_writer<T>::has_name; })
        return short_type_name(signature_of<T>());
    else {
        type_text text;
        layout_writer<T>::write(text);
        return text.text();
    }
}

template <class T>
    requires std::is_arithmetic_v<T>
struct layout_writer<T> {
    static void write(type_text& text)
    {
        constexpr bool is_character = std::is_same_v<T, wchar_t> || std::is_same_v<T, char8_t>
            || std::is_same_v<T, char16_t> || std::is_same_v<T, char32_t>;
        if constexpr (std::is_same_v<T, bool>)
            text.put("bool");
        else if constexpr (std::is_same_v<T, char>)
            text.put("char");
        else {
            constexpr auto bytes = is_padded_float<T> ? padded_float_bytes : sizeof(T);
            text.put(is_character                      ? "char"
                         : std::is_floating_point_v<T> ? "f"
                         : std::is_signed_v<T>         ? "i"
                                                       : "u");
            text.put_number(bytes * 8);
        }
    }
};

template <>
struct layout_writer<std::byte> {
    static void write(type_text& text) { text.put("byte"); }
};

template <class T>
    requires std::is_enum_v<T>
struct layout_writer<T> {
    static constexpr bool has_name = true;
    static void write(type_text& text)
    {
        text.put("enum:");
        write_layout<std::underlying_type_t<T>>(text);
    }
};

template <class Rep, class Period>
struct layout_writer<std::chrono::duration<Rep, Period>> {
    static void write(type_text& text)
    {
        text.put("duration:");
        write_layout<Rep>(text);
        text.put("*");
        text.put_number(Period::num);
        text.put("/");
        text.put_number(Period::den);
    }
};

template <class Clock, class Duration>
struct layout_writer<std::chrono::time_point<Clock, Duration>> {
    static void write(type_text& text)
    {
        text.put("time:");
        text.put(short_type_name(signature_of<Clock>()));
        text.put(":");
        write_layout<Duration>(text);
    }
};

template <class Element, std::size_t N>
struct layout_writer<Element[N]> {
    static void write(type_text& text)
    {
        write_layout<Element>(text);
        text.put("[");
        text.put_number(N);
        text.put("]");
    }
};
// The same bytes as the C array.
template <class Element, std::size_t N>
struct layout_writer<std::array<Element, N>> {
    static void write(type_text& text)
    {
        write_layout<Element>(text);
        text.put("[");
        text.put_number(N);
        text.put("]");
    }
};

template <>
struct layout_writer<std::string> {
    static void write(type_text& text) { text.put("str"); }
};
template <>
struct layout_writer<std::string_view> : layout_writer<std::string> { };

template <class T>
struct layout_writer<std::vector<T>> {
    static void write(type_text& text)
    {
        text.put("[");
        write_layout<T>(text);
        text.put("]");
    }
};
template <>
struct layout_writer<std::span<const std::byte>> : layout_writer<std::vector<std::byte>> { };
template <>
struct layout_writer<std::span<std::byte>> : layout_writer<std::vector<std::byte>> { };

template <class T>
struct layout_writer<std::optional<T>> {
    static void write(type_text& text)
    {
        write_layout<T>(text);
        text.put("?");
    }
};

template <class... Elements>
void write_list(type_text& text, std::string_view between)
{
    std::string_view before;
    ((text.put(std::exchange(before, between)), write_layout<Elements>(text)), ...);
}

template <class... Elements>
struct layout_writer<std::tuple<Elements...>> {
    static void write(type_text& text)
    {
        text.put("(");
        write_list<Elements...>(text, " ");
        text.put(")");
    }
};
template <class A, class B>
struct layout_writer<std::pair<A, B>> : layout_writer<std::tuple<A, B>> { };

template <class... Alternatives>
struct layout_writer<std::variant<Alternatives...>> {
    static void write(type_text& text)
    {
        text.put("(");
        write_list<Alternatives...>(text, "|");
        text.put(")");
    }
};

// Memory in which a value could be; only addresses are taken in it.
template <class T>
union value_memory {
    char nothing;
    T value;
    value_memory() : nothing() { }
    ~value_memory() { }
};

template <class T>
void write_fields(type_text& text)
{
    static value_memory<T> place;
    const auto* const begin = reinterpret_cast<const std::byte*>(&place);
    std::string_view before;
    const auto one = [&]<class Field>(Field& field) {
        text.put(std::exchange(before, " "));
        write_layout<Field>(text);
        if constexpr (plain_message<T>) {
            text.put("@");
            text.put_number(
                static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(&field) - begin));
        }
    };
    std::apply([&](auto&... fields) { (one(fields), ...); }, tie_fields(place.value));
}

// Where padding is, the fields do not say how far the next element of an array is.
template <plain_message T>
void write_size(type_text& text)
{
    if constexpr (!is_dense<T>()) {
        text.put("/");
        text.put_number(sizeof(T));
    }
}

// What a user has written: by its own layout if it has one, or by its name.
template <class T>
    requires std::is_class_v<T> || std::is_union_v<T>
struct layout_writer<T> {
    static constexpr bool has_name = true;
    static void write(type_text& text)
    {
        if constexpr (requires { std::string_view(codec<T>::layout); })
            text.put(codec<T>::layout);
        else if constexpr (is_plain_message<T>) {
            text.put("opaque:");
            text.put_number(sizeof(T));
        } else if constexpr (plain_message<T> || requires { typename codec<T>::fields; }) {
            text.put("{");
            write_fields<T>(text);
            text.put("}");
            if constexpr (plain_message<T>)
                write_size<T>(text);
        } else {
            text.put("codec:");
            text.put(type_name<T>());
        }
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
