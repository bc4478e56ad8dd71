// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/clock.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/consign.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include <procyard/ipc/detail/pending.hpp>

PROCYARD_NAMESPACE_BEGIN

timer_clock::~timer_clock() = default;

timer_clock::time_point timer_clock::after(duration delay) const noexcept
{
    const auto present = now();
    if (delay > time_point::max() - present)
        return time_point::max();
    return present + delay;
}

namespace {

class steady_clock_source final : public timer_clock {
public:
    time_point now() const noexcept override { return std::chrono::steady_clock::now(); }

protected:
    void start_wait(asio::any_io_executor ex, time_point when,
                    asio::any_completion_handler<void(error_code)> handler) override
    {
        auto timer = std::make_shared<asio::steady_timer>(std::move(ex), when);
        auto& waiting = *timer;
        // Asio's own reaction to a cancellation points into the timer and stays in the slot when
        // the wait is over. The timer is not the user's, who may emit whenever he likes.
        auto slot = asio::get_associated_cancellation_slot(handler);
        if (slot.is_connected()) {
            slot.assign([weak = std::weak_ptr(timer)](asio::cancellation_type) {
                if (const auto pending = weak.lock())
                    pending->cancel();
            });
        }
        waiting.async_wait(asio::bind_cancellation_slot(
            asio::cancellation_slot(), asio::consign(std::move(handler), std::move(timer))));
    }
};

}  // namespace

std::shared_ptr<timer_clock> steady_timer_clock()
{
    static const auto source = std::make_shared<steady_clock_source>();
    return source;
}

// The waits of one manual clock. Handlers are moved out under the lock and posted, completed or
// destroyed outside it: they are user code.
class manual_clock::state : public std::enable_shared_from_this<state> {
public:
    explicit state(time_point start) : now_(start) { }

    struct wait {
        asio::execution_context* context;
        detail::pending<void(error_code)> handler;
    };

    using key = std::pair<time_point, std::uint64_t>;

    time_point now() const noexcept
    {
        const std::lock_guard lock(mutex_);
        return now_;
    }

    std::size_t pending() const noexcept
    {
        const std::lock_guard lock(mutex_);
        return waits_.size();
    }

    std::optional<time_point> next() const noexcept
    {
        const std::lock_guard lock(mutex_);
        if (waits_.empty())
            return std::nullopt;
        return waits_.begin()->first.first;
    }

    std::size_t advance(duration delay)
    {
        std::unique_lock lock(mutex_);
        now_ = delay > time_point::max() - now_ ? time_point::max()
                                                : now_ + std::max(delay, duration::zero());
        return fire_due(lock);
    }

    std::size_t advance_to_next()
    {
        std::unique_lock lock(mutex_);
        if (waits_.empty())
            return 0;
        now_ = std::max(now_, waits_.begin()->first.first);
        return fire_due(lock);
    }

    void start(asio::any_io_executor ex, time_point when,
               asio::any_completion_handler<void(error_code)> handler);
    void cancel(key which);
    void cancel_all();
    void drop(const asio::execution_context& context);

private:
    std::size_t fire_due(std::unique_lock<std::mutex>& lock)
    {
        std::vector<wait> due;
        while (!waits_.empty() && waits_.begin()->first.first <= now_)
            due.push_back(std::move(waits_.extract(waits_.begin()).mapped()));
        lock.unlock();
        for (auto& one : due)
            one.handler.complete({});
        return due.size();
    }

    mutable std::mutex mutex_;
    time_point now_;
    std::uint64_t next_number_ = 0;
    std::map<key, wait> waits_;
};

namespace {

// Drops a context's waits when the context shuts down. Without it a clock that outlives a context
// would hold executors, and handlers full of that context's I/O objects, into thin air.
class wait_service : public asio::execution_context::service {
public:
    using key_type = wait_service;
    static asio::execution_context::id id;

    explicit wait_service(asio::execution_context& owner) : service(owner) { }

    void know(const std::shared_ptr<manual_clock::state>& clock)
    {
        const std::lock_guard lock(mutex_);
        std::erase_if(clocks_, [](const auto& known) { return known.expired(); });
        const auto same = [&](const auto& known) {
            return !known.owner_before(clock) && !clock.owner_before(known);
        };
        if (std::none_of(clocks_.begin(), clocks_.end(), same))
            clocks_.push_back(clock);
    }

private:
    void shutdown() override
    {
        std::vector<std::weak_ptr<manual_clock::state>> clocks;
        {
            const std::lock_guard lock(mutex_);
            clocks.swap(clocks_);
        }
        for (const auto& known : clocks) {
            if (const auto clock = known.lock())
                clock->drop(context());
        }
    }

    std::mutex mutex_;
    std::vector<std::weak_ptr<manual_clock::state>> clocks_;
};

asio::execution_context::id wait_service::id;

}  // namespace

void manual_clock::state::start(asio::any_io_executor ex, time_point when,
                                asio::any_completion_handler<void(error_code)> handler)
{
    auto& context = asio::query(ex, asio::execution::context);
    asio::use_service<wait_service>(context).know(shared_from_this());

    wait one{&context, detail::pending<void(error_code)>(ex, std::move(handler))};
    auto slot = one.handler.get_cancellation_slot();

    std::unique_lock lock(mutex_);
    if (when <= now_) {
        lock.unlock();
        one.handler.complete({});
        return;
    }
    const key which(when, next_number_++);
    // The slot is filled before the wait can fire, and never cleared from here: advance() may run
    // in another thread than the one the slot belongs to. A stale cancellation finds no such key.
    if (slot.is_connected()) {
        slot.assign([weak = weak_from_this(), which](asio::cancellation_type type) {
            if (type == asio::cancellation_type::none)
                return;
            if (const auto self = weak.lock())
                self->cancel(which);
        });
    }
    waits_.emplace(which, std::move(one));
}

void manual_clock::state::cancel(key which)
{
    std::unique_lock lock(mutex_);
    auto node = waits_.extract(which);
    lock.unlock();
    if (!node.empty())
        node.mapped().handler.complete(asio::error::operation_aborted);
}

void manual_clock::state::cancel_all()
{
    std::unique_lock lock(mutex_);
    auto all = std::move(waits_);
    waits_.clear();
    lock.unlock();
    for (auto& [which, one] : all)
        one.handler.complete(asio::error::operation_aborted);
}

void manual_clock::state::drop(const asio::execution_context& context)
{
    std::vector<wait> gone;
    std::unique_lock lock(mutex_);
    for (auto it = waits_.begin(); it != waits_.end();) {
        const auto next = std::next(it);
        if (it->second.context == &context)
            gone.push_back(std::move(waits_.extract(it).mapped()));
        it = next;
    }
    lock.unlock();
}

manual_clock::manual_clock(time_point start) : state_(std::make_shared<state>(start)) { }

manual_clock::~manual_clock()
{
    state_->cancel_all();
}

manual_clock::time_point manual_clock::now() const noexcept
{
    return state_->now();
}

std::size_t manual_clock::advance(duration delay)
{
    return state_->advance(delay);
}

std::size_t manual_clock::advance_to_next()
{
    return state_->advance_to_next();
}

std::size_t manual_clock::pending() const noexcept
{
    return state_->pending();
}

std::optional<manual_clock::time_point> manual_clock::next() const noexcept
{
    return state_->next();
}

void manual_clock::start_wait(asio::any_io_executor ex, time_point when,
                              asio::any_completion_handler<void(error_code)> handler)
{
    state_->start(std::move(ex), when, std::move(handler));
}

PROCYARD_NAMESPACE_END
