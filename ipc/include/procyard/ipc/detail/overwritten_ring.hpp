// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_OVERWRITTEN_RING_HPP
#define PROCYARD_IPC_DETAIL_OVERWRITTEN_RING_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/broadcast_ring.hpp>
#include <procyard/ipc/detail/ring_core.hpp>

// What a sender says that drops the oldest messages instead of waiting (when_full::drop_oldest),
// and how its receiver believes it. The ring is that of ring_core.hpp, whose positions and whose
// way to sleep it has; every atomic operation that is added is in this file.
//
// The sender may not move the receiver's position, which is the receiver's. So it has a word of its
// own for what is gone, and moves that before it overwrites; the receiver copies first and asks
// afterwards whether what it has copied was still there. It is the way of broadcast_ring.hpp, with
// its fences and copies, and one thing more: a claim says how many messages are gone, beside where
// the oldest begins that is not. Two words cannot be stored at once, so each claim has a place for
// its two, and the one before has another:
//
//     the sender                            the receiver
//       store oldest and gone, there          load claims
//       claim: store claims                   load oldest and gone of that claim
//       release fence                         (look: acquire fence, load claims: still the same)
//       overwrite the units                   copy the units
//       publish: store position               acquire fence, load claims: still the same
//
// The place of a claim is written again by the next but one, which comes after the fence of the
// next: who reads half of that sees, by the same fences, that there has been a next one. A sender
// that is killed between any two of its steps leaves a claim that can be read.
//
// Rejected: a number in each record, as a broadcast has it. It takes 8 bytes of each; the records
// are others than those of a channel; and where all of a ring is claimed for one long message,
// whose sender dies then, nothing is left that would say how many there were. A broadcast has many
// readers and a quarter of the ring as its longest message, so it never comes to that.
// Also rejected: a broadcast with one subscriber in the place of the channel. It has no loans, no
// batches, no resume, another handshake, and each call of an end would ask which of the two it is.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// What the sender says of what is gone. Written by the sender alone.
template <class Policy>
struct basic_claim_words {
    template <class T>
    using atomic = typename Policy::template atomic<T>;

    struct place {
        atomic<std::uint64_t> oldest{0};  ///< units before this one may be overwritten at any time
        atomic<std::uint64_t> gone{0};    ///< messages that began before it
    };

    /// How many there have been: the number of the last.
    alignas(ring_line_bytes) atomic<std::uint64_t> claims{0};
    /// What it says is in place number % 2.
    place places[2];
};

using claim_words = basic_claim_words<broadcast_atomics>;

/// What a receiver says of the messages before its position, for a sender that goes on with another
/// receiver after it: how many there were, and how many of them it has lost. Written by the
/// receiver alone, and read when it has gone, so nothing is ordered but what a kill can divide.
///
/// The position is the only word by which it releases something, so what belongs to that has been
/// written before, in the place that does not belong to the position of now: a kill between any two
/// stores leaves a position that has a place. Where all messages have one length, the place is that
/// of the last loss, and the distance from there says the rest.
///
/// Rejected: to count them from `ring_words::dropped`. That is another word than the position, so
/// who is killed between the two would have its last gap counted twice, or not at all.
struct account_words {
    struct place {
        std::atomic<std::uint64_t> position{0};
        std::atomic<std::uint64_t> number{0};  ///< messages that began before it, lost ones too
        std::atomic<std::uint64_t> lost{0};    ///< of these
    };

    alignas(ring_line_bytes) place places[2];
};

static_assert(std::is_standard_layout_v<account_words> && sizeof(account_words) == ring_line_bytes
              && sizeof(account_words::place) == 24);

// An ABI, as ring_words.
static_assert(std::is_standard_layout_v<claim_words> && sizeof(claim_words) == ring_line_bytes);
static_assert(offsetof(claim_words, places) == 8 && sizeof(claim_words::place) == 16);

/// What a receiver has read of a claim.
struct claim {
    std::uint64_t number = 0;
    std::uint64_t oldest = 0;
    std::uint64_t gone = 0;
};

/// The sender's.
/// @par Thread safety   One thread at a time; the receiver in any other.
template <class Policy>
class basic_claimer {
public:
    using words = basic_claim_words<Policy>;

    /// `own` is new and outlives `*this`. The ring begins at `start`.
    basic_claimer(words& own, std::uint64_t start) noexcept : own_(&own), last_{0, start, 0}
    {
        own.places[0].oldest.store(start, std::memory_order_relaxed);  // nobody looks as yet
    }

    [[nodiscard]] std::uint64_t oldest() const noexcept { return last_.oldest; }
    [[nodiscard]] std::uint64_t gone() const noexcept { return last_.gone; }

    /// Everything before `oldest`, which `gone` messages began before, is overwritten from now on.
    /// @pre `oldest` is not beyond what has been published
    void claim_up_to(std::uint64_t oldest, std::uint64_t gone) noexcept
    {
        last_ = {last_.number + 1, oldest, gone};
        auto& place = own_->places[last_.number % 2];
        // Relaxed, both: published by the release below. Who finds one of them in the place of the
        // claim before the last sees the last one, by its fence.
        place.oldest.store(oldest, std::memory_order_relaxed);
        place.gone.store(gone, std::memory_order_relaxed);
        // Release, pairs with the acquire in look: the place has been written. And who sees it sees
        // a position that is not before `oldest`.
        own_->claims.store(last_.number, std::memory_order_release);
        // Pairs with the fence in is_latest, by way of any word that is written now.
        Policy::release_fence();
    }

private:
    words* own_;
    claim last_;
};

/// The receiver's. The sender may be hostile: what is read is a number, and no more.
/// @par Thread safety   One thread at a time.
template <class Policy>
class basic_claim_reader {
public:
    using words = basic_claim_words<Policy>;

    /// `theirs` outlives `*this`.
    explicit basic_claim_reader(const words& theirs) noexcept : theirs_(&theirs) { }

    /// Reads the last claim. False: there has been another one meanwhile; look again.
    [[nodiscard]] bool look(claim& found) const noexcept
    {
        // Acquire, pairs with the release in claim_up_to.
        found.number = theirs_->claims.load(std::memory_order_acquire);
        const auto& place = theirs_->places[found.number % 2];
        // Relaxed, both: ordered by the load above and the fence below.
        found.oldest = place.oldest.load(std::memory_order_relaxed);
        found.gone = place.gone.load(std::memory_order_relaxed);
        return is_latest(found);
    }
    /// Whether all that was read since `known` was looked at had not been claimed by then.
    [[nodiscard]] bool is_latest(const claim& known) const noexcept
    {
        Policy::acquire_fence();  // pairs with the fence in claim_up_to, by way of what was read
        // Relaxed: ordered by the fence.
        return theirs_->claims.load(std::memory_order_relaxed) == known.number;
    }

private:
    const words* theirs_;
};

using claimer = basic_claimer<broadcast_atomics>;
using claim_reader = basic_claim_reader<broadcast_atomics>;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
