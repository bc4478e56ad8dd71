// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_MESSAGE_TRANSPORT_HPP
#define PROCYARD_IPC_DETAIL_MESSAGE_TRANSPORT_HPP

#include <boost/asio/error.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/channel_lease.hpp>
#include <procyard/ipc/detail/record_ring.hpp>

// A message's way into the ring and out of it, without waiting: the channel's hot path. Messages
// of one length lie in cells, others in records.
//
// `put` and `take` publish nothing; the caller does, once for as many as it has.
//
// Each says whether it has done it, and writes `ec` only if not. An error_code that is returned is
// stored in pieces and copied as a whole; no processor forwards that out of its store buffer, so
// the copy waits until the buffer is empty, the position just published included, whose line the
// peer may have: 20 ns per message at best, as much as a full fence.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// After so many units without a sleep an end is busy, and would rather call membarrier before it
/// sleeps than have the peer fence after each message.
inline constexpr std::uint64_t busy_after_cells = 64;
inline constexpr std::uint64_t busy_after_bytes = 64 * 64;

/// A consumer's or producer's first step: how many units it may use without waiting. 0 with an
/// error: would_block, or what has ended the channel. Else `ec` is as it was, or none. Of what must
/// be copied first (overwriting.hpp) so many messages are, at most.
[[nodiscard]] inline std::uint64_t find_room(channel_core& core, std::uint64_t least,
                                             error_code& ec,
                                             std::uint64_t busy_after = busy_after_cells,
                                             std::uint64_t most = 1)
{
    auto& side = core.side();
    if (core.is_usable() && side.room() >= least) [[likely]]
        return side.room();
    ec = core.look_for_room(least, busy_after, most);  // by value: ec need not lie in memory
    return ec ? 0 : side.room();
}

/// What one prefetch brings, or less.
inline constexpr std::size_t line_bytes = 64;

/// A hint. Changes nothing, and needs nothing of the address.
inline void prefetch_to_write(const std::byte* at) noexcept
{
#if defined(__x86_64__)
    // The builtin prefetches to read, unless the compiler is told of a processor that can do
    // otherwise. One that cannot takes this for nothing.
    asm volatile("prefetchw %0" : : "m"(*at));
#else
    __builtin_prefetch(at, 1);
#endif
}

/// 0, which is no shape, for what cannot be.
[[nodiscard]] constexpr std::uint64_t next_power_of_two(std::uint64_t n) noexcept
{
    return n > (std::uint64_t{1} << 62) ? 0 : std::bit_ceil(n);
}

/// Can be written and read where it lies: the cells are an array of it, and whatever a peer writes
/// into them is a value.
template <class T>
concept in_place_message =
    plain_message<T> && is_dense<T>() && is_total<T>() && sizeof(T) % 8 == 0 && alignof(T) <= 4096;

template <class T>
struct cell_transport {
    static constexpr std::uint64_t busy_after = busy_after_cells;

    /// From one cell to the next. Not less than 8, so that a cell's place is aligned; a power of
    /// two it need not be.
    static constexpr std::size_t stride = (fixed_bytes<T> + 7) / 8 * 8;

    [[nodiscard]] static ring_shape shape(std::uint64_t capacity_messages,
                                          std::uint64_t capacity_bytes) noexcept
    {
        const auto asked = capacity_messages != 0 ? capacity_messages : capacity_bytes / stride;
        return {asked == 0 ? 1 : next_power_of_two(asked), stride, 0};
    }

    [[nodiscard]] static std::size_t place(const channel_core& core,
                                           std::uint64_t ahead = 0) noexcept
    {
        const auto& side = core.side();
        return static_cast<std::size_t>(ring_offset(side.position() + ahead, side.capacity()))
            * stride;
    }

