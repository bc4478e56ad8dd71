// SPDX-License-Identifier: BSL-1.0
// Either side of a ring whose sender drops the oldest, against a peer that writes what it likes
// into its own memory: messages and claims of a sender, position and accounts of a receiver.
//
// The input: a byte that says which side we are and how long messages are, then steps, each a byte
// and what it needs.
#include "fuzz_input.hpp"

#include <procyard/ipc/detail/overwriting.hpp>
#include <procyard/ipc/detail/record_ring.hpp>
#include <procyard/ipc/detail/ring_core.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>

using namespace procyard::detail;
using procyard_fuzz::demand;
using procyard_fuzz::input;

namespace {

constexpr ring_shape cells{8, 8};
constexpr ring_shape records{256, 1};

ring_memory memory(ring_role role, const ring_shape& shape)
{
    procyard::error_code ec;
    auto made = ring_memory::create(
        role, shape, role == ring_role::producer ? feature_overwrites : feature_none, ec);
    demand(!ec, "memory for a ring");
    return made;
}

// A number near another one, or any.
std::uint64_t near_to(std::uint64_t known, input& in)
{
    const auto how = in.take<std::uint8_t>();
    return how < 224 ? known + how - 32 : in.take<std::uint64_t>();
}

void lie_as_sender(ring_memory& sender, const ring_shape& shape, input& in)
{
    auto& words = sender.own_words();
    auto& claims = sender.own_claims();
    const auto position = words.position.load();
    switch (const auto step = in.take<std::uint8_t>(); step % 4) {
    case 0: words.position.store(near_to(position, in)); break;
    case 1: {
        const auto number = step < 128 ? claims.claims.load() + 1 : in.take<std::uint8_t>();
        auto& place = claims.places[number % 2];
        place.oldest.store(near_to(position, in));
        place.gone.store(near_to(claims.places[1 - number % 2].gone.load(), in));
        claims.claims.store(number);
        break;
    }
    default: {
        const auto size = static_cast<std::size_t>(shape.unit_count * shape.unit_bytes);
        const auto at = in.take<std::uint8_t>() % size;
        const auto bytes = in.take_bytes(1 + step / 4 % 24);
        if (!bytes.empty())
            std::memcpy(sender.own_units() + at, bytes.data(), std::min(bytes.size(), size - at));
    }
    }
}

// Takes what was copied, or the first of it. False: it is no message.
bool take(ring_side& side, ring_mirror& mirror, const ring_shape& shape, bool all)
{
    do {
        if (!mirror.is_accounted(side))
            mirror.account(side);
        if (side.room() == 0)
            break;
        if (shape.unit_bytes != 1) {
            side.advance(1);
            continue;
        }
        record_consumer consumer(side, mirror.units());
        std::span<const std::byte> payload;
        if (consumer.next_of(side.room(), payload) == record_consumer::answer::record)
            demand(payload.data() >= mirror.units()
                       && payload.data() + payload.size() <= mirror.units() + shape.unit_count,
                   "a payload lies in what was copied");
        else if (side.room() != 0)
            return false;
    } while (all && side.room() != 0);
    return true;
}

void receive_from(const ring_shape& shape, input& in)
{
    auto sender = memory(ring_role::producer, shape);
    auto receiver = memory(ring_role::consumer, shape);
    ring_mirror mirror(sender, receiver, shape);
    ring_side side(ring_role::consumer, receiver.own_words(), sender.words(), shape.unit_count);
    while (!in.empty()) {
        lie_as_sender(sender, shape, in);
        const auto how = in.take<std::uint8_t>();
        if ((how & 4U) != 0)
            continue;  // it does more before we look
        if (side.room() == 0
            && mirror.fetch(side, (how & 1U) == 0 ? 1 : ~std::uint64_t{0})
                == ring_mirror::found::violation)
            return;
        demand(side.room() <= shape.unit_count, "room within the capacity");
        demand(mirror.depth(side) <= 2 * shape.unit_count, "no more than there can be");
        demand(mirror.used(side) <= shape.unit_count, "no more than the capacity is used");
        if (side.room() != 0 && !take(side, mirror, shape, (how & 2U) != 0))
            return;
    }
}

void lie_as_receiver(ring_memory& receiver, std::uint64_t sent, input& in)
{
    auto& words = receiver.own_words();
    auto& place = receiver.own_accounts().places[in.take<std::uint8_t>() % 2];
    switch (in.take<std::uint8_t>() % 6) {
    case 0: words.position.store(near_to(sent, in)); break;
    case 1: place.position.store(near_to(words.position.load(), in)); break;
    case 2: place.number.store(near_to(sent, in)); break;
    case 3: place.lost.store(near_to(0, in)); break;
    case 4: words.dropped.store(near_to(0, in)); break;
    default: words.closed.store(in.take<std::uint8_t>());
    }
}

void send_to(const ring_shape& shape, input& in)
{
    auto sender = memory(ring_role::producer, shape);
    auto receiver = memory(ring_role::consumer, shape);
    ring_staging staging(sender, shape);
    staging.begin_after(0);
    auto staged = staging.staged_side();
    (void)staged.refresh();
    staging.connect(receiver.words(), false);
    const auto flush = [&] {
        staged.publish();
        demand(staged.must_ring(), "what is staged is told of");
        staging.flush(staged.position());
        demand(staged.refresh(), "there is room again");
    };
    while (!in.empty()) {
        lie_as_receiver(receiver, staged.position(), in);
        const std::size_t length = 8 + in.take<std::uint8_t>() % 64;
        if (shape.unit_bytes != 1) {
            if (staged.room() == 0)
                flush();
            staged.advance(1);
        } else {
            record_producer producer(staged, staging.units());
            bool good = true;
            auto at = producer.place(length, good);
            for (; at.what != record_place::answer::ready; at = producer.place(length, good))
                flush();
            std::memset(producer.payload(at), 0x55, length);
            producer.commit(at, static_cast<std::uint32_t>(length));
        }
        flush();
        const auto reckoned = staging.reckon(&receiver);
        demand(reckoned.unnoticed <= staging.gone(), "no more unnoticed than are gone");
        const auto unread = staged.position() - staging.first_unread();
        demand(unread <= shape.unit_count, "no more unread than the ring holds");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input in(data, size);
    const auto kind = in.take<std::uint8_t>();
    const auto& shape = (kind & 2U) != 0 ? records : cells;
    (kind & 1U) != 0 ? send_to(shape, in) : receive_from(shape, in);
    return 0;
}
