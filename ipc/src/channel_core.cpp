// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/channel_core.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include <procyard/ipc/detail/overwriting.hpp>
#include <procyard/ipc/detail/record_ring.hpp>

#include "process_id.hpp"
#include "spinning.hpp"
#include "wake_barrier.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// Of a doorbell that is a socket: what a hostile peer has sent as urgent, which wakes who waits for
// errors, again and again until it has been taken.
void take_urgent(int bell) noexcept
{
    char byte;
    (void)::recv(bell, &byte, 1, MSG_OOB | MSG_DONTWAIT);
}

}  // namespace

// --- the rest of the hot path -------------------------------------------------------------------

void channel_core::ring() noexcept
{
    if (staging_)
        return flush_and_ring();
    if (!connected_) {
        // The peer may have come since the last time, and sleep.
        const auto asleep = unconnected_.sleep.load(std::memory_order_relaxed);
        unconnected_.sleep.store(asleep + 4, std::memory_order_relaxed);  // see ring_words
        if (usable_)
            (void)connect();
        if (!connected_ || !side_.must_ring()) {
            ++counts_.elided;
            return;
        }
    }
    ++counts_.rung;
    show_counts();
    button_.press();
}

void channel_core::take_back() noexcept
{
    lent_ = false;
    usable_ = is_open() && !loss_to_be_told_;
    assembly_.release();
    if (owner_ != process_id())
        return;
    if (mirror_)
        account();
    // A receiver's, also if it has been closed meanwhile: then there is nobody to be told.
    if (!side_.is_published())
        publish();
}

error_code channel_core::closed_by_peer()
{
    if (!usable_) {
        if (const auto ec = blocked())
            return ec;
    }
    if (!connected_) {
        (void)connect();
        if (!connected_)
            return failure_;
    }
    if (wire().peer_closed())
        fail(channel_errc::closed);
    return failure_;
}

// In a burst: not before a moment has gone since the last look. Not while something is in hand that
// the peer does not know to be used.
void channel_core::await_look() noexcept
{
    if (!side_.is_published() || !pace_.is_patient(counts_.messages))
        return;
    auto now = std::chrono::steady_clock::now();
    for (const auto until = looked_ + look_pace::moment; now < until;
         now = std::chrono::steady_clock::now())
        relax_processor();
    looked_ = now;
}

error_code channel_core::look_for_room(std::uint64_t least, std::uint64_t busy_after,
                                       std::uint64_t most)
{
    for (;;) {
        if (mirror_)
            return look_for_copies(busy_after, most);
        if (staging_ && usable_)
            return empty_staging();
        if (usable_) {
            if (side_.room() >= least)
                return {};
            await_look();
            if (!side_.refresh()) {
                fail(channel_errc::peer_broke_rules);
            } else if (side_.room() >= least) {
                note_depth();
                if (side_.room() > side_.capacity() / 2)
                    pace_.has_found_much();
                if (side_.since_sleep() >= busy_after)
                    side_.relax();
                return {};
            } else {
                pace_.has_found_nothing();
            }
        }
        if (const auto ec = blocked())
            return ec;
    }
}

error_code channel_core::make_room(std::uint64_t length, std::uint64_t& wanted)
{
    record_producer producer(side_, own_units_);
    forget_kept();
    for (;;) {
        if (!usable_) {
            wanted = owed_room_;
            if (const auto ec = blocked())
                return ec;
            continue;
        }
        bool good = true;
        const auto at = producer.place(length, good);
        if (!good) {
            fail(channel_errc::peer_broke_rules);
            continue;
        }
        using answer = record_place::answer;
        switch (at.what) {
        case answer::ready:
            if (at.padding != 0)
                producer.pad(at.padding);
            return {};
        case answer::too_long: return channel_errc::too_long;
        case answer::pad: publish(); break;
        case answer::wait:
            wanted = at.wanted;
            if (const auto ec = blocked())
                return ec;
            break;
        }
    }
}

