// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/broadcast_writer_core.hpp>

#include <boost/asio/error.hpp>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "broadcast_hello.hpp"
#include "shortage.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// What an event of the set is about: a reader's name, and which of its two descriptors.
constexpr std::uint64_t token_of_bell(std::uint64_t name) noexcept
{
    return name * 2;
}
constexpr std::uint64_t token_of_socket(std::uint64_t name) noexcept
{
    return name * 2 + 1;
}

// A pipe is opened anew through /proc by whoever is to press it.
doorbell_kind possible_kind(bool across_users) noexcept
{
    return !across_users && ::access("/proc/self/fd", X_OK) == 0 ? doorbell_kind::pipe
                                                                 : doorbell_kind::socket;
}

std::size_t scratch_bytes(const ring_shape& shape) noexcept
{
    return shape.unit_bytes == 1 ? shape.unit_count / broadcast_longest_part : shape.unit_bytes;
}

}  // namespace

// --- making -------------------------------------------------------------------------------------

broadcast_writer_core::broadcast_writer_core(const asio::any_io_executor& ex,
                                             const broadcast_terms& terms, broadcast_memory own,
                                             unique_fd bells)
    : operation_line(ex, waking::looks, terms.spin),
      side_(own.own_words(), terms.shape.unit_count),
      units_(own.own_units()),
      scratch_(new std::byte[scratch_bytes(terms.shape)]),
      messages_(terms.first_position),
      oldest_number_(terms.first_position),
      terms_(terms),
      own_(std::move(own)),
      bells_(std::move(bells)),
      owner_(::getpid())
{
    own_.put_sort(terms_.sort);
    own_.label_type(terms_.type->name);
    broadcast_writer_core::show_counts();
}

std::shared_ptr<broadcast_writer_core> broadcast_writer_core::open(const asio::any_io_executor& ex,
                                                                   const broadcast_terms& terms,
                                                                   error_code& ec)
{
    auto own =
        broadcast_memory::create(broadcast_role::writer, terms.shape, terms.first_position, ec);
    if (ec)
        return nullptr;
    unique_fd bells(::epoll_create1(EPOLL_CLOEXEC));
    if (!bells) {
        ec = last_error();
        return nullptr;
    }
    return std::shared_ptr<broadcast_writer_core>(
        new broadcast_writer_core(ex, terms, std::move(own), std::move(bells)));
}

broadcast_writer_core::~broadcast_writer_core()
{
    close();
}

// --- room ---------------------------------------------------------------------------------------

// Not only the readers' words are looked at but also their bells: one that has died would hold the
// writer back, and who only tries would never hear of it. That is a system call, of one who has to
// wait anyway.
error_code broadcast_writer_core::wait_for_room(std::uint64_t count)
{
    if (failure_)
        return failure_;
    if (closed_)
        return asio::error::bad_descriptor;
    find_slowest();
    if (room() < count) {
        look_at_bells();
        find_slowest();
    }
    return room() < count ? error_code(asio::error::would_block) : error_code();
}

void broadcast_writer_core::find_slowest() noexcept
{
    const auto position = side_.position();
    slowest_ = position;
    for (std::size_t i = 0; i < readers_.size();) {
        auto& each = readers_[i];
        if (each.manner != slow_reader::holds_back) {
            ++i;
            continue;
        }
        if (each.known && each.known->has_closed()) {
            remove(i);
            continue;
        }
        if (each.known && !each.known->refresh(position)) {
            ++cut_off_;
            remove(i);
            continue;
        }
        const auto at = each.known ? each.known->position() : each.start;
        if (distance(at, slowest_) > 0)
            slowest_ = at;
        ++i;
    }
}

bool broadcast_writer_core::lacks(std::uint64_t wanted)
{
    return !closed_ && room() < wanted && wait_for_room(wanted) == asio::error::would_block;
}

// The oldest record that stays, and its number.
void broadcast_writer_core::claim_records(std::uint64_t count) noexcept
{
    const auto floor = side_.floor_for(count);
    auto oldest = side_.oldest();
    while (distance(oldest, floor) > 0) {
        record_header header;  // one of our own: nobody else writes them
        std::memcpy(&header, units_ + ring_offset(oldest, side_.capacity()), sizeof header);
        if (header.kind == static_cast<std::uint32_t>(record_kind::data))
            ++oldest_number_;
        oldest += record_bytes(header.length);
    }
    side_.claim(oldest);
}

// --- readers ------------------------------------------------------------------------------------

void broadcast_writer_core::find_start(std::uint64_t history, reader& who) const noexcept
{
    who.start = side_.position();
    who.start_number = messages_;
    if (history == 0)
        return;  // and no look at each record
    if (terms_.shape.unit_bytes != 1) {
        const auto there = std::min(history, side_.position() - side_.oldest());
        who.start -= there;
        who.start_number -= there;
        return;
    }
    auto number = oldest_number_;
    auto at = side_.oldest();
    const auto skipped = messages_ - std::min(history, messages_ - oldest_number_);
    while (at != side_.position()) {
        record_header header;
        std::memcpy(&header, units_ + ring_offset(at, side_.capacity()), sizeof header);
        if (header.kind == static_cast<std::uint32_t>(record_kind::data) && number++ == skipped) {
            who.start = at;
            who.start_number = skipped;
            return;
        }
        at += record_bytes(header.length);
    }
}

