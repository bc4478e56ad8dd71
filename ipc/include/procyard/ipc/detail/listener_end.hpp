// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_LISTENER_END_HPP
#define PROCYARD_IPC_DETAIL_LISTENER_END_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <memory>
#include <string>
#include <utility>

#include <procyard/ipc/channel_listen_options.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/applicant.hpp>
#include <procyard/ipc/detail/channel_acceptor.hpp>

// What a channel_listener and an end_listener have in common.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// An accept whose handler gets what `Make::of(accepted_client)` returns.
template <class Make>
class accept_for final : public channel_accept {
public:
    using result_type = decltype(Make::of(accepted_client{}));
    using handler_type = asio::any_completion_handler<void(error_code, result_type)>;

    accept_for(const asio::any_io_executor& io, handler_type handler)
        : channel_accept(io, asio::get_associated_executor(handler, io)),
          handler_(std::move(handler))
    {
    }
    [[nodiscard]] asio::cancellation_slot slot() const noexcept
    {
        return handler_.get_cancellation_slot();
    }

private:
    void complete(std::shared_ptr<channel_accept> self, const error_code& ec,
                  accepted_client client) override
    {
        auto accepted = Make::of(std::move(client));
        auto handler = std::move(handler_);
        const auto result = ec;
        self.reset();
        std::move(handler)(result, std::move(accepted));
    }

    handler_type handler_;
};

template <class Make>
struct initiate_accept_for {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<acceptor_core>& core) const
    {
        auto made = std::make_shared<accept_for<Make>>(executor_of(core), std::move(handler));
        const auto slot = made->slot();
        start_accept(core, std::move(made), slot);
    }
};

/// What a channel_listener and an end_listener have in common.
class listener_end {
public:
    using executor_type = asio::any_io_executor;

    /// Removes the name and closes the socket. A pending accept completes with operation_aborted;
    /// clients in a handshake, and those that have asked and that nobody has accepted, are told
    /// `channel_errc::unavailable`, without a word to `on_refusal`; ends that nobody has accepted
    /// are closed.
    void close() noexcept { acceptor_.close(); }

    [[nodiscard]] bool is_open() const noexcept { return acceptor_.is_open(); }
    /// The name, absolute; empty when closed, and of an abstract one.
    [[nodiscard]] std::string path() const { return acceptor_.path(); }
    [[nodiscard]] channel_listener_statistics statistics() const { return acceptor_.statistics(); }
    [[nodiscard]] executor_type get_executor() const { return acceptor_.get_executor(); }

protected:
    explicit listener_end(const asio::any_io_executor& ex) : acceptor_(ex) { }
    listener_end(listener_end&&) noexcept = default;
    listener_end& operator=(listener_end&&) noexcept = default;
    ~listener_end() = default;

    channel_acceptor acceptor_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
