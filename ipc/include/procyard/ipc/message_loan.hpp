// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_MESSAGE_LOAN_HPP
#define PROCYARD_IPC_MESSAGE_LOAN_HPP

#include <cstddef>
#include <span>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_lease.hpp>
#include <procyard/ipc/detail/message_transport.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Room in the ring, to write messages where the receiver will read them. What is committed is
/// sent; a loan that is destroyed without a commit has sent nothing.
/// @par Thread safety   As the sender's, of which it is a part.
/// @par Lifetime        Keeps what it needs of the sender. Until it is destroyed or committed,
///                      operations of that sender fail with `channel_errc::lent`. After a move:
///                      empty.
/// @par Example
/// @code
/// auto room = co_await tx.async_loan(1, asio::use_awaitable);
/// camera.grab_into(room[0].pixels);
/// room.commit();
/// @endcode
template <detail::in_place_message T>
class message_loan {
    using transport = detail::transport_of<T>;

public:
    using message_type = T;

    /// Nothing.
    message_loan() noexcept = default;

    [[nodiscard]] explicit operator bool() const noexcept { return !messages_.empty(); }
    /// What was lent: at least one message, and not more than was asked for. What it contains is
    /// what was in the ring before: all that is committed must be written.
    [[nodiscard]] std::span<T> messages() const noexcept { return messages_; }
    [[nodiscard]] std::size_t size() const noexcept { return messages_.size(); }
    [[nodiscard]] T& operator[](std::size_t i) const noexcept { return messages_[i]; }

    /// Sends the first `count` messages, and gives the rest back. False: the sender has been closed
    /// or has failed meanwhile, and nothing was sent.
    /// @pre count <= size()
    /// @par Cost   One publication, and one system call if the receiver sleeps.
    bool commit(std::size_t count) noexcept
    {
        PROCYARD_ASSERT(count <= size() && "not more than was lent can be committed");
        const bool sent = !messages_.empty() && lease_.commit(count);
        messages_ = {};
        lease_ = detail::channel_lease();
        return sent;
    }
    /// All of them.
    bool commit() noexcept { return commit(size()); }

    /// @private
    message_loan(detail::channel_lease lease, std::size_t most) noexcept
        : lease_(std::move(lease)),
          messages_(transport::own_in_place(lease_, most))
    {
    }
    message_loan(message_loan&& other) noexcept
        : lease_(std::move(other.lease_)),
          messages_(std::exchange(other.messages_, {}))
    {
    }
    message_loan& operator=(message_loan&& other) noexcept
    {
        lease_ = std::move(other.lease_);
        messages_ = std::exchange(other.messages_, {});
        return *this;
    }
    ~message_loan() = default;

private:
    detail::channel_lease lease_;
    std::span<T> messages_;
};

PROCYARD_NAMESPACE_END

#endif