unique_fd broadcast_writer_core::subscribe(const subscription_options& options, error_code& ec)
{
    ec = failure_;
    if (closed_ && !ec)
        ec = asio::error::bad_descriptor;
    if (ec)
        return {};
    look_at_bells();  // of those that have gone some may not have been missed
    if (readers_.size() == max_subscribers)
        look_at_bells();  // as in readers()
    if (readers_.size() == max_subscribers) {
        ec = channel_errc::too_many_subscribers;
        return {};
    }
    auto sockets = make_raw_socket_pair(SOCK_SEQPACKET, ec);
    if (ec)
        return {};
    reader made;
    made.name = ++last_name_;
    made.manner = options.when_slow;
    made.socket = std::move(sockets.first);
    find_start(options.history, made);
    unique_fd button;
    made.bell = doorbell::create(possible_kind(options.across_users), button, ec);
    if (ec)
        return {};
    broadcast_hello hello;
    hello.role = broadcast_role::writer;
    hello.manner = static_cast<std::uint32_t>(options.when_slow);
    hello.shape = terms_.shape;
    hello.memory_bytes = own_.memory().size();
    hello.start = made.start;
    hello.start_number = made.start_number;
    hello.description = terms_.type->to_bytes();
    send_broadcast_hello(made.socket.get(), hello, own_.memory().native_handle(), button.get(), ec);
    if (ec)
        return {};
    readers_.reserve(readers_.size() + 1);
    ec = watch(made.bell.native_handle(), token_of_bell(made.name));
    if (!ec)
        ec = watch(made.socket.get(), token_of_socket(made.name));
    if (ec) {
        unwatch(made.bell.native_handle());
        return {};
    }
    readers_.push_back(std::move(made));
    ++unknown_;
    if (options.when_slow == slow_reader::holds_back) {
        ++holding_;
        find_slowest();
    }
    return std::move(sockets.second);
}

error_code broadcast_writer_core::watch(int fd, std::uint64_t token) noexcept
{
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = token;
    return ::epoll_ctl(bells_.get(), EPOLL_CTL_ADD, fd, &event) == -1 ? last_error() : error_code();
}

