// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_STREAM_CORE_HPP
#define PROCYARD_IPC_SRC_STREAM_CORE_HPP

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/reactor_watch.hpp>
#include <procyard/ipc/detail/stream_end.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "descriptor_io.hpp"
#include "pump_io.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// A pending operation.
//
//   start --> queued --turn--> done             moved bytes, failed, or was aborted meanwhile
//                \--turn, would block--> waiting --woken--> (the same turn again)
//
//   queued:  a turn of the I/O executor is posted; nothing has been moved.
//   waiting: the reactor watches the descriptor; nothing has been moved.
//   done:    the handler runs in the same turn that moved the bytes. So whoever cancels an
//            operation that has not completed knows that it has moved nothing.
//
// Owned by the function object that the executor or the reactor holds; the core only knows it.
struct stream_operation {
    enum class kind : std::uint8_t { read, write, wait_readable, wait_writable, wait_closed };

    kind what = kind::read;
    bool aborted = false;  // closed, cancelled: completes with operation_aborted in its next turn
    bool waiting = false;
    bool listed = false;       // the core knows it
    bool cancellable = false;  // somebody holds the other side of the handler's slot
    std::uint64_t serial = 0;  // names the operation for a late cancellation; never used twice
    std::size_t buffer_count = 0;
    std::array<iovec, io_vectors::limit> buffers;
    transfer_handler on_transfer;  // of a read or write
    wait_handler on_wait;          // of the others
    handler_place place = handler_place::same_turn;
    asio::any_completion_executor handler_work;  // of a handler that runs elsewhere
    asio::cancellation_signal wake;              // ends the wait in the reactor
};

// The descriptor of a pipe_reader or pipe_writer with its operations. Shared with these, so that
// the object itself may be moved and destroyed meanwhile.
//
// The mutex is held for short, non-blocking system calls, and never while a handler runs. It is
// there because a turn runs on the I/O executor while the user's calls come from where the user's
// handlers run, which a strand of the user's may order but we cannot know.
class stream_core : public std::enable_shared_from_this<stream_core> {
public:
    stream_core(const asio::any_io_executor& ex, stream_direction direction);
    stream_core(const stream_core&) = delete;
    stream_core& operator=(const stream_core&) = delete;
    ~stream_core();

    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }

    void assign(unique_fd fd, error_code& ec);
    // A descriptor that is non-blocking already and of a known kind.
    void adopt(unique_fd fd, descriptor_kind of_kind) noexcept;
    [[nodiscard]] int native_handle() const noexcept;
    void close() noexcept;
    void keep_connected() noexcept;
    void cancel() noexcept;
    [[nodiscard]] unique_fd release() noexcept;

    void start(stream_direction direction, std::span<const iovec> buffers, transfer_handler handler,
               handler_place place);
    void start(stream_wait what, wait_handler handler, handler_place place);

    void count_bytes_into(std::shared_ptr<std::atomic<std::uint64_t>> total) noexcept;
    // Bytes that went past transfer(), by splice or the like.
    void count(std::size_t bytes) noexcept;

    // One turn of a pump between two cores, without waiting: in the kernel, or through a buffer.
    [[nodiscard]] static pump_step splice_some(stream_core& source, stream_core& sink,
                                               std::uint64_t most) noexcept;
    [[nodiscard]] static pump_step copy_some(stream_core& source, stream_core& sink,
                                             pump_buffer& buffer, std::uint64_t most);
    // Changes with each close(), cancel() and release().
    [[nodiscard]] std::uint64_t epoch() const noexcept;

    transfer_result try_transfer(std::span<const iovec> buffers) noexcept;
    transfer_result transfer_blocking(std::span<const iovec> buffers) noexcept;

private:
    using kind = stream_operation::kind;
    using operation_ptr = std::unique_ptr<stream_operation>;
    struct turn;
    struct on_cancellation;
    struct outcome {
        bool done = false;
        transfer_result result{};
    };

    [[nodiscard]] operation_ptr make_operation(kind what);
    template <class Handler>
    void launch(operation_ptr operation, Handler stream_operation::* where, Handler handler,
                handler_place place);
    void take_turn(operation_ptr operation, const error_code& wait_error);
    [[nodiscard]] outcome attempt(stream_operation& operation, const error_code& wait_error);
    [[nodiscard]] outcome attempt_wait(kind what) const noexcept;
    [[nodiscard]] transfer_result transfer(std::span<const iovec> buffers) noexcept;
    void add_to_total(std::size_t bytes) noexcept;
    [[nodiscard]] error_code enter_reactor();
    void leave_reactor() noexcept;
    void wait_in_reactor(operation_ptr operation);
    template <class Handler, class... Args>
    void finish(Handler handler, handler_place place, Args... args);
    void abort_operation(std::uint64_t serial) noexcept;
    void abort_all() noexcept;
    void forget(operation_ptr operation) noexcept;
    void abandon(operation_ptr operation) noexcept;

    const asio::any_io_executor executor_;
    const stream_direction direction_;
    descriptor_kind kind_ = descriptor_kind::unknown;
    mutable std::mutex mutex_;
    unique_fd fd_;
    pid_t taker_ = 0;              // the process that has taken fd_
    bool keep_connected_ = false;  // somebody else's socket: closed here without a shutdown

    // Of fd_. Entered by the first wait, because that makes the reactor, which may fail for want of
    // descriptors.
    reactor_watch watch_;

    std::vector<stream_operation*> operations_;
    std::shared_ptr<std::atomic<std::uint64_t>> total_;  // somebody wants to know
    operation_ptr spare_;  // the last operation's memory, for the next
    std::uint64_t last_serial_ = 0;
    std::uint64_t epoch_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
