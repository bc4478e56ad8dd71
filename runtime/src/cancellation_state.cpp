// SPDX-License-Identifier: BSL-1.0
#include "cancellation_state.hpp"

#include <iterator>
#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::uint64_t set_bit = std::uint64_t{1} << 63;

std::uint64_t pack(const cancellation_reason& reason) noexcept
{
    return set_bit | std::uint64_t{static_cast<std::uint8_t>(reason.cause)} << 48
        | std::uint64_t{static_cast<std::uint16_t>(reason.signal)} << 32
        | static_cast<std::uint32_t>(reason.type);
}

cancellation_reason unpack(std::uint64_t word) noexcept
{
    return {static_cast<cancellation_cause>((word >> 48) & 0xFF),
            static_cast<int>((word >> 32) & 0xFFFF),
            static_cast<asio::cancellation_type>(static_cast<std::uint32_t>(word))};
}

}  // namespace

cancellation_listener::~cancellation_listener() = default;

// A child in its parent's list.
class cancellation_state::parent_link final : public cancellation_listener {
public:
    explicit parent_link(std::weak_ptr<cancellation_state> child) : child_(std::move(child)) { }

    void on_cancelled(const cancellation_reason& reason) noexcept override
    {
        if (const auto child = child_.lock())
            child->cancel(reason);
    }
    void on_abandoned() noexcept override
    {
        if (const auto child = child_.lock())
            child->parent_gone();
    }

private:
    std::weak_ptr<cancellation_state> child_;
};

struct cancellation_state::stop_link {
    struct on_stop {
        std::weak_ptr<cancellation_state> child;

        void operator()() const noexcept
        {
            if (const auto state = child.lock())
                state->cancel({});
        }
    };

    stop_link(const std::stop_token& parent, std::weak_ptr<cancellation_state> child)
        : callback(parent, on_stop{std::move(child)})
    {
    }

    std::stop_callback<on_stop> callback;
};

cancellation_state::cancellation_state() = default;

cancellation_state::~cancellation_state()
{
    if (link_)
        parent_->unlisten(*link_);
}

void cancellation_state::follow(std::shared_ptr<cancellation_state> parent)
{
    parent_ = std::move(parent);
    has_parent_ = true;
    link_ = std::make_shared<parent_link>(weak_from_this());
    parent_->listen(link_);
}

void cancellation_state::follow(const std::stop_token& parent)
{
    has_parent_ = parent.stop_possible();
    stop_link_ = std::make_unique<stop_link>(parent, weak_from_this());
}

bool cancellation_state::cancel(const cancellation_reason& reason) noexcept
{
    PROCYARD_ASSERT(reason.type != asio::cancellation_type::none
                    && "a cancellation of type none cancels nothing");
    std::uint64_t open = 0;
    // Release, pairs with the acquire in cancelled() and reason(): what this thread has done before
    // is seen by who sees the word. Acquire on failure: the loser may go on as if it had cancelled.
    if (!word_.compare_exchange_strong(open, pack(reason), std::memory_order_acq_rel,
                                       std::memory_order_acquire))
        return false;
    listeners told;
    std::optional<std::stop_source> stop;
    {
        const std::lock_guard lock(mutex_);
        told = take_all();
        stop.swap(stop_source_);
    }
    if (stop)
        stop->request_stop();
    for (const auto& listener : told)
        listener->on_cancelled(reason);
    return true;
}

cancellation_state::listeners cancellation_state::take_all() noexcept
{
    for (const auto& listener : listeners_)
        listener->listed_ = false;
    return std::exchange(listeners_, {});
}

void cancellation_state::owner_gone() noexcept
{
    leave(owned_);
}

void cancellation_state::parent_gone() noexcept
{
    leave(has_parent_);
}

void cancellation_state::leave(bool& link) noexcept
{
    listeners told;
    {
        const std::lock_guard lock(mutex_);
        link = false;
        // Relaxed: a cancellation that this does not see takes the mutex after this, and finds
        // nobody. It came from somebody who has just gone; only a parent that hears of both can.
        if (owned_ || has_parent_ || word_.load(std::memory_order_relaxed) != 0)
            return;
        abandoned_ = true;
        told = take_all();
    }
    for (const auto& listener : told)
        listener->on_abandoned();
}

std::optional<cancellation_reason> cancellation_state::reason() const noexcept
{
    // Acquire: as cancelled().
    const auto word = word_.load(std::memory_order_acquire);
    if (word == 0)
        return std::nullopt;
    return unpack(word);
}

bool cancellation_state::abandoned() const noexcept
{
    const std::lock_guard lock(mutex_);
    return abandoned_;
}

void cancellation_state::listen(const std::shared_ptr<cancellation_listener>& listener)
{
    std::uint64_t word = 0;
    {
        const std::lock_guard lock(mutex_);
        // Acquire: what the listener does at once is as if it had been told by the thread that
        // cancelled.
        word = word_.load(std::memory_order_acquire);
        if (word == 0 && !abandoned_) {
            listeners_.push_back(listener);
            listener->place_ = std::prev(listeners_.end());
            listener->listed_ = true;
            return;
        }
    }
    if (word != 0)
        listener->on_cancelled(unpack(word));
    else
        listener->on_abandoned();
}

bool cancellation_state::unlisten(cancellation_listener& listener) noexcept
{
    listeners gone;  // destroyed outside the lock
    const std::lock_guard lock(mutex_);
    if (!listener.listed_)
        return false;
    listener.listed_ = false;
    gone.splice(gone.end(), listeners_, listener.place_);
    return true;
}

void cancellation_state::drop(const std::function<bool(cancellation_listener&)>& accepts)
{
    listeners gone;  // destroyed outside the lock
    const std::lock_guard lock(mutex_);
    for (auto at = listeners_.begin(); at != listeners_.end();) {
        const auto next = std::next(at);
        if (accepts(**at)) {
            (*at)->listed_ = false;
            gone.splice(gone.end(), listeners_, at);
        }
        at = next;
    }
}

std::stop_token cancellation_state::stop_token()
{
    const std::lock_guard lock(mutex_);
    // Relaxed: with the mutex held, who has set the word and not yet taken the list will stop it.
    if (stop_source_)
        return stop_source_->get_token();
    std::stop_source source;
    if (word_.load(std::memory_order_relaxed) != 0)
        source.request_stop();
    else if (!abandoned_)
        stop_source_ = source;
    return source.get_token();
}

void listen(const std::shared_ptr<cancellation_state>& state,
            std::shared_ptr<cancellation_listener> listener)
{
    // Held here: it is told after it has entered the list, and whoever takes it out there may have
    // held it last.
    const auto held = std::move(listener);
    if (state)
        state->listen(held);
    else
        held->on_abandoned();
}

bool unlisten(const std::shared_ptr<cancellation_state>& state,
              cancellation_listener& listener) noexcept
{
    return state && state->unlisten(listener);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