// Before it is closed: a child that is just being made may have a copy, and the set keeps what
// anybody has open.
void broadcast_writer_core::unwatch(int fd) noexcept
{
    (void)::epoll_ctl(bells_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void broadcast_writer_core::remove(std::size_t index) noexcept
{
    auto& gone = readers_[index];
    unwatch(gone.bell.native_handle());
    if (gone.socket)
        unwatch(gone.socket.get());
    if (!gone.known)
        --unknown_;
    if (gone.is_short)
        --short_;
    if (gone.manner == slow_reader::holds_back)
        --holding_;
    if (&gone != &readers_.back())
        gone = std::move(readers_.back());
    readers_.pop_back();
}

void broadcast_writer_core::look_at_bells() noexcept
{
    // Backwards: one that is cut off is replaced by the last one.
    for (auto index = short_ > 0 ? readers_.size() : 0; index-- > 0;) {
        if (std::exchange(readers_[index].is_short, false)) {
            --short_;
            hear_hello(index);
        }
    }
    // All that there can be: one who comes must not be missed by the publication that it waits for.
    std::array<epoll_event, 2 * max_subscribers> events;
    const int count = retry_eintr([&] {
        return ::epoll_wait(bells_.get(), events.data(), static_cast<int>(events.size()), 0);
    });
    for (int i = 0; i < count; ++i)
        hear_reader(events[static_cast<std::size_t>(i)].data.u64);
    // A bell is told of once. Whoever sleeps is told by the set, which may be silent again by the
    // time the reactor looks at it: after a look of someone who counts readers, say.
    if (count > 0 && side_.is_announced())
        wake_up();
}

void broadcast_writer_core::hear_reader(std::uint64_t token) noexcept
{
    const auto found = std::find_if(readers_.begin(), readers_.end(),
                                    [&](const reader& each) { return each.name == token / 2; });
    if (found == readers_.end())
        return;  // gone with its other descriptor
    const auto index = static_cast<std::size_t>(found - readers_.begin());
    if (token == token_of_bell(found->name)) {
        switch (found->bell.answer()) {
        case doorbell_state::silent: break;
        case doorbell_state::rung: ++woken_; break;
        case doorbell_state::abandoned: remove(index); break;
        }
        return;
    }
    hear_hello(index);
}

void broadcast_writer_core::hear_hello(std::size_t index) noexcept
{
    auto& who = readers_[index];
    error_code ec;
    try {
        welcome(who, ec);
    } catch (const std::bad_alloc&) {
        ec = error_code(ENOMEM, boost::system::system_category());
    }
    if (!ec || ec == asio::error::would_block)
        return;
    if (is_shortage(ec) && looks_again()) {
        // And with each publication; until then no more heard of: its hello is there, and would
        // wake who waits for room without end.
        unwatch(who.socket.get());
        who.is_short = true;
        ++short_;
        return;
    }
    // Gone before it came, or what has come is no reader of ours.
    if (ec != asio::error::eof)
        ++cut_off_;
    remove(index);
}

// In a moment, for who sleeps in front of the last message there is, and is not known. False: there
// is not even an event loop for that.
bool broadcast_writer_core::looks_again() noexcept
{
    constexpr std::chrono::milliseconds moment{20};
    if (is_looking_again_)
        return true;
    try {
        if (!again_)
            again_.emplace(executor());
        again_->expires_after(moment);
        again_->async_wait([weak = weak_from_this()](const error_code& ec) {
            const auto alive = weak.lock();
            if (!alive)
                return;
            auto& self = static_cast<broadcast_writer_core&>(*alive);
            self.is_looking_again_ = false;
            if (ec || self.closed_)
                return;
            self.look_at_bells();
            self.ring_sleepers();
        });
    } catch (...) {
        return false;
    }
    is_looking_again_ = true;
    return true;
}

void broadcast_writer_core::welcome(reader& who, error_code& ec)
{
    auto hello = receive_broadcast_hello(who.socket.get(), broadcast_role::reader, ec);
    if (ec)
        return;
    if (hello.shape != terms_.shape) {
        ec = channel_errc::other_type;
        return;
    }
    // Nothing but its words is read there; whoever sends more would have us map it all.
    const auto most = broadcast_memory::size_in_pages(broadcast_role::reader, terms_.shape, ec);
    auto memory = broadcast_memory::attach(std::move(hello.memory), hello.memory_bytes, most,
                                           broadcast_role::reader, terms_.shape, ec);
    if (ec)
        return;
    who.button = doorbell_button::attach(std::move(hello.button), ec);
    if (ec)
        return;
    memory.release_descriptor();
    who.memory = std::move(memory);
    who.known.emplace(who.memory.words(), who.start);
    unwatch(who.socket.get());
    who.socket.reset();
    --unknown_;
}

void broadcast_writer_core::ring_sleepers() noexcept
{
    for (auto& each : readers_) {
        if (each.known && each.known->must_ring()) {
            ++rung_;
            each.button.press();
            show_counts();
        }
    }
}

// --- waiting and ending -------------------------------------------------------------------------

void broadcast_writer_core::hear(const error_code& wait_error) noexcept
{
    if (closed_)
        return;
    if (wait_error != asio::error::operation_aborted)
        look_at_bells();
    if (side_.is_announced())
        side_.withdraw();
}

// What waits is not aborted: it is told why.
void broadcast_writer_core::fail_to_wait(const error_code& why) noexcept
{
    failure_ = why;
    closed_ = true;
    leave_reactor();
    let_go_of_readers();
}

void broadcast_writer_core::close() noexcept
{
    if (closed_)
        return;
    closed_ = true;
    if (owner_ != ::getpid()) {  // the words, the set and the reactor are the original's
        leave_reactor();
        readers_.clear();
        bells_.reset();
        leave_reactor();
        return;
    }
    cancel();
    let_go_of_readers();
}

void broadcast_writer_core::let_go_of_readers() noexcept
{
    side_.close();
    side_.fence();
    if (unknown_ > 0)
        look_at_bells();
    ring_sleepers();
    // That nobody presses their bells any more tells them the rest.
    readers_.clear();
    holding_ = 0;
    unknown_ = 0;
    short_ = 0;
    again_.reset();
    bells_.reset();
    own_.release_descriptor();
}

std::size_t broadcast_writer_core::readers() noexcept
{
    if (closed_)
        return 0;
    // Twice: of one that has rung and gone since then, the first hears the ring alone.
    look_at_bells();
    look_at_bells();
    return readers_.size();
}

// As broadcast_reader_core's.
void broadcast_writer_core::show_counts() noexcept
{
    auto& shown = own_.own_tally();
    // Relaxed, all: only this side writes them, and nothing hangs on them.
    shown.counts.counts.store(1, std::memory_order_relaxed);
    shown.counts.stalls.store(stalls_, std::memory_order_relaxed);
    shown.counts.sleeps.store(sleeps_, std::memory_order_relaxed);
    shown.counts.rung.store(rung_, std::memory_order_relaxed);
}

channel_statistics broadcast_writer_core::statistics() const noexcept
{
    channel_statistics now;
    now.messages = messages_ - terms_.first_position;
    now.used = side_.position() - side_.oldest();
    now.depth = terms_.shape.unit_bytes == 1 ? messages_ - oldest_number_ : now.used;
    now.capacity = side_.capacity();
    now.stalls = stalls_;
    now.rung = rung_;
    now.woken = woken_;
    now.spins = spins_;
    now.sleeps = sleeps_;
    return now;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
