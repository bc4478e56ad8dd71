// SPDX-License-Identifier: BSL-1.0
// Of channel_core: a sender that drops the oldest messages, and its receiver.
#include <procyard/ipc/detail/channel_core.hpp>

#include <boost/asio/error.hpp>

#include <algorithm>
#include <cstdint>
#include <utility>

#include <procyard/ipc/detail/overwriting.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// --- the sender's -------------------------------------------------------------------------------

ring_side& channel_core::wire() noexcept
{
    return staging_ ? staging_->wire() : side_;
}

// For each publication of a sender that overwrites: what it has published goes into the ring.
void channel_core::flush_and_ring() noexcept
{
    const auto used = side_.position() - staging_->first_unread();
    const auto gone = staging_->gone();
    staging_->flush(side_.position());
    counts_.high_water = std::max(counts_.high_water, std::min(used, side_.capacity()));
    if (!connected_ && usable_)
        (void)connect();
    if (connected_ && wire().must_ring()) {
        ++counts_.rung;
        show_counts();
        button_.press();
    } else {
        ++counts_.elided;
    }
    if (used <= side_.capacity())
        return;
    // Nobody waits who would hear of it: see blocked(). By messages, of which a batch has many.
    const auto asked = in_vain_ / looks_for_a_death;
    in_vain_ += static_cast<std::uint32_t>(staging_->gone() - gone);
    if (connected_ && in_vain_ / looks_for_a_death != asked && bell_.is_abandoned()) {
        peer_gone_ = true;
        fail_by_peer();
    }
}

// There is always room for more, when what is there has gone.
error_code channel_core::empty_staging() noexcept
{
    if (!side_.is_published())
        publish();
    (void)side_.refresh();
    return failure_;
}

// --- the receiver's -----------------------------------------------------------------------------

// Whether there is something to be copied, or told. Nothing is taken out of the ring.
error_code channel_core::look_past_mirror()
{
    if (loss_to_be_told_)
        return channel_errc::lapped;
    const bool has_closed = side_.peer_closed();
    if (side_.room() != 0 || mirror_->has_more(side_))
        return {};
    if (has_closed || peer_gone_)
        fail(has_closed ? channel_errc::closed : channel_errc::peer_died);
    return failure_ ? failure_ : error_code(asio::error::would_block);
}

error_code channel_core::look_for_copies(std::uint64_t busy_after, std::uint64_t most)
{
    if (closed_)
        return asio::error::bad_descriptor;
    if (failure_)
        return failure_;
    if (lent_)
        return channel_errc::lent;
    if (std::exchange(loss_to_be_told_, false)) {
        usable_ = true;
        return channel_errc::lapped;
    }
    if (side_.room() != 0)
        account();
    if (side_.room() != 0)
        return {};
    if (!mirror_->has_more(side_) && ++in_vain_ % looks_for_a_death == 0)
        peer_gone_ = peer_gone_ || bell_.is_abandoned();
    // First how the peer has ended, as in blocked().
    const bool has_ended = side_.peer_closed() || peer_gone_;
    const auto found = mirror_->fetch(side_, most);
    counts_.high_water = std::max(counts_.high_water, mirror_->used(side_));
    usable_ = mirror_->is_accounted(side_);
    if (mirror_->has_lost())
        return channel_errc::lapped;
    switch (found) {
    case ring_mirror::found::some:
        if (side_.since_sleep() >= busy_after)
            side_.relax();
        return {};
    case ring_mirror::found::none:
        if (!has_ended)
            return asio::error::would_block;
        fail(side_.peer_closed() ? channel_errc::closed : channel_errc::peer_died);
        break;
    case ring_mirror::found::overtaken:
        if (!has_ended)
            return asio::error::would_block;
        fail(channel_errc::peer_broke_rules);  // who has ended overtakes nobody
        break;
    case ring_mirror::found::violation: fail(channel_errc::peer_broke_rules); break;
    }
    return failure_;
}

// Several messages that differ in length, received one by one: a look at each.
void channel_core::account() noexcept
{
    // What was lent when it was closed is given back at any time after that, and the sender may be
    // reading what this end has left: see memory-model.md.
    if (is_open())
        mirror_->account(side_);
    else
        mirror_->account_released(side_);
    usable_ = is_open() && !lent_ && !loss_to_be_told_ && mirror_->is_accounted(side_);
}

void channel_core::put_off_loss() noexcept
{
    loss_to_be_told_ = true;
    usable_ = false;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
