// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/unix_socket.hpp>

#include <boost/system/system_error.hpp>

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include <procyard/ipc/socket_error.hpp>
#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace {

// The kernel takes one byte more, without a NUL at the end, and Asio does not.
constexpr std::size_t longest_path = sizeof(sockaddr_un::sun_path) - 1;

}  // namespace

namespace detail {

error_code check_unix_path(std::string_view path) noexcept
{
    if (path.empty() || path.find('\0') != path.npos)
        return socket_errc::bad_name;
    return path.size() > longest_path ? socket_errc::name_too_long : error_code{};
}

error_code check_abstract_name(std::string_view name) noexcept
{
    if (name.empty())
        return socket_errc::bad_name;
    return name.size() > longest_path - 1 ? socket_errc::name_too_long : error_code{};
}

unique_fd make_unix_socket(int type, error_code& ec) noexcept
{
    unique_fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    ec = fd ? error_code{} : last_error();
    return fd;
}

void throw_if_named(const error_code& ec, const char* what, std::string_view name)
{
    if (!ec)
        return;
    std::string text = what;
    if (!name.empty())
        text.append(" \"").append(name).append("\"");
    throw boost::system::system_error(ec, text);
}

}  // namespace detail

raw_socket_pair make_raw_socket_pair(int type, error_code& ec) noexcept
{
    int ends[2];
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == -1) {
        ec = last_error();
        return {};
    }
    ec.clear();
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}

PROCYARD_NAMESPACE_END
