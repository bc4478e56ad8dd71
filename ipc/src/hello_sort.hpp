// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_HELLO_SORT_HPP
#define PROCYARD_IPC_SRC_HELLO_SORT_HPP

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/type_description.hpp>

// What lies in a descriptor that is opened as something that it is not: a channel's end as a
// subscription, say. Each handshake begins with a word of its own, which stays what it is whatever
// the version, and the role in it has the same place in those that have one.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

inline constexpr std::uint64_t channel_hello_magic = 0x4f4c4c4859435250;    // "PRCYHLLO" in memory
inline constexpr std::uint64_t broadcast_hello_magic = 0x5342555359435250;  // "PRCYSUBS" in memory
inline constexpr std::uint64_t work_hello_magic = 0x4b524f5759435250;       // "PRCYWORK" in memory

// Where ring_role, 32 bits, stands in a channel's hello, and broadcast_role, 16, in a broadcast's.
inline constexpr std::size_t hello_role_offset = 12;

// No handshake takes more.
inline constexpr std::size_t max_hello_bytes = 64 + type_description::max_bytes;

// What has sent this packet, for a person: "a sender", "a work queue". `memory` is the first
// descriptor that came with it, or -1. Empty: the packet is of the handshake that was expected, and
// is wrong in another way; or of none that is known here.
[[nodiscard]] std::string name_of_sender(std::span<const std::byte> packet, int memory,
                                         std::uint64_t expected_magic);

// Of the packet that comes next, which stays in the socket. "something …": there is none. With a
// shortage (shortage.hpp) it is not known yet, and `ec` says so.
[[nodiscard]] std::string name_of_peer(int socket, std::uint64_t expected_magic, error_code& ec);

// "here a receiver, there a broadcast"; empty, if there is nothing to be said of the peer.
[[nodiscard]] std::string explain_sorts(const std::string& here, const std::string& there);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
