// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/doorbell.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <string_view>
#include <utility>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// What one answer takes out. More may be in it only if the peer presses without being asked to;
// what is left then is another ring.
constexpr std::size_t answer_bytes = 4096;

using ends = std::array<int, 2>;

int make_pipe(ends& made) noexcept
{
    const int result = ::pipe2(made.data(), O_CLOEXEC | O_NONBLOCK);
    // One page in the place of sixteen, of which each user has a limit (pipe-user-pages-soft). It
    // does not matter much, so neither does a failure.
    if (result == 0)
        (void)::fcntl(made[0], F_SETPIPE_SZ, 4096);
    return result;
}

int make_sockets(ends& made) noexcept
{
    return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, made.data());
}

// Which of the two it is, by the kernel's own name for it. The path of a file begins with a slash,
// so no file can have this one; and unlike fstat it asks no file system, which could be one of the
// sender's.
bool is_anonymous_pipe(const char* path, error_code& ec) noexcept
{
    char name[32];
    const auto length = ::readlink(path, name, sizeof name);
    if (length == -1) {
        ec = last_error();
        return false;
    }
    const std::string_view prefix = "pipe:[";
    if (std::string_view(name, static_cast<std::size_t>(length)).substr(0, prefix.size()) == prefix)
        return true;
    ec = make_errno(EBADMSG);
    return false;
}

bool is_unix_socket(int fd) noexcept
{
    int domain = 0;
    socklen_t length = sizeof domain;
    return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}

unique_fd open_anew(int fd, error_code& ec) noexcept
{
    char path[32];
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (!is_anonymous_pipe(path, ec))
        return {};
    unique_fd own(::open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!own)
        ec = last_error();
    return own;
}

}  // namespace

doorbell doorbell::create(doorbell_kind kind, unique_fd& button, error_code& ec) noexcept
{
    ends made{-1, -1};
    if ((kind == doorbell_kind::pipe ? make_pipe(made) : make_sockets(made)) == -1) {
        ec = last_error();
        return {};
    }
    ec.clear();
    doorbell bell;
    bell.read_end_.reset(made[0]);
    button.reset(made[1]);
    return bell;
}

doorbell_state doorbell::answer() noexcept
{
    char bytes[answer_bytes];
    const auto count = retry_eintr([&] { return ::read(read_end_.get(), bytes, sizeof bytes); });
    if (count > 0)
        return doorbell_state::rung;
    // A socket whose peer has died with something unread of ours says ECONNRESET.
    const bool is_silent = count == -1 && (errno == EAGAIN || errno == EWOULDBLOCK);
    return is_silent ? doorbell_state::silent : doorbell_state::abandoned;
}

bool doorbell::is_abandoned() const noexcept
{
    pollfd about{read_end_.get(), 0, 0};
    return retry_eintr([&] { return ::poll(&about, 1, 0); }) == 1
        && (about.revents & (POLLHUP | POLLERR)) != 0;
}

doorbell_button doorbell_button::attach(unique_fd fd, error_code& ec) noexcept
{
    doorbell_button made;
    if (!fd) {
        ec = make_errno(EBADF);
        return made;
    }
    ec.clear();
    if (is_unix_socket(fd.get())) {
        made.fd_ = std::move(fd);
        made.kind_ = doorbell_kind::socket;
    } else {
        made.fd_ = open_anew(fd.get(), ec);
    }
    return made;
}

void doorbell_button::press() const noexcept
{
    const char byte = 0;
    // EAGAIN: full, so the peer has not answered as yet. EPIPE: it is told otherwise.
    if (kind_ == doorbell_kind::pipe)
        (void)retry_eintr([&] { return ::write(fd_.get(), &byte, 1); });
    else
        (void)retry_eintr([&] { return ::send(fd_.get(), &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL); });
}

}  // namespace detail

PROCYARD_NAMESPACE_END
