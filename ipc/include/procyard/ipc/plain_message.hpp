// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_PLAIN_MESSAGE_HPP
#define PROCYARD_IPC_PLAIN_MESSAGE_HPP

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <tuple>
#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/fields.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Vouches for a trivially copyable class that cannot be looked into (private members, a base, a
/// union, bit-fields, more than 64 fields), so that it is sent as its bytes are.
///
/// Whoever sets it says three things that nobody can check then: there is no pointer in it; every
/// pattern of bits is a value, since a peer may send any; and it has no padding, which would carry
/// bytes of this process to the other. If one of them does not hold, write a codec instead.
/// @par Example
/// ```
/// template <>
/// inline constexpr bool procyard::is_plain_message<money> = true;
/// ```
template <class T>
inline constexpr bool is_plain_message = false;

namespace detail {

// Why a type cannot be sent as its bytes are.
enum class plain_flaw : std::uint8_t {
    none,
    pointer,
    constant,
    loose_enum,
    not_trivially_copyable,
    union_,
    opaque,
    base,
    too_many_fields,
};

template <class T>
struct wrapped {
    static constexpr bool found = false;
};
template <class Element, std::size_t N>
struct wrapped<Element[N]> {
    static constexpr bool found = true;
    using type = Element;
};
template <class Element, std::size_t N>
struct wrapped<std::array<Element, N>> {
    static constexpr bool found = N != 0;
    using type = Element;
};
template <class Rep, class Period>
struct wrapped<std::chrono::duration<Rep, Period>> {
    static constexpr bool found = true;
    using type = Rep;
};
template <class Clock, class Duration>
struct wrapped<std::chrono::time_point<Clock, Duration>> {
    static constexpr bool found = true;
    using type = Duration;
};

template <class T>
inline constexpr bool is_address = std::is_pointer_v<T> || std::is_member_pointer_v<T>
    || std::is_null_pointer_v<T> || std::is_reference_v<T> || std::is_function_v<T>;

// Only an enumeration of a fixed type can be started from braces; it has every value of that type.
template <class Enum>
inline constexpr bool has_fixed_type = requires { Enum{std::underlying_type_t<Enum>{}}; };

template <class T>
consteval plain_flaw find_plain_flaw();

template <class T>
consteval plain_flaw find_class_flaw()
{
    if constexpr (!std::is_trivially_copyable_v<T>)
        return plain_flaw::not_trivially_copyable;
    else if constexpr (!std::is_aggregate_v<T>)
        // NOLINTNEXTLINE(bugprone-branch-clone): what comes next cannot be asked of such a class
        return plain_flaw::opaque;
    else if constexpr (has_base<T>)
        return plain_flaw::base;
    else if constexpr (field_count<T> > most_fields)
        return plain_flaw::too_many_fields;
    else if constexpr (!has_fields<T>)
        return plain_flaw::opaque;
    else {
        auto flaw = plain_flaw::none;
        all_field_types<T>([&]<class Field>(std::type_identity<Field>) {
            flaw = find_plain_flaw<Field>();
            return flaw == plain_flaw::none;
        });
        return flaw;
    }
}

template <class T>
consteval plain_flaw find_plain_flaw()
{
    if constexpr (is_address<T>)
        return plain_flaw::pointer;
    else if constexpr (std::is_const_v<T> || std::is_volatile_v<T>)
        return plain_flaw::constant;
    else if constexpr (is_plain_message<T>)
        return std::is_trivially_copyable_v<T> ? plain_flaw::none
                                               : plain_flaw::not_trivially_copyable;
    else if constexpr (std::is_arithmetic_v<T>)
        return plain_flaw::none;
    else if constexpr (std::is_enum_v<T>)
        return has_fixed_type<T> ? plain_flaw::none : plain_flaw::loose_enum;
    else if constexpr (wrapped<T>::found)
        return find_plain_flaw<typename wrapped<T>::type>();
    else if constexpr (std::is_union_v<T>)
        return plain_flaw::union_;
    else if constexpr (std::is_class_v<T>)
        return find_class_flaw<T>();
    else
        return plain_flaw::opaque;
}

template <class T>
inline constexpr auto plain_flaw_of = find_plain_flaw<T>();

}  // namespace detail

/// What is sent as its bytes are: arithmetic types, enumerations of a fixed type, std::chrono's
/// durations and time points, arrays and aggregates of those, and what is_plain_message vouches
/// for. No pointer or reference, at any depth.
///
/// Padding is sent as zeros, and so shows nothing; a type without padding is copied in one piece. A
/// bool that is neither 0 nor 1 is refused by whoever receives it. Bytes stand in the order of this
/// machine, which the handshake compares.
template <class T>
concept plain_message = detail::plain_flaw_of<T> == detail::plain_flaw::none;

