// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_TYPE_DESCRIPTION_HPP
#define PROCYARD_IPC_TYPE_DESCRIPTION_HPP

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/type_layout.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What two processes compare before they exchange messages of a type.
///
/// The layout is a short text, the same whatever compiler and options: fields of a plain message
/// with their places, `{u64@0 f64@8 char[16]@16}`, and the size after it where there is padding,
/// `{char@0 i32@4}/8`; those of another in order, `{str [i32] u8?}`.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_IPC_EXPORT type_description {
    std::string name;
    std::uint64_t size_bytes = 0;  ///< of a message; 0: they differ
    std::uint32_t alignment = 1;   ///< of a plain message's type, else 1
    std::uint32_t version = 0;     ///< schema_version
    bool big_endian = false;       ///< the order of bytes in numbers
    std::string layout;            ///< at most max_text bytes; what is longer ends with "..."
    /// Of all the above, with the layout in full: 64 bits of FNV-1a. Equal in both processes, or
    /// they must not talk. It protects from mistakes, not from a peer that lies; what a liar sends
    /// is checked when it is decoded.
    std::uint64_t fingerprint = 0;

    /// Most bytes of a name, and of a layout as it is shown.
    static constexpr std::size_t max_name = 128;
    static constexpr std::size_t max_text = 1024;
    /// Most bytes of to_bytes().
    static constexpr std::size_t max_bytes = 29 + max_name + max_text;

    /// For the peer. In an order of bytes of its own, so that peers of different orders can tell.
    [[nodiscard]] std::string to_bytes() const;
    /// Of a peer, which may be hostile: false for anything that to_bytes() does not make. Names and
    /// layouts are printable ASCII.
    [[nodiscard]] static bool parse(std::span<const std::byte> bytes, type_description& result);

    /// "tick, 24 bytes {u64@0 f64@8 char[8]@16}"
    [[nodiscard]] std::string to_string() const;

    friend bool operator==(const type_description&, const type_description&) = default;
};

/// One sentence that names both types and what is different first, for who has to mend it. Empty
/// when the fingerprints are equal.
/// @par Example   "here tick, 24 bytes {u64@0 f64@8 i64@16}; there tick, 24 bytes
///                {u64@0 f32@8 i64@16}: field 2 is f64@8 here and f32@8 there"
[[nodiscard]] PROCYARD_IPC_EXPORT std::string explain_difference(const type_description& ours,
                                                                 const type_description& theirs);

/// The description of a type.
/// @par Thread safety   Safe.
/// @par Cost            The first call makes it, each later one returns a reference to it.
template <encodable_message T>
[[nodiscard]] const type_description& describe()
{
    static const type_description made = [] {
        detail::type_text text;
        detail::write_layout<T>(text);
        type_description result;
        result.name = detail::type_name<T>();
        result.size_bytes = fixed_bytes<T>;
        if constexpr (plain_message<T>)
            result.alignment = alignof(T);
        result.version = schema_version<T>;
        detail::finish_description(result, text);
        return result;
    }();
    return made;
}

PROCYARD_NAMESPACE_END

#endif
