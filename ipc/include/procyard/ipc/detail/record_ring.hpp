// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_RECORD_RING_HPP
#define PROCYARD_IPC_DETAIL_RECORD_RING_HPP

#include <boost/assert.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/ring_core.hpp>

// Records of any length in a ring of bytes.
//
//     | header | payload … | 0 to 7 unused | header | payload … |   padding to the end   |
//     ^ 8-byte boundary                    ^ 8-byte boundary      ^ one header, the rest unused
//
// A record lies in one piece. One that does not fit into what is left before the end of the ring
// begins at the beginning, and a padding record fills the rest. One of more than half the capacity
// may fit nowhere beside its padding; then the padding is published first, and the record follows
// when the consumer has passed it. So every length up to the capacity less a header goes through.
//
// The bytes after a payload are zeroed: they must not show what was there before.
//
// Rejected: the same pages mapped twice in a row, which needs no padding. It makes two mappings of
// each ring (of 65,530 that a process may have), and a segment has to be mapped twice before it is
// sealed. Between two processes, with messages of 64 bytes to 64 KiB, it was not faster; with 8
// bytes it saved 3 ns, and those are for cells and not for records.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Stands before each record. An ABI, as ring_words.
struct record_header {
    std::uint32_t length;  ///< of the payload, bytes
    std::uint32_t kind;    ///< record_kind

    friend bool operator==(const record_header&, const record_header&) = default;
};

enum class record_kind : std::uint32_t {
    data = 0x41544144,     // "DATA" in memory: what is no header is hardly taken for one
    padding = 0x20444150,  // "PAD "
    // Of a message that is longer than the ring; see message_parts.hpp.
    first_part = 0x54535246,     // "FRST"
    part = 0x54524150,           // "PART"
    last_part = 0x5453414c,      // "LAST"
    dropped_parts = 0x504f5244,  // "DROP"
};

inline constexpr std::size_t record_alignment_bytes = 8;
static_assert(sizeof(record_header) == record_alignment_bytes);

/// What a record of this length takes up, with header and the unused bytes after it.
constexpr std::uint64_t record_bytes(std::uint64_t length) noexcept
{
    return (sizeof(record_header) + length + record_alignment_bytes - 1)
        & ~std::uint64_t{record_alignment_bytes - 1};
}

/// The longest payload that a ring of this capacity can take.
/// @pre capacity >= 8
constexpr std::uint64_t longest_record(std::uint64_t capacity_bytes) noexcept
{
    const auto by_ring = capacity_bytes - sizeof(record_header);
    const std::uint64_t by_header = std::numeric_limits<std::uint32_t>::max();
    return by_ring < by_header ? by_ring : by_header;
}

/// Whether a ring of bytes can have this capacity: a power of two, so that a place is found without
/// a division and positions may run past 2^64, and not less than a header and something more.
constexpr bool is_record_capacity(std::uint64_t bytes) noexcept
{
    return bytes >= 2 * record_alignment_bytes && std::has_single_bit(bytes);
}

/// Where a position lies in a ring of such a capacity.
constexpr std::uint64_t ring_offset(std::uint64_t position, std::uint64_t capacity) noexcept
{
    return position & (capacity - 1);
}

/// Where a record of `length` bytes goes, if there is room.
struct record_place {
    enum class answer : std::uint8_t {
        ready,    ///< at `offset`, after a padding of `padding` bytes if that is not 0
        pad,      ///< a padding of `padding` bytes first, published; then ask again
        wait,     ///< when there is room for `wanted` bytes, ask again
        too_long  ///< never, in this ring
    };
    answer what = answer::wait;
    std::uint64_t offset = 0;
    std::uint64_t padding = 0;
    std::uint64_t wanted = 0;
};

/// The decision, without a ring.
constexpr record_place place_record(std::uint64_t position, std::uint64_t room,
                                    std::uint64_t capacity, std::uint64_t length) noexcept
{
    using answer = record_place::answer;
    if (length > longest_record(capacity))
        return {answer::too_long};
    const auto needed = record_bytes(length);
    const auto offset = ring_offset(position, capacity);
    const auto to_end = capacity - offset;
    if (needed <= to_end) {
        if (needed <= room)
            return {answer::ready, offset};
        return {answer::wait, 0, 0, needed};
    }
    if (to_end + needed <= room)
        return {answer::ready, 0, to_end};
    if (to_end + needed <= capacity)
        return {answer::wait, 0, 0, to_end + needed};
    if (to_end <= room)
        return {answer::pad, 0, to_end};
    return {answer::wait, 0, 0, to_end};
}

/// What a header at `offset` means for a consumer that may read `room` bytes.
enum class record_check : std::uint8_t {
    data,
    padding,
    part,
    violation,  ///< no honest producer writes it, or publishes half of it
};

