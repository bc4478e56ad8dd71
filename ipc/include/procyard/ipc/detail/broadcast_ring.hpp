// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_BROADCAST_RING_HPP
#define PROCYARD_IPC_DETAIL_BROADCAST_RING_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/ring_core.hpp>

// The ring of a broadcast, one writer and many readers: every atomic operation of it is in this
// file, as those of a channel's ring are in ring_core.hpp, whose words and whose way to sleep it
// has.
//
// The writer's segment holds its words and the units, each reader's its own words; nobody writes
// another's. A reader that the writer waits for limits it by its position, as a consumer limits a
// producer. One that it does not wait for is overtaken: what it reads may be overwritten while it
// is read. So a reader copies first and asks afterwards whether what it has copied was still there:
//
//     the writer                            a reader
//       claim: store oldest                   refresh: load position
//       release fence                         copy the units
//       overwrite the units                   acquire fence
//       publish: store position               is_intact: load oldest
//
// A reader that has copied a byte which was written after the claim sees the claim: the fences make
// one of the other (Boehm, "Can seqlocks get along with programming language memory models?", 2012;
// the algorithm is that of Aeron's broadcast buffer, with its `tail intent` turned into what can
// still be read). Both sides copy by relaxed atomic words, so it is no data race either.
//
// `oldest` stands where a message begins: a reader that was overtaken goes on there.
//
// Rejected: a sequence number in each cell, which needs no `oldest`, but a number beside each
// record, and does not tell a reader where to go on; sleep words of the readers in one table, which
// the writer would look through more quickly, but which all readers would have to write.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// machine_atomics with the fences of one direction.
struct broadcast_atomics : machine_atomics {
#if defined(PROCYARD_DETAIL_TSAN)
    // ThreadSanitizer knows no fences; what they put in order here are atomic words, of which it
    // believes everything. On the machines that it runs on, they concern the compiler alone.
    static void release_fence() noexcept { compiler_fence(); }
    static void acquire_fence() noexcept { compiler_fence(); }
#else
    static void release_fence() noexcept { std::atomic_thread_fence(std::memory_order_release); }
    static void acquire_fence() noexcept { std::atomic_thread_fence(std::memory_order_acquire); }
#endif
};

/// What the writer lets its readers know, or a reader the writer. Written by its owner alone.
template <class Policy>
struct basic_broadcast_words {
    template <class T>
    using atomic = typename Policy::template atomic<T>;

    /// Units committed (writer), or not to be read any more (reader), since the broadcast was made.
    alignas(ring_line_bytes) atomic<std::uint64_t> position{0};
    /// The writer's: units before this one may be overwritten at any time.
    atomic<std::uint64_t> oldest{0};
    /// Odd: the owner sleeps, or is about to. The rest counts the announcements.
    alignas(ring_line_bytes) atomic<std::uint64_t> sleep{0};
    /// The writer's: the reader that comes past this position rings.
    atomic<std::uint64_t> wake_at{0};
    /// Not 0: the owner is done.
    atomic<std::uint32_t> closed{0};
};

using broadcast_words = basic_broadcast_words<broadcast_atomics>;

// An ABI, as ring_words.
static_assert(std::is_standard_layout_v<broadcast_words>
              && sizeof(broadcast_words) == 2 * ring_line_bytes);
static_assert(offsetof(broadcast_words, position) == 0 && offsetof(broadcast_words, oldest) == 8
              && offsetof(broadcast_words, sleep) == ring_line_bytes
              && offsetof(broadcast_words, wake_at) == ring_line_bytes + 8
              && offsetof(broadcast_words, closed) == ring_line_bytes + 16);

/// How far `to` is ahead of `from`; negative: behind. Positions may run past 2^64.
constexpr std::int64_t distance(std::uint64_t from, std::uint64_t to) noexcept
{
    return static_cast<std::int64_t>(to - from);
}

/// The announcement of sleep, which is the same of both.
template <class Policy>
class basic_sleeper {
public:
    using words = basic_broadcast_words<Policy>;

