// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_BROADCAST_HELLO_HPP
#define PROCYARD_IPC_SRC_BROADCAST_HELLO_HPP

#include <cstdint>
#include <string>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/broadcast_memory.hpp>
#include <procyard/ipc/unique_fd.hpp>

// The handshake of a subscription: one message each way, as a channel's (channel_hello.hpp). The
// writer sends its own when it makes the subscription, so it is there before anybody can open it;
// the reader answers.
//
//     | broadcast_hello_header | type_description |      + memory, button

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What one side says of itself.
struct broadcast_hello {
    broadcast_role role = broadcast_role::writer;
    std::uint32_t manner = 0;  // slow_reader, the writer's to say
    ring_shape shape{};
    std::uint64_t memory_bytes = 0;
    std::uint64_t start = 0;         // the writer's: the position of the reader's first message
    std::uint64_t start_number = 0;  // and how many there were before it
    std::string description;         // type_description::to_bytes(), or whatever it is
    unique_fd memory;
    unique_fd button;
};

// Sends one's own; `memory` and `button` stay open. Never blocks, never raises SIGPIPE.
// Errors: EPIPE, ECONNRESET: the peer is gone; ENOTSOCK; ETOOMANYREFS.
void send_broadcast_hello(int socket, const broadcast_hello& hello, int memory, int button,
                          error_code& ec);

// Takes the peer's, who may be hostile and has to be of this role; what it says of its ring is not
// yet compared with ours.
// Errors: asio::error::would_block: there is none yet; asio::error::eof: the peer has gone without
// one; channel_errc::bad_hello, other_version; EMFILE. What was received is closed then.
[[nodiscard]] broadcast_hello receive_broadcast_hello(int socket, broadcast_role role,
                                                      error_code& ec);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
