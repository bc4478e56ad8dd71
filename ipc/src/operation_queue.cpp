// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/operation_queue.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <cerrno>
#include <new>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

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
        slot.emplace<operation_cancellation<operation_queue>>(weak_from_this(), operation->serial);
    operation = operations_.append(std::move(operation));
    if (operation)
        post(std::move(operation));
}

void operation_queue::abort_all() noexcept
{
    operations_.abort_all();
    operations_.wake();
}

void operation_queue::post(operation_ptr operation)
{
    asio::post(executor_, turn(shared_from_this(), std::move(operation), false));
}

// What has ended the wait does not matter: whoever is woken looks.
void operation_queue::take_turn(operation_ptr operation, bool, const error_code&)
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
        go_on_after(*operation);
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
            turn when_woken(shared_from_this(), std::move(operation), true);
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
    turn when_woken(shared_from_this(), std::move(operation), true);
    watch_->async_wait(asio::posix::descriptor_base::wait_read,
                       asio::bind_cancellation_slot(slot, std::move(when_woken)));
}

// The handler may start the next operation, or destroy the object: so this one is unknown here, and
// the one behind it on its way, before it runs. The turn that we are in holds *this:
// one more reference here would be a tenth of a co_await's cost.
void operation_queue::finish(operation_ptr operation, const error_code& instead)
{
    auto& raw = *operation;
    go_on_after(raw);
    raw.complete(std::move(operation), instead);
}

void operation_queue::go_on_after(channel_operation& done)
{
    if (auto next = operations_.take_next(done))
        post(std::move(next));
}

void operation_queue::abort_operation(std::uint64_t serial) noexcept
{
    operation_ptr outside;
    if (operations_.abort(serial, outside) && outside)
        post(std::move(outside));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
