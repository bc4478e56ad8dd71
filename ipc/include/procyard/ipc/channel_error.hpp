// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_ERROR_HPP
#define PROCYARD_IPC_CHANNEL_ERROR_HPP

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/is_error_code_enum.hpp>

#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What can be wrong with a channel, beyond what errno and `segment_errc` say.
enum class channel_errc {
    /// No ring can have that shape: channel_options::capacity_messages for messages that differ in
    /// length, or more than memory can be addressed. Equal to `errc::invalid_argument`.
    bad_shape = 1,
    /// The memory is not that of a channel's end, or of the wrong end. Equal to
    /// `errc::bad_message`.
    not_a_channel,
    /// The peer speaks another version of the protocol. Equal to `errc::protocol_not_supported`.
    other_version,
    /// The peer's messages are of another type, or its ring is of another capacity. Equal to
    /// `errc::wrong_protocol_type`.
    other_type,
    /// What came in the place of a handshake is none. Equal to `errc::bad_message`.
    bad_hello,
    /// The peer has closed its end, and all that it had sent has been received. Equal to
    /// `errc::broken_pipe`.
    closed,
    /// The peer has died without closing its end, and all that it had committed has been received.
    /// Equal to `errc::owner_dead`.
    peer_died,
    /// The peer has done what no honest peer does: gone back in the ring, or beyond its end. The
    /// channel is not to be used any more. Equal to `errc::protocol_error`.
    peer_broke_rules,
    /// What the peer has sent is no value of the type. Equal to `errc::bad_message`.
    bad_message,
    /// The message is longer than the channel's capacity allows. Equal to `errc::message_size`.
    too_long,
    /// A batch or a loan of this end is still there: nothing else can be done with the end before
    /// it is destroyed. Equal to `errc::device_or_resource_busy`.
    lent,
    /// The parent has passed no channel of this name. Equal to
    /// `errc::no_such_file_or_directory`.
    not_passed,
    /// This end has been opened before, or its descriptor been closed. Equal to
    /// `errc::bad_file_descriptor`.
    already_taken,
    /// The listener does not let this process in, its program does not want to serve it
    /// (end_request::refuse()), or it is not one that this process wants to talk to. Equal to
    /// `errc::permission_denied`.
    refused,
    /// Both sides send, or both receive, or only one of them does both; or what one side asks for
    /// is of another kind than what the other has: a subscription and a latest value, say. Equal
    /// to `errc::wrong_protocol_type`.
    other_direction,
    /// The peer's memory, or the capacity that a listener asks for, is larger than this side
    /// allows. Equal to `errc::value_too_large`.
    over_limit,
    /// The listener has cut the handshake off, since its deadline was over. Equal to
    /// `errc::timed_out`.
    too_slow,
    /// The listener has no descriptors or no memory for one more channel, too many clients at once,
    /// or ends; another time it may do. Equal to `errc::resource_unavailable_try_again`.
    unavailable,
    /// The subscriber was too slow, or the receiver of a sender that drops the oldest, and has lost
    /// messages that were overwritten; `lost()` says how many. Equal to `errc::no_buffer_space`.
    lapped,
    /// The broadcast has as many subscribers as there can be. Equal to `errc::too_many_links`.
    too_many_subscribers,
    /// An option that no channel can have: a name with other characters than it may have, or a
    /// policy that this kind of channel does not know. Equal to `errc::invalid_argument`.
    bad_option,
    /// Not to be resumed: the peer is still there, or has sent what has not been received. Equal to
    /// `errc::operation_in_progress`.
    not_ended
};

/// The category "procyard.channel".
[[nodiscard]] PROCYARD_IPC_EXPORT const boost::system::error_category& channel_category() noexcept;

[[nodiscard]] inline error_code make_error_code(channel_errc e) noexcept
{
    return error_code(static_cast<int>(e), channel_category());
}

PROCYARD_NAMESPACE_END

template <>
struct boost::system::is_error_code_enum<procyard::channel_errc> : std::true_type { };

#endif
