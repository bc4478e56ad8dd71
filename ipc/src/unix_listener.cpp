// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/unix_listener.hpp>

#include <boost/asio/error.hpp>

#include <cerrno>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

unique_fd accept_now(int listening, error_code& ec) noexcept
{
    // Does not wait: Asio has made the acceptor non-blocking before it waited for it.
    unique_fd fd(retry_eintr([&] { return ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC); }));
    if (fd)
        ec.clear();
    else if (errno == EAGAIN || errno == EWOULDBLOCK)
        ec = asio::error::would_block;
    else
        ec = last_error();
    return fd;
}

}  // namespace detail

bound_unix_datagram bind_unix_datagram(const asio::any_io_executor& ex, std::string_view path,
                                       unix_bind_options options, error_code& ec)
{
    bound_unix_datagram made{unix_datagram::socket(ex)};
    owned_name name;
    auto fd = detail::bind_socket_file(path, SOCK_DGRAM, options.permissions, 0, name, ec);
    if (!ec)
        made.socket.assign(unix_datagram(), fd.get(), ec);
    if (ec)
        return made;
    (void)fd.release();  // the socket's now
    made.name = std::move(name);
    return made;
}

bound_unix_datagram bind_unix_datagram(const asio::any_io_executor& ex, std::string_view path,
                                       unix_bind_options options)
{
    error_code ec;
    auto made = bind_unix_datagram(ex, path, options, ec);
    detail::throw_if_named(ec, "bind_unix_datagram", path);
    return made;
}

PROCYARD_NAMESPACE_END
