// SPDX-License-Identifier: BSL-1.0
// Of channel_core: how an end comes to be, and how it comes to have a peer.
#include <procyard/ipc/detail/channel_core.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

#include <procyard/ipc/detail/overwriting.hpp>
#include <procyard/ipc/syscall.hpp>

#include "channel_hello.hpp"
#include "connection_messages.hpp"
#include "hello_sort.hpp"
#include "memory_pages.hpp"
#include "shortage.hpp"
#include "spinning.hpp"
#include "wake_barrier.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// A pipe is opened anew through /proc by whoever is to press it; it is missing here if it is there.
doorbell_kind possible_kind(doorbell_kind asked) noexcept
{
    return ::access("/proc/self/fd", X_OK) == 0 ? asked : doorbell_kind::socket;
}

ring_role other(ring_role role) noexcept
{
    return role == ring_role::producer ? ring_role::consumer : ring_role::producer;
}

std::string explain_mismatch(const channel_terms& ours, const channel_hello& theirs)
{
    type_description type;
    if (ours.shape.type != theirs.shape.type)
        return type_description::parse(std::as_bytes(std::span(theirs.description)), type)
            ? explain_difference(*ours.type, type)
            : "here " + ours.type->to_string() + ", there a type that cannot be read";
    const auto text = [](const ring_shape& shape) {
        return std::to_string(shape.unit_count) + " units of " + std::to_string(shape.unit_bytes)
            + " bytes";
    };
    return "the ring has " + text(ours.shape) + " here, and " + text(theirs.shape) + " there";
}

std::string name_of(ring_role role)
{
    const bool sends = role == ring_role::producer;
    return name_of(end_sort::channel, sends, !sends);
}

// The size of the pages that a sender may have rounded up to: huge ones, where this end's options
// have them as well. That a descriptor has seals is answered by the kernel; anything else may be of
// a file system that never answers.
std::uint64_t page_bytes_of(const channel_terms& terms, const channel_hello& hello) noexcept
{
    const auto ordinary = static_cast<std::size_t>(::getpagesize());
    if (hello.role != ring_role::producer || terms.options.huge_pages == huge_page_policy::never
        || ::fcntl(hello.memory.get(), F_GET_SEALS) == -1)
        return ordinary;
    error_code ec;
    return std::max(ordinary, memory_page_bytes(hello.memory.get(), ec));
}

// The most that a peer's memory may have: its pages may be larger than ours, but not by any size.
std::uint64_t most_peer_bytes(const channel_terms& terms, const channel_hello& hello) noexcept
{
    error_code ec;  // our own ring has this shape
    const auto page = page_bytes_of(terms, hello);
    const auto needed = ring_memory::size_bytes(hello.role, terms.shape, ec);
    return std::max(terms.max_peer_bytes, (needed + page - 1) / page * page);
}

// Whether this side may ask the peer to leave out its fences.
bool may_relax(std::uint64_t own_features, std::uint64_t peer_features) noexcept
{
    return (own_features & feature_barrier_caller) != 0
        && (peer_features & feature_barrier_target) != 0;
}

}  // namespace

// --- making -------------------------------------------------------------------------------------

channel_core::channel_core(const asio::any_io_executor& ex, ring_role role, unique_fd socket,
                           const channel_terms& terms, ring_memory own)
    : side_(role, own.own_words(), unconnected_, terms.shape.unit_count),
      executor_(ex),
      role_(role),
      terms_(terms),
      own_(std::move(own)),
      owner_(::getpid()),
      spin_(sensible_spin(terms.spin)),
      socket_(std::move(socket))
{
    if ((own_.features() & feature_overwrites) != 0)
        staging_ = std::make_unique<ring_staging>(own_, terms.shape);
    if (role == ring_role::producer)
        own_units_ = staging_ ? staging_->units() : own_.own_units();
    side_ = first_side();
    counts_.capacity = terms.shape.unit_count;
    show_counts();
    // A peer that seems to sleep, so that ring() is called for all that is published; and to have
    // closed, so that a sender asks closed_by_peer() before.
    unconnected_.sleep.store(1, std::memory_order_relaxed);
    unconnected_.closed.store(1, std::memory_order_relaxed);
}

// Of one whose peer has not come.
ring_side channel_core::first_side() noexcept
{
    return staging_ ? staging_->staged_side()
                    : ring_side(role_, own_.own_words(), unconnected_, terms_.shape.unit_count);
}

