// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_BROADCAST_OPERATIONS_HPP
#define PROCYARD_IPC_DETAIL_BROADCAST_OPERATIONS_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/broadcast_reader_core.hpp>
#include <procyard/ipc/detail/broadcast_writer_core.hpp>
#include <procyard/ipc/detail/message_transport.hpp>
#include <procyard/ipc/detail/operation_line.hpp>
#include <procyard/ipc/detail/record_ring.hpp>

// A message's way into a broadcast and out of it, and the operations that wait for it.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// --- without waiting ----------------------------------------------------------------------------

/// Messages of one length lie in cells, as far apart as a channel's.
template <class T>
struct broadcast_cells {
    static constexpr std::size_t stride = cell_transport<T>::stride;

    [[nodiscard]] static ring_shape shape(std::uint64_t messages, std::uint64_t bytes) noexcept
    {
        auto made = cell_transport<T>::shape(messages, bytes);
        if (made.unit_count == 1)
            made.unit_count = 2;  // while one is written, the last one is there
        return made;
    }

    /// Written, and not published. @par Errors   As broadcaster::try_send.
    static error_code put(broadcast_writer_core& core, const T& value, std::uint64_t& wanted)
    {
        wanted = 1;
        if (const auto ec = core.find_room(1))
            return ec;
        if constexpr (stride != fixed_bytes<T>)
            std::memset(core.scratch() + stride - 8, 0, 8);
        if (!encode_message(value, {core.scratch(), fixed_bytes<T>}))
            return channel_errc::bad_message;
        core.claim_cells(1);
        const auto at = ring_offset(core.side().position(), core.side().capacity()) * stride;
        copy_in(core.units() + at, core.scratch(), stride);
        core.advance(1);
        return {};
    }
    static error_code look(broadcast_reader_core& core, std::span<const std::byte>& bytes)
    {
        const auto ec = core.look_at_cell(bytes);
        bytes = bytes.first(ec ? 0 : fixed_bytes<T>);
        return ec;
    }
};

/// Others in records, with their number.
template <class T>
struct broadcast_records {
    [[nodiscard]] static ring_shape shape(std::uint64_t messages, std::uint64_t bytes) noexcept
    {
        return record_transport<T>::shape(messages, bytes);
    }

    static error_code put(broadcast_writer_core& core, const T& value, std::uint64_t& wanted)
    {
        const auto length = encoded_size(value);
        const auto capacity = core.side().capacity();
        wanted = 0;
        if (length > longest_broadcast(capacity))
            return channel_errc::too_long;
        const auto numbered = sizeof(std::uint64_t) + length;
        const auto place = place_record(core.side().position(), capacity, capacity, numbered);
        const auto taken = record_bytes(numbered);
        wanted = place.padding + taken;
        if (const auto ec = core.find_room(wanted))
            return ec;
        const record_header header{static_cast<std::uint32_t>(numbered),
                                   static_cast<std::uint32_t>(record_kind::data)};
        const auto number = core.next_number();
        auto* const scratch = core.scratch();
        std::memset(scratch + taken - 8, 0, 8);  // what comes after the payload
        std::memcpy(scratch, &header, sizeof header);
        std::memcpy(scratch + sizeof header, &number, sizeof number);
        if (!encode_message(value, {scratch + numbered_header_bytes, length}))
            return channel_errc::bad_message;
        core.claim_records(wanted);
        if (place.padding != 0)
            pad(core, place.padding);
        copy_in(core.units() + place.offset, scratch, static_cast<std::size_t>(taken));
        core.advance(wanted);
        return {};
    }
    static error_code look(broadcast_reader_core& core, std::span<const std::byte>& bytes)
    {
        return core.look_at_record(bytes);
    }

private:
    static void pad(broadcast_writer_core& core, std::uint64_t padding) noexcept
    {
        const record_header header{static_cast<std::uint32_t>(padding - sizeof(record_header)),
                                   static_cast<std::uint32_t>(record_kind::padding)};
        std::uint64_t word = 0;
        std::memcpy(&word, &header, sizeof header);
        const auto at = ring_offset(core.side().position(), core.side().capacity());
        copy_in(core.units() + at, reinterpret_cast<const std::byte*>(&word), sizeof word);
    }
};

template <class T>
using broadcast_transport =
    std::conditional_t<fixed_bytes<T> != 0, broadcast_cells<T>, broadcast_records<T>>;

template <class T>
[[nodiscard]] broadcast_terms broadcast_terms_of(const broadcast_options& options)
{
    broadcast_terms terms;
    const auto& type = describe<T>();
    terms.shape = broadcast_transport<T>::shape(options.capacity_messages, options.capacity_bytes);
    terms.shape.type = type.fingerprint;
    terms.type = &type;
    terms.spin = options.spin;
    return terms;
}

