// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_RING_CORE_HPP
#define PROCYARD_IPC_DETAIL_RING_CORE_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <procyard/ipc/config.hpp>

// The ring of a channel, and the announcement of sleep: every atomic operation of the two is in
// this file. What a cell or a record is, which descriptor is rung, and who has died, is said
// elsewhere.
//
// Two sides, a producer and a consumer, each with a block of words that it alone writes and that
// the other can only read (split ownership: the blocks lie in two segments, each sealed against
// writing by the peer). A position counts units (bytes or cells) since the ring was made; it never
// wraps, and 2^64 would do it no harm, since only differences are looked at.
//
// Both sides do the same thing, so there is one class for both. A side may go on until it meets its
// limit: for the consumer that is the producer's position, for the producer the consumer's position
// plus the capacity. What is left until then is its room.
//
//     ring_side                 producer                       consumer
//     room                      free units                     units to be read
//     advance + publish         commit                         release
//     announce(n)               "I sleep until n are free"     "I sleep until n are there"
//
// Sleep without a lost wake-up (the pattern of Dekker's algorithm, as in virtio and io_uring):
//
//     the one who sleeps                    the one who publishes
//       announce: store sleep = odd           publish: store position
//       full fence                            full fence
//       refresh: load peer's position         must_ring: load peer's sleep
//       still no room: sleep                  odd, and not rung for as yet: ring
//
// Each stores one word and loads the other's. With a full fence between the two on both sides, at
// least one of them sees what the other has stored. Neither acquire nor release does that, on x86
// neither: a store may wait in the processor's buffer while the load is done. The peer's word is
// only read, so the announcement is a number and not a flag that the ringer would clear: odd means
// asleep, and each odd number is rung for once.
//
// The fence of the publisher costs more than all the rest of a burst (it waits until the line of
// the position has come back from the peer). It can be left out when the sleeper calls
// membarrier(2) after its announcement: that puts a full fence into every running thread of the
// processes that have registered for it. But membarrier costs more than the fence of a single
// message, so who is often asleep had better not need it. Hence each publisher goes without only
// while the peer is busy, and says so:
//
//     the one who sleeps                    the one who publishes
//       relax, when busy: sleep = relaxed
//                                             must_ring sees it: unfenced = 1
//                                             the next must_ring: the last full fence, and from
//                                             then on none
//       announce: store sleep = odd, fence
//       load peer's unfenced; 1: membarrier
//                                             must_ring sees the odd number: unfenced = 0, and
//                                             the next one has a full fence again
//
// That the publisher is without fences rests on its own word alone: it has stored `unfenced` and
// fenced before it leaves the first one out. So either it sees the announcement, or the sleeper
// sees that a membarrier is needed, by the same argument as above. That the peer is relaxed is a
// request, and no more: when it is made or withdrawn, or seen late, costs time and nothing else.
//
// Rejected: a flag that the ringer clears by an exchange (needs memory that both write, so a
// hostile peer could write it at any time); one flag per ring that is always rung (0.3 to 0.5 µs
// per message); cached indices in the shared memory (the line that the owner reads for every
// message would also be where the peer's loads go); a choice between fence and membarrier for good
// (a burst pays a fence for each message, or a ping-pong two membarriers for each round trip); that
// the sleeper infers from the peer's position whether the peer has its fence again, without the
// word (holds only if must_ring is asked after every single publication, not for close right after
// publish, and has to be remembered by who goes on for one that has died).
//
// The design of cached positions is that of E. Rigtorp's SPSCQueue; the algorithm is Lamport's
// (1983).

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// The machine's own atomics. A model checker comes with others.
struct machine_atomics {
    template <class T>
    using atomic = std::atomic<T>;

    static void full_fence() noexcept
    {
#if defined(PROCYARD_DETAIL_TSAN)
        // ThreadSanitizer knows no fences. Nothing that it looks at hangs on this one: data is
        // published by release and acquire. A locked operation is a full fence of the machine.
        std::atomic<int> here{0};
        here.exchange(1, std::memory_order_seq_cst);
#else
        std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
    }
    /// Keeps the compiler's hands off the order; the machine is dealt with by the peer's
    /// membarrier.
    static void compiler_fence() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }
};

/// The distance between words of different writers: two lines, since processors fetch in pairs.
inline constexpr std::size_t ring_line_bytes = 128;

/// What one side lets the other know. Written by its owner alone.
template <class Policy>
struct basic_ring_words {
    template <class T>
    using atomic = typename Policy::template atomic<T>;

