// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_UNIX_SOCKET_HPP
#define PROCYARD_IPC_UNIX_SOCKET_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/local/datagram_protocol.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#if __has_include(<boost/asio/local/seq_packet_protocol.hpp>)
#include <boost/asio/local/seq_packet_protocol.hpp>
#else
#include <boost/asio/basic_seq_packet_socket.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/local/basic_endpoint.hpp>

#include <sys/socket.h>
#endif

#include <string>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>

// Unix sockets are Asio's: its sockets, acceptors and endpoints, and all of its operations. Here is
// what it lacks: the protocol that keeps message boundaries on a connection (before Boost 1.82),
// names that are checked, and sockets that are close-on-exec from birth. Asio's own are not: a
// program that another thread starts without the library's help inherits them.
//
// Next to it: unix_listener.hpp (names in the file system), descriptor_passing.hpp, unix_peer.hpp.

PROCYARD_NAMESPACE_BEGIN

/// Bytes in order, as of a pipe.
using unix_stream = asio::local::stream_protocol;
/// Messages without a connection; reliable and in order, as long as they are on one machine.
using unix_datagram = asio::local::datagram_protocol;

#if __has_include(<boost/asio/local/seq_packet_protocol.hpp>)
/// Messages over a connection, each read as it was written.
using unix_seqpacket = asio::local::seq_packet_protocol;
#else
/// Messages over a connection, each read as it was written. Asio's own since Boost 1.82.
/// @par Thread safety   Distinct objects: safe. Shared objects: safe.
/// @par Example         `unix_seqpacket::socket socket(executor);`
class unix_seqpacket {
public:
    using endpoint = asio::local::basic_endpoint<unix_seqpacket>;
    using socket = asio::basic_seq_packet_socket<unix_seqpacket>;
    using acceptor = asio::basic_socket_acceptor<unix_seqpacket>;

    [[nodiscard]] int type() const noexcept { return SOCK_SEQPACKET; }
    [[nodiscard]] int protocol() const noexcept { return 0; }
    [[nodiscard]] int family() const noexcept { return AF_UNIX; }
};
#endif

namespace detail {

[[nodiscard]] PROCYARD_IPC_EXPORT error_code check_unix_path(std::string_view path) noexcept;
[[nodiscard]] PROCYARD_IPC_EXPORT error_code check_abstract_name(std::string_view name) noexcept;
// Close-on-exec, blocking.
[[nodiscard]] PROCYARD_IPC_EXPORT unique_fd make_unix_socket(int type, error_code& ec) noexcept;
// For the throwing twins: what() says which name it was.
PROCYARD_IPC_EXPORT void throw_if_named(const error_code& ec, const char* what,
                                        std::string_view name);

}  // namespace detail

/// The address of a socket with a name in the file system. See unix_listener and
/// bind_unix_datagram() for who wants to have that name; to connect and to send it is all that is
/// needed.
/// @par Errors    `socket_errc::name_too_long`: more than 107 bytes; the kernel's limit.
///                `socket_errc::bad_name`: empty, or a NUL in it.
/// @par Example
/// @code
/// unix_stream::socket socket(executor);
/// co_await socket.async_connect(unix_path_endpoint<unix_stream>("/run/thing.sock"),
///                               asio::use_awaitable);
/// @endcode
template <class Protocol>
[[nodiscard]] typename Protocol::endpoint unix_path_endpoint(std::string_view path, error_code& ec)
{
    ec = detail::check_unix_path(path);
    return ec ? typename Protocol::endpoint() : typename Protocol::endpoint(std::string(path));
}
/// The same; throws boost::system::system_error, which names the path.
template <class Protocol>
[[nodiscard]] typename Protocol::endpoint unix_path_endpoint(std::string_view path)
{
    error_code ec;
    auto endpoint = unix_path_endpoint<Protocol>(path, ec);
    detail::throw_if_named(ec, "unix_path_endpoint", path);
    return endpoint;
}

/// The address of a socket with a name of Linux's abstract namespace, which is no file: the name
/// goes with the last descriptor of the socket, so there is nothing stale. Any user can have any
/// name, and there are no permissions: ask who the peer is (peer_credentials()). Each network
/// namespace has names of its own.
///
/// A bind() to a default-constructed endpoint gives a socket an abstract name that is free, which
/// its local_endpoint() tells ("autobind").
///
/// Not spelled "@name", as some programs do, since that is a possible name of a file.
/// @par Errors    `socket_errc::name_too_long`: more than 106 bytes. `socket_errc::bad_name`:
///                empty.
/// @par Example   `acceptor.bind(unix_abstract_endpoint<unix_stream>("thing"));`
template <class Protocol>
[[nodiscard]] typename Protocol::endpoint unix_abstract_endpoint(std::string_view name,
                                                                 error_code& ec)
{
    ec = detail::check_abstract_name(name);
    return ec ? typename Protocol::endpoint()
              : typename Protocol::endpoint(std::string(1, '\0').append(name));
}
/// The same; throws boost::system::system_error, which names the name.
template <class Protocol>
[[nodiscard]] typename Protocol::endpoint unix_abstract_endpoint(std::string_view name)
{
    error_code ec;
    auto endpoint = unix_abstract_endpoint<Protocol>(name, ec);
    detail::throw_if_named(ec, "unix_abstract_endpoint", name);
    return endpoint;
}

