// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_REACTOR_WATCH_HPP
#define PROCYARD_IPC_DETAIL_REACTOR_WATCH_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <optional>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

// Asio's reactor has one epoll instance, and a copy of the process, made by fork(), has the same
// one, until it says so (io_context::notify_fork) and gets its own. What is taken out of the
// instance in a copy that has not, is taken out for the original: it would sleep for ever. Asio
// does that whenever a descriptor that was assigned is released, closed or destroyed.
//
// What is not open any more cannot be taken out. So in a copy the number is closed first and leaves
// the reactor then; else it leaves first, since another process may hold what is closed here (a
// child that is just being made), and then the registration outlives the close.
//
// Rejected: to close first everywhere (see above); never to leave in a copy (what was closed is
// still known to its reactor, which then throws in notify_fork).

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Whose the reactor of an executor's context is.
/// @par Thread safety   Distinct objects: safe. Shared objects: reading is safe.
class PROCYARD_IPC_EXPORT reactor_home {
public:
    /// Nobody's.
    reactor_home() noexcept = default;
    /// To be made in the process that uses the reactor.
    /// @throws std::bad_alloc
    explicit reactor_home(const asio::any_io_executor& ex);

    /// Whether it is another process's: this one is a copy, and has not called notify_fork().
    /// @par Cost   `getpid`
    [[nodiscard]] bool is_anothers() const noexcept;

private:
    class service;

    std::shared_ptr<const std::atomic<pid_t>> process_;
};

/// A descriptor in the reactor, to be waited for, whose number is somebody else's. Asio's close()
/// relies on close(2) to leave epoll, which does not happen while a child holds a copy of the
/// descriptor table: so it is always released.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
class PROCYARD_IPC_EXPORT reactor_watch {
public:
    reactor_watch() noexcept = default;
    reactor_watch(const reactor_watch&) = delete;
    reactor_watch& operator=(const reactor_watch&) = delete;
    /// As leave(). In a copy whose number is still open, what Asio knows of it is left behind.
    ~reactor_watch();

    /// Enters the reactor, unless it is there.
    /// @par Errors   What `epoll_ctl` says; EMFILE and the like: the first user of an io_context
    ///               makes its reactor.
    /// @throws std::bad_alloc   nothing has changed
    [[nodiscard]] error_code enter(const asio::any_io_executor& ex, int fd);
    [[nodiscard]] bool is_entered() const noexcept { return watch_ && watch_->is_open(); }
    /// @pre is_entered()
    [[nodiscard]] asio::posix::stream_descriptor& operator*() noexcept { return *watch_; }
    [[nodiscard]] asio::posix::stream_descriptor* operator->() noexcept { return &*watch_; }

    /// Before the number is closed, and after it: one of the two is the right time, see above.
    /// Whoever waits is told operation_aborted.
    void leave() noexcept;

private:
    reactor_home home_;
    std::optional<asio::posix::stream_descriptor> watch_;
};

/// Closes an Asio socket or acceptor that may have been assigned. @pre `home` is that of its
/// executor
template <class Socket>
void close_watched(Socket& socket, const reactor_home& home) noexcept
{
    error_code ignored;  // there is nothing left to be done about it
    if (!socket.is_open() || !home.is_anothers()) {
        socket.close(ignored);
        return;
    }
    (void)::close(socket.native_handle());
    (void)socket.release(ignored);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
