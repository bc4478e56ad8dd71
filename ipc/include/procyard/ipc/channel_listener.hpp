// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_LISTENER_HPP
#define PROCYARD_IPC_CHANNEL_LISTENER_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/deferred.hpp>

#include <memory>
#include <string>
#include <utility>

#include <procyard/ipc/channel_address.hpp>
#include <procyard/ipc/channel_listen_options.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_acceptor.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/unix_peer.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What a listener gives out.
/// @par Thread safety   As that of `End`.
template <acceptable_end End>
struct accepted_end {
    End end{};
    unix_peer peer{};  ///< who has connected
};

namespace detail {

template <class End>
class channel_accept_for final : public channel_accept {
public:
    using handler_type = asio::any_completion_handler<void(error_code, accepted_end<End>)>;

    channel_accept_for(const asio::any_io_executor& io, handler_type handler)
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
        accepted_end<End> accepted{end_kind<End>::make(std::move(client.cores)), client.peer};
        auto handler = std::move(handler_);
        const auto result = ec;
        self.reset();
        std::move(handler)(result, std::move(accepted));
    }

    handler_type handler_;
};

template <class End>
struct initiate_channel_accept {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<acceptor_core>& core) const
    {
        auto made =
            std::make_shared<channel_accept_for<End>>(executor_of(core), std::move(handler));
        const auto slot = made->slot();
        start_accept(core, std::move(made), slot);
    }
};

}  // namespace detail

/// A place where any process can get the other end of a channel: a Unix socket with a name, and a
/// handshake for each client that connects (async_connect()).
///
/// `End` is what this side gets: a `receiver<T>` if the clients send, a `sender<T>`, or a `duplex`.
/// Each client has a channel of its own. The listener's options decide on the capacity. Broadcasts,
/// work queues, and channels that outlive a client's process are given out by an end_listener.
///
/// It works while an accept is pending, and on handshakes that have begun, which is not longer than
/// the deadline: so `run()` returns when nobody accepts. Handshakes do not wait for each other. A
/// client that is not allowed, does not fit, breaks the rules or is too slow is told so, counted
/// and forgotten; no accept hears of it.
///
/// After a move: closed; may be assigned to, closed and destroyed.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe; emitting a cancellation
///                      signal counts as access. What it does between the calls does not, on
///                      whatever threads its executor runs that.
/// @par Lifetime        May be moved, closed and destroyed while an accept is pending, which
///                      completes with operation_aborted.
/// @par Fork            Not to be used in a child of fork(). Destroyed or closed there it tells
///                      nobody, and keeps its descriptors.
/// @par Limits          A hostile client that is allowed can make it hold the memory of
///                      `max_handshakes` channels for as long as the deadline.
/// @par Example         @snippet examples/12_channel_server.cpp server
template <acceptable_end End>
class channel_listener {
public:
    using end_type = End;
    using executor_type = asio::any_io_executor;

    /// Closed. Throws, as every first socket of an io_context, when that cannot make its reactor.
    explicit channel_listener(const asio::any_io_executor& ex) : acceptor_(ex) { }
    /// Listens at once; throws boost::system::system_error, which names the address.
    channel_listener(const asio::any_io_executor& ex, const channel_address& address,
                     channel_listen_options options = {})
        : channel_listener(ex)
    {
        error_code ec;
        listen(address, std::move(options), ec);
        detail::throw_if_at(ec, "channel_listener", address);
    }

    /// Takes the name and listens. What this object had before is closed first.
    /// @par Errors   `channel_errc::bad_shape`, `bad_option`, before anything has happened; those
    ///               of unix_listener::listen(), of whose rules about names that are taken this one
    ///               makes use; of an abstract name EADDRINUSE. Nothing is left then.
    void listen(const channel_address& address, channel_listen_options options, error_code& ec)
    {
        const auto plan = detail::end_kind<End>::plan(options.channel);
        acceptor_.listen(address, plan, std::move(options), ec);
    }

    /// The next client that has completed its handshake, and the end of its channel, which is
    /// connected, on the listener's executor. One accept at a time.
    /// @par Completion signature   `void(error_code, accepted_end<End>)`
    /// @par Errors                 `operation_aborted`; `bad_descriptor` when closed;
    ///                             `already_started`: another accept is pending; EMFILE, ENFILE,
    ///                             ENOMEM: clients wait for a descriptor, or one was lost for want
    ///                             of memory, and the next accept looks again, after 100 ms, so
    ///                             that a loop does not spin.
    /// @par Cancellation           terminal, partial, total. A cancelled accept has accepted
    ///                             nothing: an end that was ready stays for the next.
    /// @par Cost                   Of a client: some 20 system calls, and the memory of its rings.
    template <
        asio::completion_token_for<void(error_code, accepted_end<End>)> Token = asio::deferred_t>
    [[nodiscard]] auto async_accept(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, accepted_end<End>)>(
            detail::initiate_channel_accept<End>{}, token, acceptor_.core());
    }

    /// Removes the name and closes the socket. A pending accept completes with operation_aborted;
    /// clients in a handshake are told `channel_errc::unavailable`, without a word to `on_refusal`;
    /// ends that nobody has accepted are closed.
    void close() noexcept { acceptor_.close(); }

    [[nodiscard]] bool is_open() const noexcept { return acceptor_.is_open(); }
    /// The name, absolute; empty when closed, and of an abstract one.
    [[nodiscard]] std::string path() const { return acceptor_.path(); }
    [[nodiscard]] channel_listener_statistics statistics() const { return acceptor_.statistics(); }
    [[nodiscard]] executor_type get_executor() const { return acceptor_.get_executor(); }

private:
    detail::channel_acceptor acceptor_;
};

PROCYARD_NAMESPACE_END

#endif
