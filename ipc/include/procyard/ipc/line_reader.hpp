// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_LINE_READER_HPP
#define PROCYARD_IPC_LINE_READER_HPP

#include <boost/asio/async_result.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/line_operation.hpp>
#include <procyard/ipc/line_buffer.hpp>
#include <procyard/ipc/stream_error.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Reads lines of bounded length from any AsyncReadStream.
///
/// `line_reader<pipe_reader>` owns its stream, `line_reader<tcp::socket&>` refers to one; the
/// deduction guide follows the argument. A line ends with a newline, the last one may end with the
/// stream. Empty lines count, NUL bytes are bytes; see line_options.
///
/// A line of more than `max_line_bytes` bytes is `stream_errc::line_too_long`, with its beginning
/// as the result. The next operation goes on with the line after it.
///
/// One operation at a time; try_next_line() only between operations. After a move: only assignment
/// and destruction.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe; emitting a cancellation
///                      signal counts as access. Intermediate steps run on the handler's executor,
///                      as in Asio's composed operations.
/// @par Lifetime        An object may be moved and destroyed while an operation is pending, which
///                      then completes with operation_aborted. A stream that is referred to must
///                      live until then.
/// @par Cost            One read per `read_bytes` bytes. A loop over async_wait_line() and
///                      try_next_line() makes no copy of a line and costs a few nanoseconds each;
///                      async_read_line() costs a turn of the event loop and a string each.
/// @par Example
/// ```
/// line_reader lines(child.std_out());
/// for (;;) {
///     const auto [ec, line] = co_await lines.async_read_line(asio::as_tuple(asio::deferred));
///     if (ec == asio::error::eof)
///         break;
///     if (ec)
///         throw boost::system::system_error(ec);  // line_too_long, say
///     use(line);
/// }
/// ```
template <class AsyncReadStream>
class line_reader {
public:
    using next_layer_type = std::remove_reference_t<AsyncReadStream>;
    using executor_type = typename next_layer_type::executor_type;

    template <class Stream>
        requires std::is_constructible_v<AsyncReadStream, Stream&&>
    explicit line_reader(Stream&& stream, line_options options = {})
        : state_(std::make_shared<state>(std::forward<Stream>(stream), options))
    {
    }

    line_reader(line_reader&& other) noexcept = default;
    line_reader& operator=(line_reader&& other) noexcept
    {
        if (this != &other) {
            abandon();
            state_ = std::move(other.state_);
        }
        return *this;
    }
    ~line_reader() { abandon(); }

    [[nodiscard]] executor_type get_executor() const noexcept
    {
        return state_->stream.get_executor();
    }
    [[nodiscard]] next_layer_type& next_layer() noexcept { return state_->stream; }
    [[nodiscard]] const next_layer_type& next_layer() const noexcept { return state_->stream; }

    /// Reads the next line, without its end.
    ///
    /// Takes the line in the very turn that runs the handler, so of several reads that race
    /// (`a || b`), those that lose have taken no line.
    /// @par Completion signature   `void(error_code, std::string)`
    /// @par Errors                 `asio::error::eof` after the last line; `line_too_long` with
    ///                             the line's beginning as the string; `operation_aborted`;
    ///                             whatever the stream says, after the whole lines before. An
    ///                             error of the stream leaves an unfinished line in buffered().
    /// @par Cancellation           terminal, partial, total. No line has been taken, and bytes that
    ///                             had been read stay for the next operation.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion.
    /// @par Cost                   A turn of the event loop and a string; a read when no whole line
    ///                             has been read yet.
    template <asio::completion_token_for<void(error_code, std::string)> Token = asio::deferred_t>
    [[nodiscard]] auto async_read_line(Token&& token = Token{})
    {
        return asio::async_compose<Token, void(error_code, std::string)>(
            detail::line_operation<AsyncReadStream, true>(state_), token, state_->stream);
    }

    /// Reads until try_next_line() has an answer: a line, or the end. Takes nothing.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `operation_aborted`; whatever the stream says, but neither eof
    ///                             nor line_too_long: these are answers of try_next_line().
    /// @par Cancellation           terminal, partial, total. Bytes that had been read stay for the
    ///                             next operation.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion.
    /// @par Cost                   A turn of the event loop; a read when no whole line has been
    ///                             read yet.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_line(Token&& token = Token{})
    {
        return asio::async_compose<Token, void(error_code)>(
            detail::line_operation<AsyncReadStream, false>(state_), token, state_->stream);
    }

    /// Takes the next line out of the bytes that have been read already; never reads. The line is
    /// valid until the next operation.
    /// @par Errors   `would_block` when the line is not there yet; `asio::error::eof` after the
    ///               last one; both without a result. `line_too_long` with the line's beginning.
    [[nodiscard]] std::optional<std::string_view> try_next_line(error_code& ec) noexcept
    {
        PROCYARD_ASSERT(!state_->busy && "an operation of this line_reader is pending");
        return detail::take_line(state_->buffer, ec);
    }

    /// The bytes that have been read and that no line has taken.
    [[nodiscard]] std::string_view buffered() const noexcept { return state_->buffer.buffered(); }

    /// Takes the first `n` bytes of buffered(), for who goes on without lines.
    void consume(std::size_t n) noexcept
    {
        PROCYARD_ASSERT(!state_->busy && "an operation of this line_reader is pending");
        state_->buffer.consume(n);
    }

private:
    using state = detail::line_state<AsyncReadStream>;

    void abandon() noexcept
    {
        if (state_)
            state_->abandon();
    }

    std::shared_ptr<state> state_;  // null after a move
};

template <class Stream>
line_reader(Stream&&) -> line_reader<Stream>;
template <class Stream>
line_reader(Stream&&, line_options) -> line_reader<Stream>;

PROCYARD_NAMESPACE_END

#endif
