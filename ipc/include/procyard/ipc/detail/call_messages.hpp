// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CALL_MESSAGES_HPP
#define PROCYARD_IPC_DETAIL_CALL_MESSAGES_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/frame_buffer.hpp>
#include <procyard/ipc/framed_error.hpp>
#include <procyard/ipc/type_description.hpp>

// What callers and responders say to each other, in frames.
//
//     caller      0 | id | patience | request …     a call; the time that it has, in ns
//                 1 | id                            nobody waits for it any more
//     responder   0 | id | reply …                  \.
//                 1 | id | code | text               > one of these for each call, cancelled or not
//                 2 | id                            /
//                 3 | limit                         the first message: how many calls may be open
//
// One byte, then u64, u32 for the limit, i32 for the code, in the order of this machine; all
// unaligned. Numbers of calls begin with 1 and go up.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

template <class Request>
struct call_start {
    std::uint64_t id = 0;
    std::uint64_t patience_ns = 0;
    Request request{};
};
struct call_withdrawal {
    std::uint64_t id = 0;
};
template <class Request>
using question = std::variant<call_start<Request>, call_withdrawal>;

template <class Reply>
struct call_reply {
    std::uint64_t id = 0;
    Reply reply{};
};
struct call_refusal {
    std::uint64_t id = 0;
    std::int32_t code = 0;
    std::string text;
};
struct call_dropped {
    std::uint64_t id = 0;
};
struct call_limit {
    std::uint32_t calls = 0;
};
template <class Reply>
using answer = std::variant<call_reply<Reply>, call_refusal, call_dropped, call_limit>;

inline constexpr std::uint64_t endless_patience = std::numeric_limits<std::uint64_t>::max();

// What is sent refers to the value, which may be large, or none that can be copied.
template <class Request>
struct call_start_view {
    const Request* request;
};
template <class Reply>
struct call_reply_view {
    std::uint64_t id;
    const Reply* reply;
};

/// A frame with the value, to be stamped or sealed, or what is wrong with it.
template <encodable_message T>
std::vector<std::byte> open_frame(const T& value, std::size_t limit, error_code& ec)
{
    const auto size = encoded_size(value);
    ec = size > limit ? make_error_code(framed_errc::too_long) : error_code();
    if (ec)
        return {};
    std::vector<std::byte> frame(frame_header_bytes + size);
    if (!encode_message(value, std::span(frame).subspan(frame_header_bytes))) {
        ec = framed_errc::not_encodable;
        return {};
    }
    return frame;
}

/// Gives a call that waits in its frame what is known only when it is sent, and seals it.
inline void stamp_call(std::span<std::byte> frame, std::uint64_t id, std::uint64_t patience_ns,
                       frame_checksum checksum) noexcept
{
    constexpr std::size_t id_at = frame_header_bytes + 1;
    std::memcpy(frame.data() + id_at, &id, sizeof id);
    std::memcpy(frame.data() + id_at + sizeof id, &patience_ns, sizeof patience_ns);
    seal_frame(frame, frame_kind::message, checksum);
}

/// What is left until the deadline, for the peer: never endless, since there is one.
[[nodiscard]] inline std::uint64_t
patience_until(std::chrono::steady_clock::time_point deadline,
               std::chrono::steady_clock::time_point now) noexcept
{
    if (deadline == std::chrono::steady_clock::time_point::max())
        return endless_patience;
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - now).count();
    return left > 0 ? static_cast<std::uint64_t>(left) : 0;
}

/// When a period ends that may be longer than the clock can count: then never.
[[nodiscard]] inline std::chrono::steady_clock::time_point
deadline_after(std::chrono::steady_clock::time_point now, std::uint64_t ns) noexcept
{
    using clock = std::chrono::steady_clock;
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
                          clock::time_point::max() - std::max(now, clock::time_point{}))
                          .count();
    if (ns >= static_cast<std::uint64_t>(left))
        return clock::time_point::max();
    return now
        + std::chrono::duration_cast<clock::duration>(
               std::chrono::nanoseconds(static_cast<std::int64_t>(ns)));
}

// The fields one after the other. Not what an aggregate has anyway: one of plain fields would be
// sent as it lies in memory, with padding that depends on the request.
template <class Value>
struct layout_writer<call_start<Value>> {
    static void write(type_text& text)
    {
        text.put("{u64 u64 ");
        text.put(type_name<Value>());
        text.put(" ");
        write_layout<Value>(text);
        text.put("}");
    }
};
template <class Value>
struct layout_writer<call_reply<Value>> {
    static void write(type_text& text)
    {
        text.put("{u64 ");
        text.put(type_name<Value>());
        text.put(" ");
        write_layout<Value>(text);
        text.put("}");
    }
};

}  // namespace detail

template <class Value>
struct codec<detail::call_start<Value>> {
    static std::size_t size(const detail::call_start<Value>& c) noexcept
    {
        return sizeof c.id + sizeof c.patience_ns + encoded_size(c.request);
    }
    static void encode(const detail::call_start<Value>& c, encoder& out)
    {
        out.put(c.id);
        out.put(c.patience_ns);
        out.put(c.request);
    }
    static bool decode(decoder& in, detail::call_start<Value>& c)
    {
        return in.get(c.id) && in.get(c.patience_ns) && in.get(c.request);
    }
};
template <class Value>
struct codec<detail::call_reply<Value>> {
    static std::size_t size(const detail::call_reply<Value>& c) noexcept
    {
        return sizeof c.id + encoded_size(c.reply);
    }
    static void encode(const detail::call_reply<Value>& c, encoder& out)
    {
        out.put(c.id);
        out.put(c.reply);
    }
    static bool decode(decoder& in, detail::call_reply<Value>& c)
    {
        return in.get(c.id) && in.get(c.reply);
    }
};

// As the alternatives of question and answer are written.
template <class Value>
struct codec<detail::call_start_view<Value>> {
    static std::size_t size(const detail::call_start_view<Value>& c) noexcept
    {
        return 1 + 2 * sizeof(std::uint64_t) + encoded_size(*c.request);
    }
    static void encode(const detail::call_start_view<Value>& c, encoder& out)
    {
        out.put(std::uint8_t{0});
        out.put(std::uint64_t{0});
        out.put(std::uint64_t{0});
        out.put(*c.request);
    }
};
template <class Value>
struct codec<detail::call_reply_view<Value>> {
    static std::size_t size(const detail::call_reply_view<Value>& c) noexcept
    {
        return 1 + sizeof c.id + encoded_size(*c.reply);
    }
    static void encode(const detail::call_reply_view<Value>& c, encoder& out)
    {
        out.put(std::uint8_t{0});
        out.put(c.id);
        out.put(*c.reply);
    }
};

template <class Request>
inline constexpr std::string_view
    message_name<std::variant<detail::call_start<Request>, detail::call_withdrawal>> = "calls";
template <class Reply>
inline constexpr std::string_view message_name<std::variant<
    detail::call_reply<Reply>, detail::call_refusal, detail::call_dropped, detail::call_limit>> =
    "answers";

PROCYARD_NAMESPACE_END

#endif
