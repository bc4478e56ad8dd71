// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DESCRIPTOR_PASSING_HPP
#define PROCYARD_IPC_DESCRIPTOR_PASSING_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/deferred.hpp>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/socket_operation.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>

// Descriptors that go with the bytes of a Unix socket to another process (SCM_RIGHTS), which gets
// numbers of its own for the same open files.
//
// Of a stream socket: they go with the first byte of those they were sent with. What the peer sent
// before may come along with them in one read, what it sent after never does. They are lost when
// these bytes are read by anything but the functions here, an Asio read among them: the kernel
// closes them.

PROCYARD_NAMESPACE_BEGIN

/// How many descriptors one message can carry: the kernel's limit.
inline constexpr std::size_t max_passed_descriptors = 253;

/// What try_receive_descriptors() has received.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct received_counts {
    std::size_t bytes = 0;
    std::size_t descriptors = 0;
};

/// What async_receive_descriptors() has received; the descriptors are closed with it.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
struct received_descriptors {
    std::size_t bytes = 0;
    std::vector<unique_fd> descriptors{};
};

/// Sends bytes with descriptors, without waiting: some of the bytes on a stream socket, all of them
/// on others. The descriptors have gone when at least one byte has; they stay open here. Never
/// raises SIGPIPE.
/// @param socket        A connected Unix socket; blocking or not is all the same.
/// @param data          At least one byte, unless there are no descriptors.
/// @par Errors          `would_block`; `socket_errc::no_payload`, `socket_errc::too_many_to_send`;
///                      ETOOMANYREFS: more descriptors of this user under way, unreceived, than
///                      RLIMIT_NOFILE allows; EBADF: one of them is not open; EPIPE, ECONNRESET;
///                      EMSGSIZE; whatever `sendmsg` says. Nothing has been sent then.
/// @par Thread safety   Any thread.
/// @par Cost            One system call, no allocation.
/// @par Example         `try_send_descriptors(socket, std::as_bytes(std::span("x", 1)), fds, ec);`
PROCYARD_IPC_EXPORT std::size_t try_send_descriptors(int socket, std::span<const std::byte> data,
                                                     std::span<const int> descriptors,
                                                     error_code& ec) noexcept;

/// Receives bytes and the descriptors that came with them, without waiting. They are close-on-exec
/// from birth, and of any kind: look at what they are before using them.
///
/// The sender need not be trusted. It cannot make this process open more than about a dozen
/// descriptors beyond those asked for, nor keep any that it is not told of: whatever is wrong, all
/// are closed. Other control messages are passed over, and closed where they hold a descriptor
/// (SO_PASSPIDFD).
/// @param data          Room for at least one byte.
/// @param room          Takes the descriptors, the first ones of it; those that it holds already
///                      are closed. Empty: any descriptor is one too many.
/// @par Errors          `would_block`; `asio::error::eof` at the end of a stream or seqpacket
///                      connection (a seqpacket message of no bytes and no descriptors looks the
///                      same); `socket_errc::too_many_received`, `socket_errc::message_too_large`,
///                      `socket_errc::no_payload`; EMFILE: this process has no room for what the
///                      peer has sent. After the last four but `no_payload` the bytes are in `data`
///                      (received_counts::bytes says how many), so that a stream does not lose its
///                      place; the descriptors are lost. Whatever `recvmsg` says.
/// @par Thread safety   Any thread.
/// @par Cost            One system call, no allocation.
/// @par Limits          A socket with SO_PASSSEC or SO_TIMESTAMP: what these add takes the room of
///                      descriptors, which are then `socket_errc::too_many_received`.
/// @par Example
/// @code
/// std::array<unique_fd, 2> fds;
/// const auto got = try_receive_descriptors(socket, std::as_writable_bytes(std::span(buffer)),
///                                          fds, ec);
/// @endcode
PROCYARD_IPC_EXPORT received_counts try_receive_descriptors(int socket, std::span<std::byte> data,
                                                            std::span<unique_fd> room,
                                                            error_code& ec) noexcept;

