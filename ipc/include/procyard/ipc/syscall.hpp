// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SYSCALL_HPP
#define PROCYARD_IPC_SYSCALL_HPP

#include <boost/system/error_code.hpp>

#include <cerrno>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Calls `f` until it does anything but fail with EINTR.
///
/// Not for `close`: on Linux the descriptor is gone whatever close says, and a second call may
/// close somebody else's.
template <class F>
[[nodiscard]] auto retry_eintr(F&& f) noexcept(noexcept(f()))
{
    decltype(f()) result;
    do {
        result = f();
    } while (result == -1 && errno == EINTR);
    return result;
}

/// The given errno value as an error_code; comparable with `boost::system::errc`.
[[nodiscard]] inline error_code make_errno(int error_number) noexcept
{
    return error_code(error_number, boost::system::system_category());
}

/// The calling thread's errno as an error_code. Read it at once: any call in between may change
/// errno.
[[nodiscard]] inline error_code last_error() noexcept
{
    return make_errno(errno);
}

PROCYARD_NAMESPACE_END

#endif