error_code channel_core::blocked()
{
    if (closed_)
        return asio::error::bad_descriptor;
    if (failure_)
        return failure_;
    if (lent_)
        return channel_errc::lent;
    if (!usable_ && !owed_.empty())
        return send_owed();
    if (staging_)
        return empty_staging();
    if (!connected_) {
        const auto ec = connect();
        return failure_ ? failure_ : ec;
    }
    if (mirror_)
        return look_past_mirror();
    if (++in_vain_ % looks_for_a_death == 0)
        peer_gone_ = peer_gone_ || bell_.is_abandoned();
    // First how the peer has ended, then what it had committed before: whoever looks the other way
    // round loses what came between.
    const bool has_closed = side_.peer_closed();
    const auto room = side_.room();
    if (!side_.refresh()) {
        fail(channel_errc::peer_broke_rules);
        return failure_;
    }
    forget_kept();
    if (side_.room() != room)
        return {};
    note_depth();
    if (has_closed || peer_gone_) {
        fail(has_closed ? channel_errc::closed : channel_errc::peer_died);
        return failure_;
    }
    return asio::error::would_block;
}

error_code channel_core::look_for_end(error_code& how)
{
    if (closed_)
        return asio::error::bad_descriptor;
    if (!failure_ && !connected_) {
        const auto ec = connect();
        if (ec && ec != asio::error::would_block)
            return ec;  // the hello stays readable: to wait for it would be to turn for ever
        // A loan has been told of its room, and this is another ring_side.
        if (connected_ && !mirror_ && !side_.refresh())
            fail(channel_errc::peer_broke_rules);
    }
    if (!failure_ && connected_) {
        // First whether it has gone: it closes before.
        peer_gone_ = peer_gone_ || bell_.is_abandoned();
        const bool has_closed = wire().peer_closed();
        if (!peer_gone_ && !has_closed)
            return asio::error::would_block;
        how = has_closed ? channel_errc::closed : channel_errc::peer_died;
        if (is_producer())
            fail(how);
        return {};
    }
    how = failure_;
    return failure_ ? error_code() : error_code(asio::error::would_block);
}

// A sender's peer has gone: there is nothing to be received before that is told.
void channel_core::fail_by_peer()
{
    fail(wire().peer_closed() ? channel_errc::closed : channel_errc::peer_died);
}

// An honest peer of an end that is closed, or has failed, must not wait for it.
void channel_core::let_go_of_peer() noexcept
{
    if (connected_) {
        wire().close();
        if (wire().must_ring_before_sleep())
            button_.press();
    }
    // What the peer has mapped stays; that nobody presses its bell any more tells it the rest.
    button_ = doorbell_button();
}

channel_core::part_found
channel_core::take_part(record_kind kind, std::span<const std::byte> payload, std::uint64_t& passed)
{
    const auto most = terms_.options.max_message_bytes;
    switch (assembly_.add(kind, payload, most)) {
    case part_assembly::answer::complete: return part_found::complete;
    case part_assembly::answer::too_long: fail(channel_errc::too_long); return part_found::failed;
    case part_assembly::answer::violation:
        fail(channel_errc::peer_broke_rules);
        return part_found::failed;
    case part_assembly::answer::more: break;
    }
    side_.advance(record_bytes(payload.size()));
    publish();
    passed += record_bytes(payload.size());
    // More than the ring holds: so the sender has published since this attempt began, and will ring
    // if this side has announced its sleep before. A sender without end must not hold up others.
    return passed > side_.capacity() ? part_found::enough : part_found::passed;
}

bool channel_core::pass_no_message(std::uint64_t& passed, error_code& ec)
{
    if (role_ != ring_role::consumer || terms_.shape.unit_bytes != 1)
        return false;
    record_consumer consumer(side_, peer_units_);
    std::span<const std::byte> payload;
    switch (consumer.look_at(side_.room(), payload)) {
    case record_consumer::answer::record: break;
    case record_consumer::answer::nothing: publish(); return true;  // it was a padding
    case record_consumer::answer::part:
        switch (take_part(consumer.kind(), payload, passed)) {
        case part_found::passed: return true;
        case part_found::complete: break;
        case part_found::enough: ec = asio::error::would_block; break;
        case part_found::failed: ec = failure_; break;
        }
        break;
    case record_consumer::answer::violation:
        fail(channel_errc::peer_broke_rules);
        ec = failure_;
        break;
    }
    if (!side_.is_published())
        publish();  // a padding before it
    return false;
}

