// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_UNIX_LISTENER_HPP
#define PROCYARD_IPC_UNIX_LISTENER_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/deferred.hpp>

#include <sys/socket.h>
#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/reactor_watch.hpp>
#include <procyard/ipc/detail/socket_operation.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/owned_name.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How a listener is made.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct unix_listen_options {
    /// Of the socket file, whatever the umask: who may write may connect. It has never had more,
    /// not even for a moment.
    mode_t permissions = 0600;
    /// How many connections may wait to be accepted; the kernel takes its own limit if that is
    /// less (/proc/sys/net/core/somaxconn).
    int backlog = SOMAXCONN;
};

/// How a datagram socket gets its name.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct unix_bind_options {
    /// Of the socket file, whatever the umask: who may write may send.
    mode_t permissions = 0600;
};

namespace detail {

// A socket with that name, close-on-exec and blocking; it listens, unless it is one for datagrams.
[[nodiscard]] PROCYARD_IPC_EXPORT unique_fd bind_socket_file(std::string_view path, int type,
                                                             mode_t permissions, int backlog,
                                                             owned_name& name, error_code& ec);

// accept4 that does not wait; close-on-exec.
[[nodiscard]] PROCYARD_IPC_EXPORT unique_fd accept_now(int listening, error_code& ec) noexcept;

template <class Protocol>
class accept_operation final : public socket_operation {
public:
    using socket_type = typename Protocol::socket;
    using handler_type = asio::any_completion_handler<void(error_code, socket_type)>;
    using acceptor_type = asio::basic_socket_acceptor<Protocol>;

    accept_operation(const std::shared_ptr<acceptor_type>& acceptor, handler_type handler)
        : socket_operation(socket_ref(*acceptor, acceptor), asio::socket_base::wait_read,
                           asio::get_associated_executor(handler, acceptor->get_executor())),
          socket_(acceptor->get_executor()),
          handler_(std::move(handler))
    {
    }

    void launch() { start(handler_.get_cancellation_slot()); }

private:
    error_code attempt(int fd) noexcept override
    {
        error_code ec;
        accepted_ = accept_now(fd, ec);
        return ec;
    }
    void finish(std::shared_ptr<socket_operation> self, const error_code& failure) override
    {
        error_code ec = failure;
        if (!ec)
            socket_.assign(Protocol(), accepted_.get(), ec);
        if (!ec)
            (void)accepted_.release();  // the socket's now
        auto handler = std::move(handler_);
        auto socket = std::move(socket_);
        self.reset();
        std::move(handler)(ec, std::move(socket));
    }

    unique_fd accepted_;
    socket_type socket_;
    handler_type handler_;
};

struct initiate_accept {
    template <class Handler, class Protocol>
    void operator()(Handler handler, Protocol,
                    std::shared_ptr<asio::basic_socket_acceptor<Protocol>> acceptor) const
    {
        std::make_shared<accept_operation<Protocol>>(acceptor, std::move(handler))->launch();
    }
};

}  // namespace detail

/// A socket with a name in the file system that others connect to: an Asio acceptor, and the file.
///
/// A socket file that is there already is replaced if its owner is gone: if no socket is bound to
/// it, in no process and no namespace of this machine, which the kernel is asked. Anything else
/// that has the name is left alone: a socket of the living, whether it listens yet or not, a file,
/// a symbolic link. Of several that want the name at once one gets it and the others are told
/// EADDRINUSE; to that end the directory is locked (`flock`) while a name is taken, not longer.
///
/// The owner is alive as long as any process holds the socket, a child of fork() among them. The
/// destructor removes the name if it still is that of this socket (see owned_name). A killed owner
/// leaves the file, for the next to replace.
///
/// A name of the abstract namespace needs none of this: bind Asio's own acceptor to a
/// unix_abstract_endpoint().
///
/// After a move: closed; may be assigned to, closed and destroyed.
/// @tparam Protocol     unix_stream or unix_seqpacket.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe; emitting a cancellation
///                      signal counts as access.
/// @par Lifetime        May be moved, closed and destroyed while an accept is pending, which
///                      completes with operation_aborted.
/// @par Limits          A name on a network file system: its owner on another machine counts as
///                      gone, since nobody here could connect to it. Where the directory cannot be
///                      read or locked, nothing is replaced. On a kernel before 5.14 a program that
///                      binds without this class can lose the name within its call of bind().
/// @par Example
/// @code
/// unix_listener<> listener(executor, "/run/thing.sock", {.permissions = 0660});
/// for (;;) {
///     auto peer = co_await listener.async_accept(asio::use_awaitable);
///     …
/// }
/// @endcode
template <class Protocol = unix_stream>
class unix_listener {
public:
    using protocol_type = Protocol;
    using socket_type = typename Protocol::socket;
    using acceptor_type = asio::basic_socket_acceptor<Protocol>;
    using executor_type = asio::any_io_executor;

