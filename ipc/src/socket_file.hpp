// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_SOCKET_FILE_HPP
#define PROCYARD_IPC_SRC_SOCKET_FILE_HPP

#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Whether a socket file still belongs to a socket, of any process in any namespace of this kernel.
//
// Found out by connecting a datagram socket to it: the kernel looks for the socket that is bound to
// the inode, and says ECONNREFUSED when there is none. When there is one it says EPROTOTYPE, if
// that is of another type, whether it listens yet or not. So nobody's queue is touched, and a
// server between bind() and listen() is not taken for dead, as it is by who connects with a socket
// of the right type. Of datagram sockets: success, or EPERM if it has a peer of its own.
enum class socket_owner { gone, alive };

// Errors: what keeps one from knowing, EACCES first of all.
[[nodiscard]] socket_owner look_for_owner(const std::string& path, error_code& ec) noexcept;

// What serialises those that want a name in a directory: flock(2) on the directory itself. It
// leaves nothing behind, unlike a lock file. Held while a name is looked at, taken and given,
// never longer.
class directory_lock {
public:
    // Waits for others for a short time only, and then fails with EBUSY. Other errors: the
    // directory cannot be read, or not be locked (network file systems).
    directory_lock(const std::string& path_in_it, error_code& ec);
    directory_lock(const directory_lock&) = delete;
    directory_lock& operator=(const directory_lock&) = delete;
    ~directory_lock();

    [[nodiscard]] explicit operator bool() const noexcept { return locked_; }

private:
    unique_fd directory_;
    bool locked_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