    [[nodiscard]] static std::uint64_t until_end(const channel_core& core) noexcept
    {
        const auto& side = core.side();
        return side.capacity() - ring_offset(side.position(), side.capacity());
    }
    /// Calls `copy(done, count)` for each piece of the ring that `wanted` cells lie in, as far as
    /// there is room. How many; if not all, `ec` says why.
    ///
    /// Looks at the peer's position once at most, and takes what it finds: who keeps up with the
    /// peer would look again after each copy, mostly in vain, and take the line from it each time.
    /// But not who drops the oldest, and so has room for everything.
    template <class Copy>
    static std::size_t in_pieces(channel_core& core, std::size_t wanted, error_code& ec, Copy copy)
    {
        std::size_t done = 0;
        bool looked = false;
        while (done < wanted) {
            if (core.side().room() == 0 && std::exchange(looked, true) && !core.overwrites()) {
                ec = asio::error::would_block;
                break;
            }
            if (find_room(core, 1, ec, busy_after_cells, wanted - done) == 0)
                break;
            const auto count = static_cast<std::size_t>(
                std::min({std::uint64_t{wanted - done}, core.side().room(), until_end(core)}));
            copy(done, count);
            core.side().advance(count);
            done += count;
        }
        return done;
    }

    /// Without so much room it does not go through for certain.
    [[nodiscard]] static std::uint64_t needs(const T&) noexcept { return 1; }

    static bool put(channel_core& core, const T& value, std::uint64_t& wanted, error_code& ec)
    {
        wanted = 1;
        if (find_room(core, 1, ec) == 0)
            return false;
        if (!encode_message(value, {core.own_units() + place(core), fixed_bytes<T>})) [[unlikely]] {
            ec = channel_errc::bad_message;
            return false;
        }
        core.side().advance(1);
        fetch_ahead(core);
        return true;
    }

    static bool take(channel_core& core, T& value, error_code& ec)
    {
        if (find_room(core, 1, ec) == 0)
            return false;
        if (!decode_message({core.peer_units() + place(core), fixed_bytes<T>}, value))
            [[unlikely]] {
            ec = channel_errc::bad_message;
            core.fail(ec);
            return false;
        }
        core.side().advance(1);
        return true;
    }

    /// As many as there is room for, by as few copies as the end of the ring allows: a message
    /// costs what its bytes cost. How many; if not all, `ec` says why.
    static std::size_t put_some(channel_core& core, std::span<const T> messages, error_code& ec)
        requires in_place_message<T>
    {
        return in_pieces(core, messages.size(), ec, [&](std::size_t done, std::size_t count) {
            std::memcpy(core.own_units() + place(core), messages.data() + done, count * sizeof(T));
        });
    }

    /// Copies what the peer has just written. memcpy makes a string instruction of some KiB, which
    /// waits for one line after the other to come from the peer's processor; plain loads wait for
    /// many at once. Batches of 64 bytes take 1.3 instead of 2.5 ns a message, of 1 KiB 14 instead
    /// of 23. Not for large messages, which lose a fifth, and not what is copied into the ring,
    /// which gains nothing.
    static void copy_out(T* to, const std::byte* from, std::size_t count) noexcept
        requires in_place_message<T>
    {
        constexpr std::size_t step = 64;
        auto* at = reinterpret_cast<std::byte*>(to);
        std::size_t left = count * sizeof(T);
        if constexpr (sizeof(T) <= 1024) {
            for (; left >= step; left -= step, at += step, from += step)
                std::memcpy(at, from, step);
        }
        if (left > 0)
            std::memcpy(at, from, left);
    }

    static std::size_t take_some(channel_core& core, std::span<T> messages, error_code& ec)
        requires in_place_message<T>
    {
        return in_pieces(core, messages.size(), ec, [&](std::size_t done, std::size_t count) {
            copy_out(messages.data() + done, core.peer_units() + place(core), count);
        });
    }

