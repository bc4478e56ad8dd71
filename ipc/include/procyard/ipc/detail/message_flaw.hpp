// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_MESSAGE_FLAW_HPP
#define PROCYARD_IPC_DETAIL_MESSAGE_FLAW_HPP

#include <concepts>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/fields.hpp>
#include <procyard/ipc/plain_message.hpp>

// Why a type is no message, in a sentence of the compiler.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a standard class is made of, for the sentence about it.
template <class T>
struct made_of {
    static constexpr bool found = false;
};
template <class... Parts>
struct made_of_parts {
    static constexpr bool found = true;
    using types = std::tuple<std::type_identity<Parts>...>;
};
template <class T>
struct made_of<std::vector<T>> : made_of_parts<T> { };
template <class T>
struct made_of<std::optional<T>> : made_of_parts<T> { };
template <class A, class B>
struct made_of<std::pair<A, B>> : made_of_parts<A, B> { };
template <class... Elements>
struct made_of<std::tuple<Elements...>> : made_of_parts<Elements...> { };
template <class... Alternatives>
struct made_of<std::variant<Alternatives...>> : made_of_parts<Alternatives...> { };
template <class T>
    requires wrapped<T>::found
struct made_of<T> : made_of_parts<typename wrapped<T>::type> { };
template <has_fields T>
    requires(!wrapped<T>::found)
struct made_of<T> {
    static constexpr bool found = true;
    using types = field_types<T>;
};

// Of a type without a codec, the first thing in it that has none either.
template <class T>
consteval plain_flaw find_message_flaw()
{
    if constexpr (encodable_message<T>)
        return plain_flaw::none;
    else if constexpr (made_of<T>::found) {
        auto flaw = plain_flaw::none;
        std::apply(
            [&]<class... Part>(std::type_identity<Part>...) {
                ((flaw == plain_flaw::none && (flaw = find_message_flaw<Part>(), true)) && ...);
            },
            typename made_of<T>::types());
        return flaw == plain_flaw::none ? plain_flaw::opaque : flaw;
    } else if constexpr (aggregate_class<T> && has_base<T>)
        return plain_flaw::base;
    else if constexpr (plain_flaw_of<T> == plain_flaw::not_trivially_copyable)
        return plain_flaw::opaque;
    else
        return plain_flaw_of<T>;
}

/// Does not compile for what cannot be sent, and says why.
template <class T>
consteval bool require_encodable()
{
    if constexpr (encodable_message<T>)
        return true;
    else
        return explain_flaw<find_message_flaw<T>()>();
}

/// Does not compile for what is no message, and says why.
template <class T>
consteval bool require_message()
{
    if constexpr (encodable_message<T>)
        static_assert(std::default_initializable<T>,
                      "this type can be sent and not be received: it has no constructor without "
                      "arguments");
    if constexpr (encodable_message<T> && std::default_initializable<T>)
        static_assert(decodable_message<T>,
                      "this type can be sent and not be received: a span of mutable bytes arrives "
                      "as std::span<const std::byte>, or as a std::vector");
    return require_encodable<T>();
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
