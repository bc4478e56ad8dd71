// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_WORK_OPTIONS_HPP
#define PROCYARD_IPC_WORK_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How a work queue behaves.
struct work_queue_options {
    /// How many items it holds: those that wait, that are leased, and dead letters that nobody has
    /// collected. At least 1.
    std::size_t capacity = 1024;
    /// How long a consumer may keep an item, from when it is handed out. Then the item goes to
    /// another one. More than 0; `max()`: until the consumer dies.
    std::chrono::nanoseconds lease = std::chrono::seconds(30);
    /// After so many attempts in vain an item is a dead letter. 0: never.
    unsigned max_attempts = 5;
    /// So many items a consumer can hold or have asked for at once: 1 to 4,096.
    std::size_t leases_per_consumer = 64;
    /// The channels by which items come in and go out. Of messages of different lengths: an item
    /// takes some 50 bytes more on its way out than on its way in. `full` is what a producer does
    /// whose channel is full; an item that goes out waits for room. A queue that forgets what it
    /// has got is none: drop_oldest is refused as `channel_errc::bad_option`. `spin` is that of
    /// producers and consumers alone: the queue's own ends never spin, since each would keep the
    /// others from being heard.
    channel_options channels{};
};

/// What becomes of a leased item of which nothing was said when its lease is destroyed.
enum class lease_policy : std::uint8_t {
    give_back,    ///< somebody else gets it
    acknowledge,  ///< it is done
};

/// Why an item came back last.
enum class return_reason : std::uint8_t {
    none,            ///< it has not
    rejected,        ///< the consumer has given it back
    lease_overrun,   ///< the consumer has kept it for too long
    consumer_ended,  ///< the consumer has died, closed, or broken the rules
    unsendable,      ///< it was never handed out: too long for a consumer's channel, or not encoded
};

/// An item that nobody could deal with.
template <class T>
struct dead_letter {
    std::uint64_t id = 0;
    T value{};
    unsigned attempts = 0;                       ///< times that it was handed out
    return_reason reason = return_reason::none;  ///< why it came back the last time
};

/// What a work queue has done.
struct work_queue_statistics {
    std::uint64_t ready = 0;     ///< items that wait for a consumer now
    std::uint64_t leased = 0;    ///< items that a consumer has now
    std::uint64_t dead = 0;      ///< dead letters that nobody has collected yet
    std::uint64_t pushed = 0;    ///< items that have come in
    std::uint64_t done = 0;      ///< items that were acknowledged
    std::uint64_t returned = 0;  ///< times that an item came back
    std::uint64_t late = 0;      ///< answers that were refused: the lease had been overrun
    std::uint64_t consumers = 0;
    std::uint64_t producers = 0;

    friend bool operator==(const work_queue_statistics&, const work_queue_statistics&) = default;
};

PROCYARD_NAMESPACE_END

#endif