    /// Fetches what a later message is written into. The consumer has read it last, so a store
    /// there waits for the line, and all later ones wait behind it, that of the position among
    /// them. Only where the consumer is known to have read it: it is not to lose what it is about
    /// to read.
    static void fetch_ahead(channel_core& core) noexcept
    {
        constexpr std::size_t ahead_bytes = 1024;
        constexpr std::uint64_t ahead = stride >= ahead_bytes ? 1 : ahead_bytes / stride;
        if (core.side().room() <= ahead)
            return;
        const auto* const later = core.own_units() + place(core, ahead);
        for (std::size_t at = 0; at < std::min(stride, 2 * ahead_bytes); at += line_bytes)
            prefetch_to_write(later + at);
    }

    [[nodiscard]] static bool has_message(const channel_lease&) noexcept { return true; }

    static bool take_leased(channel_lease& lease, T& message)
    {
        auto& core = lease.core();
        if (!decode_message({core.peer_units() + place(core), fixed_bytes<T>}, message))
            [[unlikely]] {
            lease.end();
            core.fail(channel_errc::bad_message);
            return false;
        }
        lease.advance(1, 1);
        return true;
    }

    /// How many cells lie in one piece from here on.
    [[nodiscard]] static std::uint64_t in_one_piece(const channel_lease& lease) noexcept
    {
        return std::min(lease.room(), until_end(lease.core()));
    }

    [[nodiscard]] static std::span<const T> take_in_place(channel_lease& lease) noexcept
        requires in_place_message<T>
    {
        const auto count = in_one_piece(lease);
        // Objects of this type are there because bytes are all that one is made of.
        const auto* const first =
            reinterpret_cast<const T*>(lease.core().peer_units() + place(lease.core()));
        lease.advance(count, count);
        return {first, static_cast<std::size_t>(count)};
    }

    [[nodiscard]] static std::span<T> own_in_place(const channel_lease& lease,
                                                   std::size_t most) noexcept
        requires in_place_message<T>
    {
        auto* const first = reinterpret_cast<T*>(lease.core().own_units() + place(lease.core()));
        return {first, std::min(most, static_cast<std::size_t>(in_one_piece(lease)))};
    }
};

template <class T>
struct record_transport {
    static constexpr std::uint64_t busy_after = busy_after_bytes;

    static constexpr std::size_t stride = 1;

    [[nodiscard]] static ring_shape shape(std::uint64_t capacity_messages,
                                          std::uint64_t capacity_bytes) noexcept
    {
        // A number of messages means nothing where each has a length of its own: refused as a bad
        // shape.
        return {capacity_messages != 0 ? 0 : next_power_of_two(capacity_bytes), stride, 0};
    }

    /// Without so much room it does not go through for certain. (Not the whole of it: what can
    /// never go through is told in a turn.)
    [[nodiscard]] static std::uint64_t needs(const T&) noexcept { return sizeof(record_header); }

    static bool put(channel_core& core, const T& value, std::uint64_t& wanted, error_code& ec)
    {
        const auto length = encoded_size(value);
        record_producer producer(core.side(), core.own_units());
        auto* payload = core.is_usable() ? producer.payload_at_once(length) : nullptr;
        if (payload == nullptr) [[unlikely]] {
            const auto cannot = core.make_room(length, wanted);
            if (cannot) {
                ec = cannot;
                return false;
            }
            payload = producer.payload_at_once(length);
        }
        if (!encode_message(value, {payload, length})) [[unlikely]] {
            ec = channel_errc::bad_message;
            return false;
        }
        producer.commit_at_once(length);
        return true;
    }

