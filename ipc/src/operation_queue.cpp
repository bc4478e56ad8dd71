// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/operation_queue.hpp>

#include <boost/asio/append.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <cerrno>
#include <new>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What the executor and the reactor hold; see channel_core::turn.
struct operation_queue::turn {
    std::shared_ptr<operation_queue> queue;
    operation_ptr operation;
    bool has_moved = false;  // to where the handler runs

    turn(std::shared_ptr<operation_queue> q, operation_ptr o, bool moved) noexcept
        : queue(std::move(q)),
          operation(std::move(o)),
          has_moved(moved)
    {
    }
    turn(turn&&) noexcept = default;
    turn& operator=(turn&&) = delete;
    // Still with an operation only when the executor or the reactor lets go of it, going down.
    ~turn()
    {
        if (operation)
            queue->forget(std::move(operation));
    }

    // What has ended the wait does not matter: whoever is woken looks.
    void operator()(const error_code& = {})
    {
        if (has_moved || operation->place == handler_place::same_turn) {
            queue->take_turn(std::move(operation));
            return;
        }
        const auto where = operation->handler_work;
        asio::dispatch(where, turn(queue, std::move(operation), true));
    }
};

// Holds a name and no pointer; see channel_core::on_cancellation.
struct operation_queue::on_cancellation {
    std::weak_ptr<operation_queue> queue;
    std::uint64_t serial;

    void operator()(asio::cancellation_type type) const noexcept
    {
        if (type == asio::cancellation_type::none)
            return;
        if (const auto alive = queue.lock())
            alive->abort_operation(serial);
    }
};

operation_queue::operation_queue(const asio::any_io_executor& ex) : executor_(ex) { }

operation_queue::~operation_queue() = default;

void operation_queue::unwatch() noexcept
{
    watched_ = -1;
    watch_.leave();
}

void operation_queue::start(operation_ptr operation, asio::cancellation_slot slot)
{
    operation->serial = ++last_serial_;
    if (slot.is_connected())
        slot.emplace<on_cancellation>(weak_from_this(), operation->serial);
    auto* const known = operation.get();
    if (first_ != nullptr) {
        last_->next = std::move(operation);
        last_ = known;
        return;
    }
    first_ = last_ = known;
    post(std::move(operation));
}

void operation_queue::wake() noexcept
{
    if (first_ != nullptr && first_->waiting)
        first_->wake.emit(asio::cancellation_type::terminal);
}

void operation_queue::abort_all() noexcept
{
    for (auto* at = first_; at != nullptr; at = at->next.get())
        at->aborted = true;
    wake();
}

void operation_queue::post(operation_ptr operation)
{
    asio::post(executor_, turn(shared_from_this(), std::move(operation), false));
}

void operation_queue::take_turn(operation_ptr operation)
{
    operation->waiting = false;
    if (operation->aborted)
        return finish(std::move(operation), asio::error::operation_aborted);
    auto progress = channel_operation::progress::blocked;
    try {
        progress = operation->attempt();
    } catch (const std::bad_alloc&) {
        return finish(std::move(operation), error_code(ENOMEM, boost::system::system_category()));
    } catch (...) {
        // A user's codec. What it means is for whoever calls run(); the others go on.
        release_next(*operation);
        throw;
    }
    if (progress == channel_operation::progress::done)
        finish(std::move(operation), {});
    else
        park(std::move(operation));
}

void operation_queue::park(operation_ptr operation)
{
    operation->waiting = true;
    const auto slot = operation->wake.slot();
    try {
        if (watched_ == -1) {
            if (!timer_)
                timer_.emplace(executor_, asio::steady_timer::time_point::max());
            turn when_woken(shared_from_this(), std::move(operation), false);
            timer_->async_wait(asio::bind_cancellation_slot(slot, std::move(when_woken)));
            return;
        }
    } catch (const boost::system::system_error& e) {
        return finish(std::move(operation), e.code());
    }
    error_code ec;
    try {
        ec = watch_.enter(executor_, watched_);
    } catch (const std::bad_alloc&) {
        ec = error_code(ENOMEM, boost::system::system_category());
    }
    if (ec)
        return finish(std::move(operation), ec);
    turn when_woken(shared_from_this(), std::move(operation), false);
    watch_->async_wait(asio::posix::descriptor_base::wait_read,
                       asio::bind_cancellation_slot(slot, std::move(when_woken)));
}

// The handler may start the next operation, or destroy the object: so this one is unknown here, and
// the one behind it on its way, before it runs.
void operation_queue::finish(operation_ptr operation, const error_code& instead)
{
    const auto self = shared_from_this();
    if (operation.get() == first_)
        release_next(*operation);
    auto& raw = *operation;
    raw.complete(std::move(operation), instead);
}

void operation_queue::release_next(channel_operation& first)
{
    auto next = std::move(first.next);
    first_ = next.get();
    if (first_ == nullptr)
        last_ = nullptr;
    else
        post(std::move(next));
}

// Destroyed without a call, with all behind it, one after the other.
void operation_queue::forget(operation_ptr operation) noexcept
{
    if (operation.get() == first_) {
        first_ = nullptr;
        last_ = nullptr;
    }
    while (operation)
        operation = std::move(operation->next);
}

void operation_queue::abort_operation(std::uint64_t serial) noexcept
{
    channel_operation* before = nullptr;
    for (auto* at = first_; at != nullptr; before = at, at = at->next.get()) {
        if (at->serial != serial)
            continue;
        at->aborted = true;
        if (before == nullptr) {
            wake();
            return;
        }
        // Out of the line, so that it need not wait for those before it.
        auto operation = std::move(before->next);
        before->next = std::move(operation->next);
        if (last_ == operation.get())
            last_ = before;
        post(std::move(operation));
        return;
    }
}

}  // namespace detail

PROCYARD_NAMESPACE_END