// --- operations ---------------------------------------------------------------------------------

void channel_core::start(operation_ptr operation, asio::cancellation_slot slot)
{
    operation->serial = ++last_serial_;
    if (slot.is_connected())
        slot.emplace<operation_cancellation<channel_core>>(weak_from_this(), operation->serial);
    auto& where = line_of(*operation);
    operation = where.append(std::move(operation));
    if (!operation)
        return;
    auto* const known = operation.get();
    if (known->for_end || known->at_once)
        return post(std::move(operation));
    error_code ec;
    // To look is allowed here, and saves a turn where there is nothing. To take is not: an
    // operation that loses a race must not have taken anything by then.
    const auto is_blocked = [&] { return lacks(known->wanted); };
    const bool may_spin = !spin_.is_none() && !has_spun_;
    if (may_spin || !is_blocked() || !may_sleep(known->wanted, is_blocked, ec))
        return post(std::move(operation));
    count_stall();
    // Without a reactor it is told so in a turn, where the handler may run.
    if (enter_reactor(*operation))
        return post(std::move(operation));
    wait_in_reactor(std::move(operation));
}

// An error is one of this operation's, and not of the end's: descriptors and memory may be there
// again for the next, and whoever is not heard of meanwhile is not told that this end has gone.
error_code channel_core::enter_reactor(channel_operation& starting)
{
    try {
        const auto ec = watch_.enter(executor_, connected_ ? bell_.native_handle() : socket_.get());
        if (ec && side_.is_announced())
            side_.withdraw();
        return ec;
    } catch (const std::bad_alloc&) {
        go_on_after(starting);  // its start has failed
        throw;
    }
}

// Whether an operation that needs so much has to wait.
bool channel_core::lacks(std::uint64_t wanted)
{
    for (;;) {
        if (is_usable() && side_.room() >= wanted)
            return false;
        if (const auto ec = blocked())
            return ec == asio::error::would_block;
        if (mirror_)
            return false;  // there is something to be copied
    }
}

void channel_core::post(operation_ptr operation)
{
    asio::post(executor_, turn(shared_from_this(), std::move(operation), false));
}

void channel_core::take_turn(operation_ptr operation, bool was_waiting,
                             const error_code& wait_error)
{
    operation->waiting = false;
    // What the bell of a peer says that another has followed concerns nobody any more.
    if (was_waiting && !operation->for_end && operation->generation == generation_)
        hear(wait_error);
    if (operation->aborted)
        return finish(std::move(operation), asio::error::operation_aborted);
    error_code ec;
    bool done = false;
    try {
        done = attempt(*operation, ec);
        if (!done && !ec)
            ec = watch_.enter(executor_, connected_ ? bell_.native_handle() : socket_.get());
    } catch (const std::bad_alloc&) {
        ec = error_code(ENOMEM, boost::system::system_category());
    } catch (...) {
        // A user's codec. What it means is for whoever calls run(); the others go on.
        go_on_after(*operation);
        throw;
    }
    if (done)
        return finish(std::move(operation), {});
    if (ec) {
        if (side_.is_announced() && !operation->for_end)
            side_.withdraw();
        return finish(std::move(operation), ec);
    }
    if (was_waiting && operation->for_end && connected_)
        take_urgent(bell_.native_handle());
    wait_in_reactor(std::move(operation));
}

