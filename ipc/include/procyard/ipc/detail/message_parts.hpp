// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_MESSAGE_PARTS_HPP
#define PROCYARD_IPC_DETAIL_MESSAGE_PARTS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/record_ring.hpp>
#include <procyard/ipc/export.hpp>

// A message that is longer than its ring of records goes through it in parts, each a record.
//
//     | first_part: u64 length of all, bytes … |   | part: bytes … |   | last_part: bytes … |
//
// The sender publishes each as soon as there is room, and the receiver takes each as soon as it
// comes, so that the next has room. The receiver's user sees nothing of it before the last: a
// sender that gives up, closes or dies in the middle has sent nothing.
//
// Whole messages may come between parts (from who tries, while another operation waits for room).
// A sender that gives up says so by `dropped_parts` if there is room for that, so that the memory
// is free; if there is none, the next first part says it as well.
//
// Rejected: a mark that must be written before anything else may (every send would have to ask
// whether there is one); to keep all parts in the ring until the last has come (that is what they
// are too long for).

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class channel_core;

/// The longest part of a ring of this capacity, with the length of all in the first: a quarter, so
/// that one side writes while the other reads.
constexpr std::uint64_t longest_part(std::uint64_t capacity_bytes) noexcept
{
    constexpr std::uint64_t most = std::uint64_t{1} << 30;
    const auto quarter = std::min(capacity_bytes / 4, most);
    return std::max<std::uint64_t>(quarter, 2 * record_alignment_bytes) - sizeof(record_header);
}

/// The receiver's: puts together what has come. The sender may be hostile.
/// @par Thread safety   One thread at a time.
class PROCYARD_IPC_EXPORT part_assembly {
public:
    enum class answer : std::uint8_t {
        more,       ///< the part was taken, and it is not the last
        complete,   ///< message() is whole; say finish() when it has been used
        too_long,   ///< longer than is allowed; nothing was taken
        violation,  ///< no honest sender sends this
    };

    /// Takes a record that is a part. The bytes are copied once. Of a last part that has been added
    /// and not been finished: nothing happens again.
    /// @throws std::bad_alloc   nothing was taken
    [[nodiscard]] answer add(record_kind kind, std::span<const std::byte> payload,
                             std::uint64_t most_bytes);
    /// Valid until release(), or until the next part is added.
    [[nodiscard]] std::span<const std::byte> message() const noexcept { return bytes_; }
    void finish() noexcept { state_ = state::none; }
    /// Frees the memory, unless there is a message that has not been finished.
    void release() noexcept
    {
        if (state_ == state::none)
            std::vector<std::byte>().swap(bytes_);  // `= {}` would keep the memory
    }
    /// Whether a last part can complete it.
    [[nodiscard]] bool is_under_way() const noexcept { return state_ != state::none; }

private:
    enum class state : std::uint8_t { none, gathering, complete };

    [[nodiscard]] answer begin(std::span<const std::byte> payload, std::uint64_t most_bytes);

    std::vector<std::byte> bytes_;
    std::uint64_t length_ = 0;  // of all
    state state_ = state::none;
};

/// The sender's: a message on its way.
/// @par Thread safety   One thread at a time.
class PROCYARD_IPC_EXPORT message_parts {
public:
    message_parts() noexcept = default;
    /// One that has been encoded, and may be short.
    explicit message_parts(std::vector<std::byte> bytes) noexcept : bytes_(std::move(bytes)) { }

    [[nodiscard]] bool is_under_way() const noexcept { return !bytes_.empty(); }

    /// Encodes it, if it may be sent in parts.
    /// @par Errors   `channel_errc::too_long`, `bad_message`.
    /// @throws std::bad_alloc
    template <class T>
    [[nodiscard]] error_code begin(const channel_core& core, const T& message)
    {
        const auto length = encoded_size(message);
        if (!is_allowed(core, length))
            return channel_errc::too_long;
        std::vector<std::byte> bytes(length);
        if (!encode_message(message, bytes))
            return channel_errc::bad_message;
        bytes_ = std::move(bytes);
        sent_ = 0;
        has_begun_ = false;
        return {};
    }
    /// Sends what there is room for, and publishes it. No error: all of it has gone, and what was
    /// long is kept by `core`. Into a ring that is not the one with its first parts, all of it
    /// goes: that has none.
    /// @par Errors   `asio::error::would_block`: it takes room for `wanted` bytes to go on; or what
    ///               has ended the channel.
    [[nodiscard]] error_code send(channel_core& core, std::uint64_t& wanted);
    /// Gives up what is under way.
    void drop(channel_core& core) noexcept;

private:
    [[nodiscard]] bool has_begun_in(const channel_core& core) const noexcept;
    [[nodiscard]] static bool is_allowed(const channel_core& core, std::size_t length) noexcept;
    [[nodiscard]] error_code send_whole(channel_core& core, std::uint64_t& wanted);
    void write_part(channel_core& core, record_producer& producer, const record_place& at,
                    std::uint64_t length);

    std::vector<std::byte> bytes_;
    std::size_t sent_ = 0;
    bool has_begun_ = false;
    std::uint64_t generation_ = 0;  // of the ring in which it has begun
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
