// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_LISTENER_HPP
#define PROCYARD_IPC_CHANNEL_LISTENER_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <utility>

#include <procyard/ipc/channel_address.hpp>
#include <procyard/ipc/channel_listen_options.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/connectable_end.hpp>
#include <procyard/ipc/detail/channel_acceptor.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/detail/listener_end.hpp>
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
struct make_accepted_end {
    [[nodiscard]] static accepted_end<End> of(accepted_client client)
    {
        return {end_kind<End>::make(std::move(client.cores)), client.peer};
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
/// `close()` removes the name and closes the socket; a pending accept completes with
/// operation_aborted, and clients that nobody has accepted are told `channel_errc::unavailable`.
/// `path()` is the name, absolute, and empty of an abstract one; `is_open()`, `statistics()`,
/// `get_executor()`.
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
class channel_listener : public detail::listener_end {
public:
    using end_type = End;

    /// Closed. Throws, as every first socket of an io_context, when that cannot make its reactor.
    explicit channel_listener(const asio::any_io_executor& ex) : listener_end(ex) { }
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
            detail::initiate_accept_for<detail::make_accepted_end<End>>{}, token, acceptor_.core());
    }
};

PROCYARD_NAMESPACE_END

#endif
