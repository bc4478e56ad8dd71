// SPDX-License-Identifier: BSL-1.0
// Either side of a ring against a peer that writes what it likes into its own memory, whenever it
// likes.
//
// The input: a byte that says which side we are and how large the ring is, then steps, each a byte
// and what it needs.
#include "fuzz_input.hpp"

#include <array>
#include <optional>
#include <string>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/detail/message_parts.hpp>
#include <procyard/ipc/detail/record_ring.hpp>
#include <procyard/ipc/detail/ring_core.hpp>

using namespace procyard::detail;
using procyard_fuzz::demand;
using procyard_fuzz::input;

namespace {

// The bytes of a ring, of which not one more can be read or written unnoticed.
class ring_bytes {
public:
    explicit ring_bytes(std::uint64_t capacity) : words_(static_cast<std::size_t>(capacity / 8)) { }
    [[nodiscard]] std::byte* data() noexcept { return reinterpret_cast<std::byte*>(words_.data()); }
    [[nodiscard]] std::size_t size() const noexcept { return words_.size() * 8; }
    void write(std::size_t at, std::span<const std::byte> bytes)
    {
        const auto offset = at % size();
        std::memcpy(data() + offset, bytes.data(), std::min(bytes.size(), size() - offset));
    }
    [[nodiscard]] bool has(std::span<const std::byte> part)
    {
        return part.data() >= data() && part.data() + part.size() <= data() + size();
    }

private:
    std::vector<std::uint64_t> words_;
};

// What the peer does to its own words.
void scribble(input& in, ring_words& peer, const ring_words& own)
{
    switch (in.take<std::uint8_t>() % 6) {
    case 0: peer.position.store(in.take<std::uint64_t>()); break;
    case 1: peer.position.store(own.position.load() + in.take<std::uint8_t>()); break;
    case 2: peer.position.store(peer.position.load() + 8U * in.take<std::uint8_t>()); break;
    case 3: peer.sleep.store(in.take<std::uint64_t>()); break;
    case 4: peer.wake_at.store(in.take<std::uint64_t>()); break;
    default:
        peer.closed.store(in.take<std::uint8_t>());
        peer.unfenced.store(in.take<std::uint8_t>());
    }
}

// What either side does besides.
void publish(ring_side& side, std::uint8_t how)
{
    side.publish();
    (void)((how & 1U) != 0 ? side.must_ring_before_sleep() : side.must_ring());
    if ((how & 2U) != 0)
        side.relax();
    if ((how & 4U) != 0) {
        if (side.is_announced())
            side.withdraw();
        (void)side.announce(1 + how % side.capacity(), [] { return true; });
    }
    if ((how & 8U) != 0 && side.is_announced())
        side.withdraw();
}

// False: what the peer has sent is no part of a message.
bool put_together(part_assembly& parts, record_kind kind, std::span<const std::byte> payload)
{
    constexpr std::uint64_t most = 300;
    switch (parts.add(kind, payload, most)) {
    case part_assembly::answer::more: break;
    case part_assembly::answer::complete: {
        demand(parts.message().size() <= most, "a message within the limit");
        std::string text;
        (void)procyard::decode_message(parts.message(), text);
        parts.finish();
        break;
    }
    case part_assembly::answer::too_long:
    case part_assembly::answer::violation: return false;
    }
    return true;
}

// False: the peer was found out, and the ring is not used any more.
bool receive(ring_side& side, ring_bytes& bytes, part_assembly& parts)
{
    record_consumer consumer(side, bytes.data());
    std::span<const std::byte> payload;
    const auto before = side.position();
    const auto found = consumer.next(payload);
    demand(side.room() <= side.capacity(), "room within the capacity");
    demand(side.position() - before <= 2 * side.capacity(), "bounded work for one record");
    if (found == record_consumer::answer::record) {
        demand(bytes.has(payload), "a payload lies in the ring");
        std::string text;
        (void)procyard::decode_message(payload, text);
    }
    if (found == record_consumer::answer::part) {
        demand(bytes.has(payload), "a part lies in the ring");
        if (!put_together(parts, consumer.kind(), payload))
            return false;
    }
    return found != record_consumer::answer::violation;
}

bool send(ring_side& side, ring_bytes& bytes, std::uint16_t length)
{
    record_producer producer(side, bytes.data());
    bool good = true;
    const auto at = producer.place(length, good);
    if (good && at.what == record_place::answer::ready) {
        const std::span<std::byte> payload(producer.payload(at), length);
        demand(bytes.has(payload), "a place lies in the ring");
        std::memset(payload.data(), 0x55, payload.size());
        producer.commit(at, length);
    }
    demand(side.room() <= side.capacity(), "room within the capacity");
    return good;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input in(data, size);
    const auto kind = in.take<std::uint8_t>();
    const std::uint64_t capacity = std::uint64_t{16} << (kind >> 1U) % 6;
    const auto role = (kind & 1U) != 0 ? ring_role::producer : ring_role::consumer;
    ring_bytes bytes(capacity);
    ring_words own;
    ring_words peer;
    if ((kind & 0x80U) != 0) {  // near the end of the numbers
        own.position.store(std::uint64_t{0} - 8U * (kind & 15U));
        peer.position.store(own.position.load());
    }
    std::optional<ring_side> side(std::in_place, role, own, peer, capacity, true);
    part_assembly parts;
    for (bool good = true; good && !in.empty();) {
        const auto step = in.take<std::uint8_t>();
        switch (step % 4) {
        case 0: scribble(in, peer, own); break;
        case 1: {
            const auto at = in.take<std::uint16_t>();
            bytes.write(at, in.take_bytes(1 + step / 4 % 16));
            break;
        }
        case 2: publish(*side, step / 4); break;
        default:
            good = role == ring_role::consumer ? receive(*side, bytes, parts)
                                               : send(*side, bytes, in.take<std::uint16_t>());
        }
    }
    return 0;
}
