// SPDX-License-Identifier: BSL-1.0
#include "stage_task.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/system/system_error.hpp>

#include <system_error>
#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// Keeps the function object as long as the coroutine that it made: a lambda's captures are in it.
asio::awaitable<void> run_stage(stage::function body, pipe_reader in, pipe_writer out)
{
    co_await body(std::move(in), std::move(out));
}

error_code code_of(const std::exception_ptr& exception)
{
    try {
        std::rethrow_exception(exception);
    } catch (const boost::system::system_error& e) {
        return e.code();
    } catch (const std::system_error& e) {
        return e.code();
    } catch (...) {
        return {};
    }
}

}  // namespace

// Hears of the coroutine's end; or, destroyed without a call, that the context has gone.
struct stage_task::on_end {
    std::shared_ptr<stage_task> task;

    explicit on_end(std::shared_ptr<stage_task> t) noexcept : task(std::move(t)) { }
    on_end(on_end&&) noexcept = default;
    on_end& operator=(on_end&&) = delete;
    ~on_end()
    {
        if (task)
            task->abandoned();
    }

    void operator()(std::exception_ptr exception)
    {
        std::exchange(task, nullptr)->ended(std::move(exception));
    }
};

stage_task::stage_task(const asio::any_io_executor& ex)
    : executor_(ex),
      strand_(asio::make_strand(ex)),
      bytes_in_(std::make_shared<std::atomic<std::uint64_t>>(0)),
      bytes_out_(std::make_shared<std::atomic<std::uint64_t>>(0))
{
}

void stage_task::start(stage::function body, connection in, connection out, error_code& ec)
{
    pipe_reader reader(strand_);
    pipe_writer writer(strand_);
    reader.assign(std::move(in.fd), ec);
    if (!ec)
        writer.assign(std::move(out.fd), ec);
    if (in.borrowed)
        reader.keep_connected();
    if (out.borrowed)
        writer.keep_connected();
    if (ec)
        return;
    reader.count_bytes_into(bytes_in_);
    writer.count_bytes_into(bytes_out_);
    started_ = clock::now();
    asio::co_spawn(strand_, run_stage(std::move(body), std::move(reader), std::move(writer)),
                   asio::bind_cancellation_slot(cancellation_.slot(), on_end(shared_from_this())));
}

void stage_task::cancel()
{
    {
        const std::lock_guard lock(mutex_);
        if (gone_)
            return;
    }
    asio::post(strand_, [self = shared_from_this()] {
        self->cancellation_.emit(asio::cancellation_type::terminal);
    });
}

std::optional<stage_task::outcome> stage_task::end() const
{
    const std::lock_guard lock(mutex_);
    return outcome_;
}

void stage_task::ended(std::exception_ptr exception)
{
    outcome result{.exception = std::move(exception), .error = {}, .at = clock::now()};
    if (result.exception)
        result.error = code_of(result.exception);
    std::list<waiter> done;
    {
        const std::lock_guard lock(mutex_);
        gone_ = true;
        outcome_ = std::move(result);
        done.swap(waiters_);
    }
    for (auto& one : done)
        one.handler.complete({});
}

void stage_task::abandoned() noexcept
{
    std::list<waiter> dropped;  // destroyed without a call, and outside the lock
    const std::lock_guard lock(mutex_);
    gone_ = true;
    dropped.swap(waiters_);
}

void stage_task::start_wait(asio::any_completion_handler<void(error_code)> handler)
{
    pending<void(error_code)> waiting(executor_, std::move(handler));
    auto slot = waiting.get_cancellation_slot();
    std::uint64_t id = 0;
    {
        const std::lock_guard lock(mutex_);
        id = next_waiter_++;
    }
    // Before the waiter is in the list: from then on another thread may complete it, and the slot
    // goes with its handler.
    if (slot.is_connected()) {
        slot.assign([weak = weak_from_this(), id](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->cancel_wait(id);
        });
    }
    {
        const std::lock_guard lock(mutex_);
        if (!gone_) {
            waiters_.push_back({id, std::move(waiting)});
            return;
        }
    }
    waiting.complete({});
}

void stage_task::cancel_wait(std::uint64_t id)
{
    pending<void(error_code)> cancelled;
    {
        const std::lock_guard lock(mutex_);
        for (auto at = waiters_.begin(); at != waiters_.end(); ++at) {
            if (at->id == id) {
                cancelled = std::move(at->handler);
                waiters_.erase(at);
                break;
            }
        }
    }
    if (cancelled)
        cancelled.complete(asio::error::operation_aborted);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
