// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_FIFO_HPP
#define PROCYARD_IPC_FIFO_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/owned_name.hpp>
#include <procyard/ipc/pipe.hpp>

// FIFOs: pipes that are found by a path. open(2) of one blocks until somebody opens the other side;
// no function here does.
//
// A path is relative to the working directory at the time of the call. A symbolic link is followed
// by those that open, as by open(2), and not by make_fifo(). What is not a FIFO is refused before
// it is opened, since to open a device has effects of its own.

PROCYARD_NAMESPACE_BEGIN

/// What make_fifo() does when there is a FIFO of that name.
enum class existing_fifo : std::uint8_t {
    /// Says EEXIST.
    refuse,
    /// Takes it for its own if it belongs to the same user: gives it the permissions, and removes
    /// it in the end. For a name that nobody else uses, which a killed predecessor has left: a FIFO
    /// that nobody has open is as good as new. Whether anybody has is not looked at, nor could be.
    adopt
};

/// How a FIFO is made.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct fifo_options {
    /// Whatever the umask. It has never had more, not even for a moment.
    mode_t permissions = 0600;
    existing_fifo existing = existing_fifo::refuse;
};

/// Makes a FIFO, whose name goes with the result: see owned_name. Who has it open keeps it.
/// @par Errors    EEXIST: something has that name (with `adopt`: something else than a FIFO), and
///                is left alone; EACCES, also for a FIFO of another user; ENOENT, ENOTDIR, EROFS;
///                ENAMETOOLONG; EMFILE; EINVAL: a NUL in the path. Nothing is left then.
/// @par Example
/// @code
/// const owned_name name = make_fifo("/run/thing.fifo", {.existing = existing_fifo::adopt});
/// @endcode
[[nodiscard]] PROCYARD_IPC_EXPORT owned_name make_fifo(std::string_view path, fifo_options options,
                                                       error_code& ec);
/// The same; throws boost::system::system_error, which names the path.
[[nodiscard]] PROCYARD_IPC_EXPORT owned_name make_fifo(std::string_view path,
                                                       fifo_options options = {});

/// Opens a FIFO to read what any number of writers write, one after another or at once: it survives
/// them, so a read waits when there is none, and never tells the end.
///
/// It is open for writing as well, by the same descriptor, which is what keeps it alive: that takes
/// the permission to write, and lets writers in from now on, whether anybody reads or not.
/// @par Errors    `stream_errc::not_a_fifo`; ENOENT; EACCES; EMFILE. Closed then.
/// @par Thread safety   Any thread; the reader as pipe_reader.
/// @par Cost      Three system calls.
/// @par Example   `line_reader lines(open_fifo_reader(executor, "/run/commands.fifo", ec));`
[[nodiscard]] PROCYARD_IPC_EXPORT pipe_reader open_fifo_reader(const asio::any_io_executor& ex,
                                                               std::string_view path,
                                                               error_code& ec);
/// The same; throws boost::system::system_error, which names the path.
[[nodiscard]] PROCYARD_IPC_EXPORT pipe_reader open_fifo_reader(const asio::any_io_executor& ex,
                                                               std::string_view path);

/// Opens a FIFO to write, if anybody has it open for reading or waits in open(2) to do so.
/// @par Errors    ENXIO: nobody; else those of open_fifo_reader(). Closed then.
/// @par Thread safety   Any thread; the writer as pipe_writer.
/// @par Cost      Three system calls.
/// @par Example   `pipe_writer writer = open_fifo_writer(executor, "/run/commands.fifo", ec);`
[[nodiscard]] PROCYARD_IPC_EXPORT pipe_writer open_fifo_writer(const asio::any_io_executor& ex,
                                                               std::string_view path,
                                                               error_code& ec);
/// The same; throws boost::system::system_error, which names the path.
[[nodiscard]] PROCYARD_IPC_EXPORT pipe_writer open_fifo_writer(const asio::any_io_executor& ex,
                                                               std::string_view path);

