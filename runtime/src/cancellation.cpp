// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/cancellation.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/system/system_error.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <set>

#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/exit_status.hpp>

#include "cancellation_state.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What the copies of a source share: when it goes, nobody can cancel any more but a parent.
class cancellation_owner {
public:
    cancellation_owner() : state(std::make_shared<cancellation_state>()) { }
    cancellation_owner(const cancellation_owner&) = delete;
    cancellation_owner& operator=(const cancellation_owner&) = delete;
    ~cancellation_owner() { state->owner_gone(); }

    const std::shared_ptr<cancellation_state> state;
};

namespace {

// Whoever has it in hand completes it: the state that tells it, or who has taken it from the list.
class cancellation_wait final : public cancellation_listener {
public:
    cancellation_wait(const asio::any_io_executor& ex,
                      asio::any_completion_handler<void(error_code, cancellation_reason)> handler)
        : context_(asio::query(ex, asio::execution::context)),
          handler_(ex, std::move(handler))
    {
    }

    void on_cancelled(const cancellation_reason& reason) noexcept override
    {
        handler_.complete({}, reason);
    }
    void on_abandoned() noexcept override { handler_.complete(asio::error::operation_aborted, {}); }

    [[nodiscard]] const asio::execution_context& context() const noexcept { return context_; }
    [[nodiscard]] asio::cancellation_slot slot() const noexcept
    {
        return handler_.get_cancellation_slot();
    }

private:
    asio::execution_context& context_;
    pending<void(error_code, cancellation_reason)> handler_;
};

// Drops a context's waits when the context shuts down: a source may outlive it, and would hold its
// executors and handlers.
class cancellation_service final : public asio::execution_context::service {
public:
    using key_type = cancellation_service;
    static asio::execution_context::id id;

    explicit cancellation_service(asio::execution_context& owner) : service(owner) { }

    void know(const std::shared_ptr<cancellation_state>& state)
    {
        const std::lock_guard lock(mutex_);
        // Now and then, not at each wait.
        if (known_.size() >= next_purge_) {
            std::erase_if(known_, [](const auto& known) { return known.expired(); });
            next_purge_ = 2 * known_.size() + 16;
        }
        known_.insert(state);
    }

private:
    using states = std::set<std::weak_ptr<cancellation_state>, std::owner_less<>>;

    void shutdown() override
    {
        states known;
        {
            const std::lock_guard lock(mutex_);
            known.swap(known_);
        }
        const auto ours = [this](cancellation_listener& listener) {
            const auto* const wait = dynamic_cast<cancellation_wait*>(&listener);
            return wait != nullptr && &wait->context() == &context();
        };
        for (const auto& each : known) {
            if (const auto state = each.lock())
                state->drop(ours);
        }
    }

    std::mutex mutex_;
    states known_;
    std::size_t next_purge_ = 16;
};

asio::execution_context::id cancellation_service::id;

}  // namespace

void start_cancellation_wait(
    const std::shared_ptr<cancellation_state>& state, asio::any_io_executor ex,
    asio::any_completion_handler<void(error_code, cancellation_reason)> done)
{
    const auto wait = std::make_shared<cancellation_wait>(ex, std::move(done));
    if (!state) {
        wait->on_abandoned();
        return;
    }
    asio::use_service<cancellation_service>(asio::query(ex, asio::execution::context)).know(state);
    // Before it can be told: from then on another thread may complete it, and the slot goes with
    // the handler. Who cancels before it is in the list is told by the list.
    auto slot = wait->slot();
    if (slot.is_connected()) {
        slot.assign([weak_state = std::weak_ptr(state),
                     weak = std::weak_ptr(wait)](asio::cancellation_type) {
            const auto known = weak_state.lock();
            const auto waiting = weak.lock();
            if (known && waiting && known->unlisten(*waiting))
                waiting->on_abandoned();
        });
    }
    state->listen(wait);
}

}  // namespace detail

std::string to_string(const cancellation_reason& reason)
{
    switch (reason.cause) {
    case cancellation_cause::requested: return "requested";
    case cancellation_cause::deadline: return "deadline";
    case cancellation_cause::signal: return signal_name(reason.signal);
    case cancellation_cause::failure: return "failure";
    case cancellation_cause::shutdown: return "shutdown";
    case cancellation_cause::dropped: return "dropped";
    }
    return "?";
}

cancellation_token::cancellation_token(std::shared_ptr<detail::cancellation_state> state) noexcept
    : state_(std::move(state)),
      word_(&state_->word())
{
}

std::optional<cancellation_reason> cancellation_token::reason() const noexcept
{
    return state_ ? state_->reason() : std::nullopt;
}

bool cancellation_token::can_be_cancelled() const noexcept
{
    return state_ != nullptr && (cancelled() || !state_->abandoned());
}

void cancellation_token::throw_if_cancelled() const
{
    if (cancelled())
        throw boost::system::system_error(asio::error::operation_aborted, to_string(*reason()));
}

std::stop_token cancellation_token::stop_token() const
{
    return state_ ? state_->stop_token() : std::stop_token();
}

cancellation_source::cancellation_source() : owner_(std::make_shared<detail::cancellation_owner>())
{
}

cancellation_source::cancellation_source(const cancellation_token& parent) : cancellation_source()
{
    if (parent.state_)
        owner_->state->follow(parent.state_);
}

cancellation_source::cancellation_source(const std::stop_token& parent) : cancellation_source()
{
    owner_->state->follow(parent);
}

bool cancellation_source::request_cancel(const cancellation_reason& reason) noexcept
{
    PROCYARD_ASSERT(owner_ && "a source that was moved from cancels nobody");
    return owner_->state->cancel(reason);
}

cancellation_token cancellation_source::token() const noexcept
{
    PROCYARD_ASSERT(owner_ && "a source that was moved from has no token");
    return cancellation_token(owner_->state);
}

PROCYARD_NAMESPACE_END