std::shared_ptr<channel_core> channel_core::open(const asio::any_io_executor& ex, ring_role role,
                                                 unique_fd socket, const channel_terms& terms,
                                                 error_code& ec)
{
    const bool overwrites =
        role == ring_role::producer && terms.options.full == when_full::drop_oldest;
    const auto features = join_wake_barrier() | (overwrites ? feature_overwrites : feature_none);
    segment_options memory{.name = terms.options.name.view()};
    if (role == ring_role::producer)
        memory.huge_pages = terms.options.huge_pages;
    auto own = ring_memory::create(role, terms.shape, features, ec, memory);
    if (ec)
        return nullptr;
    own.label_type(terms.type->name);
    std::shared_ptr<channel_core> made;
    try {
        made.reset(new channel_core(ex, role, std::move(socket), terms, std::move(own)));
    } catch (const std::bad_alloc&) {
        ec = make_errno(ENOMEM);
        return nullptr;
    }
    unique_fd button;
    made->bell_ = doorbell::create(possible_kind(terms.bell), button, ec);
    if (ec)
        return nullptr;
    const auto& mine = made->own_.memory();
    send_hello(made->socket_.get(), role, terms.shape, mine.size(), terms.type->to_bytes(),
               mine.native_handle(), button.get(), ec);
    // A peer that has gone may have left its hello, and messages.
    made->peer_gone_ =
        ec == boost::system::errc::broken_pipe || ec == boost::system::errc::connection_reset;
    if (ec == asio::error::would_block)  // whoever has made it has filled it up
        ec = channel_errc::bad_hello;
    if (ec && !made->peer_gone_)
        return nullptr;
    ec.clear();
    made->own_.release_descriptor();
    (void)made->connect();
    if (made->peer_gone_ && made->connected_ && made->is_producer())
        made->fail_by_peer();
    return made;
}

// --- the peer comes -----------------------------------------------------------------------------

// Why the peer is still not there, would_block if it has not come; none, if it is, or the channel
// has failed.
error_code channel_core::connect() noexcept
{
    error_code ec;
    try {
        take_hello(ec);
    } catch (const std::bad_alloc&) {
        ec = error_code(ENOMEM, boost::system::system_category());
    }
    if (!ec || ec == asio::error::would_block || is_shortage(ec))
        return ec;
    fail(ec);
    return {};
}

void channel_core::take_hello(error_code& ec)
{
    auto hello = receive_hello(socket_.get(), ec);
    if (ec == asio::error::eof) {
        peer_gone_ = true;
        ec.clear();
        return fail(channel_errc::peer_died, "the peer has gone before it came to the channel");
    }
    if (ec == channel_errc::bad_hello) {
        const auto theirs = name_of_peer(socket_.get(), channel_hello_magic, ec);
        if (!theirs.empty())
            return fail(channel_errc::other_direction, explain_sorts(name_of(role_), theirs));
    }
    if (ec)
        return;
    if (hello.role != other(role_))
        return fail(channel_errc::other_direction,
                    explain_sorts(name_of(role_), name_of(hello.role)));
    if (hello.shape != terms_.shape)
        return fail(channel_errc::other_type, explain_mismatch(terms_, hello));
    if (const auto most = most_peer_bytes(terms_, hello); hello.memory_bytes > most)
        return fail(channel_errc::over_limit,
                    "the peer's memory has " + std::to_string(hello.memory_bytes)
                        + " bytes, and at most " + std::to_string(most) + " are allowed");
    auto memory = ring_memory::attach(std::move(hello.memory), hello.memory_bytes, hello.role,
                                      terms_.shape, ec);
    doorbell_button button;
    if (!ec)
        button = doorbell_button::attach(std::move(hello.button), ec);
    if (ec)
        return;
    std::unique_ptr<ring_mirror> mirror;
    const bool overwrites =
        role_ == ring_role::consumer && (memory.features() & feature_overwrites) != 0;
    // Whoever receives decides whether it may lose something, and has memory for what it copies.
    if (overwrites && terms_.options.full != when_full::drop_oldest)
        return fail(channel_errc::bad_option,
                    "the sender drops the oldest messages, which this end's options do not allow");
    if (overwrites)
        mirror = std::make_unique<ring_mirror>(memory, own_, terms_.shape);
    own_.label_peer(memory);
    memory.release_descriptor();
    peer_ = std::move(memory);
    mirror_ = std::move(mirror);
    button_ = std::move(button);

    const bool relaxes = may_relax(own_.features(), peer_.features());
    if (staging_) {
        staging_->connect(peer_.words(), relaxes);
    } else {
        // Goes on where the old one stands: what was written before the peer came counts. Half a
        // batch too, and its writer publishes no more than the new one knows of.
        if (!side_.is_published())
            side_.publish();
        side_ = ring_side(role_, own_.own_words(), peer_.words(), terms_.shape.unit_count, relaxes);
    }
    if (role_ == ring_role::consumer)
        peer_units_ = mirror_ ? mirror_->units() : peer_.units();
    leave_reactor();
    socket_.reset();
    connected_ = true;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
