// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_STREAM_END_HPP
#define PROCYARD_IPC_DETAIL_STREAM_END_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/buffer.hpp>

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/handler_place.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class stream_core;  // the descriptor, its pending operations and the reactor: ipc/src

enum class stream_direction : std::uint8_t { read, write };
enum class stream_wait : std::uint8_t { readable, writable, closed };

using transfer_handler = asio::any_completion_handler<void(error_code, std::size_t)>;
using wait_handler = asio::any_completion_handler<void(error_code)>;

// The first buffers of a sequence as the kernel takes them. Enough for every composed operation of
// Asio (it gathers 64 at most, "some" may be fewer); more would only make each operation larger.
class io_vectors {
public:
    static constexpr std::size_t limit = 16;

    template <class Buffer, class BufferSequence>
    [[nodiscard]] static io_vectors from(const BufferSequence& buffers)
    {
        io_vectors result;
        const auto end = asio::buffer_sequence_end(buffers);
        for (auto i = asio::buffer_sequence_begin(buffers); i != end && result.count_ < limit; ++i)
            result.add(Buffer(*i));
        return result;
    }

    [[nodiscard]] std::span<const iovec> get() const noexcept { return {vectors_.data(), count_}; }

private:
    void add(asio::mutable_buffer buffer) noexcept { add(buffer.data(), buffer.size()); }
    void add(asio::const_buffer buffer) noexcept
    {
        // iovec serves both directions; writev does not write through it.
        add(const_cast<void*>(buffer.data()), buffer.size());
    }
    void add(void* data, std::size_t size_bytes) noexcept
    {
        if (size_bytes != 0)
            vectors_[count_++] = {data, size_bytes};
    }

    std::array<iovec, limit> vectors_;  // only the first count_ are set
    std::size_t count_ = 0;
};

[[nodiscard]] PROCYARD_IPC_EXPORT const asio::any_io_executor&
executor_of(const std::shared_ptr<stream_core>& core) noexcept;
PROCYARD_IPC_EXPORT void start_transfer(const std::shared_ptr<stream_core>& core,
                                        stream_direction direction, std::span<const iovec> buffers,
                                        transfer_handler handler, handler_place place);
PROCYARD_IPC_EXPORT void start_wait(const std::shared_ptr<stream_core>& core, stream_wait what,
                                    wait_handler handler, handler_place place);

// Initiations: what stays a template of an operation is the erasure of its handler.
template <class Buffer>
struct initiate_transfer {
    template <class Handler, class BufferSequence>
    void operator()(Handler handler, const std::shared_ptr<stream_core>& core,
                    stream_direction direction, const BufferSequence& buffers) const
    {
        const auto vectors = io_vectors::from<Buffer>(buffers);
        const auto place = place_of(handler, executor_of(core));
        start_transfer(core, direction, vectors.get(), transfer_handler(std::move(handler)), place);
    }
};

struct initiate_wait {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<stream_core>& core,
                    stream_wait what) const
    {
        const auto place = place_of(handler, executor_of(core));
        start_wait(core, what, wait_handler(std::move(handler)), place);
    }
};

/// What a pipe_reader and a pipe_writer have in common.
class PROCYARD_IPC_EXPORT stream_end {
public:
    using executor_type = asio::any_io_executor;

    stream_end(stream_end&& other) noexcept = default;
    stream_end& operator=(stream_end&& other) noexcept;

    /// Closes. Pending operations complete with operation_aborted. Never blocks.
    ~stream_end();

    [[nodiscard]] executor_type get_executor() const noexcept;

    /// Closes what is open and takes `fd`, which becomes non-blocking (see the class about what
    /// that means for other holders). The descriptor is closed when it cannot be taken.
    /// @par Errors   EBADF when `fd` is empty or not open in this end's direction; whatever
    ///               `fcntl` says.
    void assign(unique_fd fd, error_code& ec);
    /// The same; throws boost::system::system_error.
    void assign(unique_fd fd);

    [[nodiscard]] bool is_open() const noexcept;
    /// The descriptor's number, still owned by this object; -1 when closed.
    [[nodiscard]] int native_handle() const noexcept;

    /// Closes the descriptor; of a socket, ends this end's direction for every holder (the peer
    /// sees end-of-file or EPIPE), as with a pipe; but not in a copy of the process that has taken
    /// it, made by fork(). Pending operations complete with operation_aborted. Nothing happens when
    /// it is closed already.
    void close() noexcept;

    /// Says that somebody else goes on with a duplicate of the descriptor: close() and the
    /// destructor then close this object's number and leave a socket connected. Holds until the
    /// next descriptor is assigned; of pipes and files it is true anyway.
    void keep_connected() noexcept;

    /// Completes every pending operation with operation_aborted. None of them has moved a byte.
    void cancel() noexcept;

    /// Hands the descriptor out, blocking again, for a child or for somebody else's loop. Pending
    /// operations complete with operation_aborted. Empty when closed.
    [[nodiscard]] unique_fd release() noexcept;

    /// From now on, adds to `total` every byte that is moved through this end, whoever owns it by
    /// then: for a display of progress, or to know what became of an end that was given away. Null
    /// ends it.
    /// @par Thread safety   `total` may be read by any thread at any time.
    void count_bytes_into(std::shared_ptr<std::atomic<std::uint64_t>> total) noexcept;

protected:
    stream_end(asio::any_io_executor ex, stream_direction direction);

    // Without a wait; would_block when nothing can be moved.
    std::size_t try_transfer(std::span<const iovec> buffers, error_code& ec) noexcept;
    // Waits in poll(2).
    std::size_t transfer_blocking(std::span<const iovec> buffers, error_code& ec) noexcept;

    // For the throwing twins: out of line, so that callers do not each compile the throw.
    static void throw_if(const error_code& ec, const char* what);

    std::shared_ptr<stream_core> core_;  // null after a move
    friend struct stream_access;
};

// For operations of the library that keep a stream's core instead of the stream.
struct stream_access {
    [[nodiscard]] static const std::shared_ptr<stream_core>& core(const stream_end& end) noexcept
    {
        PROCYARD_ASSERT(end.core_ && "a moved-from stream has no operations");
        return end.core_;
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
