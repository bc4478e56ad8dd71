// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_CHANNEL_HELLO_HPP
#define PROCYARD_IPC_SRC_CHANNEL_HELLO_HPP

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>
#include <procyard/ipc/unique_fd.hpp>

// The handshake of a channel: one message each way through a socket that keeps messages apart
// (SOCK_SEQPACKET), with two descriptors, that of the memory and that of the doorbell's button. No
// side waits for the other before it sends its own.
//
//     | hello_header | type_description |      + memory, button
//
// Both sides compare, so both know what does not fit, and nobody has to be told.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a peer has said of itself.
struct channel_hello {
    ring_role role = ring_role::producer;
    ring_shape shape{};
    std::uint64_t memory_bytes = 0;
    std::string description;  // type_description::to_bytes(), or whatever it is
    unique_fd memory;
    unique_fd button;
};

// Sends one's own. Never blocks, never raises SIGPIPE.
// Errors: EPIPE, ECONNRESET: the peer is gone; ENOTSOCK; ETOOMANYREFS: too many are on their way
// already.
void send_hello(int socket, ring_role role, const ring_shape& shape, std::uint64_t memory_bytes,
                std::string_view description, int memory, int button, error_code& ec);

// Reads the peer's, who may be hostile; what it says of its ring is not yet compared with ours. The
// hello stays in the socket, so that one for which there is no descriptor now can be read later.
// Errors: asio::error::would_block: there is none yet; asio::error::eof: the peer has gone without
// one; channel_errc::bad_hello, other_version; EMFILE. What was received is closed then.
[[nodiscard]] channel_hello receive_hello(int socket, error_code& ec);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
