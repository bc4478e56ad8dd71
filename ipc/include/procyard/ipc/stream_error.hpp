// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_STREAM_ERROR_HPP
#define PROCYARD_IPC_STREAM_ERROR_HPP

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/is_error_code_enum.hpp>

#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What can be wrong with a byte stream, beyond what errno and `asio::error` say.
enum class stream_errc {
    /// A line has more bytes than the reader's limit. Equal to `errc::message_size`.
    line_too_long = 1,
    /// The path to be opened as a FIFO is that of something else, which was left alone. Equal to
    /// `errc::invalid_argument`.
    not_a_fifo
};

/// The category "procyard.stream".
[[nodiscard]] PROCYARD_IPC_EXPORT const boost::system::error_category& stream_category() noexcept;

[[nodiscard]] inline error_code make_error_code(stream_errc e) noexcept
{
    return error_code(static_cast<int>(e), stream_category());
}

PROCYARD_NAMESPACE_END

template <>
struct boost::system::is_error_code_enum<procyard::stream_errc> : std::true_type { };

#endif
