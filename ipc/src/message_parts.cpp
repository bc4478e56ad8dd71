// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/message_parts.hpp>

#include <boost/asio/error.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

#include <procyard/ipc/detail/channel_core.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// --- the receiver's -----------------------------------------------------------------------------

part_assembly::answer part_assembly::begin(std::span<const std::byte> payload,
                                           std::uint64_t most_bytes)
{
    // Also in the middle of another message: its sender has given it up.
    if (payload.size() < sizeof length_)
        return answer::violation;
    const auto length = load_once(payload.data());
    const auto bytes = payload.subspan(sizeof length_);
    if (bytes.size() >= length)
        return answer::violation;
    if (length > most_bytes || length > bytes_.max_size())
        return answer::too_long;
    state_ = state::none;
    bytes_.clear();
    // It grows as they come, and not by what a sender says of what is to come.
    constexpr std::uint64_t most_at_once = 64 * 1024;
    bytes_.reserve(static_cast<std::size_t>(std::min(length, most_at_once)));
    bytes_.assign(bytes.begin(), bytes.end());
    length_ = length;
    state_ = state::gathering;
    return answer::more;
}

part_assembly::answer part_assembly::add(record_kind kind, std::span<const std::byte> payload,
                                         std::uint64_t most_bytes)
{
    const bool is_last = kind == record_kind::last_part;
    if (kind == record_kind::first_part)
        return begin(payload, most_bytes);
    if (is_last && state_ == state::complete)
        return answer::complete;
    if (state_ != state::gathering)
        return answer::violation;
    if (kind == record_kind::dropped_parts) {
        state_ = state::none;
        release();
        return payload.empty() ? answer::more : answer::violation;
    }
    const auto missing = length_ - bytes_.size();
    const bool fits = is_last ? payload.size() == missing : payload.size() < missing;
    if (payload.empty() || !fits)
        return answer::violation;
    // Twice as much each time, but no more than all of it: it may be all the memory there is.
    if (bytes_.capacity() - bytes_.size() < payload.size()) {
        const auto least = bytes_.size() + payload.size();
        const auto twice = std::uint64_t{2} * bytes_.capacity();
        bytes_.reserve(
            static_cast<std::size_t>(std::min(length_, std::max<std::uint64_t>(least, twice))));
    }
    bytes_.insert(bytes_.end(), payload.begin(), payload.end());
    if (!is_last)
        return answer::more;
    state_ = state::complete;
    return answer::complete;
}

// --- the sender's -------------------------------------------------------------------------------

// Who does not wait for room cannot send in parts: the first would be on its way when there is no
// room for the next.
bool message_parts::is_allowed(const channel_core& core, std::size_t length) noexcept
{
    const auto& options = core.options();
    return length <= options.max_message_bytes && options.full == when_full::suspend;
}

void message_parts::write_part(channel_core& core, record_producer& producer,
                               const record_place& at, std::uint64_t length)
{
    auto* to = producer.payload(at);
    const auto bytes = static_cast<std::size_t>(length) - (has_begun_ ? 0 : sizeof(std::uint64_t));
    auto kind = record_kind::part;
    if (!has_begun_) {
        const std::uint64_t all = bytes_.size();
        std::memcpy(to, &all, sizeof all);
        to += sizeof all;
        kind = record_kind::first_part;
        has_begun_ = true;
        generation_ = core.generation();
    } else if (sent_ + bytes == bytes_.size()) {
        kind = record_kind::last_part;
    }
    std::memcpy(to, bytes_.data() + sent_, bytes);
    sent_ += bytes;
    producer.commit(at, static_cast<std::uint32_t>(length), kind);
    core.publish();
}

bool message_parts::has_begun_in(const channel_core& core) const noexcept
{
    return has_begun_ && generation_ == core.generation();
}

error_code message_parts::send_whole(channel_core& core, std::uint64_t& wanted)
{
    if (const auto ec = core.make_room(bytes_.size(), wanted))
        return ec;
    record_producer producer(core.side(), core.own_units());
    if (!bytes_.empty())
        std::memcpy(producer.payload_at_once(bytes_.size()), bytes_.data(), bytes_.size());
    producer.commit_at_once(bytes_.size());
    core.publish();
    bytes_ = {};
    return {};
}

error_code message_parts::send(channel_core& core, std::uint64_t& wanted)
{
    if (bytes_.size() <= longest_record(core.side().capacity()))
        return send_whole(core, wanted);
    if (!has_begun_in(core)) {
        sent_ = 0;
        has_begun_ = false;
    }
    const auto most = longest_part(core.side().capacity());
    // A longer message than fits into the ring has more than one part.
    while (sent_ < bytes_.size()) {
        if (!core.is_usable()) {
            if (const auto ec = core.blocked())
                return ec;
            continue;
        }
        const auto left = bytes_.size() - sent_ + (has_begun_ ? 0 : sizeof(std::uint64_t));
        const auto length = std::min<std::uint64_t>(left, most);
        record_producer producer(core.side(), core.own_units());
        bool good = true;
        const auto at = producer.place(length, good);
        if (!good) {
            core.fail(channel_errc::peer_broke_rules);
            continue;
        }
        using answer = record_place::answer;
        if (at.what == answer::ready) {
            write_part(core, producer, at, length);
        } else if (at.what == answer::pad) {
            core.publish();
        } else {
            wanted = at.wanted;
            if (const auto ec = core.blocked())
                return ec;
        }
    }
    core.keep(std::move(bytes_));
    bytes_ = {};
    return {};
}

void message_parts::drop(channel_core& core) noexcept
{
    if (!is_under_way() || !has_begun_in(core) || !core.is_usable())
        return;
    record_producer producer(core.side(), core.own_units());
    bool good = true;
    auto at = producer.place(0, good);
    if (good && at.what == record_place::answer::pad) {
        core.publish();
        at = producer.place(0, good);
    }
    // Else there is no room, and the first part of the next message says it.
    if (good && at.what == record_place::answer::ready) {
        producer.commit(at, 0, record_kind::dropped_parts);
        core.publish();
    }
    bytes_ = {};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
