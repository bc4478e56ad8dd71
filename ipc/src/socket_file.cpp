// SPDX-License-Identifier: BSL-1.0
#include "socket_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include <procyard/ipc/socket_error.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unix_listener.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "named_file.hpp"
#include "patience.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// How often a name is tried for that others take and leave. Each time another has got it.
constexpr int most_tries = 100;

struct unix_address {
    explicit unix_address(const std::string& path) noexcept
    {
        name.sun_family = AF_UNIX;
        std::memcpy(name.sun_path, path.data(), path.size());  // checked: check_unix_path
        length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    }
    [[nodiscard]] const sockaddr* get() const noexcept
    {
        return reinterpret_cast<const sockaddr*>(&name);
    }

    sockaddr_un name{};
    socklen_t length;
};

error_code bind_to(int fd, const unix_address& address) noexcept
{
    return ::bind(fd, address.get(), address.length) == 0 ? error_code{} : last_error();
}

// What the name is that of. The inode says whether it still is the same later.
error_code look_at(const std::string& path, struct stat& status) noexcept
{
    if (::lstat(path.c_str(), &status) == -1)
        return last_error();
    return S_ISSOCK(status.st_mode) ? error_code{} : socket_errc::not_a_socket;
}

bool same_file(const struct stat& a, const struct stat& b) noexcept
{
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Binds the socket to a name that nobody has, or that of a dead owner. The directory is locked.
//
// The name is removed after the kernel has said twice that no socket is bound to the same inode,
// with an attempt to bind in between. That attempt waits for the lock of the directory in the
// kernel, which (since 5.14) who binds holds from the birth of the inode until the socket is found
// by it: else one of another program, which knows nothing of our lock, could be seen in between.
error_code bind_in_turn(int fd, const std::string& path, const unix_address& address) noexcept
{
    struct stat dead{};
    for (int tries = 0; tries < most_tries; ++tries) {
        auto ec = bind_to(fd, address);
        if (ec != make_errno(EADDRINUSE))
            return ec;
        struct stat status;
        ec = look_at(path, status);
        if (!ec && look_for_owner(path, ec) == socket_owner::alive && !ec)
            return make_errno(EADDRINUSE);
        if (ec == make_errno(ENOENT))
            continue;
        if (ec)
            return ec;
        if (!same_file(status, std::exchange(dead, status)))
            continue;
        if (::unlink(path.c_str()) == -1 && errno != ENOENT)
            return last_error();
        dead = {};
    }
    return make_errno(EADDRINUSE);
}

error_code bind_alone(const std::string& path, const unix_address& address, int fd)
{
    error_code ec;
    const directory_lock lock(path, ec);
    if (lock)
        return bind_in_turn(fd, path, address);
    // Nothing can be taken over then, but a free name needs no lock.
    const auto first = bind_to(fd, address);
    if (first != make_errno(EADDRINUSE))
        return first;
    struct stat status;
    const auto what = look_at(path, status);
    if (what)
        return what == make_errno(ENOENT) ? first : what;
    return ec == make_errno(EBUSY) ? ec : first;
}

}  // namespace

socket_owner look_for_owner(const std::string& path, error_code& ec) noexcept
{
    const unique_fd probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe) {
        ec = last_error();
        return socket_owner::alive;
    }
    const unix_address address(path);
    ec.clear();
    if (::connect(probe.get(), address.get(), address.length) == 0)
        return socket_owner::alive;
    switch (errno) {
    case ECONNREFUSED: return socket_owner::gone;
    case EPROTOTYPE:
    case EPERM: return socket_owner::alive;
    default: ec = last_error(); return socket_owner::alive;
    }
}

directory_lock::directory_lock(const std::string& path_in_it, error_code& ec)
{
    const auto slash = path_in_it.rfind('/');
    const auto directory =
        slash == path_in_it.npos ? std::string(".") : path_in_it.substr(0, slash + 1);
    directory_.reset(
        retry_eintr([&] { return ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    if (!directory_) {
        ec = last_error();
        return;
    }
    patience others;
    for (;;) {
        locked_ = retry_eintr([&] { return ::flock(directory_.get(), LOCK_EX | LOCK_NB); }) == 0;
        ec = locked_ ? error_code{} : last_error();
        if (ec != make_errno(EWOULDBLOCK))
            return;
        if (!others.wait()) {
            ec = make_errno(EBUSY);
            return;
        }
    }
}

directory_lock::~directory_lock()
{
    // Not left to the closing: a child that somebody forks at this moment has a copy.
    if (locked_)
        (void)::flock(directory_.get(), LOCK_UN);
}

unique_fd bind_socket_file(std::string_view path, int type, mode_t permissions, int backlog,
                           owned_name& name, error_code& ec)
{
    ec = check_unix_path(path);
    if (ec)
        return {};
    auto where = absolute_path(path, ec);
    if (ec)
        return {};
    const std::string given(path);
    auto fd = make_unix_socket(type, ec);
    // The kernel makes the file with the permissions of the socket, less the umask: so at no time
    // it has more of them than it should.
    if (!ec && ::fchmod(fd.get(), permissions) == -1)
        ec = last_error();
    if (!ec)
        ec = bind_alone(given, unix_address(given), fd.get());
    if (ec)
        return {};
    // The name is ours, and nobody removes it while the socket is open.
    auto held = hold_file(given, ec);
    if (!ec)
        ec = set_permissions(held.get(), permissions);
    owned_name made;
    if (held)
        made = owned_name_access::make(std::move(where), std::move(held));
    else
        (void)::unlink(given.c_str());
    if (!ec && type != SOCK_DGRAM && ::listen(fd.get(), backlog) == -1)
        ec = last_error();
    if (ec)
        return {};
    name = std::move(made);
    return fd;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
