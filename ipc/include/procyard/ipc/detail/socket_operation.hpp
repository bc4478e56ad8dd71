// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_SOCKET_OPERATION_HPP
#define PROCYARD_IPC_DETAIL_SOCKET_OPERATION_HPP

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/socket_base.hpp>

#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class socket_operation;

// A socket or acceptor of Asio's, of any protocol and executor, for compiled code.
class socket_ref {
public:
    // Its owner keeps it alive, or `owner` does.
    template <class Socket>
    explicit socket_ref(Socket& socket, std::shared_ptr<void> owner = nullptr)
        : socket_(&socket),
          owner_(std::move(owner)),
          wait_(&wait_on<Socket>),
          number_(&number_of<Socket>)
    {
    }

    // Completes with socket_operation::woken(), on `where`.
    void async_wait(asio::socket_base::wait_type what, const asio::any_completion_executor& where,
                    asio::cancellation_slot slot, std::shared_ptr<socket_operation> operation) const
    {
        wait_(socket_, what, where, slot, std::move(operation));
    }
    // -1 when it is closed.
    [[nodiscard]] int native_handle() const { return number_(socket_); }

private:
    template <class Socket>
    static void wait_on(void* socket, asio::socket_base::wait_type what,
                        const asio::any_completion_executor& where, asio::cancellation_slot slot,
                        std::shared_ptr<socket_operation> operation);

    template <class Socket>
    static int number_of(void* socket)
    {
        auto& open = *static_cast<Socket*>(socket);
        return open.is_open() ? open.native_handle() : -1;
    }

    void* socket_;
    std::shared_ptr<void> owner_;
    void (*wait_)(void*, asio::socket_base::wait_type, const asio::any_completion_executor&,
                  asio::cancellation_slot, std::shared_ptr<socket_operation>);
    int (*number_)(void*);
};

// One system call on a socket that is ready for it.
//
//   start --> waiting --ready--> attempt --done, failed--> finish
//                ^------would block-------/
//   waiting --cancelled, socket closed or destroyed--> finish(operation_aborted)
//
//   waiting: Asio waits; nothing has been done. From the first moment on, so that the socket's
//            close(), cancel() and destructor end the operation as they end Asio's own.
//   attempt: in the turn that also runs the handler, so what was cancelled before its completion
//            has done nothing.
//
// All of it runs where the handler does, as a composed operation of Asio's: a strand that orders
// the user's calls on the socket orders these as well. (pipe_reader and pipe_writer own what they
// work on, so they can have a mutex instead.)
class PROCYARD_IPC_EXPORT socket_operation : public std::enable_shared_from_this<socket_operation> {
public:
    // `where` is the executor of the handler.
    socket_operation(socket_ref socket, asio::socket_base::wait_type what,
                     asio::any_completion_executor where);
    socket_operation(const socket_operation&) = delete;
    socket_operation& operator=(const socket_operation&) = delete;
    virtual ~socket_operation();

    // `slot` is that of the handler.
    void start(asio::cancellation_slot slot);
    static void woken(std::shared_ptr<socket_operation> self, error_code ec);

private:
    // would_block: it was too early.
    [[nodiscard]] virtual error_code attempt(int fd) noexcept = 0;
    // Calls the handler, after it has let go of `self`, that is of *this.
    virtual void finish(std::shared_ptr<socket_operation> self, const error_code& ec) = 0;

    void wait();
    void cancel() noexcept;

    const socket_ref socket_;
    const asio::socket_base::wait_type what_;
    const asio::any_completion_executor where_;
    bool aborted_ = false;
    bool waiting_ = false;
    asio::cancellation_signal wake_;  // ends the wait
};

template <class Socket>
void socket_ref::wait_on(void* socket, asio::socket_base::wait_type what,
                         const asio::any_completion_executor& where, asio::cancellation_slot slot,
                         std::shared_ptr<socket_operation> operation)
{
    auto woken = [operation = std::move(operation)](const error_code& ec) mutable {
        socket_operation::woken(std::move(operation), ec);
    };
    static_cast<Socket*>(socket)->async_wait(
        what,
        asio::bind_cancellation_slot(std::move(slot),
                                     asio::bind_executor(where, std::move(woken))));
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
