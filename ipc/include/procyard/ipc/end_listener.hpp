// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_END_LISTENER_HPP
#define PROCYARD_IPC_END_LISTENER_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/system/system_error.hpp>

#include <cstdint>
#include <utility>

#include <procyard/ipc/channel_address.hpp>
#include <procyard/ipc/channel_listen_options.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/connectable_end.hpp>
#include <procyard/ipc/detail/applicant.hpp>
#include <procyard/ipc/detail/channel_acceptor.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/detail/listener_end.hpp>
#include <procyard/ipc/unix_peer.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

template <connectable_end End>
class end_request;

namespace detail {
template <class End>
struct make_end_request;
}

/// A client of an end_listener: it has asked for an `End` of the right type, and waits for one. The
/// destructor, if nothing has been said, tells it `channel_errc::unavailable`.
///
/// One that is kept holds its client's socket, and nobody looks at that: neither a deadline nor the
/// death of the client ends it, and `max_handshakes` counts it no more. So keep no more of them
/// than there are descriptors for.
///
/// After a move, or an answer: empty.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Fork            Destroyed in a child of fork() it tells nobody.
template <connectable_end End>
class end_request {
public:
    /// Empty.
    end_request() noexcept = default;

    /// Has not been answered.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(request_); }
    /// Who asks. If that is another user, what it is given has to be made for that
    /// (`across_users`), or neither side can wake the other.
    [[nodiscard]] const unix_peer& peer() const noexcept { return peer_; }
    /// What it says of itself, by channel_connect_options::ticket; 0, if nothing. Anybody who is
    /// let in can say anything.
    [[nodiscard]] std::uint64_t ticket() const noexcept { return request_.ticket(); }

    /// Gives it an end, whose other side is open here: one that has just been made, or that of a
    /// peer which has gone (`resume()`). Never blocks. `*this` is empty then, whatever comes of it;
    /// without an error the end is on its way, and a client that dies before it has opened it is to
    /// the other side a peer that has died.
    /// @par Errors   `channel_errc::peer_died`: the client has gone; `over_limit`: the ring is
    ///               larger than it allows; ENOTCONN: the other side has not been opened; EBADF:
    ///               there is no end, or no client; ENOMEM, ETOOMANYREFS. The end is destroyed
    ///               then.
    /// @par Cost     Three system calls.
    void give(unopened<End> end, error_code& ec)
    {
        request_.give(detail::end_kind<End>::offer(std::move(end)), ec);
    }
    /// The same; throws boost::system::system_error.
    void give(unopened<End> end)
    {
        error_code ec;
        give(std::move(end), ec);
        if (ec)
            throw boost::system::system_error(ec, "end_request");
    }
    /// Tells it `channel_errc::refused`.
    void refuse() noexcept { request_.refuse(); }

private:
    friend struct detail::make_end_request<End>;

    end_request(detail::applicant request, const unix_peer& peer) noexcept
        : request_(std::move(request)),
          peer_(peer)
    {
    }

    detail::applicant request_;
    unix_peer peer_{};
};

namespace detail {

template <class End>
struct make_end_request {
    [[nodiscard]] static end_request<End> of(accepted_client client) noexcept
    {
        return {std::move(client.request), client.peer};
    }
};

}  // namespace detail

/// A place where any process can get an end that this program makes for it (async_connect()): a
/// subscription of its broadcaster, a reader of its latest_value, a work_source of its work_queue;
/// or an end of a channel, where a new one for each client, as a channel_listener makes it, is not
/// what the program wants: who comes again after its death goes on with its old channel.
///
/// `End` is what a *client* gets. All the rest is as with a channel_listener: the name, who is let
/// in, the type that is compared, the deadline until a client has asked, what is counted and told.
/// What is not told of: a client that the program refuses, or does not answer.
///
/// Of the options `channel` says nothing: what is given has its own. `accepted` of the statistics
/// are those that have asked for what there is.
///
/// After a move: closed; may be assigned to, closed and destroyed.
/// @par Thread safety, lifetime, fork   As channel_listener's.
/// @par Limits          Who gives subscriptions that hold back, or items under leases, to clients
///                      that it does not trust, is held back by them.
/// @par Example         @snippet examples/guide/giving.cpp broadcast
template <connectable_end End>
class end_listener : public detail::listener_end {
public:
    using end_type = End;

    /// Closed. Throws, as every first socket of an io_context, when that cannot make its reactor.
    explicit end_listener(const asio::any_io_executor& ex) : listener_end(ex) { }
    /// Listens at once; throws boost::system::system_error, which names the address.
    end_listener(const asio::any_io_executor& ex, const channel_address& address,
                 channel_listen_options options = {})
        : end_listener(ex)
    {
        error_code ec;
        listen(address, std::move(options), ec);
        detail::throw_if_at(ec, "end_listener", address);
    }

    /// As channel_listener's, but that there is no shape to be refused.
    void listen(const channel_address& address, channel_listen_options options, error_code& ec)
    {
        auto plan = detail::end_kind<End>::opposite();
        plan.is_offered = true;
        acceptor_.listen(address, plan, std::move(options), ec);
    }

    /// The next client that has asked for an `End`. One accept at a time.
    /// @par Completion signature   `void(error_code, end_request<End>)`
    /// @par Errors, cancellation   As channel_listener::async_accept: a client that has asked stays
    ///                             for the next accept.
    template <
        asio::completion_token_for<void(error_code, end_request<End>)> Token = asio::deferred_t>
    [[nodiscard]] auto async_accept(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, end_request<End>)>(
            detail::initiate_accept_for<detail::make_end_request<End>>{}, token, acceptor_.core());
    }
};

PROCYARD_NAMESPACE_END

#endif
