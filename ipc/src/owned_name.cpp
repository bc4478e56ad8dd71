// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/owned_name.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include <procyard/ipc/syscall.hpp>

#include "named_file.hpp"
#include "named_object.hpp"

PROCYARD_NAMESPACE_BEGIN

owned_name owned_name_access::make(std::string path, unique_fd file) noexcept
{
    owned_name made;
    made.path_ = std::move(path);
    made.file_ = std::move(file);
    made.owner_ = ::getpid();
    return made;
}

owned_name::owned_name(owned_name&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      file_(std::move(other.file_)),
      owner_(other.owner_)
{
}

owned_name& owned_name::operator=(owned_name&& other) noexcept
{
    if (this != &other) {
        error_code not_ours_any_more;
        remove(not_ours_any_more);
        path_ = std::exchange(other.path_, {});
        file_ = std::move(other.file_);
        owner_ = other.owner_;
    }
    return *this;
}

owned_name::~owned_name()
{
    error_code not_ours_any_more;
    remove(not_ours_any_more);
}

void owned_name::remove(error_code& ec) noexcept
{
    if (!file_)
        ec = make_errno(ENOENT);
    else if (owner_ != ::getpid())
        ec = make_errno(EPERM);
    else
        ec = detail::remove_name(file_.get(), path_);
    keep();
}

void owned_name::keep() noexcept
{
    file_.reset();
    path_.clear();
}

namespace detail {

std::string absolute_path(std::string_view path, error_code& ec)
{
    std::error_code no_directory;
    auto found = std::filesystem::absolute(path, no_directory).native();
    ec = no_directory ? make_errno(no_directory.value()) : error_code{};
    return found;
}

unique_fd hold_file(const std::string& path, error_code& ec) noexcept
{
    unique_fd held(
        retry_eintr([&] { return ::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC); }));
    ec = held ? error_code{} : last_error();
    return held;
}

error_code set_permissions(int held, mode_t permissions) noexcept
{
    constexpr mode_t all = 07777;
    struct stat status;
    if (::fstat(held, &status) == -1)
        return last_error();
    if ((status.st_mode & all) == (permissions & all))
        return {};
    // fchmod refuses such a descriptor, and by the path it could be another file by now.
    std::array<char, 32> number;  // 14 characters, at most 11 of a number, the end
    std::snprintf(number.data(), number.size(), "/proc/self/fd/%d", held);
    return ::chmod(number.data(), permissions & all) == 0 ? error_code{} : last_error();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