// True: done. Else it waits, and has said so to the peer; or there is an error.
bool channel_core::attempt(channel_operation& operation, error_code& ec)
{
    const auto is_blocked = [&] {
        return operation.attempt() == channel_operation::progress::blocked;
    };
    if (!is_blocked())
        return true;
    if (operation.for_end)
        return false;
    count_stall();
    if (!std::exchange(has_spun_, false) && spin_while(is_blocked))
        return true;
    return !may_sleep(operation.wanted, is_blocked, ec) && !ec;
}

// Whether that has not been in vain.
template <class Look>
bool channel_core::spin_while(Look is_blocked)
{
    const auto budget = spin_.next();
    if (budget.count() <= 0)
        return false;
    // To look at the clock takes longer than to look at the ring.
    constexpr int looks_per_time = 8;
    const auto until = std::chrono::steady_clock::now() + budget;
    do {
        for (int i = 0; i < looks_per_time; ++i) {
            relax_processor();
            if (!is_blocked()) {
                spin_.has_succeeded();
                ++counts_.spins;
                return true;
            }
        }
    } while (std::chrono::steady_clock::now() < until);
    spin_.has_failed();
    return false;
}

bool channel_core::spin()
{
    has_spun_ = !spin_while([this] { return lacks(wanted_room()); });
    return !has_spun_;
}

// Says to the peer that this side sleeps, and looks once more. True: it may sleep now. False: there
// is something, or an error.
template <class Look>
bool channel_core::may_sleep(const std::uint64_t& wanted, Look is_blocked, error_code& ec)
{
    do {
        if (!announce(wanted, ec))
            return false;
        if (!is_blocked()) {
            if (side_.is_announced())
                side_.withdraw();
            return false;
        }
        // A look can find that the peer has come. Then this is another ring_side, which has not
        // announced anything.
    } while (!side_.is_announced());
    return true;
}

// False: the peer need not see it, so nobody may sleep.
bool channel_core::announce(std::uint64_t wanted, error_code& ec) noexcept
{
    if (!side_.is_published())
        side_.publish();
    if (side_.must_ring_before_sleep())
        ring();
    if (side_.is_announced())
        side_.withdraw();
    if (side_.announce(wanted, &wake_barrier))
        return true;
    ec = error_code(EPERM, boost::system::system_category());
    return false;
}

// What has woken this side. Aborted: the descriptor is another one now, or the operation was.
void channel_core::hear(const error_code& wait_error) noexcept
{
    if (wait_error == asio::error::operation_aborted || !connected_ || closed_)
        return;
    if (!wait_error) {
        ++counts_.woken;
    } else {  // end of file, or reset
        peer_gone_ = true;
        if (is_producer())
            fail_by_peer();
    }
    if (side_.is_announced())
        side_.withdraw();
}

// @pre the watch is entered
void channel_core::wait_in_reactor(operation_ptr operation)
{
    operation->waiting = true;
    operation->generation = generation_;
    has_spun_ = false;
    const bool for_end = operation->for_end;
    const auto slot = operation->wake.slot();
    turn when_woken(shared_from_this(), std::move(operation), true);
    counts_.sleeps += for_end ? 0 : 1;
    show_counts();
    using wait = asio::posix::descriptor_base;
    if (!connected_)
        watch_->async_wait(wait::wait_read,
                           asio::bind_cancellation_slot(slot, std::move(when_woken)));
    // That the button is let go is a "hang-up" of a pipe or socket, which epoll reports to who
    // waits for errors; the rings of the bell are left to the others.
    else if (for_end)
        watch_->async_wait(wait::wait_error,
                           asio::bind_cancellation_slot(slot, std::move(when_woken)));
    // A read where a wait would do as well: Asio tries it at once, which costs less than to arm
    // epoll for a wait, and it empties the bell in the same step.
    else
        watch_->async_read_some(asio::buffer(rings_),
                                asio::bind_cancellation_slot(slot, std::move(when_woken)));
}

// The handler may start the next operation, or take the end itself along: so this one is unknown
// here, and the one behind it on its way, before it runs. The turn that we are in holds *this:
// one more reference here would be a tenth of a co_await's cost.
void channel_core::finish(operation_ptr operation, const error_code& instead)
{
    auto& raw = *operation;
    go_on_after(raw);
    raw.complete(std::move(operation), instead);
}

