// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_NAMED_FILE_HPP
#define PROCYARD_IPC_SRC_NAMED_FILE_HPP

#include <sys/types.h>

#include <string>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/owned_name.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

// What is common to sockets and FIFOs, which have names in the file system and cannot be opened to
// look at them.

struct owned_name_access {
    [[nodiscard]] static owned_name make(std::string path, unique_fd file) noexcept;
};

namespace detail {

// The path, to be found again whatever the working directory is then.
[[nodiscard]] std::string absolute_path(std::string_view path, error_code& ec);

// What has the name, without opening it: good for fstat and as a hold on the inode. A symbolic link
// is not followed.
[[nodiscard]] unique_fd hold_file(const std::string& path, error_code& ec) noexcept;

// Gives the file exactly these permissions, whatever the umask has taken away.
[[nodiscard]] error_code set_permissions(int held, mode_t permissions) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
