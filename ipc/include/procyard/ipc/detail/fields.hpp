// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_FIELDS_HPP
#define PROCYARD_IPC_DETAIL_FIELDS_HPP

#include <boost/preprocessor/repetition/enum.hpp>
#include <boost/preprocessor/repetition/enum_params.hpp>
#include <boost/preprocessor/repetition/repeat_from_to.hpp>

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include <procyard/ipc/config.hpp>

// The fields of an aggregate, from outside.
//
// Rejected: Boost.PFR, which counts the elements of a C array as fields and cannot take such an
// aggregate apart then; `char name[16]` is what messages are made of. Here each field is counted as
// one pair of braces, which starts an array as well as anything else.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// An aggregate of more fields is not looked into.
inline constexpr std::size_t most_fields = 64;

// Not std::array, and whatever else structured bindings take for a tuple.
template <class T>
concept aggregate_class =
    std::is_class_v<T> && std::is_aggregate_v<T> && !requires { std::tuple_size<T>::value; };

template <class T>
struct any_base_of {
    template <class Base>
        requires(std::is_base_of_v<Base, T> && !std::is_same_v<Base, T>)
    operator Base() const;
};

/// Bases are elements of an aggregate too, and no structured binding names them.
template <class T>
inline constexpr bool has_base = requires { T{any_base_of<T>{}}; };

// NOLINTBEGIN(bugprone-macro-parentheses): parts of a list of initializers and of a sum
#define PROCYARD_DETAIL_BRACES(z, n, unused)                                                       \
    {                                                                                              \
    }
#define PROCYARD_DETAIL_COUNT(z, n, unused)                                                        \
    +std::size_t                                                                                   \
    {                                                                                              \
        requires { T{BOOST_PP_ENUM_##z(n, PROCYARD_DETAIL_BRACES, ~)}; }                           \
    }

// NOLINTEND(bugprone-macro-parentheses)

/// How many fields, `most_fields + 1` when more. Bases count.
template <aggregate_class T>
consteval std::size_t count_fields()
{
    return 0 BOOST_PP_REPEAT_FROM_TO(1, 66, PROCYARD_DETAIL_COUNT, ~);
}

#undef PROCYARD_DETAIL_COUNT
#undef PROCYARD_DETAIL_BRACES

template <class T>
inline constexpr std::size_t field_count = count_fields<std::remove_cv_t<T>>();

/// Whether tie_fields() can take it apart. A class with a field that braces cannot start, such as a
/// reference, cannot be started from braces at all: its count is that of an empty one.
template <class T>
concept has_fields = aggregate_class<T> && !has_base<T> && field_count<T> <= most_fields
    && (field_count<T> != 0 || std::is_empty_v<T>);

// NOLINTBEGIN(bugprone-macro-parentheses): a declaration of names
#define PROCYARD_DETAIL_TIE(z, n, unused)                                                          \
    else if constexpr (count == n)                                                                 \
    {                                                                                              \
        auto& [BOOST_PP_ENUM_PARAMS_Z(z, n, field)] = value;                                       \
        return std::tie(BOOST_PP_ENUM_PARAMS_Z(z, n, field));                                      \
    }

// NOLINTEND(bugprone-macro-parentheses)

/// References to all fields, in order.
template <class T>
    requires has_fields<std::remove_cv_t<T>>
constexpr auto tie_fields(T& value) noexcept
{
    constexpr auto count = field_count<T>;
    if constexpr (count == 0)
        return std::tuple<>();
    BOOST_PP_REPEAT_FROM_TO(1, 65, PROCYARD_DETAIL_TIE, ~)
}

#undef PROCYARD_DETAIL_TIE

template <class Tuple>
struct without_references;
template <class... Fields>
struct without_references<std::tuple<Fields&...>> {
    using type = std::tuple<std::type_identity<Fields>...>;
};

/// `std::tuple<std::type_identity<Field>...>`, so that arrays can be among them.
template <class T>
using field_types = typename without_references<decltype(tie_fields(std::declval<T&>()))>::type;

/// Calls `f` with a type_identity of each field, and tells whether all answers were true.
template <class T, class F>
constexpr bool all_field_types(F f)
{
    return std::apply([&](auto... fields) { return (f(fields) && ...); }, field_types<T>());
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
