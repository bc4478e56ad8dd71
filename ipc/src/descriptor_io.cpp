// SPDX-License-Identifier: BSL-1.0
#include "descriptor_io.hpp"

#include <boost/asio/error.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include <procyard/ipc/sigpipe_guard.hpp>
#include <procyard/ipc/syscall.hpp>

#include "io_features.hpp"

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100  // Linux 6.18; newer than the headers we build with
#endif

PROCYARD_NAMESPACE_BEGIN

namespace detail {

io_features& io() noexcept
{
    static io_features features;
    return features;
}

namespace {

transfer_result failed() noexcept
{
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return {asio::error::would_block, 0};
    return {last_error(), 0};
}

transfer_result moved(ssize_t n) noexcept
{
    return n < 0 ? failed() : transfer_result{{}, static_cast<std::size_t>(n)};
}

// The master of a pseudo-terminal reads EIO once the last slave is closed; a terminal itself reads
// EIO for other reasons (a background job that ignores SIGTTIN).
bool is_terminal_master(int fd) noexcept
{
    unsigned number = 0;
    return ::ioctl(fd, TIOCGPTN, &number) == 0;
}

int count_of(std::span<const iovec> buffers) noexcept
{
    return static_cast<int>(buffers.size());
}

ssize_t send_nosignal(int fd, std::span<const iovec> buffers) noexcept
{
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(buffers.data());
    message.msg_iovlen = buffers.size();
    return retry_eintr([&] { return ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT); });
}

ssize_t write_plain(int fd, std::span<const iovec> buffers) noexcept
{
    return retry_eintr([&] { return ::writev(fd, buffers.data(), count_of(buffers)); });
}

ssize_t write_guarded(int fd, std::span<const iovec> buffers) noexcept
{
    sigpipe_guard quiet;
    const ssize_t n = write_plain(fd, buffers);
    if (n >= 0 || errno != EPIPE)
        quiet.nothing_raised();
    return n;
}

// Not through libc: musl has no pwritev2 before 1.2.5. Offset -1 (both halves) is the descriptor's
// own position, so a pipe is not refused with ESPIPE.
ssize_t write_nosignal(int fd, std::span<const iovec> buffers) noexcept
{
    return ::syscall(SYS_pwritev2, fd, buffers.data(), buffers.size(), -1L, -1L, RWF_NOSIGNAL);
}

// Unknown flag (EOPNOTSUPP; EINVAL before 4.13), unknown call (ENOSYS), or a filter (EPERM, which
// writing to a pipe never is).
bool means_unknown(int error_number) noexcept
{
    return error_number == EOPNOTSUPP || error_number == EINVAL || error_number == ENOSYS
        || error_number == EPERM;
}

ssize_t write_pipe(int fd, std::span<const iovec> buffers) noexcept
{
    auto& nosignal = io().rwf_nosignal;
    if (nosignal.load(std::memory_order_relaxed)) {
        const ssize_t n = retry_eintr([&] { return write_nosignal(fd, buffers); });
        if (n >= 0 || !means_unknown(errno))
            return n;
        nosignal.store(false, std::memory_order_relaxed);
    }
    return write_guarded(fd, buffers);
}

}  // namespace

descriptor_kind kind_of(int fd) noexcept
{
    struct stat status;
    if (::fstat(fd, &status) != 0)
        return descriptor_kind::other;
    switch (status.st_mode & S_IFMT) {
    case S_IFIFO: return descriptor_kind::pipe;
    case S_IFSOCK: return descriptor_kind::socket;
    case S_IFREG:
    case S_IFDIR:
    case S_IFCHR:
    case S_IFBLK: return descriptor_kind::plain;
    default: return descriptor_kind::other;
    }
}

transfer_result read_now(int fd, std::span<const iovec> buffers) noexcept
{
    const ssize_t n = buffers.size() == 1
        ? retry_eintr([&] { return ::read(fd, buffers[0].iov_base, buffers[0].iov_len); })
        : retry_eintr([&] { return ::readv(fd, buffers.data(), count_of(buffers)); });
    if (n == 0)
        return {asio::error::eof, 0};
    if (n == -1 && errno == EIO) {
        const bool slave_gone = is_terminal_master(fd);
        return {slave_gone ? error_code(asio::error::eof) : make_errno(EIO), 0};
    }
    return moved(n);
}

transfer_result write_now(int fd, descriptor_kind kind, std::span<const iovec> buffers) noexcept
{
    switch (kind) {
    case descriptor_kind::pipe: return moved(write_pipe(fd, buffers));
    case descriptor_kind::socket: return moved(send_nosignal(fd, buffers));
    case descriptor_kind::plain: return moved(write_plain(fd, buffers));
    case descriptor_kind::unknown:
    case descriptor_kind::other: break;
    }
    return moved(write_guarded(fd, buffers));
}

short poll_one(int fd, short events, int timeout_ms) noexcept
{
    pollfd entry{fd, events, 0};
    const int n = retry_eintr([&] { return ::poll(&entry, 1, timeout_ms); });
    return n == 1 ? entry.revents : short{0};
}

error_code set_nonblocking(int fd, bool on, int& access_mode) noexcept
{
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags == -1)
        return last_error();
    access_mode = flags & (O_ACCMODE | O_PATH);
    const int wanted = on ? (flags | O_NONBLOCK) : (flags & ~O_NONBLOCK);
    if (wanted != flags && ::fcntl(fd, F_SETFL, wanted) == -1)
        return last_error();
    return {};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
