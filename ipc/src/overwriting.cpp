// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/overwriting.hpp>

#include <boost/assert.hpp>

#include <algorithm>
#include <atomic>
#include <limits>
#include <new>

#include <procyard/ipc/detail/record_ring.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr auto all = std::numeric_limits<std::uint64_t>::max();

// How often a receiver that is overtaken tries again, before it lets others have their turn. It
// does not fall asleep for good: who has overtaken it publishes, and rings, or dies.
constexpr unsigned most_tries = 8;

// The parts of a stretch of a ring that lie in one piece each.
template <class Copy>
void in_pieces(std::uint64_t from, std::uint64_t until, std::uint64_t capacity, Copy copy)
{
    while (from != until) {
        const auto offset = ring_offset(from, capacity);
        const auto count = std::min(until - from, capacity - offset);
        copy(offset, count);
        from += count;
    }
}

}  // namespace

// Aligned, for cells that are read and written in place; by hand, since what is both aligned and
// zero takes the pages at once, and this takes each when it is used.
private_units::private_units(std::size_t bytes)
{
    constexpr std::size_t alignment = ring_units_offset;
    memory_.reset(std::calloc(bytes + alignment, 1));
    if (!memory_)
        throw std::bad_alloc();
    void* first = memory_.get();
    auto space = bytes + alignment;
    first_ = static_cast<std::byte*>(std::align(alignment, bytes, first, space));
}

// --- the sender's -------------------------------------------------------------------------------

ring_staging::ring_staging(ring_memory& own, const ring_shape& shape)
    : own_words_(&own.own_words()),
      wire_units_(own.own_units()),
      unit_bytes_(shape.unit_bytes),
      capacity_(shape.unit_count),
      staged_(static_cast<std::size_t>(shape.unit_count * shape.unit_bytes)),
      // Relaxed: only this side writes it.
      claims_(own.own_claims(), own_words_->position.load(std::memory_order_relaxed)),
      wire_(ring_role::producer, *own_words_, nobody_, capacity_)
{
    begin_at(wire_.position());
    // One that seems to sleep, so that who publishes rings; and to have closed, so that who sends
    // asks closed_by_peer() before.
    drained_.sleep.store(1, std::memory_order_relaxed);
    drained_.closed.store(1, std::memory_order_relaxed);
}

// Relaxed, all: nobody looks as yet.
void ring_staging::begin_at(std::uint64_t start) noexcept
{
    staged_words_.position.store(start, std::memory_order_relaxed);
    drained_.position.store(start, std::memory_order_relaxed);
    drained_.wake_at.store(start, std::memory_order_relaxed);
}

// As one does who has sent them and overwritten them all: a receiver counts no more messages than
// units that it has to pass. It does not say how many bytes they took; nobody can know that now.
void ring_staging::begin_after(std::uint64_t gone) noexcept
{
    if (gone == 0)
        return;
    const auto start = (gone + capacity_ - 1) / capacity_ * capacity_;
    own_words_->position.store(start, std::memory_order_relaxed);
    wire_ = ring_side(ring_role::producer, *own_words_, nobody_, capacity_);
    claims_.claim_up_to(start, gone);
    begin_at(start);
}

ring_staging::reckoning ring_staging::reckon(const ring_memory* receiver) const noexcept
{
    if (receiver == nullptr)
        return {claims_.gone(), 0, wire_.peer_position()};
    const bool are_cells = unit_bytes_ != 1;
    const auto theirs = wire_.peer_position();
    const auto dropped = wire_.peer_dropped();
    std::uint64_t number = 0;  // of the message that it would have received next
    reckoning found{0, dropped, theirs};
    std::int64_t nearest = -1;
    for (const auto& place : receiver->accounts().places) {
        // Relaxed, all: it has gone.
        const auto position = place.position.load(std::memory_order_relaxed);
        const auto passed = distance(position, theirs);
        if (passed < 0 || (passed > 0 && !are_cells) || (nearest >= 0 && passed >= nearest))
            continue;
        nearest = passed;
        number = place.number.load(std::memory_order_relaxed) + static_cast<std::uint64_t>(passed);
        found.lost = place.lost.load(std::memory_order_relaxed);
    }
    // An honest one writes down what it has lost before it counts it as dropped. So this one keeps
    // no accounts, and its places are zeros, or it lies.
    if (found.lost < dropped)
        return {0, dropped, theirs};
    const auto missing = distance(theirs, claims_.oldest());
    const auto unnoticed = claims_.gone() - number;
    const bool is_possible =
        number <= claims_.gone() && unnoticed <= static_cast<std::uint64_t>(missing);
    if (nearest >= 0 && missing > 0 && is_possible)
        found.unnoticed = unnoticed;
    return found;
}

ring_side ring_staging::staged_side() noexcept
{
    return {ring_role::producer, staged_words_, drained_, capacity_};
}

void ring_staging::connect(const ring_words& peer, bool may_relax) noexcept
{
    wire_ = ring_side(ring_role::producer, *own_words_, peer, capacity_, may_relax);
}

