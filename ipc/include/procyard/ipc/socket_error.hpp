// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SOCKET_ERROR_HPP
#define PROCYARD_IPC_SOCKET_ERROR_HPP

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/is_error_code_enum.hpp>

#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What can be wrong with a Unix socket, its name and its messages, beyond what errno says.
enum class socket_errc {
    /// The name is longer than the address of a Unix socket: 107 bytes for a path, 106 for an
    /// abstract name. Equal to `errc::filename_too_long`.
    name_too_long = 1,
    /// An empty name, or a path with a NUL in it. Equal to `errc::invalid_argument`.
    bad_name,
    /// The path is that of something else than a socket: of a file, a directory, a symbolic link.
    /// It is left alone. Equal to `errc::file_exists`.
    not_a_socket,
    /// Descriptors were to be sent, or room for them was given, without at least one byte. Equal to
    /// `errc::invalid_argument`.
    no_payload,
    /// More descriptors than one message can carry (`max_passed_descriptors`). Equal to
    /// `errc::invalid_argument`.
    too_many_to_send,
    /// The peer has sent more descriptors than were asked for. They are closed. Equal to
    /// `errc::bad_message`.
    too_many_received,
    /// The peer's message is larger than the buffer. The rest of it is lost, and the descriptors
    /// that came with it are closed. Equal to `errc::message_size`.
    message_too_large
};

/// The category "procyard.socket".
[[nodiscard]] PROCYARD_IPC_EXPORT const boost::system::error_category& socket_category() noexcept;

[[nodiscard]] inline error_code make_error_code(socket_errc e) noexcept
{
    return error_code(static_cast<int>(e), socket_category());
}

PROCYARD_NAMESPACE_END

template <>
struct boost::system::is_error_code_enum<procyard::socket_errc> : std::true_type { };

#endif
