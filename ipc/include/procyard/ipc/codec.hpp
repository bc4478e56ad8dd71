// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CODEC_HPP
#define PROCYARD_IPC_CODEC_HPP

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/plain_message.hpp>

PROCYARD_NAMESPACE_BEGIN

class encoder;
class decoder;

/// How a type becomes the bytes of a message: the customisation point of `channel<T>` and `framed`.
///
/// There is one for plain messages (see plain_message), for std::string, std::vector, std::array,
/// std::optional, std::pair, std::tuple and std::variant of messages, for aggregates of messages,
/// and for std::string_view and std::span of bytes. For a class of your own, specialise it:
/// ```
/// template <>
/// struct procyard::codec<account> {
///     static std::size_t size(const account& a) noexcept
///     {
///         return procyard::encoded_size(a.owner()) + procyard::encoded_size(a.cents());
///     }
///     static void encode(const account& a, procyard::encoder& out)
///     {
///         out.put(a.owner());
///         out.put(a.cents());
///     }
///     static bool decode(procyard::decoder& in, account& a)  // false: these bytes are none
///     {
///         std::string owner;
///         std::int64_t cents = 0;
///         if (!in.get(owner) || !in.get(cents))
///             return false;
///         a = account(owner, cents);
///         return true;
///     }
///     static constexpr std::string_view layout = "{str i64}";  // optional; for the handshake
/// };
/// ```
/// `size` is what `encode` writes, to the byte. `decode` takes from a decoder, which has no more to
/// give than the message is long, so that no codec can read beyond it. A string_view or a span that
/// is decoded refers to the message's bytes: see borrows_message. A type that contains itself (a
/// tree) needs a codec of its own; 64 levels are decoded, and no more.
template <class T>
struct codec;

namespace detail {

template <class T>
concept has_encoder = requires(const T& value, encoder& out) {
    { codec<T>::size(value) } -> std::convertible_to<std::size_t>;
    codec<T>::encode(value, out);
};
template <class T>
concept has_decoder = requires(decoder& in, T& value) {
    { codec<T>::decode(in, value) } -> std::same_as<bool>;
};

}  // namespace detail

/// What can be sent.
template <class T>
concept encodable_message = std::is_object_v<T> && detail::has_encoder<T>;
/// What can be received, into a value that was made without arguments. Of those that are supplied,
/// only a std::span of mutable bytes cannot: it arrives as one of const bytes, or as a std::vector.
template <class T>
concept decodable_message =
    std::is_object_v<T> && std::default_initializable<T> && detail::has_decoder<T>;
/// What can be sent and received.
template <class T>
concept message = encodable_message<T> && decodable_message<T>;

/// The bytes that each message of the type has, or 0 when they differ from one to the next.
template <class T>
inline constexpr std::size_t fixed_bytes = [] {
    if constexpr (requires { codec<T>::fixed_bytes; })
        return std::size_t{codec<T>::fixed_bytes};
    else
        return std::size_t{0};
}();

/// Whether what is decoded refers to the bytes it was decoded from, as std::string_view does: it
/// is valid as long as they are. Specialise it for a class of your own that does.
template <class T>
inline constexpr bool borrows_message = [] {
    if constexpr (requires { codec<T>::borrows; })
        return bool{codec<T>::borrows};
    else
        return false;
}();

/// What a handshake calls a type. Empty, unless specialised: the type's own name, without its
/// namespaces and template arguments, since compilers spell those in different ways.
/// @par Example   `template <> inline constexpr std::string_view procyard::message_name<tick> =
///                "market.tick";`
template <class T>
inline constexpr std::string_view message_name = {};

/// The version of what a type means. Raise it when the fields stay and their meaning does not: a
/// peer with another version is refused. It counts wherever the type is a part of a message, too.
/// @par Example   `template <> inline constexpr unsigned procyard::schema_version<tick> = 2;`
template <class T>
inline constexpr unsigned schema_version = 0;

/// Where the bytes of a message are put. What does not fit is not written, and remembered.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
class encoder {
public:
    explicit encoder(std::span<std::byte> out) noexcept : out_(out) { }

    /// Writes a value by its codec.
    template <encodable_message T>
    void put(const T& value)
    {
        codec<T>::encode(value, *this);
    }
    /// Writes bytes as they are, without their number.
    void put_bytes(std::span<const std::byte> bytes) noexcept
    {
        if (auto* to = take(bytes.size()); to != nullptr && !bytes.empty())
            std::memcpy(to, bytes.data(), bytes.size());
    }
    /// Writes a number of things that follow; 2^32 of them are too many.
    void put_length(std::size_t n) noexcept
    {
        if (n > std::numeric_limits<std::uint32_t>::max())
            fail();
        const auto length = static_cast<std::uint32_t>(n);
        if (auto* to = take(sizeof length))
            std::memcpy(to, &length, sizeof length);
    }
    /// The next `n` bytes, to be written by the caller; null when there are not as many.
    [[nodiscard]] std::byte* take(std::size_t n) noexcept
    {
        if (n > out_.size())
            fail();
        if (failed_)
            return nullptr;
        auto* const to = out_.data();
        out_ = out_.subspan(n);
        return to;
    }
    /// The value is none that can be sent.
    void fail() noexcept { failed_ = true; }