    /// Units committed (producer) or released (consumer), since the ring was made.
    alignas(ring_line_bytes) atomic<std::uint64_t> position{0};
    /// Odd: the owner sleeps, or is about to. Even, and bit 1 set: it is busy, and would rather
    /// call membarrier than have the peer fence. The rest counts the announcements.
    alignas(ring_line_bytes) atomic<std::uint64_t> sleep{0};
    /// From which position of the peer on the sleeper wants to be rung for.
    atomic<std::uint64_t> wake_at{0};
    /// Not 0: the owner publishes nothing any more.
    atomic<std::uint32_t> closed{0};
    /// Not 0: the owner may publish without a fence. Call membarrier before relying on being seen
    /// asleep.
    atomic<std::uint32_t> unfenced{0};
    /// Messages that the owner, a producer, has dropped for want of room; or that the owner, a
    /// consumer, has found to be overwritten.
    atomic<std::uint64_t> dropped{0};
};

using ring_words = basic_ring_words<machine_atomics>;

// An ABI: other processes, perhaps of another build, map the same bytes.
static_assert(std::atomic<std::uint64_t>::is_always_lock_free
                  && std::atomic<std::uint32_t>::is_always_lock_free,
              "an atomic that locks cannot be shared between processes");
static_assert(std::is_standard_layout_v<ring_words> && sizeof(ring_words) == 2 * ring_line_bytes);
static_assert(offsetof(ring_words, position) == 0 && offsetof(ring_words, sleep) == ring_line_bytes
              && offsetof(ring_words, wake_at) == ring_line_bytes + 8
              && offsetof(ring_words, closed) == ring_line_bytes + 16
              && offsetof(ring_words, unfenced) == ring_line_bytes + 20
              && offsetof(ring_words, dropped) == ring_line_bytes + 24);

enum class ring_role : std::uint8_t { producer, consumer };

/// One side of a ring.
///
/// What it reads of the peer's words is checked before it is believed: a position that goes back,
/// or beyond the capacity, is a violation, and then the ring is not to be used any more.
/// @par Thread safety   One thread at a time for each side; the two sides in any two threads.
/// @par Cost            publish: one store, one load of a line that rarely changes, and the fence,
///                      or none while the peer is relaxed. refresh: one load of the peer's line. No
///                      system call, except for the barrier of announce.
template <class Policy>
class basic_ring_side {
public:
    using words = basic_ring_words<Policy>;

    /// Goes on where `own` stands, and withdraws what one who died had said of its sleep and its
    /// fences there. Both blocks outlive `*this`. A new peer takes a new object: its announcements
    /// begin again.
    ///
    /// `may_relax`: this side can call membarrier, and the peer has registered to be its target.
    /// Who goes on for another on the same words may relax if that one might.
    /// @pre capacity > 0
    basic_ring_side(ring_role role, words& own, const words& peer, std::uint64_t capacity,
                    bool may_relax = false) noexcept
        : own_(&own),
          peer_(&peer),
          capacity_(capacity),
          lead_(role == ring_role::producer ? capacity : 0),
          may_relax_(may_relax),
          // Relaxed, all: only this side writes them.
          position_(own.position.load(std::memory_order_relaxed)),
          peer_position_(position_ - lead_),
          sleep_(own.sleep.load(std::memory_order_relaxed)),
          woke_at_(position_),
          published_(position_)
    {
        if ((sleep_ & state_bits) != 0) {
            sleep_ &= ~state_bits;
            own_->sleep.store(sleep_, std::memory_order_relaxed);
        }
        // Release: see set_fencing.
        if (own.unfenced.load(std::memory_order_relaxed) != 0)
            own_->unfenced.store(0, std::memory_order_release);
    }

