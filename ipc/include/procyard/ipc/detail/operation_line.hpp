// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_OPERATION_LINE_HPP
#define PROCYARD_IPC_DETAIL_OPERATION_LINE_HPP

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/prefer.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_operation.hpp>
#include <procyard/ipc/detail/handler_place.hpp>
#include <procyard/ipc/detail/operation_list.hpp>
#include <procyard/ipc/detail/reactor_watch.hpp>
#include <procyard/ipc/detail/spin_budget.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// The operations of one end, and their waiting: one after the other is tried where its handler
/// runs, and sleeps on one descriptor (see channel_operation). What they wait for, and how the
/// others are told of a sleep, is the business of whoever derives from it.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, turns of the operations
///                      included.
class PROCYARD_IPC_EXPORT operation_line : public std::enable_shared_from_this<operation_line> {
public:
    operation_line(const operation_line&) = delete;
    operation_line& operator=(const operation_line&) = delete;

    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
    /// Where its operations are made.
    [[nodiscard]] detail::operation_memory& operation_memory() noexcept { return memory_; }
    void start(std::unique_ptr<channel_operation> operation, asio::cancellation_slot slot);
    /// Every pending operation completes with operation_aborted, and has done nothing.
    void cancel() noexcept;

protected:
    /// What waking does to the descriptor: a bell is read, and so emptied; a set of bells is only
    /// looked at.
    enum class waking : std::uint8_t { reads, looks };

    operation_line(const asio::any_io_executor& ex, waking how, std::chrono::nanoseconds spin);
    ~operation_line() = default;

    /// Whether an operation that needs so much would have to wait; takes nothing.
    [[nodiscard]] virtual bool lacks(std::uint64_t wanted) = 0;
    /// Says to the others that this end is going to sleep.
    virtual void announce(std::uint64_t wanted) noexcept = 0;
    virtual void withdraw() noexcept = 0;
    /// The end has woken, by its descriptor, which says so or an error.
    virtual void hear(const error_code& wait_error) noexcept = 0;
    [[nodiscard]] virtual int wait_handle() const noexcept = 0;
    /// Lets whoever looks in from outside see what has been counted: `stalls_` has grown.
    virtual void show_counts() noexcept = 0;
    /// It cannot wait: the reactor has no room for it.
    virtual void fail_to_wait(const error_code& why) noexcept = 0;

    /// Somebody else has heard what the operation that waits would have been woken by: it looks
    /// again.
    void wake_up() noexcept;
    /// The descriptor is going to be closed, or another one. In a copy of the process: it has been
    /// closed; see reactor_watch.
    void leave_reactor() noexcept;

    std::uint64_t stalls_ = 0;
    std::uint64_t spins_ = 0;
    std::uint64_t sleeps_ = 0;

private:
    using operation_ptr = std::unique_ptr<channel_operation>;
    using turn = operation_turn<operation_line>;
    friend turn;
    friend operation_cancellation<operation_line>;

    void post(operation_ptr operation);
    void count_stall() noexcept { ++stalls_, show_counts(); }
    void take_turn(operation_ptr operation, bool was_waiting, const error_code& wait_error);
    [[nodiscard]] bool attempt(channel_operation& operation);
    template <class Look>
    [[nodiscard]] bool may_sleep(const std::uint64_t& wanted, Look is_blocked);
    void wait_in_reactor(operation_ptr operation);
    void finish(operation_ptr operation, const error_code& instead);
    void go_on_after(channel_operation& done);
    void forget(operation_ptr operation) noexcept { operations_.forget(std::move(operation)); }
    void abort_operation(std::uint64_t serial) noexcept;

    const asio::any_io_executor executor_;
    const waking how_;
    spin_budget spin_;
    reactor_watch watch_;              // of wait_handle()
    std::array<std::byte, 64> rings_;  // what has been read from a bell: of no interest
    detail::operation_memory memory_;
    operation_list operations_;
    std::uint64_t last_serial_ = 0;
};

/// An operation of one of these lines.
template <class Core, class... Results>
class line_operation_of : public channel_operation {
public:
    using handler_type = asio::any_completion_handler<void(error_code, Results...)>;

    line_operation_of(Core& core, handler_type handler) : core_(core), handler_(std::move(handler))
    {
    }

    [[nodiscard]] asio::cancellation_slot get_cancellation_slot() const noexcept
    {
        return handler_.get_cancellation_slot();
    }

protected:
    Core& core_;  // alive as long as a turn is: that holds it
    handler_type handler_;
    error_code ec_;

    [[nodiscard]] progress after(const error_code& ec) noexcept
    {
        ec_ = ec;
        return ec == asio::error::would_block ? progress::blocked : progress::done;
    }
    // swap: in Boost 1.81 the move assignment of any_completion_handler calls itself for ever.
    [[nodiscard]] handler_type take_handler() noexcept
    {
        handler_type handler;
        handler.swap(handler_);
        return handler;
    }
};

/// Makes an operation of a handler, and starts it.
template <class Operation, class Core, class Handler, class... Args>
void start_in_line(const std::shared_ptr<Core>& core, Handler&& handler, Args&&... args)
{
    PROCYARD_ASSERT(core && "an end that was never opened, or moved from, has no operations");
    const auto place = place_of(handler, core->executor());
    asio::any_completion_executor work;
    if (place == handler_place::elsewhere)
        work = work_of(handler, core->executor());
    auto operation = channel_operation::make<Operation>(
        core->operation_memory(), *core,
        typename Operation::handler_type(std::forward<Handler>(handler)),
        std::forward<Args>(args)...);
    operation->place = place;
    operation->handler_work = std::move(work);
    const auto slot = operation->get_cancellation_slot();
    core->start(std::move(operation), slot);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