    /// Closed. Throws, as every first socket of an io_context, when that cannot make its reactor.
    explicit unix_listener(const asio::any_io_executor& ex)
        : acceptor_(std::make_shared<acceptor_type>(ex)),
          home_(ex)
    {
    }
    /// Listens at once; throws boost::system::system_error, which names the path.
    unix_listener(const asio::any_io_executor& ex, std::string_view path,
                  unix_listen_options options = {})
        : unix_listener(ex)
    {
        error_code ec;
        listen(path, options, ec);
        detail::throw_if_named(ec, "unix_listener", path);
    }
    unix_listener(unix_listener&& other) noexcept = default;
    unix_listener& operator=(unix_listener&& other) noexcept
    {
        if (this != &other) {
            close();
            acceptor_ = std::move(other.acceptor_);
            home_ = other.home_;
            name_ = std::move(other.name_);
        }
        return *this;
    }
    /// As close().
    ~unix_listener() { close(); }

    /// Takes the name and listens. What this object had before is closed first.
    /// @par Errors   `address_in_use` (EADDRINUSE): its owner is alive;
    ///               `socket_errc::not_a_socket`; `socket_errc::name_too_long` and
    ///               `socket_errc::bad_name`, before anything has happened; EACCES, also when the
    ///               owner of a socket cannot be asked for, for want of the permission to connect;
    ///               ENOENT, ENOTDIR; EPERM: it is another user's, in a sticky directory; EBUSY:
    ///               somebody keeps the directory locked, and the name is taken; EMFILE. Nothing is
    ///               left then.
    /// @par Limits   Blocks for up to 100 ms while others take names in the same directory.
    void listen(std::string_view path, unix_listen_options options, error_code& ec)
    {
        close();
        owned_name name;
        auto fd = detail::bind_socket_file(path, Protocol().type(), options.permissions,
                                           options.backlog, name, ec);
        if (!ec)
            acceptor_->assign(Protocol(), fd.get(), ec);
        if (ec)
            return;
        (void)fd.release();  // the acceptor's now
        name_ = std::move(name);
    }

    /// Accepts a connection, whose socket is close-on-exec from birth and on this object's
    /// executor. (A socket from Asio's async_accept is not close-on-exec.)
    /// @par Completion signature   `void(error_code, socket_type)`; closed when `ec` is set.
    /// @par Errors                 `operation_aborted`; `bad_descriptor` when closed; EMFILE,
    ///                             ENFILE: the connection is still waiting then; whatever `accept4`
    ///                             says.
    /// @par Cancellation           terminal, partial, total. A cancelled accept has accepted
    ///                             nothing.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion.
    /// @par Cost                   One `epoll_ctl`, one `accept4`; one allocation.
    template <asio::completion_token_for<void(error_code, socket_type)> Token = asio::deferred_t>
    [[nodiscard]] auto async_accept(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, socket_type)>(
            detail::initiate_accept{}, token, Protocol(), acceptor_);
    }

    [[nodiscard]] bool is_open() const noexcept { return acceptor_ && acceptor_->is_open(); }
    /// The Asio acceptor, for all that it can do. Not to be closed or released by it.
    [[nodiscard]] acceptor_type& acceptor() noexcept { return *acceptor_; }
    /// The name, absolute; empty when closed.
    [[nodiscard]] const std::string& path() const noexcept { return name_.path(); }
    /// The name itself: to remove it early, or to leave it (and the socket) to another process.
    [[nodiscard]] owned_name& name() noexcept { return name_; }
    [[nodiscard]] executor_type get_executor() const noexcept { return acceptor_->get_executor(); }

    /// Removes the name, then closes the socket. Pending accepts complete with operation_aborted;
    /// connections that wait to be accepted are reset.
    void close() noexcept
    {
        name_ = {};  // while the socket is open nobody else takes the name
        if (acceptor_)
            detail::close_watched(*acceptor_, home_);
    }

private:
    std::shared_ptr<acceptor_type> acceptor_;  // shared with accepts under way; null after a move
    detail::reactor_home home_;
    owned_name name_;
};

/// A socket for datagrams with a name in the file system, and the name. Members go in reverse: the
/// name before the socket, as with unix_listener.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
struct bound_unix_datagram {
    unix_datagram::socket socket;
    owned_name name{};
};

/// Makes a socket that others send datagrams to by its name. About a name that is taken already,
/// and who owns it, see unix_listener.
/// @par Errors    Those of unix_listener::listen(). The socket is closed then.
/// @par Limits    As unix_listener::listen().
/// @par Example   `auto log = bind_unix_datagram(executor, "/run/log.sock", {}, ec);`
[[nodiscard]] PROCYARD_IPC_EXPORT bound_unix_datagram
bind_unix_datagram(const asio::any_io_executor& ex, std::string_view path,
                   unix_bind_options options, error_code& ec);
/// The same; throws boost::system::system_error, which names the path.
[[nodiscard]] PROCYARD_IPC_EXPORT bound_unix_datagram bind_unix_datagram(
    const asio::any_io_executor& ex, std::string_view path, unix_bind_options options = {});

PROCYARD_NAMESPACE_END

#endif
