// SPDX-License-Identifier: BSL-1.0
#include "named_object.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include <procyard/ipc/segment_error.hpp>
#include <procyard/ipc/syscall.hpp>

#include "memory_pages.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr off_t creator_byte = 0;
constexpr off_t remover_byte = 1;

struct flock lock_of(off_t byte) noexcept
{
    struct flock lock{};  // l_pid has to be 0 for locks of an open file description
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    return lock;
}

error_code take_lock(int fd, off_t byte) noexcept
{
    auto lock = lock_of(byte);
    if (retry_eintr([&] { return ::fcntl(fd, F_OFD_SETLK, &lock); }) == 0)
        return {};
    return make_errno(errno == EACCES ? EAGAIN : errno);  // POSIX allows both for "taken"
}

std::string directory_of(const std::string& path)
{
    const auto slash = path.rfind('/');
    if (slash == path.npos)
        return ".";
    return path.substr(0, slash == 0 ? 1 : slash);
}

// The inode itself, without following a symbolic link.
bool same_file(const struct stat& a, const struct stat& b) noexcept
{
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool is_ours(const named_fields& fields, const struct stat& status) noexcept
{
    const auto size = static_cast<std::uint64_t>(status.st_size);
    return fields.magic == named_magic && fields.version == named_version
        && fields.header_bytes == static_cast<unsigned>(::getpagesize())
        && size > fields.header_bytes && fields.size_bytes == size - fields.header_bytes;
}

// Read, not mapped: of a file that is not ours everything may change at any time.
error_code verify_object(int fd, uid_t owner, named_fields& fields) noexcept
{
    struct stat status;
    if (::fstat(fd, &status) == -1)
        return last_error();
    if (!S_ISREG(status.st_mode))
        return segment_errc::not_a_segment;
    const auto count = retry_eintr([&] { return ::pread(fd, &fields, sizeof fields, 0); });
    if (count == -1)
        return last_error();
    if (count != sizeof fields || !is_ours(fields, status))
        return segment_errc::not_a_segment;
    return status.st_uid == owner ? error_code{} : segment_errc::foreign_owner;
}

}  // namespace

unique_fd make_object(const std::string& path, std::size_t size_bytes, mode_t permissions,
                      error_code& ec)
{
    const auto directory = directory_of(path);
    unique_fd fd(retry_eintr(
        [&] { return ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); }));
    if (!fd) {
        // EISDIR: a file system, or a kernel, that takes the flag for O_DIRECTORY alone.
        ec = make_errno(errno == EISDIR ? EOPNOTSUPP : errno);
        return {};
    }
    ec = ::fchmod(fd.get(), permissions) == 0 ? error_code{} : last_error();
    if (!ec)
        ec = take_lock(fd.get(), creator_byte);
    if (!ec)
        ec = allocate_pages(fd.get(), size_bytes, static_cast<std::size_t>(::getpagesize()));
    return ec ? unique_fd() : std::move(fd);
}

error_code name_object(int fd, const std::string& path) noexcept
{
    std::array<char, 32> number;  // 14 characters, at most 11 of a number, the end
    std::snprintf(number.data(), number.size(), "/proc/self/fd/%d", fd);
    if (::linkat(AT_FDCWD, number.data(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0)
        return {};
    const auto first = last_error();
    // Without /proc: by the descriptor, which before 6.10 takes CAP_DAC_READ_SEARCH.
    if (first == make_errno(ENOENT) && ::linkat(fd, "", AT_FDCWD, path.c_str(), AT_EMPTY_PATH) == 0)
        return {};
    return first;
}

unique_fd open_object(const std::string& path, bool writable, uid_t owner, named_fields& fields,
                      error_code& ec) noexcept
{
    // A look before the opening, since that has effects of its own on devices, and none of a name
    // that is somebody else's is wanted. What counts is looked at again afterwards.
    struct stat status;
    if (::lstat(path.c_str(), &status) == -1) {
        ec = last_error();
        return {};
    }
    if (!S_ISREG(status.st_mode)) {
        ec = segment_errc::not_a_segment;
        return {};
    }
    const int access = writable ? O_RDWR : O_RDONLY;
    unique_fd fd(retry_eintr([&] {
        return ::open(path.c_str(), access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    }));
    if (fd)
        ec = verify_object(fd.get(), owner, fields);
    else
        ec = last_error();
    if (ec == make_errno(EACCES) && status.st_uid != owner)
        ec = segment_errc::foreign_owner;
    return ec ? unique_fd() : std::move(fd);
}

bool object_is_alive(int fd, error_code& ec) noexcept
{
    auto lock = lock_of(creator_byte);
    ec = retry_eintr([&] { return ::fcntl(fd, F_OFD_GETLK, &lock); }) == 0 ? error_code{}
                                                                           : last_error();
    return !ec && lock.l_type != F_UNLCK;
}

error_code clear_name(const std::string& path) noexcept
{
    named_fields fields;
    error_code ec;
    const auto fd = open_object(path, true, ::geteuid(), fields, ec);
    if (ec == make_errno(ENOENT))
        return {};
    if (ec)
        return ec;
    const bool alive = object_is_alive(fd.get(), ec);
    if (ec || alive)
        return ec ? ec : make_errno(EEXIST);
    ec = take_lock(fd.get(), remover_byte);
    if (!ec)
        ec = remove_name(fd.get(), path);
    // Another has removed it meanwhile, and perhaps given the name to a new one. Who wants the name
    // learns that from the naming.
    return ec == make_errno(ENOENT) ? error_code{} : ec;
}

error_code remove_name(int fd, const std::string& path) noexcept
{
    struct stat object;
    struct stat named;
    if (::fstat(fd, &object) == -1 || ::lstat(path.c_str(), &named) == -1)
        return last_error();
    if (!same_file(object, named))
        return make_errno(ENOENT);
    return ::unlink(path.c_str()) == 0 ? error_code{} : last_error();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
