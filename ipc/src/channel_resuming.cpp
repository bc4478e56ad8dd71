// SPDX-License-Identifier: BSL-1.0
// Of channel_core: another peer, after the first has gone.
#include <procyard/ipc/detail/channel_core.hpp>

#include <boost/asio/error.hpp>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/detail/message_transport.hpp>
#include <procyard/ipc/detail/overwriting.hpp>

// The new peer gets a new ring, in new memory, with what the old one has not released at its
// beginning. So it is a channel like any other that was made before its peer came, and whoever has
// still the old memory, or the button of the old doorbell, has no part in it.
//
// Rejected: to go on in the old ring. The new consumer would have to begin at the old one's
// position, so that would have to be in the handshake; and a process that has closed its end, or
// was given it unopened and keeps it, would read what is meant for another.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Whether the channel has ended in a way after which it can go on.
error_code channel_core::check_resumable()
{
    if (closed_)
        return asio::error::bad_descriptor;
    if (lent_)
        return channel_errc::lent;
    error_code how;
    error_code ec;
    if (!failure_)
        ec = look_for_end(how);
    if (ec)
        return ec == asio::error::would_block ? error_code(channel_errc::not_ended) : ec;
    if (!failure_) {
        // A receiver's peer has gone. Has it left something?
        std::uint64_t passed = 0;
        do
            (void)find_room(*this, 1, ec);
        while (!ec && pass_no_message(passed, ec));
        if (ec == channel_errc::lapped)
            put_off_loss();
        if (!failure_)
            return channel_errc::not_ended;
    }
    const bool is_over = failure_ == channel_errc::closed || failure_ == channel_errc::peer_died;
    if (!is_over)
        return failure_;
    if (is_producer() && !side_.refresh())
        return channel_errc::peer_broke_rules;
    return {};
}

// Of what has been committed. An overwriting sender has it in the ring, and nothing in staging.
std::uint64_t channel_core::first_unreleased(const ring_side& side) const noexcept
{
    return staging_ ? staging_->first_unread() : side.position() - side.capacity() + side.room();
}

const std::byte* channel_core::ring_units() const noexcept
{
    if (!is_producer())
        return mirror_ ? mirror_->units() : peer_units_;
    return staging_ ? staging_->wire_units() : own_units_;
}

// What has been committed and not released goes to the beginning of the other's ring. But a message
// that is longer than the ring, and what comes after it, does not fit in there, and so is owed.
// False: where the old peer says that it stands no message begins.
bool channel_core::move_unreleased(channel_core& to) const
{
    if (terms_.shape.unit_bytes == 1)
        return move_unreleased_records(to);
    const auto capacity = side_.capacity();
    const auto first = first_unreleased(side_);
    const auto count = side_.position() - first;
    const auto* const from = ring_units();
    const auto stride = static_cast<std::size_t>(terms_.shape.unit_bytes);
    for (std::size_t n = 0; n < count; ++n)
        std::memcpy(to.own_units_ + n * stride,
                    from + static_cast<std::size_t>(ring_offset(first + n, capacity)) * stride,
                    stride);
    to.side_.advance(count);
    return true;
}

bool channel_core::move_unreleased_records(channel_core& to) const
{
    const auto capacity = side_.capacity();
    const auto* const units = ring_units();
    auto position = first_unreleased(side_);
    auto left = side_.position() - position;
    const auto after_kept = position + left - kept_end_;
    const bool owes = !kept_.empty() && left > after_kept;
    record_producer producer(to.side_, to.own_units_);
    while (left > 0) {
        const auto offset = ring_offset(position, capacity);
        if (offset % record_alignment_bytes != 0)
            return false;
        const auto header = read_record_header(units + offset);
        const auto check = check_record(header, offset, left, capacity);
        if (check == record_check::violation)
            return false;
        // Parts are those of the message that is kept, of one that is under way, or given up.
        const auto* const payload = units + offset + sizeof header;
        if (check == record_check::data && !to.owed_.empty()) {
            to.owed_.emplace_back(std::vector<std::byte>(payload, payload + header.length));
        } else if (check == record_check::data) {
            bool good = true;
            const auto at = producer.place(header.length, good);
            if (!good || at.what != record_place::answer::ready)
                return false;
            std::memcpy(producer.payload(at), payload, header.length);
            producer.commit(at, header.length);
        }
        position += record_bytes(header.length);
        left -= record_bytes(header.length);
        if (owes && to.owed_.empty() && left <= after_kept) {
            if (left != after_kept)
                return false;
            to.owed_.emplace_back();  // that it is the one that is kept says take_over()
        }
    }
    return true;
}

