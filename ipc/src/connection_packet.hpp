// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_CONNECTION_PACKET_HPP
#define PROCYARD_IPC_SRC_CONNECTION_PACKET_HPP

#include <cstddef>
#include <span>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "connection_messages.hpp"

// The packets of a handshake, on a connected SOCK_SEQPACKET socket. Nothing here blocks.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// As try_receive_descriptors(), but a packet that is too long, or has more descriptors than there
// is room for, is channel_errc::bad_hello.
[[nodiscard]] received_counts receive_packet(int socket, std::span<std::byte> bytes,
                                             std::span<unique_fd> descriptors,
                                             error_code& ec) noexcept;
// The same, but the packet stays, and each look at it opens its descriptors anew: so one for which
// there is no descriptor now can be read later.
[[nodiscard]] received_counts peek_packet(int socket, std::span<std::byte> bytes,
                                          std::span<unique_fd> descriptors,
                                          error_code& ec) noexcept;

// As try_send_descriptors().
void send_packet(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors,
                 error_code& ec) noexcept;

// An answer that says no more than this. Whether it has been sent.
bool send_status(int socket, connection_status status) noexcept;
// The answer for a client that is sent away: with our types where they explain something.
void refuse_client(int socket, connection_status status, const end_plan& plan) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