namespace detail {

using fifo_reader_handler = asio::any_completion_handler<void(error_code, pipe_reader)>;
using fifo_writer_handler = asio::any_completion_handler<void(error_code, pipe_writer)>;

PROCYARD_IPC_EXPORT void start_open_fifo_reader(const asio::any_io_executor& ex,
                                                std::string_view path, fifo_reader_handler handler);
PROCYARD_IPC_EXPORT void start_open_fifo_writer(const asio::any_io_executor& ex,
                                                std::string_view path, fifo_writer_handler handler);

struct initiate_open_fifo_reader {
    template <class Handler>
    void operator()(Handler handler, const asio::any_io_executor& ex, std::string_view path) const
    {
        start_open_fifo_reader(ex, path, fifo_reader_handler(std::move(handler)));
    }
};

struct initiate_open_fifo_writer {
    template <class Handler>
    void operator()(Handler handler, const asio::any_io_executor& ex, std::string_view path) const
    {
        start_open_fifo_writer(ex, path, fifo_writer_handler(std::move(handler)));
    }
};

}  // namespace detail

/// Opens a FIFO to read what one writer writes, or several at once, to the end: waits until the
/// first has written something, or is gone again. A read then tells the end when no writer is left.
/// (Opened without such a wait, a FIFO tells the end before anybody has come.)
///
/// After the end, a reader that reads on sees the next writer's bytes.
/// @par Completion signature   `void(error_code, pipe_reader)`; closed when `ec` is set.
/// @par Errors                 Those of open_fifo_reader(); `operation_aborted`.
/// @par Cancellation           terminal, partial, total. The FIFO is closed again, and nothing was
///                             read. Writers that were let in meanwhile find the reader gone
///                             (EPIPE).
/// @par Thread safety          Any thread.
/// @par Lifetime               `path` need not outlive the call.
/// @par Cost                   Three system calls, and those of a wait; three allocations.
/// @par Example
/// @code
/// auto reader = co_await async_open_fifo_reader(executor, path, asio::use_awaitable);
/// @endcode
template <asio::completion_token_for<void(error_code, pipe_reader)> Token = asio::deferred_t>
[[nodiscard]] auto async_open_fifo_reader(asio::any_io_executor ex, const std::string& path,
                                          Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, pipe_reader)>(
        detail::initiate_open_fifo_reader{}, token, std::move(ex), path);
}

/// Opens a FIFO to write: waits until somebody has it open for reading, or waits in open(2) to do
/// so.
///
/// The kernel tells nobody of a reader that waits in open(2), so this tries again, first after a
/// millisecond and later after 32, and takes no thread. (inotify reports an open(2) when it has
/// succeeded, and that of the reader waits for a writer. To be there as a writer until a reader
/// comes takes to be a reader for a moment, and other writers would take it for theirs.)
/// @par Completion signature   `void(error_code, pipe_writer)`; closed when `ec` is set.
/// @par Errors                 Those of open_fifo_writer() but ENXIO, also when they come to hold
///                             later: ENOENT when the FIFO is removed; `operation_aborted`.
/// @par Cancellation           terminal, partial, total. The FIFO was not opened.
/// @par Thread safety          Any thread.
/// @par Lifetime               `path` need not outlive the call.
/// @par Cost                   Two system calls each time it tries; two allocations.
/// @par Example
/// @code
/// auto writer = co_await async_open_fifo_writer(executor, path, asio::use_awaitable);
/// @endcode
template <asio::completion_token_for<void(error_code, pipe_writer)> Token = asio::deferred_t>
[[nodiscard]] auto async_open_fifo_writer(asio::any_io_executor ex, const std::string& path,
                                          Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, pipe_writer)>(
        detail::initiate_open_fifo_writer{}, token, std::move(ex), path);
}

PROCYARD_NAMESPACE_END

#endif
