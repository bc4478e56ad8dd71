// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_WORKER_RECORD_HPP
#define PROCYARD_RUNTIME_SRC_WORKER_RECORD_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/ring_core.hpp>
#include <procyard/ipc/segment.hpp>
#include <procyard/ipc/unique_fd.hpp>

// What a worker lets its pool know without a message, and what is known of it after its death: a
// segment that the worker makes, seals, and alone writes. An ABI, as the records of pool_wire.hpp.
//
//     0   magic, version, how many counters
//     64  how many of the tasks that came it has begun, in their order, those included that were
//         cancelled before
//     72  how often its loop has turned
//     128 counters
//
// Nothing here is told by anything else, so each word stands for itself; but `begun` is raised
// before the handler is called, and what the handler does happens after it. What was delivered and
// not begun when the worker died has had no effect, so it can be run again, whatever it is.
//
// Of a living worker `begun` is half of an agreement. The worker raises it, and then looks into its
// channel before it calls the handler; the pool puts a cancel there, and then looks at `begun`;
// with a full fence in between on both sides. So one of them sees the other: a task that the pool
// has seen not to be begun after it was cancelled never is.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

inline constexpr std::uint64_t worker_record_magic = 0x4b524f5759435250;  // "PRCYWORK" in memory
inline constexpr std::uint32_t worker_record_version = 1;
inline constexpr std::size_t most_counters = 64;

struct worker_record {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t counter_count;
    alignas(64) std::atomic<std::uint64_t> begun;
    std::atomic<std::uint64_t> beats;
    alignas(64) std::atomic<std::uint64_t> counters[most_counters];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free
              && offsetof(worker_record, begun) == 64 && offsetof(worker_record, beats) == 72
              && offsetof(worker_record, counters) == 128
              && sizeof(worker_record) == 128 + 8 * most_counters);

// The worker's own.
class own_worker_record {
public:
    [[nodiscard]] static own_worker_record create(std::size_t counters, error_code& ec)
    {
        own_worker_record made;
        made.segment_ = segment::create(sizeof(worker_record), {.name = "pool-worker"}, ec);
        if (ec)
            return {};
        made.words_ = new (made.segment_.writable_data()) worker_record{};
        made.words_->magic = worker_record_magic;
        made.words_->version = worker_record_version;
        made.words_->counter_count = static_cast<std::uint32_t>(std::min(counters, most_counters));
        made.segment_.seal_for_peer(ec);
        return made;
    }
    [[nodiscard]] const segment& memory() const noexcept { return segment_; }

    // Release: what the handler does, which the pool may see by other ways, comes after. The fence
    // pairs with begun_after_cancel(): what is looked at next in the channel is not older.
    void begin() noexcept
    {
        words_->begun.store(++begun_, std::memory_order_release);
        machine_atomics::full_fence();
    }
    // Relaxed, as the counters: a number by itself, which publishes nothing.
    void beat() noexcept { (void)words_->beats.fetch_add(1, std::memory_order_relaxed); }
    void count(std::size_t counter, std::uint64_t n) noexcept
    {
        if (counter < words_->counter_count)
            (void)words_->counters[counter].fetch_add(n, std::memory_order_relaxed);
    }

private:
    segment segment_{};
    worker_record* words_ = nullptr;  // into segment_
    std::uint64_t begun_ = 0;
};

// The pool's view of it. What it says may be a lie: it is a number that is clamped by whoever uses
// it, and never an index.
class peer_worker_record {
public:
    peer_worker_record() noexcept = default;

    // False: it is none.
    [[nodiscard]] static bool attach(unique_fd fd, std::size_t announced_bytes,
                                     peer_worker_record& result)
    {
        if (announced_bytes < sizeof(worker_record) || announced_bytes > most_bytes)
            return false;
        error_code ec;
        peer_worker_record made;
        made.segment_ = segment::attach(std::move(fd), announced_bytes, ec);
        if (ec)
            return false;
        made.words_ = reinterpret_cast<const worker_record*>(made.segment_.data());
        if (made.words_->magic != worker_record_magic
            || made.words_->version != worker_record_version)
            return false;
        (void)made.segment_.release_descriptor();
        result = std::move(made);
        return true;
    }
    [[nodiscard]] explicit operator bool() const noexcept { return words_ != nullptr; }

    // Acquire: pairs with begin().
    [[nodiscard]] std::uint64_t begun() const noexcept
    {
        return words_ == nullptr ? 0 : words_->begun.load(std::memory_order_acquire);
    }
    // When the cancels that count are in the channel.
    [[nodiscard]] std::uint64_t begun_after_cancel() const noexcept
    {
        machine_atomics::full_fence();
        return begun();
    }
    [[nodiscard]] std::uint64_t beats() const noexcept
    {
        return words_ == nullptr ? 0 : words_->beats.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t counter(std::size_t n) const noexcept
    {
        return words_ == nullptr || n >= most_counters
            ? 0
            : words_->counters[n].load(std::memory_order_relaxed);
    }

private:
    // A segment is whole pages, of whatever size they are; what is larger would be a lie.
    static constexpr std::size_t most_bytes = 64 * 1024;

    segment segment_{};
    const worker_record* words_ = nullptr;  // into segment_
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
