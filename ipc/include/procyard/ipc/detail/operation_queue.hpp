// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_OPERATION_QUEUE_HPP
#define PROCYARD_IPC_DETAIL_OPERATION_QUEUE_HPP

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_operation.hpp>
#include <procyard/ipc/detail/handler_place.hpp>
#include <procyard/ipc/detail/operation_list.hpp>
#include <procyard/ipc/detail/reactor_watch.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Operations that wait for something of this process, in the order in which they came: what
/// channel_core does for those of one end, for an object that has many ends, or none. The states of
/// an operation are those of channel_operation.
///
/// The first one waits in the reactor: for a descriptor, or by a timer that never ends where there
/// is none. So whoever waits is outstanding work, and goes down with its io_context, though what it
/// waits for is but a word in memory.
/// @par Thread safety   As channel_core.
class PROCYARD_IPC_EXPORT operation_queue : public std::enable_shared_from_this<operation_queue> {
public:
    explicit operation_queue(const asio::any_io_executor& ex);
    operation_queue(const operation_queue&) = delete;
    operation_queue& operator=(const operation_queue&) = delete;
    ~operation_queue();

    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
    [[nodiscard]] detail::operation_memory& operation_memory() noexcept { return memory_; }

    /// Its first operation waits until `fd` is readable, which stays the caller's.
    void watch(int fd) noexcept { watched_ = fd; }
    /// Leaves `fd` alone from now on. Who waited for it looks again. Before it is closed and after
    /// it, see reactor_watch.
    void unwatch() noexcept;

    [[nodiscard]] bool is_empty() const noexcept { return operations_.first() == nullptr; }
    /// Starts an operation. If its place is elsewhere, it knows the handler's executor.
    void start(std::unique_ptr<channel_operation> operation, asio::cancellation_slot slot);
    /// What they wait for may be there: the first one looks, in a turn of its own.
    void wake() noexcept { operations_.wake(); }
    /// Every pending operation completes with operation_aborted, and has done nothing.
    void abort_all() noexcept;

private:
    using operation_ptr = std::unique_ptr<channel_operation>;
    using turn = operation_turn<operation_queue>;
    friend turn;
    friend operation_cancellation<operation_queue>;

    void post(operation_ptr operation);
    void take_turn(operation_ptr operation, bool was_waiting, const error_code& wait_error);
    void park(operation_ptr operation);
    void finish(operation_ptr operation, const error_code& instead);
    void go_on_after(channel_operation& done);
    void forget(operation_ptr operation) noexcept { operations_.forget(std::move(operation)); }
    void abort_operation(std::uint64_t serial) noexcept;

    const asio::any_io_executor executor_;
    detail::operation_memory memory_;
    int watched_ = -1;
    reactor_watch watch_;  // of watched_
    std::optional<asio::steady_timer> timer_;
    operation_list operations_;
    std::uint64_t last_serial_ = 0;
};

/// An operation of some core's, which it keeps alive.
template <class Core, class... Results>
class queued_operation : public channel_operation {
public:
    using handler_type = asio::any_completion_handler<void(error_code, Results...)>;

    queued_operation(std::shared_ptr<Core> core, handler_type handler)
        : core_(std::move(core)),
          handler_(std::move(handler))
    {
    }

    [[nodiscard]] asio::cancellation_slot get_cancellation_slot() const noexcept
    {
        return handler_.get_cancellation_slot();
    }

protected:
    [[nodiscard]] Core& core() noexcept { return *core_; }
    [[nodiscard]] progress after(const error_code& ec) noexcept
    {
        ec_ = ec;
        return ec == asio::error::would_block ? progress::blocked : progress::done;
    }
    /// Calls the handler when this operation's memory is free.
    void finish(std::unique_ptr<channel_operation> self, const error_code& instead,
                Results... results)
    {
        // swap: in Boost 1.81 the move assignment of any_completion_handler calls itself for ever.
        handler_type handler;
        handler.swap(handler_);
        const auto ec = instead ? instead : ec_;
        self.reset();
        std::move(handler)(ec, std::move(results)...);
    }

private:
    std::shared_ptr<Core> core_;
    handler_type handler_;
    error_code ec_;
};

/// Makes an operation of a handler, and starts it.
template <class Operation, class Core, class Handler, class... Args>
void queue_operation(operation_queue& queue, const std::shared_ptr<Core>& core, Handler&& handler,
                     Args&&... args)
{
    const auto& io = queue.executor();
    const auto place = place_of(handler, io);
    asio::any_completion_executor work;
    if (place == handler_place::elsewhere)
        work = work_of(handler, io);
    auto operation = channel_operation::make<Operation>(
        queue.operation_memory(), core,
        typename Operation::handler_type(std::forward<Handler>(handler)),
        std::forward<Args>(args)...);
    operation->place = place;
    operation->handler_work = std::move(work);
    const auto slot = operation->get_cancellation_slot();
    queue.start(std::move(operation), slot);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
