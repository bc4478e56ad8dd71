// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_BYTE_LOAN_HPP
#define PROCYARD_IPC_BYTE_LOAN_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_lease.hpp>
#include <procyard/ipc/detail/record_ring.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Messages that are nothing but bytes, any number of them.
template <class T>
inline constexpr bool is_byte_message = false;
template <>
inline constexpr bool is_byte_message<std::string> = true;
template <>
inline constexpr bool is_byte_message<std::string_view> = true;
template <>
inline constexpr bool is_byte_message<std::vector<std::byte>> = true;
template <>
inline constexpr bool is_byte_message<std::vector<char>> = true;
template <>
inline constexpr bool is_byte_message<std::vector<unsigned char>> = true;
template <>
inline constexpr bool is_byte_message<std::span<std::byte>> = true;
template <>
inline constexpr bool is_byte_message<std::span<const std::byte>> = true;

/// Room in the ring for one message of bytes, to write it where the receiver will read it. What is
/// committed is sent; a loan that is destroyed without a commit has sent nothing.
/// @par Thread safety   As the sender's, of which it is a part.
/// @par Lifetime        Keeps what it needs of the sender. Until it is destroyed or committed,
///                      operations of that sender fail with `channel_errc::lent`. After a move:
///                      empty.
/// @par Limits          The bytes are aligned to 4.
/// @par Example
/// @code
/// auto room = co_await tx.async_loan_bytes(1500, asio::use_awaitable);
/// room.commit(socket.receive(room.bytes()));
/// @endcode
class byte_loan {
public:
    /// Nothing.
    byte_loan() noexcept = default;

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(lease_); }
    /// As many as were asked for. What they are is what was in the ring before: all that is
    /// committed must be written.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }

    /// Sends the first `count` bytes as a message, and gives the rest back. False: the sender has
    /// been closed or has failed meanwhile, and nothing was sent.
    /// @pre count <= size()
    /// @par Cost   One publication, and one system call if the receiver sleeps.
    bool commit(std::size_t count) noexcept
    {
        PROCYARD_ASSERT(count <= size() && "not more than was lent can be committed");
        const bool sent = lease_ && lease_.commit_bytes(count);
        bytes_ = {};
        lease_ = detail::channel_lease();
        return sent;
    }
    /// All of them.
    bool commit() noexcept { return commit(size()); }

    /// @private
    byte_loan(detail::channel_lease lease, std::size_t count) noexcept
        : lease_(std::move(lease)),
          bytes_(lease_.own_bytes(count))
    {
    }
    byte_loan(byte_loan&& other) noexcept
        : lease_(std::move(other.lease_)),
          bytes_(std::exchange(other.bytes_, {}))
    {
    }
    byte_loan& operator=(byte_loan&& other) noexcept
    {
        lease_ = std::move(other.lease_);
        bytes_ = std::exchange(other.bytes_, {});
        return *this;
    }
    ~byte_loan() = default;

private:
    detail::channel_lease lease_;
    std::span<std::byte> bytes_;
};

PROCYARD_NAMESPACE_END

#endif
