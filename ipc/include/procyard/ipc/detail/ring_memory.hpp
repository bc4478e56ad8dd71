// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_RING_MEMORY_HPP
#define PROCYARD_IPC_DETAIL_RING_MEMORY_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/overwritten_ring.hpp>
#include <procyard/ipc/detail/ring_core.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/segment.hpp>
#include <procyard/ipc/unique_fd.hpp>

// Where a ring lies: two segments, one of each side, which it writes and the other reads.
//
//     producer's   | ring_header | ring_label | ring_words | ring_tally | … | units …        |
//                  0             48           128          384          416  4096
//                  and, of one that overwrites, claim_words at 512
//     consumer's   | ring_header | ring_label | ring_words | ring_tally | account_words |
//                                                                        512
//
// The units begin at a page, so that large messages are aligned whatever their type. A channel of
// 64 KiB takes 64 KiB and two pages.
//
// The header does not change, but its owner could: it is copied once, checked, and not looked at
// again.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// What both sides of a ring must agree upon.
struct ring_shape {
    std::uint64_t unit_count;  ///< the capacity; a power of two
    std::uint64_t unit_bytes;  ///< 1: a ring of bytes, for records; else a cell's, a multiple of 8
    std::uint64_t type = 0;    ///< the fingerprint of what is sent

    friend bool operator==(const ring_shape&, const ring_shape&) = default;
};

inline constexpr std::uint64_t ring_magic = 0x474e495259435250;  // "PRCYRING" in memory
/// Goes up with every change that an older peer would misunderstand.
inline constexpr std::uint32_t ring_version = 1;
/// That of a producer's memory with feature_overwrites, which an older consumer would misread.
inline constexpr std::uint32_t overwritten_ring_version = 2;

/// Stands at the beginning of both segments. An ABI, as ring_words.
struct ring_header {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t role;  ///< ring_role
    ring_shape shape;
    std::uint64_t features;  ///< bits of ring_feature
};

/// For whoever looks in from outside (procyard-inspect), and for no decision: the peer never reads
/// it. An ABI, as ring_words.
struct ring_label {
    std::uint64_t peer_inode;  ///< of the peer's memory; 0 until there is one
    char type[64];             ///< the name of what is sent, cut to 63 bytes, with zeros behind it
};

/// For the same: what the owner has counted so far, where it has to wait or wakes somebody, so that
/// it costs nothing where neither is needed. The peer never reads it. An ABI, as ring_words.
struct ring_tally {
    std::atomic<std::uint64_t> counts{0};  ///< 1: the owner counts; 0: one that is older does not
    std::atomic<std::uint64_t> stalls{0};  ///< times that an operation had to wait
    std::atomic<std::uint64_t> sleeps{0};  ///< of these, that it waited for the peer's ring
    std::atomic<std::uint64_t> rung{0};    ///< system calls to wake the peer
};

/// What one side lets the other know of itself, before the first message.
enum ring_feature : std::uint64_t {
    feature_none = 0,
    /// It has registered for membarrier: it may publish without fences while the other is relaxed.
    feature_barrier_target = 1,
    /// It can call membarrier before it sleeps: it may relax, if the other has registered.
    feature_barrier_caller = 2,
    /// A producer's: it does not wait for the consumer, and says by its claim_words what is gone.
    feature_overwrites = 4,
};

inline constexpr std::size_t ring_label_offset = 48;
inline constexpr std::size_t ring_words_offset = 128;
inline constexpr std::size_t ring_tally_offset = 384;
inline constexpr std::size_t ring_claims_offset = 512;
inline constexpr std::size_t ring_accounts_offset = 512;
inline constexpr std::size_t ring_units_offset = 4096;
static_assert(sizeof(ring_header) == ring_label_offset
              && ring_label_offset + sizeof(ring_label) <= ring_words_offset);
static_assert(ring_words_offset % alignof(ring_words) == 0
              && ring_words_offset + sizeof(ring_words) == ring_tally_offset);
static_assert(sizeof(ring_tally) == 32 && offsetof(ring_tally, stalls) == 8
              && offsetof(ring_tally, sleeps) == 16 && offsetof(ring_tally, rung) == 24
              && ring_tally_offset + sizeof(ring_tally) <= ring_claims_offset);
static_assert(ring_claims_offset % alignof(claim_words) == 0
              && ring_claims_offset + sizeof(claim_words) <= ring_units_offset);
static_assert(ring_accounts_offset % alignof(account_words) == 0
              && ring_tally_offset + sizeof(ring_tally) <= ring_accounts_offset
              && ring_accounts_offset + sizeof(account_words) <= ring_units_offset);

/// What is said in a label, of a ring or a broadcast, whose memory `own` is. @pre one's own
void write_type_label(segment& own, std::string_view name) noexcept;
/// @pre `peer` has its descriptor
void write_peer_label(segment& own, const segment& peer) noexcept;

/// One side's segment, of one's own or of the peer.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe. Of the words: ring_side.
class PROCYARD_IPC_EXPORT ring_memory {
public:
    /// None.
    ring_memory() noexcept = default;

    /// The bytes that a segment of this side needs, before they are rounded up to pages.
    /// @par Errors   `channel_errc::bad_shape`
    [[nodiscard]] static std::size_t size_bytes(ring_role role, const ring_shape& shape,
                                                error_code& ec) noexcept;

    /// Makes one's own, and seals it: its descriptor can be passed on.
    /// `options.name` is for people.
    /// @par Errors   `channel_errc::bad_shape`; those of segment::create and seal_for_peer
    [[nodiscard]] static ring_memory create(ring_role role, const ring_shape& shape,
                                            std::uint64_t features, error_code& ec,
                                            const segment_options& options = {});

    /// Maps the peer's, which is that of `role`, to be read. The peer may be hostile.
    /// @par Errors   `channel_errc::not_a_channel`, `other_version`, `other_type`; those of
    ///               segment::attach. The descriptor is closed then.
    [[nodiscard]] static ring_memory attach(unique_fd fd, std::size_t announced_bytes,
                                            ring_role role, const ring_shape& shape,
                                            error_code& ec);

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(segment_); }
    /// What the owner has said of itself.
    [[nodiscard]] std::uint64_t features() const noexcept { return features_; }
    [[nodiscard]] const segment& memory() const noexcept { return segment_; }

    /// Says in one's own what is sent. @pre one's own
    void label_type(std::string_view name) noexcept;
    /// Says in one's own which memory is the other side's. @pre one's own; `peer` has its
    /// descriptor
    void label_peer(const ring_memory& peer) noexcept;

    /// Closes the descriptor and keeps the memory.
    void release_descriptor() noexcept { (void)segment_.release_descriptor(); }

    /// @pre one's own
    [[nodiscard]] ring_words& own_words() noexcept;
    /// @pre one's own
    [[nodiscard]] ring_tally& own_tally() noexcept;
    /// @pre there is one
    [[nodiscard]] const ring_words& words() const noexcept;
    /// @pre one's own, with feature_overwrites
    [[nodiscard]] claim_words& own_claims() noexcept;
    /// @pre with feature_overwrites
    [[nodiscard]] const claim_words& claims() const noexcept;
    /// @pre one's own, of a consumer
    [[nodiscard]] account_words& own_accounts() noexcept;
    /// Zeros, of one that is older. @pre of a consumer
    [[nodiscard]] const account_words& accounts() const noexcept;
    /// The units. @pre one's own, of a producer
    [[nodiscard]] std::byte* own_units() noexcept;
    /// @pre of a producer
    [[nodiscard]] const std::byte* units() const noexcept;

private:
    segment segment_;
    std::uint64_t features_ = feature_none;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
