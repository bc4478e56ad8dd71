// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/unique_fd.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

void unique_fd::reset(int fd) noexcept
{
    PROCYARD_ASSERT((fd < 0 || fd != fd_)
                    && "a descriptor cannot be reset to itself: it would be closed and kept");
    const int old = std::exchange(fd_, fd < 0 ? -1 : fd);
    if (old < 0)
        return;
    const int saved = errno;
    (void)::close(old);  // what close reports (EIO, EINTR) concerns data, and the number is
                         // free either way
    errno = saved;
}

unique_fd unique_fd::duplicate(error_code& ec, int lowest) const noexcept
{
    unique_fd copy(retry_eintr([&] { return ::fcntl(fd_, F_DUPFD_CLOEXEC, lowest); }));
    ec = copy ? error_code{} : last_error();
    return copy;
}

PROCYARD_NAMESPACE_END
