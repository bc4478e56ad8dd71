// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_PIPE_HPP
#define PROCYARD_IPC_PIPE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/deferred.hpp>

#include <cstddef>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/stream_end.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

/// The reading end of a byte stream: a pipe, a FIFO, a Unix or TCP socket, a terminal or the master
/// of one, a character device, a regular file. Satisfies Asio's AsyncReadStream and SyncReadStream.
///
/// The descriptor is made non-blocking. That is a property of the *open file description*: a pipe
/// has one for each end, so the other end is not affected, but a duplicate of this descriptor in
/// this or another process is. Regular files cannot be waited for; they are read at once, in the
/// turn of the event loop.
///
/// After a move: closed, may be assigned to by a move or destroyed; every other call but is_open(),
/// native_handle(), close(), cancel() and release() is a contract violation.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe; emitting a cancellation
///                      signal counts as access.
/// @par Lifetime        An object may be moved, closed and destroyed while operations are pending;
///                      they complete with operation_aborted.
/// @par Cost            One allocation per object; the operation that follows another reuses its
///                      memory. Enters the reactor when it first has to wait.
/// @par Example
/// @code
/// std::array<char, 4096> buffer;
/// co_await reader.async_wait_readable();  // costs no buffer while nothing comes
/// std::size_t n = co_await reader.async_read_some(asio::buffer(buffer));
///
/// std::string text;  // all of Asio's own functions work on it
/// co_await asio::async_read_until(reader, asio::dynamic_buffer(text), '\n', asio::use_awaitable);
/// @endcode
class PROCYARD_IPC_EXPORT pipe_reader : public detail::stream_end {
public:
    using lowest_layer_type = pipe_reader;

    /// Closed.
    explicit pipe_reader(asio::any_io_executor ex);
    /// Takes `fd` as assign() does; throws boost::system::system_error.
    pipe_reader(asio::any_io_executor ex, unique_fd fd);

    /// Reads what is there, at least one byte; waits for it when there is nothing.
    ///
    /// Reads in the very turn of the event loop that runs the handler, never before. So of several
    /// reads that race (`a || b`), those that lose have read nothing. Holds for handlers that run
    /// on this object's executor.
    /// @par Completion signature   `void(error_code, std::size_t)`; 0 when `ec` is set.
    /// @par Errors                 `asio::error::eof` at the end of the stream, also when the slave
    ///                             of a terminal is gone (EIO); `operation_aborted`;
    ///                             `bad_descriptor` when closed; whatever `readv` says.
    /// @par Cancellation           terminal, partial, total. A cancelled read has read nothing.
    /// @par Thread safety          As the object.
    /// @par Lifetime               The buffers must stay valid until the completion, `*this` need
    ///                             not.
    /// @par Cost                   One `readv` when data is there; else `readv`, `epoll_ctl`,
    ///                             `readv`. No allocation beyond what the token itself makes.
    template <class MutableBufferSequence,
              asio::completion_token_for<void(error_code, std::size_t)> Token = asio::deferred_t>
    [[nodiscard]] auto async_read_some(const MutableBufferSequence& buffers,
                                       Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, std::size_t)>(
            detail::initiate_transfer<asio::mutable_buffer>{}, token, core_,
            detail::stream_direction::read, buffers);
    }

    /// Waits until a read would not block: bytes are there, or the end of the stream, or an error.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `operation_aborted`; `bad_descriptor` when closed.
    /// @par Cancellation           terminal, partial, total. Nothing has happened.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion.
    /// @par Cost                   One `poll`; `epoll_ctl` when there is something to wait for.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_readable(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_wait{}, token, core_,
                                                             detail::stream_wait::readable);
    }

    /// Reads without waiting; never suspends.
    /// @par Errors   `would_block` when nothing is there; else those of async_read_some().
    std::size_t try_read_some(asio::mutable_buffer buffer, error_code& ec) noexcept
    {
        const auto vectors = detail::io_vectors::from<asio::mutable_buffer>(buffer);
        return try_transfer(vectors.get(), ec);
    }

    /// Reads at least one byte, and blocks the calling thread until it can. For threads that run no
    /// event loop; the name is what Asio's SyncReadStream asks for.
    /// @par Errors   Those of async_read_some().
    template <class MutableBufferSequence>
    std::size_t read_some(const MutableBufferSequence& buffers, error_code& ec)
    {
        const auto vectors = detail::io_vectors::from<asio::mutable_buffer>(buffers);
        return transfer_blocking(vectors.get(), ec);
    }
    /// The same; throws boost::system::system_error.
    template <class MutableBufferSequence>
    std::size_t read_some(const MutableBufferSequence& buffers)
    {
        error_code ec;
        const std::size_t n = read_some(buffers, ec);
        throw_if(ec, "read_some");
        return n;
    }

    /// Itself; for Asio's stream adaptors.
    [[nodiscard]] lowest_layer_type& lowest_layer() noexcept { return *this; }
    [[nodiscard]] const lowest_layer_type& lowest_layer() const noexcept { return *this; }
};

