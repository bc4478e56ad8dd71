// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_OWNED_NAME_HPP
#define PROCYARD_IPC_OWNED_NAME_HPP

#include <sys/types.h>

#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

/// A name in the file system, of a socket or a FIFO, that goes with the object that made it.
///
/// The destructor removes it if it still is the name of the same file: not when somebody has
/// removed it since, or put another file in its place; and not in a child of fork(), whose copy of
/// the object owns nothing.
///
/// After a move: `!x`, the path empty.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Cost            One descriptor, which keeps the file's number from being used again.
class PROCYARD_IPC_EXPORT owned_name {
public:
    /// None.
    owned_name() noexcept = default;
    owned_name(owned_name&& other) noexcept;
    owned_name& operator=(owned_name&& other) noexcept;
    ~owned_name();

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(file_); }
    /// Absolute, whatever it was made from. Empty when there is none.
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

    /// Removes the name now, and owns none from then on.
    /// @par Errors   ENOENT: it is not (any more) the name of this file; EPERM in a child of
    ///               fork(); whatever `unlink` says.
    void remove(error_code& ec) noexcept;

    /// Leaves the name to somebody else.
    void keep() noexcept;

private:
    friend struct owned_name_access;

    std::string path_;
    unique_fd file_;  // O_PATH
    pid_t owner_ = 0;
};

PROCYARD_NAMESPACE_END

#endif
