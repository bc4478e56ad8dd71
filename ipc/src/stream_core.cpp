// SPDX-License-Identifier: BSL-1.0
#include "stream_core.hpp"

#include <boost/asio/append.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What the executor and the reactor hold: the operation and the core it belongs to. Has no
// associated executor, so that it runs on the I/O executor; the handler's own comes last.
struct stream_core::turn {
    std::shared_ptr<stream_core> core;
    operation_ptr operation;

    turn(std::shared_ptr<stream_core> c, operation_ptr o) noexcept
        : core(std::move(c)),
          operation(std::move(o))
    {
    }
    turn(turn&&) noexcept = default;
    turn& operator=(turn&&) = delete;
    // Still with an operation only when the executor or the reactor lets go of it, going down.
    ~turn()
    {
        if (operation && operation->listed)
            core->abandon(std::move(operation));
    }

    void operator()(const error_code& wait_error = {})
    {
        core->take_turn(std::move(operation), wait_error);
    }
};

// Sits in the slot of the handler. Holds a name and no pointer: it may be called after the
// operation is gone, and kept after the io_context is.
struct stream_core::on_cancellation {
    std::weak_ptr<stream_core> core;
    std::uint64_t serial;

    void operator()(asio::cancellation_type type) const noexcept
    {
        if (type == asio::cancellation_type::none)
            return;
        if (const auto alive = core.lock())
            alive->abort_operation(serial);
    }
};

stream_core::stream_core(const asio::any_io_executor& ex, stream_direction direction)
    : executor_(ex),
      direction_(direction)
{
}

stream_core::~stream_core()
{
    leave_reactor();
}

void stream_core::assign(unique_fd fd, error_code& ec)
{
    int access = 0;
    ec = set_nonblocking(fd.get(), true, access);
    if (ec)
        return;
    const int wrong = direction_ == stream_direction::read ? O_WRONLY : O_RDONLY;
    if (access == wrong || (access & O_PATH) != 0) {
        ec = asio::error::bad_descriptor;
        return;
    }
    adopt(std::move(fd), descriptor_kind::unknown);
}

void stream_core::adopt(unique_fd fd, descriptor_kind of_kind) noexcept
{
    close();
    const std::lock_guard lock(mutex_);
    fd_ = std::move(fd);
    kind_ = of_kind;
    taker_ = ::getpid();
    keep_connected_ = false;
}

int stream_core::native_handle() const noexcept
{
    const std::lock_guard lock(mutex_);
    return fd_.get();
}

void stream_core::close() noexcept
{
    const std::lock_guard lock(mutex_);
    abort_all();
    if (!fd_)
        return;
    // A socket may have another holder, at least the other direction of the same object's owner:
    // without this the peer would wait for the end for ever. Not a socket: ENOTSOCK. A copy of the
    // process that destroys what it has not taken itself leaves the original's connection alone.
    const bool may_be_socket =
        kind_ == descriptor_kind::unknown || kind_ == descriptor_kind::socket;
    if (may_be_socket && !keep_connected_ && taker_ == ::getpid())
        (void)::shutdown(fd_.get(), direction_ == stream_direction::read ? SHUT_RD : SHUT_WR);
    fd_.reset();
    leave_reactor();  // abort_all() does not in a copy, see reactor_watch
}

void stream_core::keep_connected() noexcept
{
    const std::lock_guard lock(mutex_);
    keep_connected_ = true;
}

void stream_core::cancel() noexcept
{
    const std::lock_guard lock(mutex_);
    abort_all();
}

unique_fd stream_core::release() noexcept
{
    const std::lock_guard lock(mutex_);
    abort_all();
    int access = 0;
    if (fd_)
        (void)set_nonblocking(fd_.get(), false, access);  // cannot fail on an open descriptor
    return std::move(fd_);
}

// --- starting -----------------------------------------------------------------------------------

stream_core::operation_ptr stream_core::make_operation(kind what)
{
    auto operation = spare_ ? std::move(spare_) : std::make_unique<stream_operation>();
    operation->what = what;
    operation->aborted = false;
    operation->waiting = false;
    operation->serial = ++last_serial_;
    operation->buffer_count = 0;
    return operation;
}