/// The writing end of a byte stream: a pipe, a FIFO, a Unix or TCP socket, a terminal or the master
/// of one, a character device, a regular file. Satisfies Asio's AsyncWriteStream and
/// SyncWriteStream.
///
/// Writing to a stream whose reader is gone is `broken_pipe` and never raises SIGPIPE, whatever the
/// host does with that signal and without changing what it does.
///
/// About non-blocking mode, moved-from objects and files see pipe_reader.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe; emitting a cancellation
///                      signal counts as access.
/// @par Lifetime        An object may be moved, closed and destroyed while operations are pending;
///                      they complete with operation_aborted.
/// @par Cost            One allocation per object; the operation that follows another reuses its
///                      memory. Enters the reactor when it first has to wait.
/// @par Example
/// @code
/// const std::string text = "hello\n";
/// std::size_t n = co_await writer.async_write_some(asio::buffer(text));  // some of it
/// co_await asio::async_write(writer, asio::buffer(text), asio::use_awaitable);  // all of it
/// co_await writer.async_wait_closed();  // until nobody reads any more
/// @endcode
class PROCYARD_IPC_EXPORT pipe_writer : public detail::stream_end {
public:
    using lowest_layer_type = pipe_writer;

    /// Closed.
    explicit pipe_writer(asio::any_io_executor ex);
    /// Takes `fd` as assign() does; throws boost::system::system_error.
    pipe_writer(asio::any_io_executor ex, unique_fd fd);

    /// Writes what there is room for, at least one byte; waits for room when there is none.
    ///
    /// Writes in the very turn of the event loop that runs the handler, never before.
    /// @par Completion signature   `void(error_code, std::size_t)`; 0 when `ec` is set.
    /// @par Errors                 `broken_pipe` when the reader is gone; `operation_aborted`;
    ///                             `bad_descriptor` when closed; whatever `writev` says.
    /// @par Cancellation           terminal, partial, total. A cancelled write has written nothing.
    /// @par Thread safety          As the object.
    /// @par Lifetime               The buffers must stay valid until the completion, `*this` need
    ///                             not.
    /// @par Cost                   One system call when there is room: `pwritev2(RWF_NOSIGNAL)`
    ///                             (Linux 6.18), `sendmsg(MSG_NOSIGNAL)`; on an older kernel a pipe
    ///                             takes two more, for a `sigpipe_guard`. No allocation beyond what
    ///                             the token itself makes.
    template <class ConstBufferSequence,
              asio::completion_token_for<void(error_code, std::size_t)> Token = asio::deferred_t>
    [[nodiscard]] auto async_write_some(const ConstBufferSequence& buffers, Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, std::size_t)>(
            detail::initiate_transfer<asio::const_buffer>{}, token, core_,
            detail::stream_direction::write, buffers);
    }

    /// Waits until a write would not block: there is room, or the reader is gone.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `operation_aborted`; `bad_descriptor` when closed.
    /// @par Cancellation           terminal, partial, total. Nothing has happened.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion.
    /// @par Cost                   One `poll`; `epoll_ctl` when there is something to wait for.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_writable(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_wait{}, token, core_,
                                                             detail::stream_wait::writable);
    }

    /// Waits until the reader is gone: every read descriptor of the pipe closed, the peer of a
    /// local socket closed, a TCP connection reset, the other side of a terminal closed. Completes
    /// without error then, at once when it is gone already.
    ///
    /// Tells a producer with nothing to write that nobody would read it.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `operation_aborted`; `bad_descriptor` when closed;
    ///                             `operation_not_supported` for a regular file.
    /// @par Cancellation           terminal, partial, total. Nothing has happened.
    /// @par Thread safety          As the object.
    /// @par Lifetime               `*this` may go before the completion.
    /// @par Cost                   One `poll`; `epoll_ctl` when there is something to wait for.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_closed(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_wait{}, token, core_,
                                                             detail::stream_wait::closed);
    }

    /// Writes without waiting; never suspends.
    /// @par Errors   `would_block` when there is no room; else those of async_write_some().
    std::size_t try_write_some(asio::const_buffer buffer, error_code& ec) noexcept
    {
        const auto vectors = detail::io_vectors::from<asio::const_buffer>(buffer);
        return try_transfer(vectors.get(), ec);
    }

    /// Writes at least one byte, and blocks the calling thread until it can. For threads that run
    /// no event loop; the name is what Asio's SyncWriteStream asks for.
    /// @par Errors   Those of async_write_some().
    template <class ConstBufferSequence>
    std::size_t write_some(const ConstBufferSequence& buffers, error_code& ec)
    {
        const auto vectors = detail::io_vectors::from<asio::const_buffer>(buffers);
        return transfer_blocking(vectors.get(), ec);
    }
    /// The same; throws boost::system::system_error.
    template <class ConstBufferSequence>
    std::size_t write_some(const ConstBufferSequence& buffers)
    {
        error_code ec;
        const std::size_t n = write_some(buffers, ec);
        throw_if(ec, "write_some");
        return n;
    }

    /// Itself; for Asio's stream adaptors.
    [[nodiscard]] lowest_layer_type& lowest_layer() noexcept { return *this; }
    [[nodiscard]] const lowest_layer_type& lowest_layer() const noexcept { return *this; }
};