void ring_staging::flush(std::uint64_t until) noexcept
{
    const auto from = wire_.position();
    if (from != until) {
        make_way(until - from);
        in_pieces(from, until, capacity_, [this](std::uint64_t offset, std::uint64_t count) {
            const auto at = static_cast<std::size_t>(offset * unit_bytes_);
            copy_in(wire_units_ + at, staged_.data() + at,
                    static_cast<std::size_t>(count * unit_bytes_));
        });
        wire_.advance(until - from);
        wire_.publish();
    }
    // Relaxed, all: there is nobody else.
    drained_.position.store(until, std::memory_order_relaxed);
    drained_.wake_at.store(until, std::memory_order_relaxed);
    const auto asleep = drained_.sleep.load(std::memory_order_relaxed);
    drained_.sleep.store(asleep + 4, std::memory_order_relaxed);  // another one: see ring_words
}

// Whether the receiver has released them is not asked: it knows what it has.
void ring_staging::make_way(std::uint64_t count) noexcept
{
    const auto oldest = claims_.oldest();
    const auto missing = distance(oldest, wire_.position() + count - capacity_);
    if (missing <= 0)
        return;
    const auto units = static_cast<std::uint64_t>(missing);
    if (unit_bytes_ != 1)
        return claims_.claim_up_to(oldest + units, claims_.gone() + units);
    const auto walk = walk_records(wire_units_, capacity_, oldest, wire_.position() - oldest, all,
                                   units);  // nobody else writes there
    claims_.claim_up_to(walk.position, claims_.gone() + walk.messages);
}

std::uint64_t ring_staging::first_unread() const noexcept
{
    const auto theirs = left_at_.value_or(wire_.peer_position());
    const bool is_there = theirs - claims_.oldest() <= wire_.position() - claims_.oldest();
    return is_there ? theirs : claims_.oldest();
}

// --- the receiver's -----------------------------------------------------------------------------

ring_mirror::ring_mirror(const ring_memory& theirs, ring_memory& own, const ring_shape& shape)
    : their_words_(&theirs.words()),
      their_units_(theirs.units()),
      unit_bytes_(shape.unit_bytes),
      capacity_(shape.unit_count),
      mirrored_(static_cast<std::size_t>(shape.unit_count * shape.unit_bytes)),
      claims_(theirs.claims()),
      accounts_(&own.own_accounts()),
      // Relaxed, both: only this side writes them. It is 0, but for a test.
      noted_{own.own_words().position.load(std::memory_order_relaxed), 0}
{
    accounts_->places[current_].position.store(noted_.position, std::memory_order_relaxed);
}

ring_mirror::found ring_mirror::fetch(ring_side& side, std::uint64_t most) noexcept
{
    BOOST_ASSERT(side.room() == 0);
    account(side);  // before anything is copied over what it counts
    auto answer = found::overtaken;
    for (unsigned attempt = 0; attempt < most_tries && answer == found::overtaken; ++attempt)
        answer = try_fetch(side, most, attempt);
    return answer;
}

ring_mirror::found ring_mirror::try_fetch(ring_side& side, std::uint64_t most,
                                          unsigned attempt) noexcept
{
    claim before;
    if (!claims_.look(before))
        return found::overtaken;
    // What no honest sender says counts only if it has said nothing else meanwhile.
    const auto unless_overtaken = [&] {
        return claims_.is_latest(before) ? found::violation : found::overtaken;
    };
    place at{side.position(), expected_};
    const bool is_possible = pass_lost(at, before);
    const auto room = side.peer_position() - at.position;
    if (!is_possible || room > capacity_ || (!is_cells() && room % record_alignment_bytes != 0))
        return unless_overtaken();
    if (room == 0) {
        go_on(side, at, {at.position});
        return found::none;
    }
    const auto until = at.position + room;
    const auto end = at.position + stretch(at.position, room, most, attempt);
    if (end == at.position)
        return unless_overtaken();
    copy(at.position, end);
    claim after;
    if (!claims_.look(after))
        return found::overtaken;
    if (!pass_lost(at, after))
        return found::violation;
    if (distance(at.position, end) <= 0)
        return found::overtaken;
    // From here on nobody changes it any more.
    const auto copied = end - at.position;
    auto walk = record_walk{at.position + std::min(copied, most), std::min(copied, most)};
    if (!is_cells())
        walk = walk_records(mirrored_.data(), capacity_, at.position, copied, most, all);
    if (walk.position == at.position)  // a longer record than has been copied, or none
        return end == until ? found::violation : found::overtaken;
    if (walk.messages == 0) {  // nothing but a padding: who looks for a message must not come again
        go_on(side, {walk.position, at.number}, {walk.position});
        return walk.position == until ? found::none : found::overtaken;
    }
    go_on(side, at, walk);
    return found::some;
}

// How many units to copy from the oldest on, which goes as it is being copied. At first what has
// been asked for, then more and more: what is left of it counts.
std::uint64_t ring_mirror::stretch(std::uint64_t from, std::uint64_t room, std::uint64_t most,
                                   unsigned attempt) const noexcept
{
    if (!is_cells() && most > 1)
        return room;
    if (attempt == 0 && !is_cells())  // of what is being overwritten it is anything, up to `room`
        return walk_records(their_units_, capacity_, from, room, most, all).position - from;
    constexpr std::uint64_t first_bytes = 4096;
    const auto more = attempt == 0 ? 0 : (first_bytes << 2 * (attempt - 1)) / unit_bytes_;
    return std::min(room, std::max(most, more));
}