void channel_core::go_on_after(channel_operation& done)
{
    if (auto next = line_of(done).take_next(done))
        post(std::move(next));
}

void channel_core::forget(operation_ptr operation) noexcept
{
    auto& where = line_of(*operation);
    where.forget(std::move(operation));
}

// --- ending -------------------------------------------------------------------------------------

channel_core::~channel_core()
{
    close();
}

void channel_core::fail(error_code why, std::string explanation)
{
    if (failure_)
        return;
    failure_ = why;
    explanation_ = std::move(explanation);
    usable_ = false;
    let_go_of_peer();
    leave_reactor();  // whoever waits is told, and not by the peer
}

void channel_core::abort_operation(std::uint64_t serial) noexcept
{
    operation_ptr outside;
    (void)(for_room_.abort(serial, outside) || at_once_.abort(serial, outside)
           || for_end_.abort(serial, outside));
    if (outside)
        post(std::move(outside));
}

void channel_core::cancel() noexcept
{
    abort_all();
}

void channel_core::abort_all() noexcept
{
    for (auto* const where : {&for_room_, &at_once_, &for_end_})
        where->abort_all();
    leave_reactor();
}

void channel_core::leave_reactor() noexcept
{
    watch_.leave();
}

void channel_core::close() noexcept
{
    if (closed_)
        return;
    if (owner_ != ::getpid()) {  // the words and the reactor are the original's, which goes on
        closed_ = true;
        usable_ = false;
        leave_reactor();
        bell_ = doorbell();
        button_ = doorbell_button();
        socket_.reset();
        leave_reactor();  // in vain before, in a copy that has not told Asio
        return;
    }
    if (!connected_ && usable_)
        (void)connect();  // a peer that has come may sleep, and is to be rung for
    closed_ = true;
    usable_ = false;
    std::vector<std::byte>().swap(kept_);
    owed_.clear();
    abort_all();
    wire().close();
    let_go_of_peer();
    bell_ = doorbell();
    socket_.reset();
}

void channel_core::count_stall() noexcept
{
    ++counts_.stalls;
    show_counts();
    note_depth();
}

// To whoever looks in from outside. Called where this side waits or makes a system call, and
// nowhere else.
void channel_core::show_counts() noexcept
{
    auto& shown = own_.own_tally();
    // Relaxed, all: only this side writes them, and nothing hangs on them.
    shown.counts.store(1, std::memory_order_relaxed);
    shown.stalls.store(counts_.stalls, std::memory_order_relaxed);
    shown.sleeps.store(counts_.sleeps, std::memory_order_relaxed);
    shown.rung.store(counts_.rung, std::memory_order_relaxed);
}

std::uint64_t channel_core::lost() const noexcept
{
    return dropped_before_ + (mirror_ ? mirror_->lost() : side_.peer_dropped());
}

channel_statistics channel_core::statistics() const noexcept
{
    auto now = counts_;
    auto look = side_;  // a copy: what is seen for the statistics is not for the ring
    (void)look.refresh();
    now.used = is_producer() ? look.position() - first_unreleased(look) : look.room();
    if (mirror_)
        now.used = mirror_->used(side_);
    now.high_water = std::max(now.high_water, now.used);
    now.depth = now.used;
    if (!is_producer())
        now.dropped = lost();
    else if (staging_)
        now.dropped =
            dropped_before_ + (connected_ ? staging_->wire().peer_dropped() : staging_->gone());
    if (mirror_) {
        now.depth = mirror_->depth(side_);
        return now;
    }
    const auto* const units = ring_units();
    if (terms_.shape.unit_bytes == 1)  // of a peer that has not come there is nothing
        now.depth = units == nullptr
            ? 0
            : count_records(units, look.capacity(),
                            is_producer() ? look.position() - now.used : look.position(), now.used);
    return now;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
