// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_FRAMED_HPP
#define PROCYARD_IPC_FRAMED_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/framed_operation.hpp>
#include <procyard/ipc/detail/framed_state.hpp>
#include <procyard/ipc/framed_error.hpp>
#include <procyard/ipc/framed_options.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Messages of two types, one for each direction, over any stream of bytes.
///
/// `framed<tcp::socket, request, reply>` owns its stream, `framed<tcp::socket&, …>` refers to one.
/// The stream is an AsyncReadStream if something is received, and an AsyncWriteStream if something
/// is sent: a stream socket of any kind, a pipe_reader for one side and a pipe_writer for the
/// other. Datagrams (UDP) are no stream: send and receive those by Asio's own operations. Several
/// kinds of message are one std::variant. How a type becomes bytes: see codec.
///
/// Each message is a frame: a header of 12 bytes with the length, and the message. The peer may be
/// hostile: what it sends is checked, a length before anything is allocated for it.
///
/// One operation that receives (async_receive, async_wait_message, async_handshake) at a time; any
/// number that send, which go out in the order in which they were started. try_receive() only
/// between operations that receive. After a move: only assignment and destruction.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe; emitting a cancellation
///                      signal counts as access, and so do the completions of the stream's own
///                      executor.
/// @par Lifetime        An object may be moved and destroyed while operations are pending, which
///                      then complete with operation_aborted. A stream that is referred to must
///                      live until then.
/// @par Cost            One read per `read_bytes` bytes, and one write for as many as 16 messages
///                      that wait. A loop over async_wait_message() and try_receive() takes a turn
///                      of the event loop per read, async_receive() one per message.
/// @par Example
/// ```
/// framed<stream_protocol::socket, request, reply> link(std::move(socket));
/// co_await link.async_handshake();  // throws other_type; link.explanation() says what differs
/// co_await link.async_send(request{.path = "/etc/hostname"});
/// const reply answer = co_await link.async_receive();
/// ```
template <class Stream, class Send, class Receive = Send>
class framed {
    static_assert(detail::require_encodable<Send>());
    static_assert(detail::require_message<Receive>());

public:
    using next_layer_type = std::remove_reference_t<Stream>;
    using executor_type = typename next_layer_type::executor_type;
    using send_type = Send;
    using receive_type = Receive;

    template <class Arg>
        requires std::is_constructible_v<Stream, Arg&&>
    explicit framed(Arg&& stream, framed_options options = {})
        : state_(std::make_shared<state>(std::forward<Arg>(stream), options))
    {
    }

    framed(framed&& other) noexcept = default;
    framed& operator=(framed&& other) noexcept
    {
        if (this != &other) {
            abandon();
            state_ = std::move(other.state_);
        }
        return *this;
    }
    ~framed() { abandon(); }

    [[nodiscard]] executor_type get_executor() const noexcept
    {
        return state_->stream.get_executor();
    }
    [[nodiscard]] next_layer_type& next_layer() noexcept { return state_->stream; }
    [[nodiscard]] const next_layer_type& next_layer() const noexcept { return state_->stream; }

    /// Exchanges versions, types and limits with the peer, which does the same. Before the first
    /// message is received, on both sides or on none; messages may be sent meanwhile.
    ///
    /// Without it a mismatch shows only in messages that are malformed, or not even then. Bound it
    /// in time where the peer is not trusted: it waits for as long as the peer is silent.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `framed_errc::other_type`, `other_version`: see explanation();
    ///                             `unexpected` when the peer sends a message instead; those of
    ///                             async_receive() and async_send(). After an error: no more.
    /// @par Cancellation           terminal, partial, total. The next async_handshake() goes on
    ///                             where this one was. `half_sent` instead of operation_aborted
    ///                             when it was stopped within our part (terminal only).
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion.
    /// @par Cost                   Two frames of less than 3 KiB; once per connection.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_handshake(Token&& token = Token{})
    {
        using taker = detail::hello_taker<Send, Receive>;
        auto hello =
            taker::ours(state_->options.max_message_bytes).to_frame(state_->options.checksum);
        return asio::async_compose<Token, void(error_code)>(
            detail::framed_operation<Stream, taker>(state_, std::move(hello)), token,
            state_->stream);
    }