void stream_core::start(stream_direction direction, std::span<const iovec> buffers,
                        transfer_handler handler, handler_place place)
{
    const std::lock_guard lock(mutex_);
    auto operation = make_operation(direction == stream_direction::read ? kind::read : kind::write);
    std::copy(buffers.begin(), buffers.end(), operation->buffers.begin());
    operation->buffer_count = buffers.size();
    launch(std::move(operation), &stream_operation::on_transfer, std::move(handler), place);
}

void stream_core::start(stream_wait what, wait_handler handler, handler_place place)
{
    const std::lock_guard lock(mutex_);
    const kind which = what == stream_wait::readable ? kind::wait_readable
        : what == stream_wait::writable              ? kind::wait_writable
                                                     : kind::wait_closed;
    launch(make_operation(which), &stream_operation::on_wait, std::move(handler), place);
}

template <class Handler>
void stream_core::launch(operation_ptr operation, Handler stream_operation::* where,
                         Handler handler, handler_place place)
{
    auto slot = handler.get_cancellation_slot();
    operation->place = place;
    if (place == handler_place::elsewhere)
        operation->handler_work = work_of(handler, executor_);
    // swap: in Boost 1.81 the move assignment of any_completion_handler calls itself for ever.
    (*operation.*where).swap(handler);

    operation->cancellable = slot.is_connected();
    if (operation->cancellable)
        slot.template emplace<on_cancellation>(weak_from_this(), operation->serial);
    auto* const known = operation.get();
    operations_.reserve(operations_.size() + 1);
    // The first attempt too is made in a turn of its own and not here: an operation that loses a
    // race must not have moved anything by then.
    asio::post(executor_, turn{shared_from_this(), std::move(operation)});
    operations_.push_back(known);  // last: until here an exception takes the operation along
    known->listed = true;
}

// --- a turn -------------------------------------------------------------------------------------

void stream_core::take_turn(operation_ptr operation, const error_code& wait_error)
{
    std::unique_lock lock(mutex_);
    operation->waiting = false;
    outcome now = attempt(*operation, wait_error);
    if (!now.done) {
        now.result.ec = enter_reactor();
        if (!now.result.ec) {
            wait_in_reactor(std::move(operation));
            return;
        }
    }
    // Free before the call: the handler may start the next operation.
    transfer_handler on_transfer;
    wait_handler on_wait;
    on_transfer.swap(operation->on_transfer);
    on_wait.swap(operation->on_wait);
    const auto place = operation->place;
    const auto handler_work = std::exchange(operation->handler_work, nullptr);
    forget(std::move(operation));
    lock.unlock();

    if (on_transfer)
        finish(std::move(on_transfer), place, now.result.ec, now.result.bytes);
    else
        finish(std::move(on_wait), place, now.result.ec);
}

template <class Handler, class... Args>
void stream_core::finish(Handler handler, handler_place place, Args... args)
{
    if (place == handler_place::same_turn)
        std::move(handler)(args...);
    else
        asio::dispatch(executor_, asio::append(std::move(handler), args...));
}

stream_core::outcome stream_core::attempt(stream_operation& operation, const error_code& wait_error)
{
    if (operation.aborted)
        return {true, {asio::error::operation_aborted, 0}};
    if (!fd_)
        return {true, {asio::error::bad_descriptor, 0}};
    if (wait_error)  // operation_not_supported: not a descriptor one can wait for
        return {true, {wait_error, 0}};
    if (operation.what != kind::read && operation.what != kind::write)
        return attempt_wait(operation.what);
    const auto result = transfer({operation.buffers.data(), operation.buffer_count});
    return {result.ec != asio::error::would_block, result};
}

stream_core::outcome stream_core::attempt_wait(kind what) const noexcept
{
    constexpr short failure = POLLERR | POLLHUP | POLLNVAL;
    const short events = what == kind::wait_readable ? short{POLLIN}
        : what == kind::wait_writable                ? short{POLLOUT}
                                                     : short{0};
    // Looked at after a wake-up as well: the reactor wakes all waiters for an error of the other
    // direction, and the event may be gone when another operation came first.
    const short found = poll_one(fd_.get(), events, 0);
    return {(found & (events | failure)) != 0, {}};
}