    explicit basic_sleeper(words& own) noexcept : own_(&own) { }

    /// Says that this side is going to sleep. After that, look once more whether there is what it
    /// would sleep for; sleep only if that was in vain.
    void announce(std::uint64_t wake_at) noexcept
    {
        // Relaxed: published by the release below.
        own_->wake_at.store(wake_at, std::memory_order_relaxed);
        sleep_ = sleep_ / 2 * 2 + one_announcement + 1;
        // Release, pairs with the acquire of whoever rings.
        own_->sleep.store(sleep_, std::memory_order_release);
        // Pairs with the fence between a publication and the look at `sleep`.
        Policy::full_fence();
    }
    /// This side is awake. Whoever has not rung by now need not.
    void withdraw() noexcept
    {
        sleep_ &= ~std::uint64_t{1};
        // Relaxed: who sees it late rings once too often.
        own_->sleep.store(sleep_, std::memory_order_relaxed);
    }
    [[nodiscard]] bool is_announced() const noexcept { return sleep_ % 2 != 0; }

private:
    static constexpr std::uint64_t one_announcement = 2;

    words* own_;
    std::uint64_t sleep_ = 0;
};

/// The writer's side.
/// @par Thread safety   One thread at a time; each reader in any other.
template <class Policy>
class basic_broadcast_writer {
public:
    using words = basic_broadcast_words<Policy>;

    /// `own` is new, but for the position it begins with, and outlives `*this`.
    basic_broadcast_writer(words& own, std::uint64_t capacity) noexcept
        : own_(&own),
          sleeper_(own),
          capacity_(capacity),
          // Relaxed: only this side writes it.
          position_(own.position.load(std::memory_order_relaxed)),
          oldest_(position_)
    {
        own.oldest.store(oldest_, std::memory_order_relaxed);
    }

