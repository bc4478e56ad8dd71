// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_FRAMED_ERROR_HPP
#define PROCYARD_IPC_FRAMED_ERROR_HPP

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/is_error_code_enum.hpp>

#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What can be wrong with framed messages, beyond what the stream itself says. After those marked
/// (*) nobody can tell where the next frame begins: every later receive ends with the same error.
enum class framed_errc {
    /// The message has more bytes than the limit: ours, when it is received (*); the lower one of
    /// ours and the peer's, when it is sent, and nothing was sent. Equal to `errc::message_size`.
    too_long = 1,
    /// What came is no frame, or lacks the checksum that is asked for (*). Equal to
    /// `errc::bad_message`.
    bad_frame,
    /// The frame's checksum is not that of its bytes (*). Equal to `errc::bad_message`.
    bad_checksum,
    /// The stream has ended within a frame (*). Equal to `errc::bad_message`.
    truncated,
    /// The frame is whole, and its bytes are no value of the type. The next receive goes on with
    /// the frame after it. Equal to `errc::bad_message`.
    malformed,
    /// A handshake came where a message was due, or the other way round: one of both sides does
    /// without (*). Equal to `errc::protocol_error`.
    unexpected,
    /// The peer speaks another version of the protocol. Equal to `errc::protocol_not_supported`.
    other_version,
    /// The peer's messages are of other types: framed::explanation() names them. Equal to
    /// `errc::wrong_protocol_type`.
    other_type,
    /// The value cannot be sent: encode_message() says no. Nothing was sent. Equal to
    /// `errc::invalid_argument`.
    not_encodable,
    /// A send was cancelled when a part of its frame was out already. The rest follows before the
    /// next message, so that the stream stays whole. Equal to `errc::operation_canceled`.
    half_sent
};

/// The category "procyard.framed".
[[nodiscard]] PROCYARD_IPC_EXPORT const boost::system::error_category& framed_category() noexcept;

[[nodiscard]] inline error_code make_error_code(framed_errc e) noexcept
{
    return error_code(static_cast<int>(e), framed_category());
}

PROCYARD_NAMESPACE_END

template <>
struct boost::system::is_error_code_enum<procyard::framed_errc> : std::true_type { };

#endif
