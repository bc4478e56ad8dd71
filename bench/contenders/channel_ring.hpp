// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_CHANNEL_RING_HPP
#define PROCYARD_BENCH_CHANNEL_RING_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "../channel/message.hpp"
#include "../channel/pair.hpp"

namespace bench {

/// The hand-written limit: cells of one size in shared memory, one sender, one receiver, 64-bit
/// positions that never wrap, each side's copy of the other's position, and a spin when there is
/// nothing to do. No sleep, no second look at what the other side writes, nobody ever dies.
template <std::size_t Bytes>
class raw_ring_link {
public:
    explicit raw_ring_link(const round_options&) : ring_(make_shared_object<ring>()) { }

    void open_receiver() { }
    void open_sender() { }

    void send(const message<Bytes>& m) { send_some(std::span(&m, 1)); }
    void receive(message<Bytes>& m) { (void)receive_some(std::span(&m, 1)); }

    void send_some(std::span<const message<Bytes>> batch)
    {
        while (!batch.empty()) {
            const auto count =
                std::min({batch.size(), wait_for_room(batch.size()), until_end(own_)});
            std::memcpy(&ring_.cells[own_ % capacity], batch.data(), count * Bytes);
            publish(ring_.written, count);
            batch = batch.subspan(count);
        }
    }

    std::size_t receive_some(std::span<message<Bytes>> batch)
    {
        const auto count =
            std::min({batch.size(), wait_for_messages(batch.size()), until_end(own_)});
        std::memcpy(batch.data(), &ring_.cells[own_ % capacity], count * Bytes);
        publish(ring_.read, count);
        return count;
    }

    template <class Make>
    void send_in_place(Make make)
    {
        (void)wait_for_room(1);
        make(ring_.cells[own_ % capacity]);
        publish(ring_.written, 1);
    }

    template <class Look>
    void receive_in_place(Look look)
    {
        (void)wait_for_messages(1);
        look(std::as_const(ring_.cells[own_ % capacity]));
        publish(ring_.read, 1);
    }

private:
    static constexpr std::size_t capacity = capacity_of<Bytes>;

    struct ring {
        alignas(128) std::atomic<std::uint64_t> written = 0;
        alignas(128) std::atomic<std::uint64_t> read = 0;
        alignas(4096) message<Bytes> cells[capacity];
    };

    static std::size_t until_end(std::uint64_t position) { return capacity - position % capacity; }

    void publish(std::atomic<std::uint64_t>& position, std::size_t count)
    {
        own_ += count;
        position.store(own_, std::memory_order_release);
    }

    // Both look at the other's position only if what they know of it is not enough, and then take
    // what there is.
    std::size_t wait_for_room(std::size_t wanted)
    {
        auto room = capacity - (own_ - others_);
        while (room < wanted) {
            others_ = ring_.read.load(std::memory_order_acquire);
            room = capacity - (own_ - others_);
            if (room != 0)
                break;
            relax();
        }
        return room;
    }

    std::size_t wait_for_messages(std::size_t wanted)
    {
        auto there = others_ - own_;
        while (there < wanted) {
            others_ = ring_.written.load(std::memory_order_acquire);
            there = others_ - own_;
            if (there != 0)
                break;
            relax();
        }
        return there;
    }

    ring& ring_;
    std::uint64_t own_ = 0;     // this side's position
    std::uint64_t others_ = 0;  // the other's, as last seen
};

}  // namespace bench

#endif
