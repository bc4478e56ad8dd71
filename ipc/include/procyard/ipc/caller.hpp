// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CALLER_HPP
#define PROCYARD_IPC_CALLER_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <procyard/ipc/call_error.hpp>
#include <procyard/ipc/call_options.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/call_messages.hpp>
#include <procyard/ipc/detail/caller_state.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Calls over any stream of bytes: a request there, its reply back. The peer is a responder.
///
/// `caller<tcp::socket, request, reply>` owns its stream, `caller<tcp::socket&, …>` refers to one;
/// the stream is as for framed, in both directions. Many calls may be open at once, and each is
/// answered when its answer comes, in whatever order. The first call greets the peer: versions and
/// types of both sides are compared before anything is sent.
///
/// The peer may be hostile: what it sends is checked, and what no honest peer sends ends all calls
/// and closes the stream. After any error of the stream every later call ends with the same error.
/// After a move: only assignment and destruction.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe; emitting a cancellation
///                      signal counts as access, and so do the completions of the stream's own
///                      executor.
/// @par Lifetime        An object may be moved and destroyed while calls are pending, which then
///                      complete with operation_aborted. A stream that is referred to must live
///                      until then.
/// @par Cost            It reads only while a call is waited for: an idle caller keeps no event
///                      loop busy, and hears of the end of the stream with the next call.
/// @par Example
/// ```
/// caller<unix_stream::socket, question, answer> ask(std::move(socket));
/// answer a = co_await ask.async_call(question{"what?"}, {.deadline = 2s}, asio::use_awaitable);
/// ```
template <class Stream, class Request, class Reply>
class caller {
    static_assert(detail::require_message<Request>());
    static_assert(detail::require_message<Reply>());
    static_assert(!borrows_message<Request> && !borrows_message<Reply>,
                  "requests and replies outlive the bytes that they came in: take std::string "
                  "instead of std::string_view, std::vector instead of std::span");

public:
    using next_layer_type = std::remove_reference_t<Stream>;
    using executor_type = typename next_layer_type::executor_type;
    using request_type = Request;
    using reply_type = Reply;

    template <class Arg>
        requires std::is_constructible_v<Stream, Arg&&>
    explicit caller(Arg&& stream, const calls_options& options = {})
        : state_(std::make_shared<state>(std::forward<Arg>(stream), options))
    {
    }

    caller(caller&& other) noexcept = default;
    caller& operator=(caller&& other) noexcept
    {
        if (this != &other) {
            abandon();
            state_ = std::move(other.state_);
        }
        return *this;
    }
    ~caller() { abandon(); }

    [[nodiscard]] executor_type get_executor() const noexcept
    {
        return state_->link().stream.get_executor();
    }
    [[nodiscard]] next_layer_type& next_layer() noexcept { return state_->link().stream; }

    /// Calls the peer.
    ///
    /// The request is encoded in the call itself, and not needed any more when it returns. Where
    /// as many calls are open as may be, it waits for a place; calls are sent in the order in which
    /// they were started.
    /// @par Completion signature   `void(error_code, Reply)`
    /// @par Errors                 Of remote_category(): what the responder has said;
    ///                             `asio::error::timed_out`: the deadline; `call_errc::abandoned`;
    ///                             `framed_errc::too_long`, `not_encodable`: not sent;
    ///                             `operation_aborted`. And for all calls, now and later: those of
    ///                             framed::async_handshake() (see explanation()); the
    ///                             `framed_errc` of a receive; `call_errc::peer_broke_rules`;
    ///                             `asio::error::eof`, and whatever the stream says.
    /// @par Cancellation           terminal, partial, total. A call that waited for a place has not
    ///                             been sent. Of one that was, the responder is told that nobody
    ///                             waits any more; what it has done, or still does, is not known.
    ///                             Its answer is dropped and counted. The same holds for a
    ///                             deadline.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion; `request` need not outlive
    ///                             the call.
    /// @par Cost                   Some allocations; requests that wait for the stream share
    ///                             writes, and answers share reads.
    template <asio::completion_token_for<void(error_code, Reply)> Token = asio::deferred_t>
    [[nodiscard]] auto async_call(const Request& request, Token&& token = Token{})
    {
        return initiate(request, {}, nullptr, std::forward<Token>(token));
    }

    /// The same, with a deadline.
    template <asio::completion_token_for<void(error_code, Reply)> Token = asio::deferred_t>
    [[nodiscard]] auto async_call(const Request& request, const call_options& options,
                                  Token&& token = Token{})
    {
        return initiate(request, options, nullptr, std::forward<Token>(token));
    }

    /// The same; when the error is of remote_category(), `failure` is what the responder has said.
    /// It must live until the completion.
    template <asio::completion_token_for<void(error_code, Reply)> Token = asio::deferred_t>
    [[nodiscard]] auto async_call(const Request& request, const call_options& options,
                                  call_failure& failure, Token&& token = Token{})
    {
        return initiate(request, options, &failure, std::forward<Token>(token));
    }

    /// After calls have failed with `framed_errc::other_type` or `other_version`: a sentence that
    /// says what is different. Printable ASCII, whatever the peer sent; empty otherwise.
    [[nodiscard]] const std::string& explanation() const noexcept
    {
        return state_->link().explanation;
    }

    [[nodiscard]] caller_statistics statistics() const noexcept { return state_->statistics(); }

private:
    using state = detail::caller_state<Stream, Request, Reply>;

    template <class Token>
    auto initiate(const Request& request, const call_options& options, call_failure* failure,
                  Token&& token)
    {
        error_code ec;
        auto frame = detail::open_frame(detail::call_start_view<Request>{&request},
                                        state_->link().send_limit, ec);
        return asio::async_initiate<Token, void(error_code, Reply)>(
            [](asio::any_completion_handler<void(error_code, Reply)> handler,
               const std::shared_ptr<state>& shared, std::vector<std::byte> bytes,
               const error_code& wrong, const call_options& how, call_failure* place) {
                shared->start(std::move(bytes), wrong, how, place, std::move(handler));
            },
            token, state_, std::move(frame), ec, options, failure);
    }

    void abandon() noexcept
    {
        if (state_)
            state_->abandon();
    }

    std::shared_ptr<state> state_;  // null after a move
};

PROCYARD_NAMESPACE_END

#endif
