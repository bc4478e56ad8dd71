// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_OVERWRITING_HPP
#define PROCYARD_IPC_DETAIL_OVERWRITING_HPP

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/overwritten_ring.hpp>
#include <procyard/ipc/detail/record_ring.hpp>
#include <procyard/ipc/detail/ring_core.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>
#include <procyard/ipc/export.hpp>

// Both sides of a channel whose sender drops the oldest messages, what they have beside the usual.
//
// What lies in the ring may be overwritten while it is read, so it can only be copied, and by
// atomic words. Both sides do that between the ring and private memory that looks like a ring of
// the same capacity, and everything else (codecs, loans, batches) works there, as in a channel of
// any other kind:
//
//     sender:     put → staging ──flush──→ ring
//     receiver:   ring ──fetch──→ mirror → take
//
// A flush takes everything that has been published, so staging is empty whenever somebody looks for
// room. A fetch takes a message at a time where one is received, and only when the mirror is empty:
// what waits in the mirror is dropped no more, and grows old. A batch is all that there is.
//
// Rejected: to ask at each message, in the usual path, whether it is such a channel. The words of
// staging are such that who publishes finds a peer that seems to sleep, and so comes by
// channel_core's ring(), where nobody is in a hurry. It is what a channel without a peer does, too.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Zeros, from a page on.
class private_units {
public:
    /// @throws std::bad_alloc
    explicit private_units(std::size_t bytes);
    [[nodiscard]] std::byte* data() const noexcept { return first_; }

private:
    struct freeing {
        void operator()(void* memory) const noexcept { std::free(memory); }
    };
    std::unique_ptr<void, freeing> memory_;
    std::byte* first_;
};

/// The sender's.
/// @par Thread safety   One thread at a time.
class PROCYARD_IPC_EXPORT ring_staging {
public:
    /// `own` is the memory of the ring, from its beginning on, and outlives `*this`, moved or not.
    /// @throws std::bad_alloc
    ring_staging(ring_memory& own, const ring_shape& shape);

    /// A side whose ring is private, and whose messages go through at once: see flush.
    [[nodiscard]] ring_side staged_side() noexcept;
    [[nodiscard]] std::byte* units() noexcept { return staged_.data(); }
    /// The side that the receiver knows: who sleeps there, who has closed.
    [[nodiscard]] ring_side& wire() noexcept { return wire_; }
    [[nodiscard]] const ring_side& wire() const noexcept { return wire_; }
    void connect(const ring_words& peer, bool may_relax) noexcept;

    /// All that has been staged up to `until` goes into the ring, and is published there.
    void flush(std::uint64_t until) noexcept;

    /// What has become of the messages before the oldest.
    struct reckoning {
        std::uint64_t unnoticed = 0;  ///< gone, and the receiver has not found out
        std::uint64_t lost = 0;       ///< that it has found to be gone
        std::uint64_t left_at = 0;    ///< the position by which this was found
    };
    /// By what a receiver has left that has closed or died; null: by one that never came. The
    /// receiver may be hostile: `unnoticed` is no more than are gone, `lost` is any number. One
    /// that keeps no accounts, as older ones, has lost what it says that was dropped; as soon as
    /// that is anything `unnoticed` is 0.
    [[nodiscard]] reckoning reckon(const ring_memory* receiver) const noexcept;
    /// The receiver has gone: from now on first_unread() goes by the position that was reckoned by,
    /// whatever it may write there. To believe another one would send what is counted as lost.
    void receiver_left(const reckoning& found) noexcept { left_at_ = found.left_at; }
    /// So many messages are gone before the first: who comes is told of them as of others that it
    /// has lost. @pre nothing has been staged, nobody has come
    void begin_after(std::uint64_t gone) noexcept;

    /// Messages that are in the ring no more, received or not.
    [[nodiscard]] std::uint64_t gone() const noexcept { return claims_.gone(); }
    /// Where the first message begins that is still in the ring, and that the receiver has not
    /// released by its own account.
    [[nodiscard]] std::uint64_t first_unread() const noexcept;
    [[nodiscard]] const std::byte* wire_units() const noexcept { return wire_units_; }

private:
    void begin_at(std::uint64_t start) noexcept;
    void make_way(std::uint64_t count) noexcept;

