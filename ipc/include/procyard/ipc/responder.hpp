// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_RESPONDER_HPP
#define PROCYARD_IPC_RESPONDER_HPP

#include <boost/asio/async_result.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/deferred.hpp>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <procyard/ipc/call.hpp>
#include <procyard/ipc/call_options.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/responder_state.hpp>

PROCYARD_NAMESPACE_BEGIN

/// The other side of a caller: gets calls from a stream of bytes, and answers them, in whatever
/// order. One for each connection.
///
/// It reads while async_next() waits and while a call is open; `max_open_calls` bounds what it
/// keeps. The caller is told that bound and holds back; a caller that does not, or breaks another
/// rule, is cut off: the stream is closed, and async_next() says why. The end of the stream is the
/// end of the caller: all open calls are cancelled then. After a move: only assignment and
/// destruction.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe; emitting a cancellation
///                      signal counts as access, and so do the completions of the stream's own
///                      executor, and the calls that it has handed out.
/// @par Lifetime        An object may be moved and destroyed while operations are pending, which
///                      then complete with operation_aborted, and while calls are open, which are
///                      cancelled. A stream that is referred to must live until then.
/// @par Example
/// ```
/// responder<unix_stream::socket, question, answer> requests(std::move(socket));
/// for (;;) {
///     auto c = co_await requests.async_next(asio::use_awaitable);  // throws eof at the end
///     asio::co_spawn(executor, serve(std::move(c)), rethrow);
/// }
/// ```
template <class Stream, class Request, class Reply>
class responder {
    static_assert(detail::require_message<Request>());
    static_assert(detail::require_message<Reply>());
    static_assert(!borrows_message<Request> && !borrows_message<Reply>,
                  "requests and replies outlive the bytes that they came in: take std::string "
                  "instead of std::string_view, std::vector instead of std::span");

public:
    using next_layer_type = std::remove_reference_t<Stream>;
    using executor_type = typename next_layer_type::executor_type;
    using call_type = call<Request, Reply>;

    template <class Arg>
        requires std::is_constructible_v<Stream, Arg&&>
    explicit responder(Arg&& stream, const calls_options& options = {})
        : state_(std::make_shared<state>(std::forward<Arg>(stream), options))
    {
    }

    responder(responder&& other) noexcept = default;
    responder& operator=(responder&& other) noexcept
    {
        if (this != &other) {
            abandon();
            state_ = std::move(other.state_);
        }
        return *this;
    }
    ~responder() { abandon(); }

    [[nodiscard]] executor_type get_executor() const noexcept
    {
        return state_->link().stream.get_executor();
    }
    [[nodiscard]] next_layer_type& next_layer() noexcept { return state_->link().stream; }

    /// Waits for the next call. The first one greets the peer. Any number of them may wait; each
    /// call goes to one.
    ///
    /// Takes the call in the very turn that runs the handler, so of several that race (`a || b`),
    /// those that lose have taken none.
    /// @par Completion signature   `void(error_code, call<Request, Reply>)`; the call is empty when
    ///                             there is an error.
    /// @par Errors                 `operation_aborted`; and from then on: `asio::error::eof`, the
    ///                             caller has gone; those of framed::async_handshake() (see
    ///                             explanation()); the `framed_errc` of a receive;
    ///                             `call_errc::peer_broke_rules`; whatever the stream says.
    /// @par Cancellation           terminal, partial, total. No call has been taken.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion.
    /// @par Cost                   A turn of the event loop, and what the request allocates; calls
    ///                             that come together share reads.
    template <asio::completion_token_for<void(error_code, call_type)> Token = asio::deferred_t>
    [[nodiscard]] auto async_next(Token&& token = Token{})
    {
        return asio::async_compose<Token, void(error_code, call_type)>(
            detail::next_call_operation<state>(state_), token, state_->link().stream);
    }

    /// After a handshake that failed: see caller::explanation().
    [[nodiscard]] const std::string& explanation() const noexcept
    {
        return state_->link().explanation;
    }

    [[nodiscard]] responder_statistics statistics() const noexcept { return state_->statistics(); }

private:
    using state = detail::responder_state<Stream, Request, Reply>;

    void abandon() noexcept
    {
        if (state_)
            state_->abandon();
    }

    std::shared_ptr<state> state_;  // null after a move
};

PROCYARD_NAMESPACE_END

#endif