    [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
    /// Units written or read so far, published or not.
    [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
    /// Units that are known to be ours: to write into, or to read. Looks at no shared memory.
    [[nodiscard]] std::uint64_t room() const noexcept { return peer_position_ + lead_ - position_; }

    /// Looks at the peer's position. False: it is none that an honest peer could have.
    [[nodiscard]] bool refresh() noexcept
    {
        // Acquire, pairs with the release in the peer's publish. For a consumer: the bytes that
        // were committed are there. For a producer: the reading of the bytes that were released is
        // over.
        const auto seen = peer_->position.load(std::memory_order_acquire);
        const auto room_seen = seen + lead_ - position_;
        if (room_seen > capacity_ || room_seen < room())
            return false;
        peer_position_ = seen;
        return true;
    }

    /// The peer's position, as it says, for who checks it. Acquire, as in refresh.
    [[nodiscard]] std::uint64_t peer_position() const noexcept
    {
        return peer_->position.load(std::memory_order_acquire);
    }
    /// A consumer's whose units are copied (overwriting.hpp): goes on at `from`, and those up to
    /// `until` are there.
    void go_on(std::uint64_t from, std::uint64_t until) noexcept
    {
        position_ = from;
        peer_position_ = until;
    }

    /// `count` units have been written or read. @pre count <= room()
    void advance(std::uint64_t count) noexcept { position_ += count; }

    /// Lets the peer see everything up to position().
    void publish() noexcept
    {
        published_ = position_;
        // Release, pairs with the acquire in the peer's refresh: the bytes that we have written are
        // there (commit), the ones that we have read may be overwritten (release).
        own_->position.store(position_, std::memory_order_release);
    }
    [[nodiscard]] bool is_published() const noexcept { return published_ == position_; }

    /// After publish: whether the peer sleeps, has not been rung for, and has what it wants now.
    /// True: ring its doorbell, at once.
    [[nodiscard]] bool must_ring() noexcept { return must_ring(false); }

    /// Before this side sleeps itself: the same, whatever the peer wants. It may want more than it
    /// needs (to be woken less often), and while both sleep nothing more comes.
    [[nodiscard]] bool must_ring_before_sleep() noexcept { return must_ring(true); }

    /// This side is busy: it has got many messages without a sleep. Asks the peer to leave out its
    /// fences, for a membarrier before the next sleep. Worth it when there are some dozens of
    /// messages for each sleep: see since_sleep. Does nothing if it may not, or sleeps, or after a
    /// barrier has failed.
    void relax() noexcept
    {
        if (!may_relax_ || barrier_fails_ || (sleep_ & state_bits) != 0)
            return;
        sleep_ |= relaxed_bit;
        // Relaxed: nothing hangs on it, it is a request.
        own_->sleep.store(sleep_, std::memory_order_relaxed);
    }
    /// Units written or read since this side last woke. Not counted messages, nor done here: what a
    /// message is the caller knows, and it can ask whenever it has to refresh anyway.
    [[nodiscard]] std::uint64_t since_sleep() const noexcept { return position_ - woke_at_; }

    /// Says that this side is going to sleep, and would like to be woken when there is room for
    /// `wanted` units. After that, call refresh and look at room() and peer_closed() once more, for
    /// what is needed and not for what would be liked; sleep only if that was in vain.
    ///
    /// This side may go on after that, and stay announced. Then only one of the two sides may ever
    /// want more than it needs: what it publishes meanwhile rings only for who has enough.
    ///
    /// `barrier` is called only if the peer may be without fences. It puts a full fence into the
    /// peer's threads, `bool()`; false if it could not (membarrier can be forbidden by a later
    /// seccomp filter). Then the result is false, too: the peer need not see the announcement, so
    /// do not sleep, or not for long. That passes when the peer has published again.
    /// @pre wanted <= capacity(), is_published(), and must_ring_before_sleep() was asked
    template <class Barrier>
    [[nodiscard]] bool announce(std::uint64_t wanted, Barrier&& barrier) noexcept
    {
        // Relaxed: published by the release below.
        own_->wake_at.store(position_ + wanted - lead_, std::memory_order_relaxed);
        // Not relaxed any more: the peer is to have its fence again when it has seen this, so that
        // the sleeps of a ping-pong need no barrier.
        sleep_ = (sleep_ & ~state_bits) + one_announcement + asleep_bit;
        // Release, pairs with the acquire in must_ring.
        own_->sleep.store(sleep_, std::memory_order_release);
        // Pairs with the fence of the peer's must_ring: that of this publication, or the last one
        // before it went without. So `unfenced` is looked at after it, and not before.
        Policy::full_fence();
        // Acquire, pairs with the release in set_fencing: who reads that the peer has its fence
        // again sees all that it has published without. Not believed by one who never asks for it:
        // a peer that lies is to harm itself alone.
        if (!may_relax_ || peer_->unfenced.load(std::memory_order_acquire) == 0)
            return true;
        barrier_fails_ = !barrier();
        return !barrier_fails_;
    }
    /// With this side's own fence alone. @pre may_relax was false
    void announce(std::uint64_t wanted) noexcept
    {
        (void)announce(wanted, [] { return false; });
    }

    /// This side is awake. Whoever has not rung by now need not.
    void withdraw() noexcept
    {
        woke_at_ = position_;
        sleep_ &= ~asleep_bit;
        // Relaxed: a peer that sees it late rings once too often.
        own_->sleep.store(sleep_, std::memory_order_relaxed);
    }
    [[nodiscard]] bool is_announced() const noexcept { return (sleep_ & asleep_bit) != 0; }

    /// A producer's: so many messages have been dropped. The consumer sees it with the next
    /// publication at the latest. A consumer's: so many have been lost.
    void count_dropped(std::uint64_t count) noexcept
    {
        // Relaxed, both: only this side writes it, and the release in publish and close orders it.
        own_->dropped.store(own_->dropped.load(std::memory_order_relaxed) + count,
                            std::memory_order_relaxed);
    }
    /// What the peer has dropped: all that it had before what this side has seen last, and perhaps
    /// more.
    [[nodiscard]] std::uint64_t peer_dropped() const noexcept
    {
        return peer_->dropped.load(std::memory_order_relaxed);
    }

    /// This side publishes nothing any more. Ring if must_ring says so.
    void close() noexcept
    {
        closed_ = true;
        // Release, pairs with the acquire in peer_closed: what was committed before is seen with
        // it.
        own_->closed.store(1, std::memory_order_release);
    }
    /// Whether the peer publishes nothing any more. Then refresh once more: what it had committed
    /// before is all there is.
    [[nodiscard]] bool peer_closed() const noexcept
    {
        return peer_->closed.load(std::memory_order_acquire) != 0;
    }

private:
    static constexpr std::uint64_t asleep_bit = 1;
    static constexpr std::uint64_t relaxed_bit = 2;  // in an even number
    static constexpr std::uint64_t state_bits = 3;
    static constexpr std::uint64_t one_announcement = 4;

    enum class fencing : std::uint8_t {
        always,
        once_more,  // the peer can see that it is the last one
        never,
    };

    [[nodiscard]] bool must_ring(bool whatever_it_wants) noexcept
    {
        if (fencing_ == fencing::never) {
            Policy::compiler_fence();  // the peer's membarrier does the rest
        } else {
            Policy::full_fence();  // pairs with the fence in the peer's announce; see above
            if (fencing_ == fencing::once_more)
                fencing_ = fencing::never;
        }
        // Acquire, pairs with the release in announce: wake_at is the one that belongs to this
        // announcement, or a later one (then the later announcement's refresh sees our position).
        const auto seen = peer_->sleep.load(std::memory_order_acquire);
        const bool is_relaxed = (seen & state_bits) == relaxed_bit;
        if (is_relaxed != (fencing_ != fencing::always))
            set_fencing(is_relaxed);
        if (seen % 2 == 0 || seen == rung_for_)
            return false;
        // Relaxed: ordered by the load above. A lie only lets the peer sleep longer or less.
        const auto wake_at = peer_->wake_at.load(std::memory_order_relaxed);
        // By its sign, and not by whether the difference is beyond the capacity: a sleeper may have
        // gone on since it announced (who tries goes before who waits, and a look for a whole
        // message takes its parts), so this side can be more than a lap ahead of wake_at.
        const bool is_short_of_it = static_cast<std::int64_t>(published_ - wake_at) < 0;
        if (is_short_of_it && !whatever_it_wants && !closed_)
            return false;
        rung_for_ = seen;
        return true;
    }

    /// Rare: at the beginning and at the end of a burst.
    void set_fencing(bool peer_is_relaxed) noexcept
    {
        fencing_ = peer_is_relaxed ? fencing::once_more : fencing::always;
        // Release, pairs with the acquire in announce: 0 comes after all that was published without
        // a fence. That 1 comes before it is the business of the fence of the next must_ring.
        own_->unfenced.store(peer_is_relaxed ? 1 : 0, std::memory_order_release);
    }

    words* own_;
    const words* peer_;
    std::uint64_t capacity_;
    std::uint64_t lead_;  // how far ahead of the peer this side may be
    bool may_relax_;
    bool barrier_fails_ = false;
    bool closed_ = false;
    fencing fencing_ = fencing::always;
    std::uint64_t position_;
    std::uint64_t peer_position_;  // as it was at the last refresh
    std::uint64_t sleep_;
    std::uint64_t woke_at_;
    std::uint64_t rung_for_ = 0;  // the last announcement of the peer's that we have rung for
    // Not beside position_: the two get the same value, so GCC would store both out of one vector
    // register, and the next message would wait for its position to come back from there: 1 ns.
    std::uint64_t published_;
};

using ring_side = basic_ring_side<machine_atomics>;

/// Eight bytes that a hostile peer may be writing, aligned, by one load: so that what is checked is
/// what is used. (What a plain read or a memcpy loads, a compiler may load twice.)
inline std::uint64_t load_once(const std::byte* at) noexcept
{
    // Relaxed: the acquire of the position came before. The builtin, since an atomic_ref to const
    // comes with C++26 only.
    return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(at), __ATOMIC_RELAXED);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
