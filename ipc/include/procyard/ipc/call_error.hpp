// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CALL_ERROR_HPP
#define PROCYARD_IPC_CALL_ERROR_HPP

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/is_error_code_enum.hpp>

#include <string>
#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What can be wrong with a call, beyond what the stream and `framed_errc` say.
enum class call_errc {
    /// The responder has dropped the call without an answer. Whether it has done anything is not
    /// known. Equal to `errc::connection_aborted`.
    abandoned = 1,
    /// The peer has done what no honest peer does: answered what was not asked, used a number
    /// twice, opened more calls than it was told. The stream has been closed. Equal to
    /// `errc::protocol_error`.
    peer_broke_rules,
    /// The call has been answered before, or there is none: it was moved from. Equal to
    /// `errc::invalid_argument`.
    already_answered
};

/// The category "procyard.call".
[[nodiscard]] PROCYARD_IPC_EXPORT const boost::system::error_category& call_category() noexcept;

/// The category "procyard.remote": the value is the code that a responder has given to
/// call::fail(), and means what responder and caller have agreed upon.
/// @par Example   `if (ec.category() == remote_category() && ec.value() == no_such_account)`
[[nodiscard]] PROCYARD_IPC_EXPORT const boost::system::error_category& remote_category() noexcept;

[[nodiscard]] inline error_code make_error_code(call_errc e) noexcept
{
    return error_code(static_cast<int>(e), call_category());
}

/// What a responder has said of a call that it could not answer.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct call_failure {
    int code = 0;      ///< as in the error_code, whose category is remote_category()
    std::string text;  ///< any bytes that the peer has chosen

    friend bool operator==(const call_failure&, const call_failure&) = default;
};

PROCYARD_NAMESPACE_END

template <>
struct boost::system::is_error_code_enum<procyard::call_errc> : std::true_type { };

#endif
