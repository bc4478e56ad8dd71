// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_POOL_TASK_HPP
#define PROCYARD_RUNTIME_POOL_TASK_HPP

#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/detail/pool_task_state.hpp>
#include <procyard/runtime/pool_report.hpp>

PROCYARD_NAMESPACE_BEGIN

template <decodable_message Response>
class pool_task;

namespace detail {

template <class Response>
class typed_pool_task final : public pool_task_state {
public:
    using result_handler = pending<void(error_code, Response)>;
    using submit_handler = pending<void(error_code, procyard::pool_task<Response>)>;

    [[nodiscard]] bool take(std::span<const std::byte> response) override
    {
        return decode_message(response, value_.emplace());
    }
    [[nodiscard]] bool waits_for_admission() const noexcept override
    {
        return static_cast<bool>(submits_);
    }
    void on_admitted(bool now) override
    {
        if (submits_)
            complete_when(now, submits_, error_code(), procyard::pool_task<Response>(self()));
    }
    void on_over(bool now) override
    {
        if (submits_)
            complete_when(now, submits_, error, procyard::pool_task<Response>(self()));
        if (waits_)
            tell(now);
    }
    void drop() noexcept override
    {
        // Out of here first: they may own what owns this.
        const auto submits = std::move(submits_);
        const auto waits = std::move(waits_);
    }

    void wait_for_admission(submit_handler handler)
    {
        submits_ = std::move(handler);
        auto slot = submits_.get_cancellation_slot();
        if (!slot.is_connected())
            return;
        slot.assign([weak = weak_from_this()](asio::cancellation_type type) {
            const auto task = std::static_pointer_cast<typed_pool_task>(weak.lock());
            if (task && task->submits_ && type != asio::cancellation_type::none)
                task->cancel();
        });
    }
    // `all`: whatever cancels the wait cancels the task.
    void wait(result_handler handler, bool all)
    {
        if (waits_ || told_) {
            handler.complete(asio::error::already_started, Response());
            return;
        }
        waits_ = std::move(handler);
        if (over) {
            tell(false);
            return;
        }
        listen_for_cancellation(all ? asio::cancellation_type::all
                                    : asio::cancellation_type::terminal);
    }

private:
    [[nodiscard]] std::shared_ptr<typed_pool_task> self()
    {
        return std::static_pointer_cast<typed_pool_task>(shared_from_this());
    }

    void tell(bool now)
    {
        told_ = true;
        auto value = value_ && !error ? std::move(*value_) : Response();
        value_.reset();
        complete_when(now, waits_, error, std::move(value));
    }

    // Those in `of_task` cancel the task, and the wait ends when it has; others end the wait alone.
    // A slot may be heard of when its wait is over, and another one there.
    void listen_for_cancellation(asio::cancellation_type of_task)
    {
        ++wait_;
        auto slot = waits_.get_cancellation_slot();
        if (!slot.is_connected())
            return;
        slot.assign([weak = weak_from_this(), of_task, wait = wait_](asio::cancellation_type type) {
            const auto task = std::static_pointer_cast<typed_pool_task>(weak.lock());
            if (!task || !task->waits_ || task->wait_ != wait
                || type == asio::cancellation_type::none)
                return;
            if ((type & of_task) != asio::cancellation_type::none)
                task->cancel();
            else
                task->waits_.complete(asio::error::operation_aborted, Response());
        });
    }

    std::optional<Response> value_{};
    // Not with {}, which writes zeros over them before they are made.
    submit_handler submits_;
    result_handler waits_;
    unsigned wait_ = 0;  // the how manieth wait that is
    bool told_ = false;
};

}  // namespace detail

/// A task that was submitted to a process_pool.
///
/// Its destructor cancels it, unless it is over or detach() was called.
///
/// After a move: `!x`; may be assigned to or destroyed.
/// @par Thread safety   As process_pool's, to which it belongs: distinct objects of one pool are
///                      shared objects.
/// @par Lifetime        May outlive the pool; what is not over then completes with
///                      operation_aborted.
template <decodable_message Response>
class pool_task {
public:
    /// None.
    pool_task() noexcept = default;
    pool_task(pool_task&&) noexcept = default;
    pool_task& operator=(pool_task&& other) noexcept
    {
        pool_task old(std::move(*this));
        state_ = std::move(other.state_);
        return *this;
    }
    ~pool_task() { cancel(); }

    [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }
    /// 1, 2, 3, … in each pool.
    [[nodiscard]] std::uint64_t number() const noexcept { return state_ ? state_->number : 0; }
    /// Whether there is a result, or an error.
    [[nodiscard]] bool is_done() const noexcept { return state_ && state_->is_over(); }

    /// Waits for the result, which is handed out once.
    /// @par Completion    void(error_code, Response)
    /// @par Errors        `pool_errc`; report() says more. `operation_aborted`: it was cancelled,
    ///                    or the pool was destroyed. `already_started`: another wait is there, or
    ///                    has got the result.
    /// @par Cancellation  terminal: the task is cancelled, and the wait ends when its worker has
    ///                    agreed to that, or the process that ran it is gone. partial, total: the
    ///                    wait ends, the task goes on, and can be waited for again.
    template <asio::completion_token_for<void(error_code, Response)> Token = asio::deferred_t>
    [[nodiscard]] auto async_result(Token&& token = {})
    {
        PROCYARD_ASSERT(state_ && "no task has no result");
        return asio::async_initiate<Token, void(error_code, Response)>(
            [](auto handler, const std::shared_ptr<state>& task) {
                task->wait(typename state::result_handler(task->executor, std::move(handler)),
                           false);
            },
            token, state_);
    }

    /// Cancels the task: one that waits is over at once, also if it was sent ahead
    /// (pool_options::prefetch); one that runs is told so, then its worker gets SIGTERM, then
    /// SIGKILL (pool_options::ask_grace, term_grace). One that is over stays as it is. What waits
    /// for it ends when it is over.
    void cancel()
    {
        if (state_)
            state_->cancel();
    }
    /// Lets it go on without this object, which is empty then.
    void detach() noexcept { state_.reset(); }

    /// What is known of it so far; complete when it is over.
    [[nodiscard]] const pool_task_report& report() const noexcept
    {
        PROCYARD_ASSERT(state_ && "no task has no report");
        return state_->report;
    }

    /// @private
    explicit pool_task(std::shared_ptr<detail::typed_pool_task<Response>> task) noexcept
        : state_(std::move(task))
    {
    }

private:
    using state = detail::typed_pool_task<Response>;

    std::shared_ptr<state> state_;
};

PROCYARD_NAMESPACE_END

#endif
