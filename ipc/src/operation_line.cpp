// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/operation_line.hpp>

#include <boost/asio/append.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <unistd.h>

#include <new>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

void relax() noexcept
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// On a machine with one processor whoever spins keeps the peer from running.
std::chrono::nanoseconds sensible_spin(std::chrono::nanoseconds asked) noexcept
{
    return ::sysconf(_SC_NPROCESSORS_ONLN) == 1 ? std::chrono::nanoseconds(0) : asked;
}

}  // namespace

// What the executor and the reactor hold. Has no associated executor, so that it runs on the end's;
// what has to run elsewhere goes there first and does nothing before.
struct operation_line::turn {
    std::shared_ptr<operation_line> line;
    operation_ptr operation;
    bool was_waiting = false;
    bool has_moved = false;  // to where the handler runs

    turn(std::shared_ptr<operation_line> l, operation_ptr o, bool waiting, bool moved) noexcept
        : line(std::move(l)),
          operation(std::move(o)),
          was_waiting(waiting),
          has_moved(moved)
    {
    }
    turn(turn&&) noexcept = default;
    turn& operator=(turn&&) = delete;
    // Still with an operation only when the executor or the reactor lets go of it, going down.
    ~turn()
    {
        if (operation)
            line->forget(std::move(operation));
    }

    // Of a read from the bell.
    void operator()(const error_code& wait_error, std::size_t) { (*this)(wait_error); }
    void operator()(const error_code& wait_error = {})
    {
        if (has_moved || operation->place == handler_place::same_turn) {
            line->take_turn(std::move(operation), was_waiting, wait_error);
            return;
        }
        const auto where = operation->handler_work;
        asio::dispatch(
            where, asio::append(turn(line, std::move(operation), was_waiting, true), wait_error));
    }
};

// Sits in the slot of the handler. Holds a name and no pointer: it may be called after the
// operation is gone, and kept after the io_context is.
struct operation_line::on_cancellation {
    std::weak_ptr<operation_line> line;
    std::uint64_t serial;

    void operator()(asio::cancellation_type type) const noexcept
    {
        if (type == asio::cancellation_type::none)
            return;
        if (const auto alive = line.lock())
            alive->abort_operation(serial);
    }
};

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
        slot.emplace<on_cancellation>(weak_from_this(), operation->serial);
    auto* const known = operation.get();
    if (first_ != nullptr) {
        last_->next = std::move(operation);
        last_ = known;
        return;
    }
    first_ = last_ = known;
    // To look is allowed here, and saves a turn where there is nothing. To take is not: an
    // operation that loses a race must not have taken anything by then.
    const auto is_blocked = [&] { return lacks(known->wanted); };
    if (!spin_.is_none() || !is_blocked() || !may_sleep(known->wanted, is_blocked))
        return post(std::move(operation));
    ++stalls_;
    wait_in_reactor(std::move(operation));
}

void operation_line::post(operation_ptr operation)
{
    asio::post(executor_, turn(shared_from_this(), std::move(operation), false, false));
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
        drop(std::move(operation));
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
    ++stalls_;
    if (const auto budget = spin_.next(); budget.count() > 0) {
        const auto until = std::chrono::steady_clock::now() + budget;
        do {
            relax();
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
        drop(std::move(operation));  // it is being started: that has failed
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
    turn when_woken(shared_from_this(), std::move(operation), true, false);
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
// here, and the one behind it on its way, before it runs.
void operation_line::finish(operation_ptr operation, const error_code& instead)
{
    const auto self = shared_from_this();
    if (operation.get() == first_)
        release_next(*operation);
    auto& raw = *operation;
    raw.complete(std::move(operation), instead);
}

void operation_line::release_next(channel_operation& first)
{
    auto next = std::move(first.next);
    first_ = next.get();
    if (first_ == nullptr)
        last_ = nullptr;
    else
        post(std::move(next));
}

// Destroyed without a call; those behind it go on.
void operation_line::drop(operation_ptr operation)
{
    if (operation.get() == first_)
        release_next(*operation);
}

// Destroyed without a call, with all behind it: one after the other, since each holds the next, and
// the stack is not as deep as they may be many.
void operation_line::forget(operation_ptr operation) noexcept
{
    if (operation.get() == first_) {
        first_ = nullptr;
        last_ = nullptr;
    }
    while (operation)
        operation = std::move(operation->next);
}

void operation_line::abort_operation(std::uint64_t serial) noexcept
{
    channel_operation* before = nullptr;
    for (auto* at = first_; at != nullptr; before = at, at = at->next.get()) {
        if (at->serial != serial)
            continue;
        at->aborted = true;
        if (before == nullptr) {
            if (at->waiting)
                at->wake.emit(asio::cancellation_type::terminal);
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

void operation_line::cancel() noexcept
{
    for (auto* at = first_; at != nullptr; at = at->next.get())
        at->aborted = true;
    leave_reactor();
}

void operation_line::leave_reactor() noexcept
{
    watch_.leave();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
