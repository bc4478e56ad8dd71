// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_CONNECTION_MESSAGES_HPP
#define PROCYARD_IPC_SRC_CONNECTION_MESSAGES_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/type_description.hpp>

// What a listener and its client say to each other before there is a channel: packets on a
// connected socket that keeps them apart (SOCK_SEQPACKET).
//
//     client                              listener
//       | request: direction, types, limit  |
//       | --------------------------------> |   fits? then a ring for each direction is made
//       |   answer: status, types, capacity |
//       | <-------------------------------- |   + one hello socket for each ring
//       |   (hellos, as of any channel, through the hello sockets)
//       |   answer: status                  |
//       | <-------------------------------- |   it has the client's rings
//
// So the listener does for a client what a parent does for its child: makes the channel, and gives
// it the other end. A client that does not fit is told why in the place of an answer, whichever.
//
// What is given out by the program is made before; the client gets the socket in which it lies, and
// is told at once that it is in. So it need not know which kind of listener that was.
//
// Pure: bytes and decisions, no system call.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Goes up with every change that an older peer would misunderstand. What stands before it in a
// packet, itself and the status behind it never change their places.
inline constexpr std::uint32_t connection_version = 1;

// An ABI: the numbers are on the wire.
enum class connection_status : std::uint32_t {
    accepted = 0,
    refused = 1,
    other_version = 2,
    other_type = 3,
    other_direction = 4,
    bad_hello = 5,
    over_limit = 6,
    too_slow = 7,
    unavailable = 8,
};

// For the client that is told. One that is not known, of a later listener: refused.
[[nodiscard]] error_code to_error(connection_status status) noexcept;
// What a client is to be told of an error of its ring, or of ours.
[[nodiscard]] connection_status status_of(const error_code& ec) noexcept;

// What one side says of its end.
struct connection_side {
    std::optional<type_description> sends{};
    std::optional<type_description> receives{};
    end_sort sort = end_sort::channel;  // of a peer: whatever it says
};

struct connection_request {
    connection_side side{};
    std::uint64_t max_segment_bytes = 0;
    std::uint64_t ticket = 0;
};

struct connection_answer {
    connection_status status = connection_status::accepted;
    connection_side side;          // the listener's; of neither direction in a bare one
    std::uint64_t sent_units = 0;  // the capacity of the ring that the listener sends by
    std::uint64_t received_units = 0;
    bool across_users = false;  // the client has to make sockets for doorbells
};

[[nodiscard]] connection_side side_of(const end_plan& plan);
// For a person: the end that sends by this, or receives, or both. The sort of a peer: anything.
[[nodiscard]] std::string name_of(end_sort sort, bool sends, bool receives);

[[nodiscard]] std::vector<std::byte> to_bytes(const connection_request& request);
[[nodiscard]] std::vector<std::byte> to_bytes(const connection_answer& answer);

// The most that either takes.
inline constexpr std::size_t max_connection_bytes = 40 + 2 * type_description::max_bytes;

// Of a peer, which may be hostile.
// Errors: channel_errc::bad_hello, other_version.
[[nodiscard]] connection_request parse_request(std::span<const std::byte> bytes, error_code& ec);
[[nodiscard]] connection_answer parse_answer(std::span<const std::byte> bytes, error_code& ec);

// What is to be said of a peer.
struct connection_verdict {
    connection_status status = connection_status::accepted;
    std::string explanation;
};

// The listener's, of a client.
[[nodiscard]] connection_verdict judge(const end_plan& ours, const connection_request& theirs);
// The client's, of an answer: whether it is the opposite of ours.
[[nodiscard]] connection_verdict judge(const end_plan& ours, const connection_answer& theirs);

// The capacities that an accepting answer names, put into the client's plan and its options.
// Errors: channel_errc::bad_hello: none that a ring can have; over_limit.
void adopt(const connection_answer& answer, end_plan& plan, error_code& ec);
// Of the larger of the two sides' segments; 0 if no ring can be so, or there is none.
[[nodiscard]] std::uint64_t segment_bytes(const std::optional<channel_terms>& terms) noexcept;
// As if channel_options::across_users had been set.
void put_across_users(channel_terms& terms) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