/// An open socket that is connected to nobody, close-on-exec from birth. (Asio's open(), and its
/// async_connect() on a closed socket, make one that is not.)
/// @par Errors    EMFILE, ENFILE. The socket is closed then. Thrown, as by every first socket of an
///                io_context, when that cannot make its reactor.
/// @par Example   `auto socket = open_unix_socket<unix_seqpacket>(executor, ec);`
template <class Protocol>
[[nodiscard]] typename Protocol::socket open_unix_socket(const asio::any_io_executor& ex,
                                                         error_code& ec)
{
    typename Protocol::socket socket(ex);
    auto fd = detail::make_unix_socket(Protocol().type(), ec);
    if (!ec)
        socket.assign(Protocol(), fd.get(), ec);
    if (!ec)
        (void)fd.release();  // the socket's now
    return socket;
}
/// The same; throws boost::system::system_error.
template <class Protocol>
[[nodiscard]] typename Protocol::socket open_unix_socket(const asio::any_io_executor& ex)
{
    error_code ec;
    auto socket = open_unix_socket<Protocol>(ex, ec);
    detail::throw_if_named(ec, "open_unix_socket", {});
    return socket;
}

/// Two connected sockets: a pipe for both directions. In this process's event loop.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
template <class Protocol>
struct unix_socket_pair {
    typename Protocol::socket first;
    typename Protocol::socket second;
};

/// Two connected sockets as plain descriptors: blocking, close-on-exec from birth.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
struct raw_socket_pair {
    unique_fd first{};
    unique_fd second{};
};

/// Makes two connected sockets that are in no event loop yet, of type SOCK_STREAM, SOCK_SEQPACKET
/// or SOCK_DGRAM: each may go to a child, as its standard streams or under another number, into an
/// Asio socket by assign(), or into a pipe_reader or pipe_writer.
/// @par Errors    EMFILE, ENFILE; ESOCKTNOSUPPORT. The result is empty then.
/// @par Example
/// @code
/// auto pair = make_raw_socket_pair(SOCK_STREAM, ec);
/// auto both = ec ? unique_fd() : pair.second.duplicate(ec);  // one socket, in and out
/// if (ec)
///     throw boost::system::system_error(ec);
/// auto child = spawn(command("bc").std_in(stdio::descriptor(std::move(pair.second)))
///                                 .std_out(stdio::descriptor(std::move(both))), executor);
/// @endcode
[[nodiscard]] PROCYARD_IPC_EXPORT raw_socket_pair make_raw_socket_pair(int type,
                                                                       error_code& ec) noexcept;

/// Makes two connected sockets of Asio's. Unlike those of Asio's `connect_pair`, they are
/// close-on-exec from birth.
/// @par Errors    EMFILE, ENFILE. Both are closed then. About a new io_context see
///                open_unix_socket().
/// @par Example   `auto [here, there] = make_socket_pair<unix_seqpacket>(executor);`
template <class Protocol>
[[nodiscard]] unix_socket_pair<Protocol> make_socket_pair(const asio::any_io_executor& ex,
                                                          error_code& ec)
{
    unix_socket_pair<Protocol> made{typename Protocol::socket(ex), typename Protocol::socket(ex)};
    auto raw = make_raw_socket_pair(Protocol().type(), ec);
    if (!ec)
        made.first.assign(Protocol(), raw.first.get(), ec);
    if (!ec) {
        (void)raw.first.release();  // the socket's now
        made.second.assign(Protocol(), raw.second.get(), ec);
    }
    if (!ec)
        (void)raw.second.release();
    return made;
}
/// The same; throws boost::system::system_error.
template <class Protocol>
[[nodiscard]] unix_socket_pair<Protocol> make_socket_pair(const asio::any_io_executor& ex)
{
    error_code ec;
    auto made = make_socket_pair<Protocol>(ex, ec);
    detail::throw_if_named(ec, "make_socket_pair", {});
    return made;
}

PROCYARD_NAMESPACE_END

#endif