// False: no honest sender says that.
bool ring_mirror::pass_lost(place& at, const claim& now) const noexcept
{
    const auto skipped = distance(at.position, now.oldest);
    if (skipped <= 0)
        return true;
    const auto missing = distance(at.number, now.gone);
    if (missing < 0 || missing > skipped
        || (!is_cells() && now.oldest % record_alignment_bytes != 0))
        return false;
    at = {now.oldest, now.gone};
    return true;
}

void ring_mirror::copy(std::uint64_t from, std::uint64_t until) noexcept
{
    in_pieces(from, until, capacity_, [this](std::uint64_t offset, std::uint64_t count) {
        const auto at = static_cast<std::size_t>(offset * unit_bytes_);
        copy_out(mirrored_.data() + at, their_units_ + at,
                 static_cast<std::size_t>(count * unit_bytes_));
    });
}

void ring_mirror::go_on(ring_side& side, const place& at, const record_walk& walk) noexcept
{
    const auto missing = at.number - expected_;
    lost_ += missing;
    expected_ = at.number + walk.messages;
    const bool has_moved = at.position != side.position();
    side.go_on(at.position, walk.position);
    if (has_moved)
        move_to(side, at);
    noted_ = at;
    account(side);
    if (missing != 0)
        side.count_dropped(missing);
}

// What the receiver stands at is in a place, and published.
void ring_mirror::move_to(ring_side& side, const place& at) noexcept
{
    // Relaxed, both: only this side writes them.
    if (accounts_->places[current_].position.load(std::memory_order_relaxed) != at.position) {
        if (scratch().position.load(std::memory_order_relaxed) != at.position)
            note(at);
        current_ = 1 - current_;
    }
    if (!side.is_published())
        side.publish();
}

void ring_mirror::note(const place& at) noexcept
{
    // Not before the position has been published that this place does not belong to any more. Who
    // is killed has done what came before in its program: so it is a matter of the compiler's.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    auto& to = scratch();
    // Relaxed, all: the publication of the position comes after them, with its release.
    to.position.store(at.position, std::memory_order_relaxed);
    to.number.store(at.number, std::memory_order_relaxed);
    to.lost.store(lost_, std::memory_order_relaxed);
}

void ring_mirror::account_released(ring_side& side) noexcept
{
    if (is_cells())
        return;
    const auto passed = count_records(mirrored_.data(), capacity_, noted_.position,
                                      side.position() - noted_.position);
    noted_ = {side.position(), noted_.number + passed};
    move_to(side, noted_);
}

// Where it stands first, and a padding after that. What is published may be that place already, by
// a message that was received without a word, and then it is the other place's: to pass the padding
// at once would write over it while it is the one that counts.
void ring_mirror::account(ring_side& side) noexcept
{
    account_released(side);
    if (is_cells() || side.room() == 0)
        return;
    const auto offset = ring_offset(side.position(), capacity_);
    const auto header = read_record_header(mirrored_.data() + offset);
    if (check_record(header, offset, side.room(), capacity_) == record_check::padding) {
        side.advance(record_bytes(header.length));
        noted_.position = side.position();
        move_to(side, noted_);
    }
    const auto next =
        walk_records(mirrored_.data(), capacity_, side.position(), side.room(), 1, all);
    if (next.messages != 0)
        note({next.position, noted_.number + 1});
}

bool ring_mirror::is_accounted(const ring_side& side) const noexcept
{
    const auto end = side.position() + side.room();
    return is_cells() || side.room() == 0
        || accounts_->places[1 - current_].position.load(std::memory_order_relaxed) == end;
}

bool ring_mirror::has_more(const ring_side& side) const noexcept
{
    return side.peer_position() != side.position() + side.room();
}

bool ring_mirror::has_lost() noexcept
{
    const bool has = told_ != lost_;
    told_ = lost_;
    return has;
}

std::uint64_t ring_mirror::used(const ring_side& side) const noexcept
{
    auto from = side.position();
    claim now;
    if (side.room() == 0)
        (void)claims_.look(now);  // of which of two moments it is, is no matter
    if (side.room() == 0 && distance(from, now.oldest) > 0)
        from = now.oldest;
    return std::min(side.peer_position() - from, capacity_);
}

std::uint64_t ring_mirror::depth(const ring_side& side) const noexcept
{
    if (is_cells())
        return used(side);
    const auto mirrored = count_records(mirrored_.data(), capacity_, side.position(), side.room());
    claim now;
    (void)claims_.look(
        now);  // a number to be looked at: which of two moments it is of, is no matter
    auto from = side.position() + side.room();
    if (distance(from, now.oldest) > 0)
        from = now.oldest;
    const auto left = std::min(side.peer_position() - from, capacity_);
    return mirrored + count_records(their_units_, capacity_, from, left);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
