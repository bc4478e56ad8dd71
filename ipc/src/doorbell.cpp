// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/doorbell.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// What one answer takes out. More may be in it only if the peer presses without being asked to;
// what is left then is another ring.
constexpr std::size_t answer_bytes = 4096;

// The kernel's own name for it. The path of a file begins with a slash, so no file can have this
// one; and unlike fstat it asks no file system, which could be one of the sender's.
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

}  // namespace

doorbell doorbell::create(unique_fd& button, error_code& ec) noexcept
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == -1) {
        ec = last_error();
        return {};
    }
    ec.clear();
    doorbell made;
    made.read_end_.reset(ends[0]);
    button.reset(ends[1]);
    // One page in the place of sixteen, of which each user has a limit (pipe-user-pages-soft). It
    // does not matter much, so neither does a failure.
    (void)::fcntl(ends[0], F_SETPIPE_SZ, 4096);
    return made;
}

bool doorbell::answer() noexcept
{
    char bytes[answer_bytes];
    return retry_eintr([&] { return ::read(read_end_.get(), bytes, sizeof bytes); }) > 0;
}

doorbell_button doorbell_button::attach(unique_fd fd, error_code& ec) noexcept
{
    doorbell_button made;
    if (!fd) {
        ec = make_errno(EBADF);
        return made;
    }
    char path[32];
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd.get());
    ec.clear();
    if (!is_anonymous_pipe(path, ec))
        return made;
    made.pipe_.reset(::open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!made.pipe_)
        ec = last_error();
    return made;
}

void doorbell_button::press() const noexcept
{
    const char byte = 0;
    // EAGAIN: full, so the peer has not answered as yet.
    (void)retry_eintr([&] { return ::write(pipe_.get(), &byte, 1); });
}

}  // namespace detail

PROCYARD_NAMESPACE_END
