// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_ASYNC_COPY_HPP
#define PROCYARD_IPC_ASYNC_COPY_HPP

#include <boost/asio/async_result.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/deferred.hpp>

#include <type_traits>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/copy_result.hpp>
#include <procyard/ipc/detail/copy_operation.hpp>
#include <procyard/ipc/detail/pump.hpp>
#include <procyard/ipc/detail/stream_end.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Copies what comes out of `source` into `sink`, until the source ends.
///
/// Back-pressured: no more is read than the sink takes. Between a pipe_reader and a pipe_writer,
/// one of them on a pipe, the kernel moves the bytes with `splice` and the process never sees them;
/// where it cannot (two sockets, a file opened for appending), and between any other two streams,
/// the bytes go through a buffer. The result says which it was. Neither stream is closed. Sockets
/// of datagrams (UDP) are no streams: with those, receive and send in a loop of your own.
///
/// A copy takes bounded turns of the event loop, however fast both sides are.
///
/// When the sink fails or the copy is cancelled, bytes that have been read but not written are not
/// lost: they are handed out in `copy_result::unwritten`. With splice there are none, they are
/// still in the source. Between our own streams it is noticed at once when the reader behind the
/// sink goes, also while the source is silent; a foreign sink is noticed by the next write.
/// @par Completion signature   `void(error_code, copy_result)`; the result counts also when `ec` is
///                             set.
/// @par Errors                 None at the end of the source or at `max_bytes`. Of the sink:
///                             `broken_pipe` when its reader is gone (never SIGPIPE between our own
///                             streams), whatever a write says. Of the source: whatever a read
///                             says. `copy_result::failed` tells them apart. `operation_aborted`.
/// @par Cancellation           terminal, partial: the bytes copied stay copied and are counted.
///                             total: heeded while nothing has been copied, ignored after that.
/// @par Thread safety          Uses both streams, as Asio's composed operations do: nobody else may
///                             read from the source or write into the sink meanwhile.
/// @par Lifetime               A pipe_reader copied to a pipe_writer: either may be moved, closed,
///                             released and destroyed; the copy then completes with
///                             operation_aborted. Other streams must live until the completion.
/// @par Cost                   One `splice` per full pipe; else one read and one write per
///                             `buffer_bytes`. A few allocations per copy, none per byte.
/// @par Example                `co_await async_copy(left.std_out(), right.std_in());`
template <class AsyncReadStream, class AsyncWriteStream,
          asio::completion_token_for<void(error_code, copy_result)> Token = asio::deferred_t>
[[nodiscard]] auto async_copy(AsyncReadStream& source, AsyncWriteStream& sink, copy_options options,
                              Token&& token = Token{})
{
    using namespace detail;
    if constexpr (std::is_base_of_v<stream_end, AsyncReadStream>
                  && std::is_base_of_v<stream_end, AsyncWriteStream>)
        return asio::async_initiate<Token, void(error_code, copy_result)>(
            initiate_pump{}, token, stream_access::core(source), stream_access::core(sink),
            std::move(options));
    else
        return asio::async_compose<Token, void(error_code, copy_result)>(
            copy_operation<AsyncReadStream, AsyncWriteStream>(source, sink, std::move(options)),
            token, source.get_executor(), sink.get_executor());
}

/// The same with the default options.
template <class AsyncReadStream, class AsyncWriteStream,
          asio::completion_token_for<void(error_code, copy_result)> Token = asio::deferred_t>
[[nodiscard]] auto async_copy(AsyncReadStream& source, AsyncWriteStream& sink,
                              Token&& token = Token{})
{
    return async_copy(source, sink, copy_options{}, std::forward<Token>(token));
}

PROCYARD_NAMESPACE_END

#endif
