// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_BROADCAST_MEMORY_HPP
#define PROCYARD_IPC_DETAIL_BROADCAST_MEMORY_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/broadcast_ring.hpp>
#include <procyard/ipc/detail/end_sort.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/segment.hpp>
#include <procyard/ipc/unique_fd.hpp>

// Where a broadcast lies: a segment of the writer's, which all readers map, and one of each
// reader's, which the writer maps. As a channel's (ring_memory.hpp), but for the words.
//
//     the writer's   | broadcast_header | ring_label | words | broadcast_tally | … | units … |
//                    0                  48           128     384               424  4096
//     a reader's     | broadcast_header | ring_label | words | broadcast_tally | … |

PROCYARD_NAMESPACE_BEGIN

namespace detail {

enum class broadcast_role : std::uint8_t { writer, reader };

/// Stands at the beginning of each segment. An ABI, as broadcast_words.
struct broadcast_header {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t role;  ///< broadcast_role
    ring_shape shape;
    /// end_sort: of what it is. 0: its owner is older than this word, and fits whatever it is; an
    /// older reader does not look here. So it came without a new version.
    std::uint64_t sort;
};
static_assert(sizeof(broadcast_header) == 48 && sizeof(broadcast_header) <= ring_label_offset);
static_assert(ring_words_offset + sizeof(broadcast_words) == ring_tally_offset);

inline constexpr std::uint64_t broadcast_magic = 0x5453434259435250;  // "PRCYBCST" in memory
/// Goes up with every change that an older peer would misunderstand.
inline constexpr std::uint32_t broadcast_version = 1;

/// For whoever looks in from outside (procyard-inspect), and for no decision, as ring_label is,
/// whose `peer_inode` is here the reader's, of the writer's memory. An ABI, as broadcast_words.
struct broadcast_tally {
    ring_tally counts{};
    std::atomic<std::uint64_t> lost{0};  ///< a reader's: messages that it was too slow for
};
static_assert(sizeof(broadcast_tally) == 40 && offsetof(broadcast_tally, lost) == 32
              && ring_tally_offset + sizeof(broadcast_tally) <= ring_units_offset);

/// A message with its header takes this part of the ring at most, so that the one before it is
/// always there: a reader that was overtaken learns from it how much it has lost.
inline constexpr std::uint64_t broadcast_longest_part = 4;

/// A segment, one's own or the peer's.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
class PROCYARD_IPC_EXPORT broadcast_memory {
public:
    /// None.
    broadcast_memory() noexcept = default;

    /// The bytes that such a segment needs.
    /// @par Errors   `channel_errc::bad_shape`
    [[nodiscard]] static std::size_t size_bytes(broadcast_role role, const ring_shape& shape,
                                                error_code& ec) noexcept;
    /// The same in whole pages of this machine: what there is of it, and what a peer announces.
    [[nodiscard]] static std::size_t size_in_pages(broadcast_role role, const ring_shape& shape,
                                                   error_code& ec) noexcept;
    /// Makes one's own, which begins at `position`, and seals it.
    /// @par Errors   `channel_errc::bad_shape`; those of segment::create and seal_for_peer
    [[nodiscard]] static broadcast_memory create(broadcast_role role, const ring_shape& shape,
                                                 std::uint64_t position, error_code& ec);
    /// Maps the peer's, to be read. The peer may be hostile.
    /// @par Errors   `channel_errc::over_limit`: more than `most_bytes`, of which nothing is
    ///               mapped; `not_a_channel`, `other_version`, `other_type`; those of
    ///               segment::attach. The descriptor is closed then.
    [[nodiscard]] static broadcast_memory attach(unique_fd fd, std::uint64_t announced_bytes,
                                                 std::uint64_t most_bytes, broadcast_role role,
                                                 const ring_shape& shape, error_code& ec);

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(segment_); }
    [[nodiscard]] const segment& memory() const noexcept { return segment_; }
    /// Says in one's own of what it is. @pre one's own, and nobody else has it as yet
    void put_sort(end_sort sort) noexcept;
    /// What was said so; none: nothing. Of a hostile peer it may be anything, and differ each time.
    [[nodiscard]] std::optional<end_sort> sort() const noexcept;
    /// Says in one's own what is sent. @pre one's own
    void label_type(std::string_view name) noexcept;
    /// Says in one's own which memory is the writer's. @pre one's own, a reader's; `writer` has its
    /// descriptor
    void label_writer(const broadcast_memory& writer) noexcept;

    void release_descriptor() noexcept { (void)segment_.release_descriptor(); }

    /// @pre one's own
    [[nodiscard]] broadcast_words& own_words() noexcept;
    /// @pre one's own
    [[nodiscard]] broadcast_tally& own_tally() noexcept;
    [[nodiscard]] const broadcast_words& words() const noexcept;
    /// @pre one's own, the writer's
    [[nodiscard]] std::byte* own_units() noexcept
    {
        return segment_.writable_data() + ring_units_offset;
    }
    /// @pre the writer's
    [[nodiscard]] const std::byte* units() const noexcept
    {
        return segment_.data() + ring_units_offset;
    }

private:
    segment segment_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