    [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
    /// Units written so far.
    [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
    /// From here on everything is still there.
    [[nodiscard]] std::uint64_t oldest() const noexcept { return oldest_; }
    /// What must be the oldest, at least, before `count` units can be written.
    [[nodiscard]] std::uint64_t floor_for(std::uint64_t count) const noexcept
    {
        return position_ + count - capacity_;
    }

    /// Everything before `oldest` is overwritten from now on.
    /// @pre not beyond position()
    void claim(std::uint64_t oldest) noexcept
    {
        if (distance(oldest_, oldest) <= 0)
            return;
        oldest_ = oldest;
        // Release, pairs with the acquire in the reader's find_oldest: who sees it sees a position
        // that is not before it.
        own_->oldest.store(oldest, std::memory_order_release);
        // Pairs with the fence in the reader's is_intact, by way of any word that is written now.
        Policy::release_fence();
    }
    /// `count` units have been written.
    void advance(std::uint64_t count) noexcept { position_ += count; }
    /// Lets the readers see everything up to position().
    void publish() noexcept
    {
        // Release, pairs with the acquire in the reader's refresh: the units are there.
        own_->position.store(position_, std::memory_order_release);
    }
    /// After publish or close, and before the readers are asked whether they sleep.
    void fence() const noexcept
    {
        Policy::full_fence();  // pairs with the fence in a reader's announce
    }

    /// Says that the writer sleeps until all readers that it waits for have come to where `wanted`
    /// units can be written.
    void announce(std::uint64_t wanted) noexcept { sleeper_.announce(floor_for(wanted)); }
    void withdraw() noexcept { sleeper_.withdraw(); }
    [[nodiscard]] bool is_announced() const noexcept { return sleeper_.is_announced(); }

    /// Nothing more will be published.
    void close() noexcept
    {
        // Release, pairs with the acquire in peer_closed: what was published is seen with it.
        own_->closed.store(1, std::memory_order_release);
    }

private:
    words* own_;
    basic_sleeper<Policy> sleeper_;
    std::uint64_t capacity_;
    std::uint64_t position_;
    std::uint64_t oldest_;
};

/// What the writer knows of one reader, who may be hostile.
/// @par Thread safety   As the writer's, to which it belongs.
template <class Policy>
class basic_known_reader {
public:
    using words = basic_broadcast_words<Policy>;

    basic_known_reader(const words& theirs, std::uint64_t start) noexcept
        : theirs_(&theirs),
          position_(start)
    {
    }

    /// Where it was when it was last looked at.
    [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
    /// Looks where it is. False: nowhere where an honest reader could be.
    [[nodiscard]] bool refresh(std::uint64_t published) noexcept
    {
        // Acquire, pairs with the release in the reader's publish: the reading of what is before
        // its position is over.
        const auto seen = theirs_->position.load(std::memory_order_acquire);
        if (distance(position_, seen) < 0 || distance(seen, published) < 0)
            return false;
        position_ = seen;
        return true;
    }
    /// After the writer's fence: whether it sleeps, and has not been rung for. True: ring.
    [[nodiscard]] bool must_ring() noexcept
    {
        // Acquire, pairs with the release in announce.
        const auto seen = theirs_->sleep.load(std::memory_order_acquire);
        if (seen % 2 == 0 || seen == rung_for_)
            return false;
        rung_for_ = seen;
        return true;
    }
    [[nodiscard]] bool has_closed() const noexcept
    {
        return theirs_->closed.load(std::memory_order_acquire) != 0;
    }

private:
    const words* theirs_;
    std::uint64_t position_;
    std::uint64_t rung_for_ = 0;
};

/// A reader's side. What it reads of the writer's words is checked before it is believed.
/// @par Thread safety   One thread at a time.
template <class Policy>
class basic_broadcast_reader {
public:
    using words = basic_broadcast_words<Policy>;

    /// `own` is new. Both outlive `*this`.
    basic_broadcast_reader(words& own, const words& writer, std::uint64_t capacity,
                           std::uint64_t start) noexcept
        : own_(&own),
          writer_(&writer),
          sleeper_(own),
          capacity_(capacity),
          position_(start),
          published_(start),
          writer_position_(start)
    {
        // Relaxed: nobody looks at it as yet.
        own.position.store(start, std::memory_order_relaxed);
    }

    [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
    /// Units that are known to have been written and not been read. They may be overwritten by now.
    [[nodiscard]] std::uint64_t room() const noexcept { return writer_position_ - position_; }
    /// How many units there are to the middle of those. Of what the writer says it has written no
    /// more counts than the ring can hold: it may say 2^63, and the way there be looked through.
    [[nodiscard]] std::uint64_t half() const noexcept
    {
        return (room() < capacity_ ? room() : capacity_) / 2;
    }

    /// Looks at the writer's position. False: it is none that an honest writer could have.
    [[nodiscard]] bool refresh() noexcept
    {
        // Acquire, pairs with the release in the writer's publish: the units are there, or newer
        // ones.
        const auto seen = writer_->position.load(std::memory_order_acquire);
        if (distance(writer_position_, seen) < 0)
            return false;
        writer_position_ = seen;
        return true;
    }
    /// After the units from position() on have been copied: whether they were still there.
    [[nodiscard]] bool is_intact() const noexcept
    {
        Policy::acquire_fence();  // pairs with the fence in claim, by way of a word that was copied
        // Relaxed: ordered by the fence.
        const auto oldest = writer_->oldest.load(std::memory_order_relaxed);
        return distance(position_, oldest) <= 0;
    }
    /// Goes on with the oldest that is still there, if that is behind us. False: the writer is not
    /// honest.
    [[nodiscard]] bool skip_lost() noexcept
    {
        // Acquire, pairs with the release in claim: the writer's position is not before it.
        const auto oldest = writer_->oldest.load(std::memory_order_acquire);
        if (!refresh() || distance(oldest, writer_position_) < 0)
            return false;
        if (distance(position_, oldest) > 0)
            position_ = oldest;
        return true;
    }
    /// Goes on with the last `count` units. @pre count <= capacity(), and so many were written
    void skip_to_last(std::uint64_t count) noexcept { position_ = writer_position_ - count; }

    /// `count` units have been read, and need not be there any more. @pre count <= room()
    void advance(std::uint64_t count) noexcept { position_ += count; }
    /// Lets the writer know how far we are; needed only where it waits for this reader. True: it
    /// sleeps until then, ring.
    [[nodiscard]] bool publish() noexcept
    {
        const auto before = published_;
        published_ = position_;
        // Release, pairs with the acquire in refresh: the units have been copied.
        own_->position.store(position_, std::memory_order_release);
        // Pairs with the fence in the writer's announce.
        Policy::full_fence();
        // Acquire, pairs with the release in announce: wake_at belongs to it, or to a later one
        // (after which the writer has seen our position).
        const auto seen = writer_->sleep.load(std::memory_order_acquire);
        if (seen % 2 == 0)
            return false;
        // Relaxed: ordered by the load above. Only who comes past it rings: others that are ahead
        // would do so for each message.
        const auto wake_at = writer_->wake_at.load(std::memory_order_relaxed);
        return distance(before, wake_at) > 0 && distance(wake_at, position_) >= 0;
    }
    /// Lets whoever looks in from outside know how far we are, where the writer does not care.
    void show() noexcept
    {
        published_ = position_;
        // Relaxed: nothing hangs on it.
        own_->position.store(position_, std::memory_order_relaxed);
    }
    /// Says that this reader sleeps until there is something new.
    void announce() noexcept { sleeper_.announce(0); }
    void withdraw() noexcept { sleeper_.withdraw(); }
    [[nodiscard]] bool is_announced() const noexcept { return sleeper_.is_announced(); }

    /// This reader is done: the writer need not wait for it. True: it does, ring.
    [[nodiscard]] bool close() noexcept
    {
        own_->closed.store(1, std::memory_order_release);
        Policy::full_fence();  // as in publish
        return writer_->sleep.load(std::memory_order_acquire) % 2 != 0;
    }
    /// Whether the writer is done. Then refresh once more: what it had published before is all.
    [[nodiscard]] bool writer_closed() const noexcept
    {
        return writer_->closed.load(std::memory_order_acquire) != 0;
    }

private:
    words* own_;
    const words* writer_;
    basic_sleeper<Policy> sleeper_;
    std::uint64_t capacity_;
    std::uint64_t position_;
    std::uint64_t published_;
    std::uint64_t writer_position_;  // as it was at the last refresh
};

using broadcast_writer_side = basic_broadcast_writer<broadcast_atomics>;
using known_reader = basic_known_reader<broadcast_atomics>;
using broadcast_reader_side = basic_broadcast_reader<broadcast_atomics>;

/// Copies into the ring, while others may be reading there. Both are aligned to 8 bytes, and
/// `bytes` is a multiple of 8.
inline void copy_in(std::byte* to, const std::byte* from, std::size_t bytes) noexcept
{
    auto* const out = reinterpret_cast<std::uint64_t*>(to);
    for (std::size_t i = 0; i < bytes / 8; ++i) {
        // Outside of the ring there may be objects of any type, which a word is no alias of.
        std::uint64_t word;
        std::memcpy(&word, from + i * 8, sizeof word);
        // Relaxed: what puts them in order are claim before and publish after. The builtin, since
        // the units are no std::atomic objects.
        __atomic_store_n(out + i, word, __ATOMIC_RELAXED);
    }
}

/// Copies out of the ring, while the writer may be writing there: what was copied is worth nothing
/// until is_intact() has said so. Each word is read once.
inline void copy_out(std::byte* to, const std::byte* from, std::size_t bytes) noexcept
{
    for (std::size_t i = 0; i < bytes / 8; ++i) {
        const auto word = load_once(from + i * 8);
        std::memcpy(to + i * 8, &word, sizeof word);  // as in copy_in
    }
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