    /// After a handshake that failed: a sentence that names the types of both sides and the first
    /// field that differs. Printable ASCII, whatever the peer sent; empty otherwise.
    [[nodiscard]] const std::string& explanation() const noexcept { return state_->explanation; }

    /// Sends a message.
    ///
    /// The value is encoded in the call itself, and not needed any more when it returns. Completes
    /// when the stream has taken the whole frame.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `framed_errc::too_long`, `not_encodable`: nothing was sent;
    ///                             `operation_aborted`, `half_sent`: see Cancellation; whatever the
    ///                             stream says, for this message and all that wait.
    /// @par Cancellation           As long as no byte of the frame is out, all types:
    ///                             operation_aborted, and nothing has been sent. After that partial
    ///                             and total have no effect, since a stream with half a frame could
    ///                             not be used any more; terminal ends the wait with `half_sent`,
    ///                             and the rest of the frame goes out before the next message.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion; `value` need not outlive
    ///                             the call.
    /// @par Cost                   One allocation for the frame, and a copy of the value into it.
    ///                             Messages that wait for the stream share writes.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_send(const Send& value, Token&& token = Token{})
    {
        error_code ec;
        auto frame = detail::make_frame(value, state_->send_limit, state_->options.checksum, ec);
        return asio::async_initiate<Token, void(error_code)>(
            [](asio::any_completion_handler<void(error_code)> handler,
               const std::shared_ptr<state>& shared, std::vector<std::byte> bytes,
               const error_code& wrong) {
                shared->send(std::move(bytes), wrong, std::move(handler));
            },
            token, state_, std::move(frame), ec);
    }

    /// Receives the next message.
    ///
    /// Takes it in the very turn that runs the handler, so of several receives that race
    /// (`a || b`), those that lose have taken no message.
    /// @par Completion signature   `void(error_code, Receive)`
    /// @par Errors                 `asio::error::eof` at the end of the stream between two frames;
    ///                             `framed_errc::too_long`, `bad_frame`, `bad_checksum`,
    ///                             `truncated`, `unexpected`, which come again with each receive;
    ///                             `malformed`, for this message only; `errc::not_enough_memory`;
    ///                             `operation_aborted`; whatever the stream says, after the whole
    ///                             messages before.
    /// @par Cancellation           terminal, partial, total. No message has been taken, and bytes
    ///                             that had been read stay for the next operation.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion. Not for messages with
    ///                             views in them (borrows_message): there, try_receive().
    /// @par Cost                   A turn of the event loop, and what decode_message() allocates; a
    ///                             read when no whole frame has been read yet.
    template <asio::completion_token_for<void(error_code, Receive)> Token = asio::deferred_t>
        requires(!borrows_message<Receive>)
    [[nodiscard]] auto async_receive(Token&& token = Token{})
    {
        return asio::async_compose<Token, void(error_code, Receive)>(
            detail::framed_operation<Stream, detail::message_taker<Receive>>(state_), token,
            state_->stream);
    }

    /// Reads until try_receive() has an answer: a message, the end, or what is wrong with what has
    /// come. Takes nothing.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `operation_aborted`; whatever the stream says, but neither eof
    ///                             nor a framed_errc: these are answers of try_receive().
    /// @par Cancellation           terminal, partial, total. Bytes that had been read stay for the
    ///                             next operation.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion.
    /// @par Cost                   A turn of the event loop; a read when no whole frame has been
    ///                             read yet.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_message(Token&& token = Token{})
    {
        return asio::async_compose<Token, void(error_code)>(
            detail::framed_operation<Stream, detail::nothing_taker>(state_), token, state_->stream);
    }

    /// Takes the next message out of the bytes that have been read already; never reads. What views
    /// in it refer to is valid until the next operation that receives.
    /// @par Errors   `would_block` when it is not there yet; else as async_receive()
    [[nodiscard]] std::optional<Receive> try_receive(error_code& ec)
    {
        PROCYARD_ASSERT(!state_->receiving && "an operation of this framed stream is pending");
        return detail::take_message<Receive>(state_->buffer, ec);
    }

private:
    using state = detail::framed_state<Stream>;

    void abandon() noexcept
    {
        if (state_)
            state_->abandon();
    }

    std::shared_ptr<state> state_;  // null after a move
};

PROCYARD_NAMESPACE_END

#endif