    ring_words* own_words_;
    std::byte* wire_units_;
    std::uint64_t unit_bytes_;
    std::uint64_t capacity_;
    private_units staged_;
    ring_words staged_words_;
    ring_words drained_;  // of who takes what is staged
    ring_words nobody_;   // of a receiver that has not come
    claimer claims_;
    ring_side wire_;
    std::optional<std::uint64_t> left_at_;  // of a receiver that has gone
};

/// The receiver's. The sender may be hostile.
/// @par Thread safety   One thread at a time.
class PROCYARD_IPC_EXPORT ring_mirror {
public:
    enum class found : std::uint8_t {
        some,       ///< the side has room: messages that have been copied, one at least
        none,       ///< there is nothing
        overtaken,  ///< the sender overwrites it as fast as it is copied
        violation,  ///< the peer is not to be believed any more
    };

    /// `theirs` is the memory of the ring, `own` the receiver's; both outlive `*this`, moved or
    /// not. Nothing has been received.
    /// @throws std::bad_alloc
    ring_mirror(const ring_memory& theirs, ring_memory& own, const ring_shape& shape);

    [[nodiscard]] const std::byte* units() const noexcept { return mirrored_.data(); }
    /// Copies up to `most` messages; of messages that differ in length one, or all. What has been
    /// lost meanwhile is counted, and `side` goes on behind it. All that was received is published,
    /// and so is a loss before anybody is told.
    /// @pre side.room() == 0
    [[nodiscard]] found fetch(ring_side& side, std::uint64_t most) noexcept;
    /// Writes down how many messages there were up to where `side` stands, and publishes that.
    /// Nothing that belonged to what was published before is written over: the last to be called of
    /// an end that is closed, since a sender may be reading that just then.
    void account_released(ring_side& side) noexcept;
    /// The same; and how many there are up to the end of the next one, which may be received and
    /// published after that without another word. A padding before it is passed.
    void account(ring_side& side) noexcept;
    /// Whether all that is there can be received and published without another call of account.
    [[nodiscard]] bool is_accounted(const ring_side& side) const noexcept;
    /// Whether there is something to be fetched, by what the sender says.
    [[nodiscard]] bool has_more(const ring_side& side) const noexcept;

    /// Messages that were overwritten before they could be copied.
    [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }
    /// Whether some have been lost since this was asked last.
    [[nodiscard]] bool has_lost() noexcept;

    /// For statistics: units and messages that are there, in the ring and in the mirror.
    [[nodiscard]] std::uint64_t used(const ring_side& side) const noexcept;
    [[nodiscard]] std::uint64_t depth(const ring_side& side) const noexcept;

private:
    // Where a message begins, and how many there were before.
    struct place {
        std::uint64_t position;
        std::uint64_t number;
    };

    [[nodiscard]] bool is_cells() const noexcept { return unit_bytes_ != 1; }
    [[nodiscard]] found try_fetch(ring_side& side, std::uint64_t most, unsigned attempt) noexcept;
    [[nodiscard]] bool pass_lost(place& at, const claim& now) const noexcept;
    [[nodiscard]] std::uint64_t stretch(std::uint64_t from, std::uint64_t room, std::uint64_t most,
                                        unsigned attempt) const noexcept;
    void copy(std::uint64_t from, std::uint64_t until) noexcept;
    void go_on(ring_side& side, const place& at, const record_walk& walk) noexcept;
    [[nodiscard]] account_words::place& scratch() noexcept
    {
        return accounts_->places[1 - current_];
    }
    void note(const place& at) noexcept;
    void move_to(ring_side& side, const place& at) noexcept;

    const ring_words* their_words_;
    const std::byte* their_units_;
    std::uint64_t unit_bytes_;
    std::uint64_t capacity_;
    private_units mirrored_;
    claim_reader claims_;
    account_words* accounts_;
    std::size_t current_ = 0;  // the place that what is published belongs to; or the other, by now
    place noted_;              // where account was called last, or the mirror begins
    std::uint64_t expected_ = 0;  // messages up to where the mirror ends, lost ones too
    std::uint64_t lost_ = 0;
    std::uint64_t told_ = 0;  // of lost_
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