unique_fd channel_core::resume(error_code& ec)
{
    ec = check_resumable();
    if (ec)
        return {};
    auto sockets = make_hello_sockets(terms_, ec);
    if (ec)
        return {};
    const auto fresh = channel_core::open(executor_, role_, std::move(sockets.first), terms_, ec);
    if (ec)
        return {};
    if (staging_) {  // what the old peer has not found to be gone is told to the new one
        const auto found = staging_->reckon(connected_ ? &peer_ : nullptr);
        staging_->receiver_left(found);
        fresh->dropped_before_ = dropped_before_ + found.lost;
        fresh->staging_->begin_after(found.unnoticed);
        fresh->side_ = fresh->first_side();
    }
    try {
        if (is_producer() && !move_unreleased(*fresh))
            ec = channel_errc::peer_broke_rules;
    } catch (const std::bad_alloc&) {
        ec = error_code(ENOMEM, boost::system::system_category());
    }
    if (ec)
        return {};
    if (fresh->staging_)
        fresh->publish();
    else
        fresh->side_.publish();
    take_over(*fresh);
    send_owed_later();
    return std::move(sockets.second);
}

// From an end of which nobody else knows, and to whom no peer can have come. The old ring goes with
// it.
void channel_core::take_over(channel_core& fresh) noexcept
{
    leave_reactor();
    ++generation_;
    dropped_before_ = is_producer() ? fresh.dropped_before_ : lost();
    std::swap(own_, fresh.own_);
    std::swap(staging_, fresh.staging_);
    mirror_.reset();
    loss_to_be_told_ = false;
    std::swap(peer_, fresh.peer_);
    std::swap(bell_, fresh.bell_);
    std::swap(button_, fresh.button_);
    std::swap(socket_, fresh.socket_);
    fresh.closed_ = true;  // the old peer has been told already
    fresh.usable_ = false;
    side_ = first_side();
    own_units_ = fresh.own_units_;
    peer_units_ = nullptr;
    assembly_ = {};
    show_counts();
    connected_ = false;
    peer_gone_ = false;
    failure_.clear();
    explanation_.clear();
    if (!fresh.owed_.empty())
        fresh.owed_.front() = message_parts(std::move(kept_));
    std::vector<std::byte>().swap(kept_);
    fresh.owed_.splice(fresh.owed_.end(), owed_);  // of the one before, who has not got so far
    owed_.swap(fresh.owed_);
    usable_ = owed_.empty();
}

// --- what is owed to the next peer --------------------------------------------------------------

// Sends it when nobody sends anything. Another operation does the same, as it comes.
class channel_core::resending final : public channel_operation {
public:
    explicit resending(channel_core& core) noexcept : core_(core) { }

    progress attempt() override
    {
        if (core_.owed_.empty() || core_.blocked() != asio::error::would_block)
            return progress::done;
        wanted = core_.owed_room_;
        return progress::blocked;
    }
    // What was aborted is to be sent all the same: it is no operation of the user's.
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto& core = core_;
        self.reset();
        if (instead)
            core.send_owed_later();
    }

private:
    channel_core& core_;  // alive as long as a turn is: that holds it
};

// No error: all of it has gone, and anything else can be sent.
error_code channel_core::send_owed()
{
    usable_ = true;  // for what follows alone
    error_code ec;
    while (!owed_.empty() && !ec) {
        ec = owed_.front().send(*this, owed_room_);
        if (!ec)
            owed_.pop_front();
    }
    usable_ = is_open() && owed_.empty();
    return ec;
}

void channel_core::send_owed_later() noexcept
{
    if (owed_.empty() || !is_open())
        return;
    try {
        start(channel_operation::make<resending>(memory_, *this), {});
    } catch (const std::bad_alloc&) {
        return;  // whoever sends something sends it first
    }
}

// The peer has released it.
void channel_core::forget_kept() noexcept
{
    if (!kept_.empty() && side_.capacity() - side_.room() <= side_.position() - kept_end_)
        std::vector<std::byte>().swap(kept_);  // `= {}` would keep the memory
}

}  // namespace detail

PROCYARD_NAMESPACE_END