/// How a pipe is made.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct pipe_options {
    /// Bytes the pipe holds before the writer waits; 0: the kernel's default (64 KiB). The kernel
    /// rounds up to a power of two pages. Above /proc/sys/fs/pipe-max-size (1 MiB) it needs
    /// CAP_SYS_RESOURCE, and an unprivileged user who owns many pipes gets no larger ones.
    std::size_t capacity_bytes = 0;
    /// Whether a capacity the kernel refuses is left at the default instead of being an error.
    bool capacity_is_a_wish = false;
};

/// The two ends of a pipe, both in this process's event loop.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
struct pipe_pair {
    pipe_reader reader;
    pipe_writer writer;
};

/// The two ends of a pipe as plain descriptors: blocking, close-on-exec from birth.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
struct raw_pipe {
    unique_fd read_end{};
    unique_fd write_end{};
};

/// Makes a pipe with both ends on `ex`.
/// @par Errors   EMFILE, ENFILE; EPERM when the capacity is refused. Nothing is left open then.
/// @par Example
/// @code
/// auto [reader, writer] = make_pipe(executor, {.capacity_bytes = 1 << 20});
/// @endcode
[[nodiscard]] PROCYARD_IPC_EXPORT pipe_pair make_pipe(const asio::any_io_executor& ex,
                                                      pipe_options options, error_code& ec);
/// The same; throws boost::system::system_error.
[[nodiscard]] PROCYARD_IPC_EXPORT pipe_pair make_pipe(const asio::any_io_executor& ex,
                                                      pipe_options options = {});

/// Makes a pipe that is in no event loop yet: each end may go to a child, or into a pipe_reader or
/// pipe_writer.
/// @par Errors   Those of make_pipe(); the result is empty then.
/// @par Example  @snippet examples/guide/connecting.cpp numbers
[[nodiscard]] PROCYARD_IPC_EXPORT raw_pipe make_raw_pipe(error_code& ec, pipe_options options = {});

/// How many bytes the pipe holds.
/// @par Errors   EBADF when `fd` is not a pipe; the result is 0 then.
[[nodiscard]] PROCYARD_IPC_EXPORT std::size_t pipe_capacity(int fd, error_code& ec) noexcept;

/// Asks for a pipe that holds at least `capacity_bytes`, and returns how many it holds now.
/// @par Errors   EPERM above the limit (see pipe_options), EBUSY when it holds more than that at
///               the moment, EBADF when `fd` is not a pipe; the result is 0 then.
PROCYARD_IPC_EXPORT std::size_t set_pipe_capacity(int fd, std::size_t capacity_bytes,
                                                  error_code& ec) noexcept;

PROCYARD_NAMESPACE_END

#endif