/// The decision, on a private copy of the header.
constexpr record_check check_record(const record_header& header, std::uint64_t offset,
                                    std::uint64_t room, std::uint64_t capacity) noexcept
{
    const auto to_end = capacity - offset;
    const auto taken = record_bytes(header.length);
    if (taken > to_end || taken > room)
        return record_check::violation;
    switch (static_cast<record_kind>(header.kind)) {
    case record_kind::data: return record_check::data;
    case record_kind::padding:
        // To the end, and only if there is something before it: else they could go on for ever.
        return taken == to_end && offset != 0 ? record_check::padding : record_check::violation;
    case record_kind::first_part:
    case record_kind::part:
    case record_kind::last_part:
    case record_kind::dropped_parts: return record_check::part;
    }
    return record_check::violation;
}

/// Eight bytes that are a header, perhaps a hostile producer's, copied once.
inline record_header read_record_header(const std::byte* at) noexcept
{
    const auto word = load_once(at);
    record_header header;
    std::memcpy(&header, &word, sizeof header);
    return header;
}

/// How far a walk from record to record has come.
struct record_walk {
    std::uint64_t position = 0;
    std::uint64_t messages = 0;
    bool is_good = true;  ///< false: it has ended at what is no record
};

/// Goes from record to record in `used` bytes from `position` on, until it has passed `most`
/// messages or `enough` bytes. A message in parts is one with its last.
/// @par Cost   A look at each header.
inline record_walk walk_records(const std::byte* bytes, std::uint64_t capacity,
                                std::uint64_t position, std::uint64_t used, std::uint64_t most,
                                std::uint64_t enough) noexcept
{
    record_walk walk{position};
    for (std::uint64_t passed = 0; passed < used && passed < enough && walk.messages < most;) {
        const auto offset = ring_offset(walk.position, capacity);
        walk.is_good = offset % record_alignment_bytes == 0;
        if (!walk.is_good)
            break;
        const auto header = read_record_header(bytes + offset);
        const auto check = check_record(header, offset, used - passed, capacity);
        walk.is_good = check != record_check::violation;
        if (!walk.is_good)
            break;
        const bool is_end = header.kind == static_cast<std::uint32_t>(record_kind::last_part);
        walk.messages += check == record_check::data || is_end ? 1 : 0;
        passed += record_bytes(header.length);
        walk.position = position + passed;
    }
    return walk;
}

/// How many messages there are in `used` bytes from `position` on, up to `most`; up to the first
/// that is no record.
/// @par Cost   A look at each header.
inline std::uint64_t count_records(const std::byte* bytes, std::uint64_t capacity,
                                   std::uint64_t position, std::uint64_t used,
                                   std::uint64_t most = ~std::uint64_t{0}) noexcept
{
    return walk_records(bytes, capacity, position, used, most, ~std::uint64_t{0}).messages;
}

/// The producer's side of a ring of records: what it has to say to a ring_side. Has no state of its
/// own, and can be made for each call.
/// @par Thread safety   One thread at a time.
class record_producer {
public:
    /// @pre is_record_capacity(side.capacity()); `bytes` are that many, aligned to 8. Both outlive
    ///      `*this`.
    record_producer(ring_side& side, std::byte* bytes) noexcept : side_(side), bytes_(bytes)
    {
        BOOST_ASSERT(is_record_capacity(side_.capacity()));
    }

    /// Where a payload of `length` bytes can be written, with what is known of the peer; looks at
    /// its position when that is not enough. `ready`: write to payload(), then commit(). `pad`:
    /// a padding has been written; publish the side, ring if must_ring() says so, and ask
    /// again. A violation of the peer is told by `good`.
    [[nodiscard]] record_place place(std::uint64_t length, bool& good) noexcept
    {
        good = true;
        for (bool fresh = false;;) {
            const auto found =
                place_record(side_.position(), side_.room(), side_.capacity(), length);
            switch (found.what) {
            case record_place::answer::ready:
            case record_place::answer::too_long: return found;
            case record_place::answer::pad: pad(found.padding); return found;
            case record_place::answer::wait:
                if (fresh)
                    return found;
                good = side_.refresh();
                if (!good)
                    return found;
                fresh = true;
                break;
            }
        }
    }

    /// The usual case of place(), in a few instructions: a payload of `length` bytes can be written
    /// where the ring stands, by what is known of the peer. Write it, then commit_at_once(). Null:
    /// ask place().
    [[nodiscard]] std::byte* payload_at_once(std::uint64_t length) noexcept
    {
        constexpr std::uint64_t zeros = 0;
        const auto offset = ring_offset(side_.position(), side_.capacity());
        const auto taken = record_bytes(length);  // wraps for what is longer than any room
        if (length >= side_.room() || length > std::numeric_limits<std::uint32_t>::max()
            || taken > side_.room() || taken > side_.capacity() - offset)
            return nullptr;
        auto* const at = bytes_ + offset;
        // What the payload leaves over of its last word.
        std::memcpy(at + taken - sizeof zeros, &zeros, sizeof zeros);
        return at + sizeof(record_header);
    }
    /// @pre payload_at_once(length) was asked last, and not null
    void commit_at_once(std::uint64_t length) noexcept
    {
        write_header(
            ring_offset(side_.position(), side_.capacity()),
            {static_cast<std::uint32_t>(length), static_cast<std::uint32_t>(record_kind::data)});
        side_.advance(record_bytes(length));
    }