namespace detail {

// x87's long double has 10 bytes and 6 of padding.
template <class T>
inline constexpr bool is_padded_float =
    std::is_same_v<T, long double> && std::numeric_limits<long double>::digits == 64;
inline constexpr std::size_t padded_float_bytes = 10;

/// No padding: every byte is a part of the value.
template <plain_message T>
consteval bool is_dense()
{
    if constexpr (is_plain_message<T>)
        // NOLINTNEXTLINE(bugprone-branch-clone): vouched for, whatever it looks like
        return true;
    else if constexpr (is_padded_float<T>)
        return false;
    else if constexpr (wrapped<T>::found)
        return is_dense<typename wrapped<T>::type>();
    else if constexpr (std::is_class_v<T>) {
        std::size_t sum = 0;
        const bool dense = all_field_types<T>([&]<class Field>(std::type_identity<Field>) {
            sum += sizeof(Field);
            return is_dense<Field>();
        });
        return dense && sum == sizeof(T);
    } else
        return true;
}

/// Every pattern of bits is a value.
template <plain_message T>
consteval bool is_total()
{
    if constexpr (is_plain_message<T>)
        return true;
    else if constexpr (std::is_enum_v<T>)
        return is_total<std::underlying_type_t<T>>();
    else if constexpr (wrapped<T>::found)
        return is_total<typename wrapped<T>::type>();
    else if constexpr (std::is_class_v<T>)
        return all_field_types<T>(
            []<class Field>(std::type_identity<Field>) { return is_total<Field>(); });
    else
        return !std::is_same_v<T, bool>;
}

/// Calls `f` for each part that has no parts itself, or whose parts need not be told apart (`Whole`
/// says so of a type), with its place in `whole`.
template <template <class> class Whole, class T, class F>
void for_each_leaf(const T& part, const void* whole, F&& f)
{
    if constexpr (Whole<T>::value) {
        const auto offset =
            reinterpret_cast<const std::byte*>(&part) - static_cast<const std::byte*>(whole);
        f(part, static_cast<std::size_t>(offset));
    } else if constexpr (wrapped<T>::found) {
        for (const auto& element : part)
            for_each_leaf<Whole>(element, whole, f);
    } else
        std::apply([&](const auto&... fields) { (for_each_leaf<Whole>(fields, whole, f), ...); },
                   tie_fields(part));
}

// A duration has no padding unless it counts in long double; then it is copied with it.
template <class T>
struct dense_or_leaf
    : std::bool_constant<is_dense<T>() || !(std::is_array_v<T> || aggregate_class<T>)> { };

// Of what cannot be invalid as well: nothing is there to be looked at.
template <class T>
struct total_or_leaf
    : std::bool_constant<is_total<T>() || !(std::is_array_v<T> || aggregate_class<T>)> { };

/// The bytes of a value, with zeros for its padding. `out` has sizeof(T) bytes, of any alignment.
template <plain_message T>
void write_plain(const T& value, std::byte* out) noexcept
{
    if constexpr (is_dense<T>())
        std::memcpy(out, &value, sizeof(T));
    else {
        std::memset(out, 0, sizeof(T));
        for_each_leaf<dense_or_leaf>(
            value, &value, [out]<class Leaf>(const Leaf& leaf, std::size_t offset) {
                constexpr auto size = is_dense<Leaf>() ? sizeof(Leaf) : padded_float_bytes;
                std::memcpy(out + offset, &leaf, size);
            });
    }
}

/// The value of sizeof(T) bytes at `in`, of any alignment; false when they are none, and `value` is
/// zero then. The bytes are read once: they may change meanwhile.
template <plain_message T>
[[nodiscard]] bool read_plain(const std::byte* in, T& value) noexcept
{
    std::memcpy(static_cast<void*>(&value), in, sizeof(T));
    if constexpr (is_total<T>())
        return true;
    else {
        // The check must look at the copy: the compiler may not read `in` again for it.
        asm volatile("" : : "r"(&value) : "memory");
        bool good = true;
        for_each_leaf<total_or_leaf>(value, &value,
                                     [&good]<class Leaf>(const Leaf& leaf, std::size_t) {
                                         if constexpr (!is_total<Leaf>()) {
                                             unsigned char bits = 0;
                                             std::memcpy(&bits, &leaf, 1);
                                             good = good && bits <= 1;
                                         }
                                     });
        if (!good)
            std::memset(static_cast<void*>(&value), 0, sizeof(T));
        return good;
    }
}

// The sentence for a flaw, as an error of the compiler.
template <plain_flaw Flaw>
consteval bool explain_flaw()
{
    static_assert(Flaw != plain_flaw::pointer,
                  "this type holds a pointer or a reference, which means nothing in another "
                  "process: send what it points to");
    static_assert(Flaw != plain_flaw::constant,
                  "this type has a const or volatile field, which cannot be received");
    static_assert(Flaw != plain_flaw::loose_enum,
                  "this type holds an enumeration without a fixed type, of which a peer could send "
                  "an invalid value: declare it `enum name : int`");
    static_assert(Flaw != plain_flaw::not_trivially_copyable,
                  "this type, or one of its fields (a std::string, a std::vector, a class with a "
                  "virtual function), is not trivially copyable and cannot be sent as its bytes "
                  "are: use fixed arrays");
    static_assert(Flaw != plain_flaw::union_,
                  "this type holds a union, and nobody can tell which member is meant: use "
                  "std::variant, or vouch for it with procyard::is_plain_message");
    static_assert(
        Flaw != plain_flaw::opaque,
        "this type, or one of its fields, is a class that cannot be looked into (private "
        "members, references, constructors, virtual functions): specialise procyard::codec for it, "
        "or vouch for it with procyard::is_plain_message");
    static_assert(Flaw != plain_flaw::base,
                  "this type has a base and cannot be looked into: make the base a field, or vouch "
                  "for it with procyard::is_plain_message");
    static_assert(Flaw != plain_flaw::too_many_fields,
                  "this type has more than 64 fields: group them, or vouch for it with "
                  "procyard::is_plain_message");
    return Flaw == plain_flaw::none;
}

/// Does not compile for what is no plain message, and says why.
template <class T>
consteval bool require_plain()
{
    return explain_flaw<plain_flaw_of<T>>();
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