transfer_result stream_core::transfer(std::span<const iovec> buffers) noexcept
{
    if (buffers.empty())
        return {};
    if (direction_ == stream_direction::write && kind_ == descriptor_kind::unknown)
        kind_ = kind_of(fd_.get());
    const auto result = direction_ == stream_direction::read ? read_now(fd_.get(), buffers)
                                                             : write_now(fd_.get(), kind_, buffers);
    add_to_total(result.bytes);
    return result;
}

void stream_core::add_to_total(std::size_t bytes) noexcept
{
    // Relaxed: a statistic; it publishes nothing.
    if (total_)
        total_->fetch_add(bytes, std::memory_order_relaxed);
}

void stream_core::count(std::size_t bytes) noexcept
{
    const std::lock_guard lock(mutex_);
    add_to_total(bytes);
}

void stream_core::count_bytes_into(std::shared_ptr<std::atomic<std::uint64_t>> total) noexcept
{
    const std::lock_guard lock(mutex_);
    total_.swap(total);
}

error_code stream_core::enter_reactor()
{
    try {
        return watch_.enter(executor_, fd_.get());
    } catch (const std::bad_alloc&) {
        return error_code(ENOMEM, boost::system::system_category());
    }
}

void stream_core::leave_reactor() noexcept
{
    watch_.leave();
}

void stream_core::wait_in_reactor(operation_ptr operation)
{
    using wait_type = asio::posix::descriptor_base;
    const auto type = [&] {
        switch (operation->what) {
        case kind::read:
        case kind::wait_readable: return wait_type::wait_read;
        case kind::write:
        case kind::wait_writable: return wait_type::wait_write;
        case kind::wait_closed: break;
        }
        return wait_type::wait_error;
    }();
    operation->waiting = true;
    const auto slot = operation->cancellable ? operation->wake.slot() : asio::cancellation_slot{};
    auto* const known = operation.get();
    std::erase(operations_, known);
    known->listed = false;
    watch_->async_wait(
        type, asio::bind_cancellation_slot(slot, turn{shared_from_this(), std::move(operation)}));
    operations_.push_back(known);  // as in launch()
    known->listed = true;
}

// --- ending -------------------------------------------------------------------------------------

void stream_core::abort_operation(std::uint64_t serial) noexcept
{
    const std::lock_guard lock(mutex_);
    for (auto* const operation : operations_) {
        if (operation->serial != serial)
            continue;
        operation->aborted = true;
        if (operation->waiting)
            operation->wake.emit(asio::cancellation_type::terminal);
        return;
    }
}

// The operations complete in turns of their own. Leaves the reactor.
void stream_core::abort_all() noexcept
{
    ++epoch_;
    for (auto* const operation : operations_)
        operation->aborted = true;
    leave_reactor();
}

std::uint64_t stream_core::epoch() const noexcept
{
    const std::lock_guard lock(mutex_);
    return epoch_;
}

void stream_core::forget(operation_ptr operation) noexcept
{
    std::erase(operations_, operation.get());
    operation->listed = false;
    spare_ = std::move(operation);
}

// The handler goes without a call, and may take the stream itself along (a coroutine that has it as
// a local variable): so it is unknown here before it goes, and no lock is held.
void stream_core::abandon(operation_ptr operation) noexcept
{
    {
        const std::lock_guard lock(mutex_);
        std::erase(operations_, operation.get());
    }
    operation.reset();
}

// --- without the event loop ---------------------------------------------------------------------

transfer_result stream_core::try_transfer(std::span<const iovec> buffers) noexcept
{
    const std::lock_guard lock(mutex_);
    if (!fd_)
        return {asio::error::bad_descriptor, 0};
    return transfer(buffers);
}

transfer_result stream_core::transfer_blocking(std::span<const iovec> buffers) noexcept
{
    const short events = direction_ == stream_direction::read ? POLLIN : POLLOUT;
    for (;;) {
        const auto result = try_transfer(buffers);
        if (result.ec != asio::error::would_block)
            return result;
        const int number = native_handle();
        if (number != -1)  // else it was closed meanwhile, and the next turn says so
            (void)poll_one(number, events, -1);
    }
}

}  // namespace detail

PROCYARD_NAMESPACE_END
