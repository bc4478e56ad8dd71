// SPDX-License-Identifier: BSL-1.0
#include "memory_pages.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include <procyard/ipc/segment_error.hpp>
#include <procyard/ipc/syscall.hpp>

#include "thread_signal.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// To make a file larger than RLIMIT_FSIZE raises SIGXFSZ, which ends a process that does not expect
// it. A look at the limit before would do until another thread changes it in between.
class file_size_guard {
public:
    file_size_guard() noexcept : waiting_before_(hold_back_signal(SIGXFSZ, previous_)) { }
    file_size_guard(const file_size_guard&) = delete;
    file_size_guard& operator=(const file_size_guard&) = delete;
    ~file_size_guard() { let_signal_go(SIGXFSZ, previous_, raised_ && !waiting_before_); }

    void raised() noexcept { raised_ = true; }

private:
    sigset_t previous_;
    bool waiting_before_;
    bool raised_ = false;
};

// Whether it is worth trying. A file system that is filled to the last page before that turns out
// not to be enough would meanwhile be a full one for everybody else.
bool may_have_room(int fd, std::size_t size_bytes) noexcept
{
    struct statfs where;
    if (retry_eintr([&] { return ::fstatfs(fd, &where); }) == -1)
        return true;                                                // the kernel will say
    const bool limited = where.f_blocks != 0 && where.f_bsize > 0;  // tmpfs may have no limit
    return !limited || size_bytes / static_cast<std::size_t>(where.f_bsize) <= where.f_bfree;
}

}  // namespace

std::size_t memory_page_bytes(int fd, error_code& ec) noexcept
{
    struct statfs where;
    if (retry_eintr([&] { return ::fstatfs(fd, &where); }) == -1) {
        ec = last_error();
        return 0;
    }
    ec.clear();
    if (where.f_type != TMPFS_MAGIC && where.f_type != HUGETLBFS_MAGIC)
        return 0;
    return static_cast<std::size_t>(where.f_bsize);
}

std::size_t whole_pages(std::size_t size_bytes, std::size_t page_bytes, error_code& ec) noexcept
{
    constexpr std::size_t largest = std::min<std::uintmax_t>(
        std::numeric_limits<std::ptrdiff_t>::max(), std::numeric_limits<off_t>::max());
    ec.clear();
    if (size_bytes == 0)
        ec = segment_errc::zero_size;
    else if (size_bytes > largest - (page_bytes - 1))
        ec = segment_errc::too_large;
    return ec ? 0 : (size_bytes + page_bytes - 1) / page_bytes * page_bytes;
}

// In steps, since tmpfs of older kernels fails with EINTR for any signal, and gives back what the
// call had allocated: a host with a fast timer would never see the end of one call for everything.
// A step that was interrupted is tried again at half the size.
error_code allocate_pages(int fd, std::size_t size_bytes, std::size_t page_bytes) noexcept
{
    if (!may_have_room(fd, size_bytes))
        return make_errno(ENOSPC);
    file_size_guard quiet;
    std::size_t step = std::max(page_bytes, std::size_t{16} << 20U);
    for (std::size_t done = 0; done < size_bytes;) {
        const std::size_t count = std::min(step, size_bytes - done);
        const int error =
            ::posix_fallocate(fd, static_cast<off_t>(done), static_cast<off_t>(count));
        if (error == 0) {
            done += count;
        } else if (error == EINTR) {
            step = std::max(page_bytes, step / 2);
        } else {
            if (error == EFBIG)
                quiet.raised();
            return make_errno(error);
        }
    }
    return {};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
