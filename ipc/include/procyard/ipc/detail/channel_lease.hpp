// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CHANNEL_LEASE_HPP
#define PROCYARD_IPC_DETAIL_CHANNEL_LEASE_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/record_ring.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// The right to use a part of the ring in place, for as long as the object is there. Other
/// operations of the end fail meanwhile: they would give away, or overwrite, what is being used.
///
/// A consumer's lease takes messages by advancing; they are released when it ends. A producer's
/// commits.
class channel_lease {
public:
    channel_lease() noexcept = default;
    /// @pre the end has room, and no other lease
    explicit channel_lease(std::shared_ptr<channel_core> core) noexcept : core_(std::move(core))
    {
        room_ = core_->side().room();
        core_->lend();
    }
    channel_lease(channel_lease&& other) noexcept
        : core_(std::move(other.core_)),
          room_(std::exchange(other.room_, 0))
    {
    }
    channel_lease& operator=(channel_lease&& other) noexcept
    {
        channel_lease old(std::move(*this));
        core_ = std::move(other.core_);
        room_ = std::exchange(other.room_, 0);
        return *this;
    }
    ~channel_lease()
    {
        if (core_)
            core_->take_back();
    }

    [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr && room_ > 0; }
    [[nodiscard]] channel_core& core() const noexcept { return *core_; }
    /// Units left.
    [[nodiscard]] std::uint64_t room() const noexcept { return room_; }

    /// So many units have been taken, or written, which make up so many messages.
    void advance(std::uint64_t units, std::uint64_t messages) noexcept
    {
        room_ -= units;
        core_->side().advance(units);
        core_->count_messages(messages);
    }
    /// The same of units by which the side has advanced already.
    void has_advanced(std::uint64_t units, std::uint64_t messages) noexcept
    {
        room_ -= units;
        core_->count_messages(messages);
    }
    /// A producer's: publishes so many units, a message each. False: the end is closed or has
    /// failed, and whoever was told that must not get messages after it.
    [[nodiscard]] bool commit(std::uint64_t units) noexcept
    {
        if (!core_->is_open())
            return false;
        advance(units, units);
        return true;
    }
    /// A producer's of records: where the bytes of a message of `count` go, after their number.
    /// @pre channel_core::make_room has said that there is room
    [[nodiscard]] std::span<std::byte> own_bytes(std::size_t count) const noexcept
    {
        record_producer producer(core_->side(), core_->own_units());
        return {producer.payload_at_once(count + sizeof(std::uint32_t)) + sizeof(std::uint32_t),
                count};
    }
    /// Publishes a message of the first `count` of them, as commit() does.
    [[nodiscard]] bool commit_bytes(std::size_t count) noexcept
    {
        if (!core_->is_open())
            return false;
        record_producer producer(core_->side(), core_->own_units());
        const record_place at{record_place::answer::ready,
                              ring_offset(core_->side().position(), core_->side().capacity())};
        const auto length = static_cast<std::uint32_t>(count);
        std::memcpy(producer.payload(at), &length, sizeof length);
        producer.commit(at, length + static_cast<std::uint32_t>(sizeof length));
        core_->count_messages(1);
        return true;
    }
    /// Nothing more is taken.
    void end() noexcept { room_ = 0; }

private:
    std::shared_ptr<channel_core> core_;
    std::uint64_t room_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