    static bool take(channel_core& core, T& value, error_code& ec)
    {
        for (;;) {
            if (find_room(core, 1, ec, busy_after_bytes) == 0)
                return false;
            record_consumer consumer(core.side(), core.peer_units());
            std::span<const std::byte> payload;
            switch (consumer.look_at(core.side().room(), payload)) {
            case record_consumer::answer::record:
                // Passed when it has been decoded: a codec may throw, for want of memory, and then
                // it stays.
                if (decode_message(payload, value)) {
                    consumer.pass(payload);
                    return true;
                }
                ec = channel_errc::bad_message;
                core.fail(ec);
                return false;
            case record_consumer::answer::part: return take_after_parts(core, value, ec);
            case record_consumer::answer::nothing: core.publish(); break;  // it was a padding
            case record_consumer::answer::violation:
                ec = channel_errc::peer_broke_rules;
                core.fail(ec);
                return false;
            }
        }
    }

    [[nodiscard]] static bool has_message(const channel_lease& lease) noexcept
    {
        const auto& side = lease.core().side();
        return count_records(lease.core().peer_units(), side.capacity(), side.position(),
                             lease.room(), 1)
            != 0;
    }

    static bool take_leased(channel_lease& lease, T& message)
    {
        auto& core = lease.core();
        const auto before = core.side().position();
        record_consumer consumer(core.side(), core.peer_units());
        std::span<const std::byte> payload;
        const auto answer = consumer.look_at(lease.room(), payload);
        lease.has_advanced(core.side().position() - before, 0);  // a padding
        if (answer == record_consumer::answer::record && decode_message(payload, message)) {
            lease.advance(record_bytes(payload.size()), 1);
            return true;
        }
        if (answer == record_consumer::answer::part)
            return take_leased_part(lease, consumer.kind(), payload, message);
        lease.end();
        if (answer != record_consumer::answer::nothing)
            core.fail(answer == record_consumer::answer::record ? channel_errc::bad_message
                                                                : channel_errc::peer_broke_rules);
        return false;
    }

private:
    // The same where there are parts of a message that is longer than the ring. Out of the way of
    // those that are not.
    [[gnu::noinline]] static bool take_after_parts(channel_core& core, T& value, error_code& ec)
    {
        std::uint64_t passed = 0;
        ec.clear();
        do
            (void)find_room(core, 1, ec, busy_after_bytes);
        while (!ec && core.pass_no_message(passed, ec));
        if (ec)
            return false;
        record_consumer consumer(core.side(), core.peer_units());
        std::span<const std::byte> payload;
        auto answer = consumer.look_at(core.side().room(), payload);
        const bool in_parts = answer == record_consumer::answer::part;
        if (in_parts
            && core.take_part(consumer.kind(), payload, passed)
                == channel_core::part_found::complete)
            answer = record_consumer::answer::record;
        if (answer != record_consumer::answer::record) {  // it was one a moment ago
            ec = channel_errc::peer_broke_rules;
            core.fail(ec);
            return false;
        }
        if (!decode_message(in_parts ? core.assembled() : payload, value)) {
            ec = channel_errc::bad_message;
            core.fail(ec);
            return false;
        }
        consumer.pass(payload);
        if (in_parts) {
            core.finish_assembly();
            core.release_assembly();
        }
        return true;
    }

    // A batch has at most one message that came in parts, as its first: what it refers to is put
    // together in one place. The parts of the next are for the next batch.
    [[gnu::noinline]] static bool take_leased_part(channel_lease& lease, record_kind kind,
                                                   std::span<const std::byte> payload, T& message)
    {
        auto& core = lease.core();
        std::uint64_t passed = 0;
        const bool is_whole = kind == record_kind::last_part
            && core.take_part(kind, payload, passed) == channel_core::part_found::complete;
        const bool is_good = is_whole && decode_message(core.assembled(), message);
        if (!is_good)
            lease.end();
        if (is_whole && !is_good)
            core.fail(channel_errc::bad_message);
        if (!is_good)
            return false;
        lease.advance(record_bytes(payload.size()), 1);
        core.finish_assembly();
        return true;
    }
};

template <class T>
using transport_of =
    std::conditional_t<fixed_bytes<T> != 0, cell_transport<T>, record_transport<T>>;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