    [[nodiscard]] bool failed() const noexcept { return failed_; }
    [[nodiscard]] std::size_t remaining() const noexcept { return out_.size(); }

private:
    std::span<std::byte> out_;
    bool failed_ = false;
};

/// Where the bytes of a message are taken from. They may come from a hostile peer, and even change
/// while they are decoded: each is read once, and none beyond the end.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
class decoder {
public:
    /// How deep messages may lie in one another; a peer must not be able to exhaust our stack.
    static constexpr int max_depth = 64;

    explicit decoder(std::span<const std::byte> in) noexcept : in_(in) { }

    /// Reads a value by its codec. False: the bytes are none, and `value` is valid but unspecified.
    template <decodable_message T>
    [[nodiscard]] bool get(T& value)
    {
        if constexpr (plain_message<T>)
            return codec<T>::decode(*this, value);
        else {
            if (depth_ == max_depth)
                return false;
            ++depth_;
            const bool good = codec<T>::decode(*this, value);
            --depth_;
            return good;
        }
    }
    /// The next `n` bytes, where they are; false when there are not as many.
    [[nodiscard]] bool get_bytes(std::size_t n, std::span<const std::byte>& bytes) noexcept
    {
        if (n > in_.size())
            return false;
        bytes = in_.first(n);
        in_ = in_.subspan(n);
        return true;
    }
    /// A number of things that follow, each of `each_bytes` or more; false when there is no room
    /// for as many. So a length is no reason to allocate more than what has come can fill.
    [[nodiscard]] bool get_length(std::size_t& n, std::size_t each_bytes = 1) noexcept
    {
        std::uint32_t length = 0;
        std::span<const std::byte> bytes;
        if (!get_bytes(sizeof length, bytes))
            return false;
        std::memcpy(&length, bytes.data(), sizeof length);
        // What is checked must be what is used: the compiler may not read it again.
        asm volatile("" : "+r"(length));
        n = length;
        return n <= in_.size() / (each_bytes == 0 ? 1 : each_bytes);
    }
    /// One byte, read once.
    [[nodiscard]] bool get_byte(unsigned& value) noexcept
    {
        std::span<const std::byte> bytes;
        if (!get_bytes(1, bytes))
            return false;
        value = std::to_integer<unsigned>(bytes.front());
        asm volatile("" : "+r"(value));
        return true;
    }
    [[nodiscard]] std::size_t remaining() const noexcept { return in_.size(); }

private:
    std::span<const std::byte> in_;
    int depth_ = 0;
};

/// Plain messages: their bytes.
template <plain_message T>
struct codec<T> {
    static constexpr std::size_t fixed_bytes = sizeof(T);
    static std::size_t size(const T&) noexcept { return sizeof(T); }
    static void encode(const T& value, encoder& out) noexcept
    {
        if (auto* const to = out.take(sizeof(T)))
            detail::write_plain(value, to);
    }
    static bool decode(decoder& in, T& value) noexcept
    {
        std::span<const std::byte> bytes;
        return in.get_bytes(sizeof(T), bytes) && detail::read_plain(bytes.data(), value);
    }
};

/// How many bytes encode_message() will write.
/// @par Cost   None for a type with fixed_bytes; else a look at each string and vector in it.
template <encodable_message T>
[[nodiscard]] std::size_t encoded_size(const T& value) noexcept
{
    return codec<T>::size(value);
}

/// Writes a message into `out`, which has encoded_size(value) bytes. False when it cannot be sent:
/// a string or vector with 2^32 elements, a variant without a value, or a codec whose size() is
/// wrong. `out` is unspecified then.
template <encodable_message T>
[[nodiscard]] bool encode_message(const T& value, std::span<std::byte> out)
{
    encoder to(out);
    to.put(value);
    return !to.failed() && to.remaining() == 0;
}

/// Reads a message out of `in`, which it fills to the last byte. False: the bytes are none, and
/// `value` is valid but unspecified.
/// @par Cost   Allocates what the strings and vectors of `value` need, and never for more elements
///             than `in` has bytes.
template <decodable_message T>
[[nodiscard]] bool decode_message(std::span<const std::byte> in, T& value)
{
    decoder from(in);
    return from.get(value) && from.remaining() == 0;
}

PROCYARD_NAMESPACE_END

// IWYU pragma: begin_exports
#include <procyard/ipc/detail/message_flaw.hpp>
#include <procyard/ipc/detail/standard_codecs.hpp>
// IWYU pragma: end_exports

#endif
