// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CHANNEL_ACCEPTOR_HPP
#define PROCYARD_IPC_DETAIL_CHANNEL_ACCEPTOR_HPP

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <memory>
#include <string>

#include <procyard/ipc/channel_address.hpp>
#include <procyard/ipc/channel_listen_options.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/applicant.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/export.hpp>

// A channel_listener, or an end_listener, all but the type of its ends.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class acceptor_core;

// An accept that waits. Owned by the function object that the reactor or an executor holds, so that
// an io_context that goes down takes it along, and the listener with it if the handler has that.
class PROCYARD_IPC_EXPORT channel_accept {
public:
    // `where` is the executor of the handler. Both are kept busy.
    channel_accept(const asio::any_io_executor& io, const asio::any_completion_executor& where);
    channel_accept(const channel_accept&) = delete;
    channel_accept& operator=(const channel_accept&) = delete;
    virtual ~channel_accept();

    // Calls the handler, after it has let go of `self`, that is of *this.
    virtual void complete(std::shared_ptr<channel_accept> self, const error_code& ec,
                          accepted_client client) = 0;

private:
    friend class acceptor_core;

    const asio::any_io_executor io_work_;
    const asio::any_completion_executor handler_work_;
    error_code failure_;
    bool aborted_ = false;
};

class PROCYARD_IPC_EXPORT channel_acceptor {
public:
    explicit channel_acceptor(const asio::any_io_executor& ex);
    channel_acceptor(channel_acceptor&& other) noexcept;
    channel_acceptor& operator=(channel_acceptor&& other) noexcept;
    ~channel_acceptor();

    void listen(const channel_address& address, const end_plan& plan,
                channel_listen_options options, error_code& ec);
    void close() noexcept;

    [[nodiscard]] bool is_open() const noexcept;
    [[nodiscard]] std::string path() const;
    [[nodiscard]] channel_listener_statistics statistics() const;
    [[nodiscard]] asio::any_io_executor get_executor() const;
    [[nodiscard]] const std::shared_ptr<acceptor_core>& core() const noexcept { return core_; }

private:
    std::shared_ptr<acceptor_core> core_;  // shared with operations under way; null after a move
};

// `slot` is that of the handler.
PROCYARD_IPC_EXPORT void start_accept(const std::shared_ptr<acceptor_core>& core,
                                      std::shared_ptr<channel_accept> operation,
                                      asio::cancellation_slot slot);
[[nodiscard]] PROCYARD_IPC_EXPORT asio::any_io_executor
executor_of(const std::shared_ptr<acceptor_core>& core);

PROCYARD_IPC_EXPORT void throw_if_at(const error_code& ec, const char* what,
                                     const channel_address& address);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
