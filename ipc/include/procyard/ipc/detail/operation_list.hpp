// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_OPERATION_LIST_HPP
#define PROCYARD_IPC_DETAIL_OPERATION_LIST_HPP

#include <boost/asio/append.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_operation.hpp>
#include <procyard/ipc/detail/handler_place.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Operations in the order in which they came. The first one is posted or waiting; those behind it
/// are parked, each owned by the one before it.
/// @par Thread safety   As of the end whose they are.
class operation_list {
public:
    using operation_ptr = std::unique_ptr<channel_operation>;

    [[nodiscard]] channel_operation* first() const noexcept { return first_; }

    /// Comes last. What is returned is first, and goes on at once; null: it is parked.
    [[nodiscard]] operation_ptr append(operation_ptr operation) noexcept
    {
        auto* const known = operation.get();
        if (first_ != nullptr)
            last_->next = std::move(operation);
        else
            first_ = known;
        last_ = known;
        return operation;
    }

    /// It is done. What was behind it, if it was the first: that is first now, and goes on.
    [[nodiscard]] operation_ptr take_next(channel_operation& done) noexcept
    {
        if (&done != first_)
            return nullptr;  // it was taken out
        auto next = std::move(done.next);
        first_ = next.get();
        if (first_ == nullptr)
            last_ = nullptr;
        return next;
    }

    /// Destroyed without a call, with all behind it: one after the other, since each holds the
    /// next, and the stack is not as deep as they may be many.
    void forget(operation_ptr operation) noexcept
    {
        if (operation.get() == first_) {
            first_ = nullptr;
            last_ = nullptr;
        }
        while (operation)
            operation = std::move(operation->next);
    }

    /// Who is first is aborted where it is; who waits is woken for it. Any other is taken out, so
    /// that it need not wait for those before it: `outside`, to be posted. False: there is none of
    /// this number.
    [[nodiscard]] bool abort(std::uint64_t serial, operation_ptr& outside) noexcept
    {
        channel_operation* before = nullptr;
        for (auto* at = first_; at != nullptr; before = at, at = at->next.get()) {
            if (at->serial != serial)
                continue;
            at->aborted = true;
            if (before == nullptr) {
                wake();
                return true;
            }
            outside = std::move(before->next);
            before->next = std::move(outside->next);
            if (last_ == at)
                last_ = before;
            return true;
        }
        return false;
    }

    /// They all complete with operation_aborted, each in its turn. Who waits is not woken.
    void abort_all() noexcept
    {
        for (auto* at = first_; at != nullptr; at = at->next.get())
            at->aborted = true;
    }

    /// The first one, if it waits in the reactor, has its turn.
    void wake() noexcept
    {
        if (first_ != nullptr && first_->waiting)
            first_->wake.emit(asio::cancellation_type::terminal);
    }

private:
    channel_operation* first_ = nullptr;
    channel_operation* last_ = nullptr;
};

/// What the executor and the reactor hold of an operation. Has no associated executor, so that it
/// runs on the end's; what has to run elsewhere goes there first and does nothing before.
///
/// `Owner` has take_turn(operation, was_waiting, wait_error) and forget(operation).
template <class Owner>
struct operation_turn {
    std::shared_ptr<Owner> owner;
    std::unique_ptr<channel_operation> operation;
    bool was_waiting = false;
    bool has_moved = false;  // to where the handler runs

    operation_turn(std::shared_ptr<Owner> o, std::unique_ptr<channel_operation> what, bool waiting,
                   bool moved = false) noexcept
        : owner(std::move(o)),
          operation(std::move(what)),
          was_waiting(waiting),
          has_moved(moved)
    {
    }
    operation_turn(operation_turn&&) noexcept = default;
    operation_turn& operator=(operation_turn&&) = delete;
    // Still with an operation only when the executor or the reactor lets go of it, going down.
    ~operation_turn()
    {
        if (operation)
            owner->forget(std::move(operation));
    }

    // Of a read from a bell.
    void operator()(const error_code& wait_error, std::size_t) { (*this)(wait_error); }
    void operator()(const error_code& wait_error = {})
    {
        if (has_moved || operation->place == handler_place::same_turn) {
            owner->take_turn(std::move(operation), was_waiting, wait_error);
            return;
        }
        const auto where = operation->handler_work;
        asio::dispatch(where,
                       asio::append(operation_turn(owner, std::move(operation), was_waiting, true),
                                    wait_error));
    }
};

/// Sits in the slot of the handler. Holds a name and no pointer: it may be called after the
/// operation is gone, and kept after the io_context is.
template <class Owner>
struct operation_cancellation {
    std::weak_ptr<Owner> owner;
    std::uint64_t serial;

    void operator()(asio::cancellation_type type) const noexcept
    {
        if (type == asio::cancellation_type::none)
            return;
        if (const auto alive = owner.lock())
            alive->abort_operation(serial);
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
