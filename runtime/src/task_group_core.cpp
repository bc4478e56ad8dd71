// SPDX-License-Identifier: BSL-1.0
#include "task_group_core.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/system/system_error.hpp>

#include <iterator>
#include <utility>

#include <procyard/runtime/bind_token.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

std::exception_ptr aborted()
{
    return std::make_exception_ptr(
        boost::system::system_error(asio::error::operation_aborted, "task group"));
}

bool is_aborted(const std::exception_ptr& exception)
{
    try {
        std::rethrow_exception(exception);
    } catch (const boost::system::system_error& e) {
        return e.code() == asio::error::operation_aborted;
    } catch (...) {
        return false;
    }
}

}  // namespace

// Closes the group when it is cancelled, by whomever.
class task_group_core::on_cancel final : public cancellation_listener {
public:
    explicit on_cancel(std::weak_ptr<task_group_core> group) : group_(std::move(group)) { }

    void on_cancelled(const cancellation_reason&) noexcept override
    {
        if (const auto group = group_.lock())
            group->close();
    }

private:
    std::weak_ptr<task_group_core> group_;
};

// Hears of a task's end; or, destroyed without a call, that the context has gone.
struct task_group_core::on_end {
    std::shared_ptr<task_group_core> group;
    tasks::iterator place;

    on_end(std::shared_ptr<task_group_core> owner, tasks::iterator task) noexcept
        : group(std::move(owner)),
          place(task)
    {
    }
    on_end(on_end&&) noexcept = default;
    on_end& operator=(on_end&&) = delete;
    ~on_end()
    {
        if (group)
            group->abandoned(place);
    }

    void operator()(const std::exception_ptr& exception)
    {
        std::exchange(group, nullptr)->ended(place, exception);
    }
};

task_group_core::task_group_core(asio::any_io_executor ex, task_group_options options)
    : executor_(std::move(ex)),
      options_(std::move(options)),
      source_(options_.parent)
{
    if (!options_.clock)
        options_.clock = steady_timer_clock();
}

void task_group_core::heed_cancellation()
{
    listen(cancellation_access::state(source_.token()),
           std::make_shared<on_cancel>(weak_from_this()));
}

bool task_group_core::has_place() const noexcept
{
    return options_.limit == 0 || running_.size() < options_.limit;
}

task_group_core::tasks::iterator task_group_core::add(task_name name)
{
    running_.push_back({std::move(name), options_.clock->now()});
    return std::prev(running_.end());
}

void task_group_core::spawn(task_name name, asio::awaitable<void> body, error_code& ec)
{
    tasks::iterator place;
    {
        const std::lock_guard lock(mutex_);
        if (closed_) {
            ec = asio::error::operation_aborted;
            return;
        }
        // Who waits for a place is not overtaken.
        if (!has_place() || !waiters_.empty()) {
            ec = make_error_code(boost::system::errc::resource_unavailable_try_again);
            return;
        }
        place = add(std::move(name));
    }
    ec = {};
    begin(place, std::move(body));
}

// The task begins in a turn of its strand. Posted, since co_spawn would run its first part inside
// of whatever spawns it.
void task_group_core::begin(tasks::iterator place, asio::awaitable<void> body)
{
    const asio::any_io_executor strand = asio::make_strand(executor_);
    asio::post(strand,
               [strand, end = on_end(shared_from_this(), place), body = std::move(body)]() mutable {
                   const auto token = end.group->token();
                   if (token.cancelled()) {
                       {
                           const auto never_begun = std::move(body);
                       }
                       end(aborted());
                       return;
                   }
                   asio::co_spawn(strand, std::move(body),
                                  bind_token(token, asio::bind_executor(strand, std::move(end))));
               });
}

void task_group_core::ended(tasks::iterator place, const std::exception_ptr& exception)
{
    // The token, not closed_: who cancels sets the one first, and a task may hear in between.
    const bool failed = exception && !(source_.cancelled() && is_aborted(exception));
    if (failed && options_.on_task_failed)
        options_.on_task_failed(place->name, exception);
    bool fails = false;
    tasks over;
    std::list<joiner> done;
    {
        const std::lock_guard lock(mutex_);
        if (failed && !failure_) {
            failure_ = exception;
            fails = options_.on_failure == task_failure::cancels_the_rest;
        }
        // Before the place is free: nobody may begin behind a failure.
        closed_ = closed_ || fails;
        over.splice(over.end(), running_, place);
    }
    if (fails)
        source_.request_cancel({.cause = cancellation_cause::failure});
    fill_places();
    {
        const std::lock_guard lock(mutex_);
        done = take_joiners_if_done();
    }
    complete(std::move(done));
}