/// Wakes the readers at the end, once, also when a codec throws in the middle.
class wake_at_end {
public:
    explicit wake_at_end(broadcast_writer_core& core) noexcept : core_(core) { }
    wake_at_end(const wake_at_end&) = delete;
    wake_at_end& operator=(const wake_at_end&) = delete;
    ~wake_at_end() { core_.wake_readers(); }

private:
    broadcast_writer_core& core_;
};

template <class T>
error_code broadcast_now(broadcast_writer_core& core, const T& message, std::uint64_t& wanted)
{
    const auto ec = broadcast_transport<T>::put(core, message, wanted);
    if (!ec) {
        core.publish();
        core.wake_readers();
    }
    return ec;
}

template <class T>
std::size_t broadcast_some_now(broadcast_writer_core& core, std::span<const T> messages,
                               error_code& ec)
{
    ec.clear();
    const wake_at_end waking(core);
    std::size_t sent = 0;
    for (std::uint64_t wanted = 0; sent < messages.size(); ++sent) {
        ec = broadcast_transport<T>::put(core, messages[sent], wanted);
        if (ec)
            break;
        // Each by itself: there may be more of them than the ring has room for.
        core.publish();
    }
    return sent;
}

/// The next message, passed and not published.
template <class T>
error_code take_broadcast(broadcast_reader_core& core, T& message)
{
    std::span<const std::byte> bytes;
    if (const auto ec = broadcast_transport<T>::look(core, bytes))
        return ec;
    if (!decode_message(bytes, message)) [[unlikely]] {
        core.fail(channel_errc::bad_message);
        return channel_errc::bad_message;
    }
    core.pass();
    return {};
}

template <class T>
error_code receive_broadcast_now(broadcast_reader_core& core, T& message)
{
    const auto ec = take_broadcast(core, message);
    if (!ec)
        core.publish();
    return ec;
}

/// Lets the writer know at the end, once, also when a codec throws in the middle.
class publish_at_end {
public:
    explicit publish_at_end(broadcast_reader_core& core) noexcept : core_(core) { }
    publish_at_end(const publish_at_end&) = delete;
    publish_at_end& operator=(const publish_at_end&) = delete;
    ~publish_at_end() { core_.publish(); }

private:
    broadcast_reader_core& core_;
};

template <class T>
std::size_t receive_broadcast_some_now(broadcast_reader_core& core, std::span<T> messages,
                                       error_code& ec)
{
    ec.clear();
    const publish_at_end publishing(core);
    std::size_t received = 0;
    for (; received < messages.size(); ++received) {
        ec = take_broadcast(core, messages[received]);
        if (ec)
            break;
    }
    // What comes after them is told when they have been looked at; a loss cannot wait, since it is
    // told once.
    if (received > 0 && ec != channel_errc::lapped)
        ec.clear();
    return received;
}

// --- waiting ------------------------------------------------------------------------------------

template <class T>
class broadcast_operation final : public line_operation_of<broadcast_writer_core> {
public:
    broadcast_operation(broadcast_writer_core& core, handler_type handler, T&& message)
        : line_operation_of(core, std::move(handler)),
          message_(std::move(message))
    {
        wanted = 0;  // what can never go through is told in the first turn, and does not wait
        if constexpr (fixed_bytes<T> != 0)
            wanted = 1;
    }

    progress attempt() override { return after(broadcast_now(core_, message_, wanted)); }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = take_handler();
        const auto ec = instead ? instead : ec_;
        self.reset();
        std::move(handler)(ec);
    }

private:
    T message_;
};

template <class T>
class receive_broadcast_operation final : public line_operation_of<broadcast_reader_core, T> {
    using base = line_operation_of<broadcast_reader_core, T>;

public:
    using base::base;

    channel_operation::progress attempt() override
    {
        return base::after(receive_broadcast_now(base::core_, message_));
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = base::take_handler();
        const auto ec = instead ? instead : base::ec_;
        T message = std::move(message_);
        self.reset();
        std::move(handler)(ec, std::move(message));
    }

private:
    T message_{};
};

/// There is something, or the broadcast has ended.
class wait_for_broadcast final : public line_operation_of<broadcast_reader_core> {
public:
    using line_operation_of::line_operation_of;

    progress attempt() override { return after(core_.find_any()); }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = take_handler();
        const auto ec = instead ? instead : ec_;
        self.reset();
        std::move(handler)(ec);
    }
};

template <class T>
struct initiate_broadcast {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<broadcast_writer_core>& core,
                    T message) const
    {
        start_in_line<broadcast_operation<T>>(core, std::move(handler), std::move(message));
    }
};

template <class T>
struct initiate_receive_broadcast {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<broadcast_reader_core>& core) const
    {
        start_in_line<receive_broadcast_operation<T>>(core, std::move(handler));
    }
};

struct initiate_wait_for_broadcast {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<broadcast_reader_core>& core) const
    {
        start_in_line<wait_for_broadcast>(core, std::move(handler));
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
