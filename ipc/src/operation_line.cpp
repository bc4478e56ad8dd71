// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/operation_line.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <new>

#include "spinning.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

operation_line::operation_line(const asio::any_io_executor& ex, waking how,
                               std::chrono::nanoseconds spin)
    : executor_(ex),
      how_(how),
      spin_(sensible_spin(spin))
{
}

void operation_line::start(operation_ptr operation, asio::cancellation_slot slot)
{
    operation->serial = ++last_serial_;
    if (slot.is_connected())
        slot.emplace<operation_cancellation<operation_line>>(weak_from_this(), operation->serial);
    operation = operations_.append(std::move(operation));
    if (!operation)
        return;
    auto* const known = operation.get();
    // To look is allowed here, and saves a turn where there is nothing. To take is not: an
    // operation that loses a race must not have taken anything by then.
    const auto is_blocked = [&] { return lacks(known->wanted); };
    if (!spin_.is_none() || !is_blocked() || !may_sleep(known->wanted, is_blocked))
        return post(std::move(operation));
    count_stall();
    wait_in_reactor(std::move(operation));
}

void operation_line::post(operation_ptr operation)
{
    asio::post(executor_, turn(shared_from_this(), std::move(operation), false));
}

void operation_line::take_turn(operation_ptr operation, bool was_waiting,
                               const error_code& wait_error)
{
    operation->waiting = false;
    if (was_waiting)
        hear(wait_error);
    if (operation->aborted)
        return finish(std::move(operation), asio::error::operation_aborted);
    error_code ec;
    bool done = false;
    try {
        done = attempt(*operation);
        if (!done)  // its error is found again, and told, where it waits
            (void)watch_.enter(executor_, wait_handle());
    } catch (const std::bad_alloc&) {
        ec = error_code(ENOMEM, boost::system::system_category());
    } catch (...) {
        // A user's codec. What it means is for whoever calls run(); the others go on.
        go_on_after(*operation);
        throw;
    }
    if (done)
        finish(std::move(operation), {});
    else if (ec)
        finish(std::move(operation), ec);
    else
        wait_in_reactor(std::move(operation));
}

// True: done. Else it waits, and has said so to the others.
bool operation_line::attempt(channel_operation& operation)
{
    const auto is_blocked = [&] {
        return operation.attempt() == channel_operation::progress::blocked;
    };
    if (!is_blocked())
        return true;
    count_stall();
    if (const auto budget = spin_.next(); budget.count() > 0) {
        const auto until = std::chrono::steady_clock::now() + budget;
        do {
            relax_processor();
            if (!is_blocked()) {
                spin_.has_succeeded();
                ++spins_;
                return true;
            }
        } while (std::chrono::steady_clock::now() < until);
        spin_.has_failed();
    }
    return !may_sleep(operation.wanted, is_blocked);
}

// Says to the others that this end sleeps, and looks once more. True: it may sleep now.
template <class Look>
bool operation_line::may_sleep(const std::uint64_t& wanted, Look is_blocked)
{
    announce(wanted);
    if (is_blocked())
        return true;
    withdraw();
    return false;
}

void operation_line::wait_in_reactor(operation_ptr operation)
{
    error_code ec;
    try {
        ec = watch_.enter(executor_, wait_handle());
    } catch (const std::bad_alloc&) {
        go_on_after(*operation);  // it is being started: that has failed
        throw;
    }
    if (ec) {
        withdraw();
        fail_to_wait(ec);
        return post(std::move(operation));
    }
    ++sleeps_;
    operation->waiting = true;
    const auto slot = operation->wake.slot();
    turn when_woken(shared_from_this(), std::move(operation), true);
    // A read where a wait would do as well: Asio tries it at once, which costs less than to arm
    // epoll for a wait, and it empties the bell in the same step.
    if (how_ == waking::reads)
        watch_->async_read_some(asio::buffer(rings_),
                                asio::bind_cancellation_slot(slot, std::move(when_woken)));
    else
        watch_->async_wait(asio::posix::descriptor_base::wait_read,
                           asio::bind_cancellation_slot(slot, std::move(when_woken)));
}

// The handler may start the next operation, or take the end itself along: so this one is unknown
// here, and the one behind it on its way, before it runs. The turn that we are in holds *this:
// one more reference here would be a tenth of a co_await's cost.
void operation_line::finish(operation_ptr operation, const error_code& instead)
{
    auto& raw = *operation;
    go_on_after(raw);
    raw.complete(std::move(operation), instead);
}

void operation_line::go_on_after(channel_operation& done)
{
    if (auto next = operations_.take_next(done))
        post(std::move(next));
}

void operation_line::abort_operation(std::uint64_t serial) noexcept
{
    operation_ptr outside;
    if (operations_.abort(serial, outside) && outside)
        post(std::move(outside));
}

void operation_line::cancel() noexcept
{
    operations_.abort_all();
    leave_reactor();
}

void operation_line::wake_up() noexcept
{
    if (!watch_.is_entered())
        return;
    error_code ignored;  // of a descriptor that is open
    watch_->cancel(ignored);
}

void operation_line::leave_reactor() noexcept
{
    watch_.leave();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