void task_group_core::abandoned(tasks::iterator place) noexcept
{
    tasks over;
    std::list<waiter> sent_away;  // destroyed without a call, as the context demands
    std::list<joiner> done;
    const std::lock_guard lock(mutex_);
    closed_ = true;
    over.splice(over.end(), running_, place);
    sent_away.swap(waiters_);
    done.swap(joiners_);
}

void task_group_core::fill_places()
{
    for (;;) {
        std::list<waiter> next;
        tasks::iterator place;
        {
            const std::lock_guard lock(mutex_);
            if (closed_ || waiters_.empty() || !has_place())
                return;
            next.splice(next.end(), waiters_, waiters_.begin());
            place = add(std::move(next.front().name));
        }
        begin(place, std::move(next.front().body));
        next.front().handler.complete({});
    }
}

std::list<task_group_core::joiner> task_group_core::take_joiners_if_done()
{
    std::list<joiner> done;
    if (running_.empty() && waiters_.empty())
        done.swap(joiners_);
    for (auto& one : done)
        one.failure = one.aborted ? aborted() : failure_;
    return done;
}

void task_group_core::complete(std::list<joiner> done)
{
    for (auto& one : done)
        one.handler.complete(std::move(one.failure));
}

// From the thread that cancels.
void task_group_core::close() noexcept
{
    std::list<waiter> sent_away;
    std::list<joiner> done;
    {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        sent_away.swap(waiters_);
        done = take_joiners_if_done();
    }
    for (auto& one : sent_away)
        one.handler.complete(asio::error::operation_aborted);
    complete(std::move(done));
}

void task_group_core::drop() noexcept
{
    {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        for (auto& one : joiners_)
            one.aborted = true;
    }
    source_.request_cancel({.cause = cancellation_cause::dropped});
}

void task_group_core::start_spawn(task_name name, asio::awaitable<void> body,
                                  asio::any_completion_handler<void(error_code)> handler)
{
    pending<void(error_code)> waiting(executor_, std::move(handler));
    auto slot = waiting.get_cancellation_slot();
    std::uint64_t id = 0;
    {
        const std::lock_guard lock(mutex_);
        id = next_id_++;
    }
    // Before the waiter is in the list: from then on another thread may complete it, and the slot
    // goes with its handler.
    if (slot.is_connected()) {
        slot.assign([weak = weak_from_this(), id](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->cancel_spawn(id);
        });
    }
    {
        const std::lock_guard lock(mutex_);
        if (!closed_) {
            waiters_.push_back({id, std::move(name), std::move(body), std::move(waiting)});
            waiting = {};
        }
    }
    if (waiting)
        waiting.complete(asio::error::operation_aborted);
    else
        fill_places();
}

void task_group_core::start_join(asio::any_completion_handler<void(std::exception_ptr)> handler)
{
    pending<void(std::exception_ptr)> waiting(executor_, std::move(handler));
    auto slot = waiting.get_cancellation_slot();
    std::uint64_t id = 0;
    {
        const std::lock_guard lock(mutex_);
        id = next_id_++;
    }
    if (slot.is_connected()) {
        slot.assign([weak = weak_from_this(), id](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->cancel_join(id);
        });
    }
    std::list<joiner> done;
    {
        const std::lock_guard lock(mutex_);
        joiners_.push_back({id, false, nullptr, std::move(waiting)});
        done = take_joiners_if_done();
    }
    complete(std::move(done));
}

void task_group_core::cancel_spawn(std::uint64_t id)
{
    std::list<waiter> cancelled;
    std::list<joiner> done;
    {
        const std::lock_guard lock(mutex_);
        for (auto at = waiters_.begin(); at != waiters_.end(); ++at) {
            if (at->id == id) {
                cancelled.splice(cancelled.end(), waiters_, at);
                break;
            }
        }
        if (!cancelled.empty())
            done = take_joiners_if_done();
    }
    for (auto& one : cancelled)
        one.handler.complete(asio::error::operation_aborted);
    complete(std::move(done));
}

void task_group_core::cancel_join(std::uint64_t id)
{
    bool pending_still = false;
    {
        const std::lock_guard lock(mutex_);
        for (auto& one : joiners_) {
            if (one.id == id) {
                one.aborted = true;
                pending_still = true;
            }
        }
    }
    if (pending_still)
        cancel({});
}

std::size_t task_group_core::size() const
{
    const std::lock_guard lock(mutex_);
    return running_.size();
}

std::vector<task_info> task_group_core::running() const
{
    const std::lock_guard lock(mutex_);
    return {running_.begin(), running_.end()};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