    /// Fills the end of the ring, before the record that was found to be `ready` after it.
    void pad(std::uint64_t padding) noexcept
    {
        write_header(ring_offset(side_.position(), side_.capacity()),
                     {static_cast<std::uint32_t>(padding - sizeof(record_header)),
                      static_cast<std::uint32_t>(record_kind::padding)});
        side_.advance(padding);
    }

    [[nodiscard]] std::byte* payload(const record_place& at) noexcept
    {
        return bytes_ + at.offset + sizeof(record_header);
    }

    /// The record at `at` is complete: not visible before the side is published.
    /// @pre length is at most the one that `at` was found for, and nothing was committed since
    void commit(const record_place& at, std::uint32_t length,
                record_kind kind = record_kind::data) noexcept
    {
        if (at.padding != 0)
            pad(at.padding);
        const auto taken = record_bytes(length);
        const auto used = sizeof(record_header) + length;
        std::memset(bytes_ + at.offset + used, 0, static_cast<std::size_t>(taken - used));
        write_header(at.offset, {length, static_cast<std::uint32_t>(kind)});
        side_.advance(taken);
    }

private:
    void write_header(std::uint64_t offset, record_header header) noexcept
    {
        std::memcpy(bytes_ + offset, &header, sizeof header);
    }

    ring_side& side_;
    std::byte* bytes_;
};

/// The consumer's side. The producer may be hostile: a header is copied once and then checked.
/// @par Thread safety   One thread at a time.
class record_consumer {
public:
    enum class answer : std::uint8_t {
        record,     ///< `payload` is one; it stays ours until the side is published
        part,       ///< `payload` is a part of one, of kind(); the same holds for it
        nothing,    ///< nothing is there
        violation,  ///< the peer is not to be believed any more
    };

    /// @pre As record_producer's.
    record_consumer(ring_side& side, const std::byte* bytes) noexcept : side_(side), bytes_(bytes)
    {
        BOOST_ASSERT(is_record_capacity(side_.capacity()));
    }

    /// The next record, which is passed then: release it by publishing the side. Do that before a
    /// sleep, too, when `nothing` was the answer: the producer may wait for the room of a padding.
    /// @warning A hostile producer can change the bytes while they are looked at. Whoever does not
    ///          trust it copies them first.
    [[nodiscard]] answer next(std::span<const std::byte>& payload) noexcept
    {
        for (;;) {
            const auto found = next_of(side_.room(), payload);
            if (found != answer::nothing)
                return found;
            if (!side_.refresh())
                return answer::violation;
            if (side_.room() == 0)
                return answer::nothing;
        }
    }

    /// The same, but only of the next `room` bytes.
    /// @pre room <= the side's, and ends where a record does
    [[nodiscard]] answer next_of(std::uint64_t room, std::span<const std::byte>& payload) noexcept
    {
        const auto found = look_at(room, payload);
        if (found == answer::record || found == answer::part)
            pass(payload);
        return found;
    }

    /// The same, but the record is not passed: call pass() with the payload when it has been used.
    [[nodiscard]] answer look_at(std::uint64_t room, std::span<const std::byte>& payload) noexcept
    {
        while (room > 0) {
            const auto offset = ring_offset(side_.position(), side_.capacity());
            const auto header = read_header(offset);
            const auto check = check_record(header, offset, room, side_.capacity());
            if (check == record_check::violation)
                return answer::violation;
            if (check == record_check::data) {
                payload = {bytes_ + offset + sizeof(record_header), header.length};
                return answer::record;
            }
            if (check == record_check::part) {
                payload = {bytes_ + offset + sizeof(record_header), header.length};
                kind_ = static_cast<record_kind>(header.kind);
                return answer::part;
            }
            const auto taken = record_bytes(header.length);
            side_.advance(taken);
            room -= taken;
        }
        return answer::nothing;
    }
    /// Of the part that was found last.
    [[nodiscard]] record_kind kind() const noexcept { return kind_; }
    void pass(std::span<const std::byte> payload) noexcept
    {
        side_.advance(record_bytes(payload.size()));
    }

private:
    [[nodiscard]] record_header read_header(std::uint64_t offset) const noexcept
    {
        return read_record_header(bytes_ + offset);
    }

    ring_side& side_;
    const std::byte* bytes_;
    record_kind kind_ = record_kind::data;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
