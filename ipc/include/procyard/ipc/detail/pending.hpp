// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_PENDING_HPP
#define PROCYARD_IPC_DETAIL_PENDING_HPP

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/append.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include <type_traits>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/handler_place.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

template <class Signature>
class pending;

// The handler of an operation that somebody will complete later: a signal, a reaper, the other
// side of a queue. Until then it counts as outstanding work on the I/O executor (its `run()` stays)
// and on the handler's own executor, as Asio's rules for asynchronous operations demand.
//
// Move-only; empty after a move, after complete() and by default. An object that is destroyed while
// it holds a handler destroys the handler without a call: right only when the context goes down,
// else complete with operation_aborted.
template <class... Args>
class pending<void(Args...)> {
public:
    using handler_type = asio::any_completion_handler<void(Args...)>;

    pending() noexcept = default;

    // Of a handler whose type is known, it is known at no cost whether it runs where the operation
    // does. An erased one is taken to run elsewhere.
    template <class Handler>
    pending(const asio::any_io_executor& io, Handler handler)
        : io_work_(asio::prefer(io, asio::execution::outstanding_work.tracked)),
          place_(place_of(handler, io))
    {
        if (place_ == handler_place::elsewhere)
            handler_work_ = work_of(handler, io);
        handler_type erased(std::move(handler));
        handler_.swap(erased);
    }

    pending(pending&& other) noexcept
        : io_work_(std::exchange(other.io_work_, nullptr)),
          handler_work_(std::exchange(other.handler_work_, nullptr)),
          handler_(std::move(other.handler_)),
          place_(other.place_)
    {
    }
    pending& operator=(pending&& other) noexcept
    {
        // Not member by member: the old handler's destructor may run anything, and must find
        // *this consistent.
        pending old(std::move(*this));
        io_work_ = std::exchange(other.io_work_, nullptr);
        handler_work_ = std::exchange(other.handler_work_, nullptr);
        // swap: in Boost 1.81 the move assignment of any_completion_handler calls itself for ever.
        handler_.swap(other.handler_);
        place_ = other.place_;
        return *this;
    }
    ~pending() = default;

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(handler_); }

    // Where to install the reaction to a cancellation; not connected when nobody can cancel.
    [[nodiscard]] asio::cancellation_slot get_cancellation_slot() const noexcept
    {
        return handler_ ? handler_.get_cancellation_slot() : asio::cancellation_slot{};
    }

    // Posts the handler with its arguments through the I/O executor, from where Asio hops to the
    // handler's executor. Never calls it inside. Empty afterwards.
    void complete(std::type_identity_t<Args>... args)
    {
        PROCYARD_ASSERT(*this && "an operation completes once");
        pending taken(std::move(*this));
        asio::post(taken.io_work_, asio::append(std::move(taken.handler_), std::move(args)...));
    }

    // The same for a caller that already runs in a turn of the I/O executor and not inside an
    // initiating function: calls the handler in this turn when it belongs there.
    void complete_now(std::type_identity_t<Args>... args)
    {
        PROCYARD_ASSERT(*this && "an operation completes once");
        pending taken(std::move(*this));
        asio::dispatch(taken.io_work_, asio::append(std::move(taken.handler_), std::move(args)...));
    }

    // The same, without the executor's help where the handler belongs into this turn: costs a call.
    // What it throws comes out of here, and not out of run() when the turn is over.
    void call_now(std::type_identity_t<Args>... args)
    {
        PROCYARD_ASSERT(*this && "an operation completes once");
        if (place_ == handler_place::elsewhere) {
            complete_now(std::move(args)...);
            return;
        }
        pending taken(std::move(*this));
        std::move(taken.handler_)(std::move(args)...);
    }

private:
    asio::any_io_executor io_work_;
    asio::any_completion_executor handler_work_;
    handler_type handler_;
    handler_place place_ = handler_place::elsewhere;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
