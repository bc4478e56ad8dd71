// SPDX-License-Identifier: BSL-1.0
#include "log_feed.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

log_feed::log_feed(asio::any_io_executor ex, std::shared_ptr<const log_sink> sink,
                   std::function<void()> on_idle)
    : executor_(std::move(ex)),
      sink_(std::move(sink)),
      on_idle_(std::move(on_idle)),
      queue_(sink_->how),
      room_(executor_, asio::steady_timer::time_point::max())
{
}

void log_feed::take(service_output from, std::string_view line) noexcept
{
    const auto sink = sink_;  // it may remove the service
    const bool is_task = sink && sink->task;
    if (!sink || (!sink->plain && !is_task))
        return;
    try {
        if (ended_)
            return queue_.lose_one();
        if (!is_task)
            return sink->plain(from, line);
    } catch (...) {  // the sink's own
        return queue_.lose_one();
    }
    queue_.push(from, line);
    start();
}

// Of the coroutine: where an operation of it cannot be begun for want of memory, Asio destroys it,
// and completes nothing. A feed that was taken to run then would take no line to its task again.
struct log_feed::run_mark {
    explicit run_mark(std::shared_ptr<log_feed> one) : feed(std::move(one)) { feed->runs_ = true; }
    run_mark(run_mark&&) noexcept = default;
    ~run_mark()
    {
        if (!feed)
            return;
        feed->over();
        // In a turn of its own, and not when the context goes down. Without memory for that, too,
        // whoever waits for an idle feed waits for no longer than its budget.
        try {
            asio::post(feed->executor_, [one = feed] { one->on_idle_(); });
        } catch (...) {
            feed.reset();
        }
    }
    std::shared_ptr<log_feed> feed;
};

void log_feed::start()
{
    if (runs_ || ended_)
        return;
    try {
        cancel_ = std::make_shared<asio::cancellation_signal>();
        asio::co_spawn(
            executor_, feed(shared_from_this()),
            asio::bind_cancellation_slot(cancel_->slot(),
                                         [mark = run_mark(shared_from_this()),
                                          kept = cancel_](const std::exception_ptr&) mutable {
                                             const auto self = std::exchange(mark.feed, nullptr);
                                             self->over();
                                             self->on_idle_();
                                         }));
    } catch (...) {
        cancel_.reset();  // no memory: what waits goes with the next line
    }
}

void log_feed::over() noexcept
{
    runs_ = false;
    if (releasing_)
        sink_.reset();
    wake();  // whoever reads: nobody is waited for
}

// A function of its own: its frame keeps the sink that is called.
asio::awaitable<void> log_feed::feed(std::shared_ptr<log_feed> self)
{
    // Not in the middle of a read: what has come with this line goes along with it.
    co_await asio::post(self->executor_, asio::use_awaitable);
    while (!self->ended_ && !self->queue_.empty())
        co_await self->hand_out();
}

asio::awaitable<void> log_feed::hand_out()
{
    const auto sink = sink_;
    const auto batch = queue_.take();  // without memory this feed ends, and loses nothing
    wake();
    try {
        co_await sink->task(batch);
    } catch (...) {
        queue_.lose_taken();
    }
}

asio::awaitable<void> log_feed::room()
{
    (void)co_await room_.async_wait(asio::as_tuple(asio::use_awaitable));
}

void log_feed::wake()
{
    room_.cancel();
}

void log_feed::release() noexcept
{
    releasing_ = true;
    if (!runs_)
        sink_.reset();
}

void log_feed::end() noexcept
{
    if (std::exchange(ended_, true))
        return;
    queue_.lose_all();
    room_.cancel();
    if (const auto signal = cancel_)
        signal->emit(asio::cancellation_type::terminal);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
