// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_MESSAGE_BATCH_HPP
#define PROCYARD_IPC_MESSAGE_BATCH_HPP

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_lease.hpp>
#include <procyard/ipc/detail/message_transport.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Messages that have arrived, read where they lie in the ring. Their room is given back to the
/// sender when the batch is destroyed, all at once; what was not taken out of it stays for the next
/// receive.
///
/// Where messages borrow (std::string_view, std::span), this is the way to receive them: they are
/// good as long as the batch is.
/// @par Thread safety   As the receiver's, of which it is a part.
/// @par Lifetime        Keeps what it needs of the receiver. Until it is destroyed, operations of
///                      that receiver fail with `channel_errc::lent`. After a move: empty.
/// @par Cost            No allocation. One publication when it is destroyed, and one system call
///                      if the sender waits for room.
/// @par Example
/// @code
/// while (true) {
///     auto ticks = co_await rx.async_receive_some(asio::use_awaitable);
///     for (const tick& t : ticks)
///         book.apply(t);
/// }
/// @endcode
template <decodable_message T>
class message_batch {
    using transport = detail::transport_of<T>;

public:
    using message_type = T;
    class iterator;

    /// Empty.
    message_batch() noexcept = default;

    /// Takes the next message. False: there is none, or this one is no value of the type; then the
    /// channel has failed, and the receiver's next operation says so.
    /// @warning What borrows (std::string_view, std::span) refers to memory that the sender's
    ///          process can still change, if it is hostile: what is checked must have been copied
    ///          before.
    bool next(T& message) { return lease_ && transport::take_leased(lease_, message); }

    /// Whether nothing is left.
    [[nodiscard]] bool empty() const noexcept { return !lease_ || !transport::has_message(lease_); }
    /// How many are left. Only of messages of one length.
    [[nodiscard]] std::size_t size() const noexcept
        requires(fixed_bytes<T> != 0)
    {
        return static_cast<std::size_t>(lease_.room());
    }

    /// Takes all that lie in one piece, without a copy: the rest of the ring up to its end, if they
    /// go on at its beginning. Only of messages that are plain bytes of a multiple of 8, and of
    /// which every pattern of bits is a value.
    /// @warning The sender's process can change them while they are looked at, if it is hostile:
    ///          what is checked must have been copied before.
    [[nodiscard]] std::span<const T> in_place() noexcept
        requires detail::in_place_message<T>
    {
        return lease_ ? transport::take_in_place(lease_) : std::span<const T>();
    }

    /// For range-based loops. Each message is taken when it is looked at.
    [[nodiscard]] iterator begin() { return iterator(*this); }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

    /// Gives the room back now. Empty afterwards.
    void release() noexcept { lease_ = detail::channel_lease(); }

    /// @private
    explicit message_batch(detail::channel_lease lease) noexcept : lease_(std::move(lease)) { }

private:
    detail::channel_lease lease_;
};

/// Takes a message at each step, and holds a copy of it until the next one.
template <decodable_message T>
class message_batch<T>::iterator {
public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    explicit iterator(message_batch& batch) : batch_(&batch) { ++*this; }

    [[nodiscard]] const T& operator*() const noexcept { return *message_; }
    [[nodiscard]] const T* operator->() const noexcept { return &*message_; }
    iterator& operator++()
    {
        if (!message_)
            message_.emplace();
        if (!batch_->next(*message_))
            message_.reset();
        return *this;
    }
    void operator++(int) { ++*this; }
    [[nodiscard]] friend bool operator==(const iterator& at, std::default_sentinel_t) noexcept
    {
        return !at.message_;
    }

private:
    message_batch* batch_;
    std::optional<T> message_;
};

PROCYARD_NAMESPACE_END

#endif