namespace detail {

using send_handler = asio::any_completion_handler<void(error_code, std::size_t)>;
using receive_handler = asio::any_completion_handler<void(error_code, received_descriptors)>;

PROCYARD_IPC_EXPORT void start_send_descriptors(socket_ref socket, const asio::any_io_executor& ex,
                                                asio::const_buffer data,
                                                std::vector<int> descriptors, send_handler handler);
PROCYARD_IPC_EXPORT void start_receive_descriptors(socket_ref socket,
                                                   const asio::any_io_executor& ex,
                                                   asio::mutable_buffer data, std::size_t max_count,
                                                   receive_handler handler);

struct initiate_send_descriptors {
    template <class Handler, class Socket>
    void operator()(Handler handler, Socket* socket, asio::const_buffer data,
                    std::vector<int> descriptors) const
    {
        start_send_descriptors(socket_ref(*socket), socket->get_executor(), data,
                               std::move(descriptors), send_handler(std::move(handler)));
    }
};

struct initiate_receive_descriptors {
    template <class Handler, class Socket>
    void operator()(Handler handler, Socket* socket, asio::mutable_buffer data,
                    std::size_t max_count) const
    {
        start_receive_descriptors(socket_ref(*socket), socket->get_executor(), data, max_count,
                                  receive_handler(std::move(handler)));
    }
};

}  // namespace detail

/// Sends bytes with descriptors over an Asio socket, as try_send_descriptors() does; waits for room
/// first. On a stream socket the rest of the bytes, if any, goes by `async_write`.
/// @par Completion signature   `void(error_code, std::size_t)`: how many bytes; 0 when `ec` is set.
/// @par Errors                 Those of try_send_descriptors() but `would_block`;
///                             `operation_aborted`; `bad_descriptor` when the socket is closed.
/// @par Cancellation           terminal, partial, total. A cancelled send has sent nothing. As of
///                             Asio's own operations, `socket.close()` and `cancel()` end it too.
/// @par Thread safety          As the socket, which it uses where the handler runs.
/// @par Lifetime               The socket, the bytes and the open descriptors until the completion;
///                             `descriptors` itself need not outlive the call.
/// @par Cost                   One `epoll_ctl`, one `sendmsg`; two allocations.
/// @par Example
/// @code
/// const std::array fds{segment.descriptor()};
/// co_await async_send_descriptors(socket, asio::buffer("s", 1), fds, asio::use_awaitable);
/// @endcode
template <class Socket,
          asio::completion_token_for<void(error_code, std::size_t)> Token = asio::deferred_t>
[[nodiscard]] auto async_send_descriptors(Socket& socket, asio::const_buffer data,
                                          std::span<const int> descriptors, Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        detail::initiate_send_descriptors{}, token, &socket, data,
        std::vector<int>(descriptors.begin(), descriptors.end()));
}

/// Receives bytes and at most `max_count` descriptors over an Asio socket, as
/// try_receive_descriptors() does; waits for them first.
/// @par Completion signature   `void(error_code, received_descriptors)`; no descriptors when `ec`
///                             is set.
/// @par Errors                 Those of try_receive_descriptors() but `would_block`;
///                             `operation_aborted`; `bad_descriptor` when the socket is closed.
/// @par Cancellation           terminal, partial, total. A cancelled receive has taken nothing. As
///                             of Asio's own operations, `socket.close()` and `cancel()` end it
///                             too.
/// @par Thread safety          As the socket, which it uses where the handler runs.
/// @par Lifetime               The socket and the buffer until the completion.
/// @par Cost                   One `epoll_ctl`, one `recvmsg`; three allocations.
/// @par Example
/// @code
/// auto got = co_await async_receive_descriptors(socket, asio::buffer(bytes), 1,
///                                               asio::use_awaitable);
/// @endcode
template <
    class Socket,
    asio::completion_token_for<void(error_code, received_descriptors)> Token = asio::deferred_t>
[[nodiscard]] auto async_receive_descriptors(Socket& socket, asio::mutable_buffer data,
                                             std::size_t max_count, Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, received_descriptors)>(
        detail::initiate_receive_descriptors{}, token, &socket, data, max_count);
}

PROCYARD_NAMESPACE_END

#endif
