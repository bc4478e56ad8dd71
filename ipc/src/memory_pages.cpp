// SPDX-License-Identifier: BSL-1.0
#include "memory_pages.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include <procyard/ipc/segment_error.hpp>
#include <procyard/ipc/syscall.hpp>

#include "io_features.hpp"
#include "thread_signal.hpp"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; newer than the headers we may build with
#endif

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

// Lets the kernel read from there: where a read of our own would raise SIGBUS, it says EFAULT. This
// is the cheapest of the calls that read from memory and change nothing: there is no such `how`.
bool is_readable(const std::byte* address) noexcept
{
    constexpr int no_how = -1;
    constexpr std::size_t mask_bytes = (_NSIG - 1) / 8;  // another size is refused unread
    return ::syscall(SYS_rt_sigprocmask, no_how, address, nullptr, mask_bytes) == 0
        || errno != EFAULT;
}

error_code read_pages(const std::byte* base, std::size_t size_bytes,
                      std::size_t page_bytes) noexcept
{
    auto& populate_read = io().populate_read;
    if (populate_read.load(std::memory_order_relaxed)) {
        if (::madvise(const_cast<std::byte*>(base), size_bytes, MADV_POPULATE_READ) == 0)
            return {};
        if (errno != EINVAL)
            return errno == EFAULT ? error_code(segment_errc::not_allocated) : last_error();
        populate_read.store(false, std::memory_order_relaxed);
    }
    for (std::size_t at = 0; at < size_bytes; at += page_bytes) {
        if (!is_readable(base + at))
            return segment_errc::not_allocated;
    }
    return {};
}

blkcnt_t allocated_blocks(int fd, error_code& ec) noexcept
{
    struct stat status{};
    ec = ::fstat(fd, &status) == 0 ? error_code{} : last_error();
    return status.st_blocks;
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

// In steps, since a page that is missing is allocated by the read, at our expense, for as long as
// the sender keeps its descriptor: no more than a step is, before that is seen.
//
// A sender that gives up pages beyond the end at the same time keeps the number from growing; it
// gets its segment then, but with all pages in it.
error_code verify_pages(int fd, const std::byte* base, std::size_t size_bytes,
                        std::size_t page_bytes) noexcept
{
    const std::size_t step = std::max(page_bytes, std::size_t{1} << 20U);
    error_code ec;
    auto blocks = allocated_blocks(fd, ec);
    for (std::size_t done = 0; done < size_bytes && !ec; done += step) {
        ec = read_pages(base + done, std::min(step, size_bytes - done), page_bytes);
        if (ec)
            break;
        const auto now = allocated_blocks(fd, ec);
        if (!ec && now > blocks)
            ec = segment_errc::not_allocated;
        blocks = now;
    }
    return ec;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
