// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_UNIQUE_FD_HPP
#define PROCYARD_IPC_UNIQUE_FD_HPP

#include <compare>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Owns one file descriptor and closes it.
///
/// After a move: `!x`, `x.get() == -1`; assigning or resetting makes it usable again.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Cost            The size of an int; no allocation.
class PROCYARD_IPC_EXPORT unique_fd {
public:
    unique_fd() noexcept = default;

    /// Takes ownership of `fd`; any negative number means "none".
    explicit unique_fd(int fd) noexcept : fd_(fd < 0 ? -1 : fd) { }

    unique_fd(unique_fd&& other) noexcept : fd_(other.release()) { }
    unique_fd& operator=(unique_fd&& other) noexcept
    {
        reset(other.release());
        return *this;
    }
    ~unique_fd() { reset(); }

    /// The number, or -1.
    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

    /// Gives the number up without closing it.
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

    /// Closes what is owned and takes `fd`. Does not change errno, so it may stand between a
    /// failed call and its errno.
    void reset(int fd = -1) noexcept;

    /// A second descriptor for the same open file description, close-on-exec, numbered `lowest`
    /// or above.
    /// @par Errors   Whatever `fcntl(F_DUPFD_CLOEXEC)` says; EBADF when `*this` is empty.
    [[nodiscard]] unique_fd duplicate(error_code& ec, int lowest = 0) const noexcept;

private:
    int fd_ = -1;
};

PROCYARD_NAMESPACE_END

#endif
