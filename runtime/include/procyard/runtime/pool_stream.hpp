// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_POOL_STREAM_HPP
#define PROCYARD_RUNTIME_POOL_STREAM_HPP

#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/detail/pool_task_state.hpp>
#include <procyard/runtime/pool_report.hpp>

PROCYARD_NAMESPACE_BEGIN

template <decodable_message Response>
class pool_stream;

namespace detail {

template <class Response>
class typed_pool_stream final : public pool_task_state {
public:
    using next_handler = pending<void(error_code, Response)>;
    using submit_handler = pending<void(error_code, pool_stream<Response>)>;

    typed_pool_stream() { is_stream = true; }

    [[nodiscard]] bool take(std::span<const std::byte> response) override
    {
        // Not in its place there, where a codec that throws would leave it.
        Response item{};
        if (!decode_message(response, item))
            return false;
        items_.push_back(std::move(item));
        if (!waits_)
            return true;
        try {
            hand_out_soon();
        } catch (const std::bad_alloc&) {
            // That is no fault of the item, which stays: the next one, or the end, tries again.
        }
        return true;
    }
    [[nodiscard]] bool waits_for_admission() const noexcept override
    {
        return static_cast<bool>(submits_);
    }
    void on_admitted(bool now) override
    {
        if (submits_)
            complete_when(now, submits_, error_code(), pool_stream<Response>(self()));
    }
    void on_over(bool now) override
    {
        if (submits_)
            complete_when(now, submits_, error, pool_stream<Response>(self()));
        if (!waits_)
            return;
        if (items_.empty())
            complete_when(now, waits_, end(), Response());
        else if (!now)
            hand_out_soon();
        else if (!turn_comes_)  // there was no memory for it
            hand_out();
    }
    void drop() noexcept override
    {
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
            const auto task = std::static_pointer_cast<typed_pool_stream>(weak.lock());
            if (task && task->submits_ && type != asio::cancellation_type::none)
                task->cancel();
        });
    }
    void wait(next_handler handler)
    {
        if (waits_) {
            handler.complete(asio::error::already_started, Response());
            return;
        }
        if (!items_.empty())
            hand_out_soon();  // if it throws nobody waits
        waits_ = std::move(handler);
        if (items_.empty() && over) {
            waits_.complete(end(), Response());
            return;
        }
        listen_for_cancellation();
    }

private:
    [[nodiscard]] std::shared_ptr<typed_pool_stream> self()
    {
        return std::static_pointer_cast<typed_pool_stream>(shared_from_this());
    }

    // The turn in which an item is handed out. If it never comes the context goes down, and who
    // waits may own this; or there was no memory for it, and who waits goes on waiting.
    class turn {
    public:
        explicit turn(std::shared_ptr<typed_pool_stream> of) noexcept : of_(std::move(of)) { }
        turn(turn&&) noexcept = default;
        turn(const turn&) = delete;
        turn& operator=(const turn&) = delete;
        turn& operator=(turn&&) = delete;
        ~turn()
        {
            if (of_ && of_->turn_comes_)
                of_->drop();
        }
        void operator()() { std::exchange(of_, nullptr)->hand_out(); }

    private:
        std::shared_ptr<typed_pool_stream> of_;  // null after a move or a call
    };

    // An item is taken in the turn that calls the handler, when nobody can cancel the wait any
    // more, or that sends it to the handler's own executor, from where nobody may look in here.
    // Rejected: to post the handler with it, which loses an item where another stream's is posted
    // as well, and the first of the two ends the wait for the second.
    void hand_out_soon()
    {
        if (turn_comes_)
            return;
        asio::post(executor, turn(self()));
        turn_comes_ = true;
    }
    void hand_out()
    {
        turn_comes_ = false;
        if (!waits_ || items_.empty())
            return;
        auto item = std::move(items_.front());
        items_.pop_front();
        auto waits = std::move(waits_);
        ++taken_;
        const auto failure = give_credits_for_taken();
        // The last thing that is done: it may throw.
        waits.call_now(error_code(), std::move(item));
        if (failure)
            std::rethrow_exception(failure);
    }
    // Not one by one: each is a message. What fails there (no memory, a function of
    // pool_options::spans that throws) is for run(), and must not cost the item that has been
    // taken: the next one brings the credits. Rejected: to give them when the handler was called,
    // which may throw as well. Some may be given twice; then the worker is ahead by more.
    [[nodiscard]] std::exception_ptr give_credits_for_taken()
    {
        if (taken_ < stream_window / 2)
            return nullptr;
        try {
            give_credits(taken_);
        } catch (...) {
            return std::current_exception();
        }
        taken_ = 0;
        return nullptr;
    }
    [[nodiscard]] error_code end() const
    {
        return error ? error : make_error_code(channel_errc::closed);
    }
    // A slot may be heard of when its wait is over, and another one there.
    void listen_for_cancellation()
    {
        ++wait_;
        auto slot = waits_.get_cancellation_slot();
        if (!slot.is_connected())
            return;
        slot.assign([weak = weak_from_this(), wait = wait_](asio::cancellation_type type) {
            const auto stream = std::static_pointer_cast<typed_pool_stream>(weak.lock());
            if (stream && stream->waits_ && stream->wait_ == wait
                && type != asio::cancellation_type::none)
                stream->waits_.complete(asio::error::operation_aborted, Response());
        });
    }

    std::deque<Response> items_{};
    std::uint32_t taken_ = 0;
    bool turn_comes_ = false;
    submit_handler submits_{};
    next_handler waits_{};
    unsigned wait_ = 0;  // the how manieth wait that is
};

}  // namespace detail

/// The items that a task gives, one after the other.
///
/// A worker that is ahead of its consumer by 16 items waits. Its destructor cancels the task,
/// unless it is over.
/// @par Thread safety   As process_pool's, to which it belongs.
/// @par Lifetime        May outlive the pool.
template <decodable_message Response>
class pool_stream {
public:
    /// None.
    pool_stream() noexcept = default;
    pool_stream(pool_stream&&) noexcept = default;
    pool_stream& operator=(pool_stream&& other) noexcept
    {
        pool_stream old(std::move(*this));
        state_ = std::move(other.state_);
        return *this;
    }
    ~pool_stream() { cancel(); }

    [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }
    [[nodiscard]] std::uint64_t number() const noexcept { return state_ ? state_->number : 0; }

    /// Waits for the next item.
    /// @par Completion    void(error_code, Response)
    /// @par Errors        `channel_errc::closed`: that were all. `pool_errc::truncated`: its worker
    ///                    has died before the end, see report(); other `pool_errc`, after the items
    ///                    that came before. `operation_aborted`: it was cancelled, or the pool was
    ///                    destroyed. `already_started`: another wait is there.
    /// @par Cancellation  terminal, partial and total: no item was taken, and the task goes on. So
    ///                    `a.async_next() || b.async_next()` loses nothing, in a coroutine on the
    ///                    pool's executor. A handler that is bound to another one has its item when
    ///                    it is sent there: then a cancellation is too late.
    template <asio::completion_token_for<void(error_code, Response)> Token = asio::deferred_t>
    [[nodiscard]] auto async_next(Token&& token = {})
    {
        PROCYARD_ASSERT(state_ && "no stream has no items");
        return asio::async_initiate<Token, void(error_code, Response)>(
            [](auto handler, const std::shared_ptr<state>& task) {
                task->wait(typename state::next_handler(task->executor, std::move(handler)));
            },
            token, state_);
    }

    /// As pool_task::cancel.
    void cancel()
    {
        if (state_)
            state_->cancel();
    }
    /// What is known of the task so far; complete when it is over.
    [[nodiscard]] const pool_task_report& report() const noexcept
    {
        PROCYARD_ASSERT(state_ && "no stream has no report");
        return state_->report;
    }

    /// @private
    explicit pool_stream(std::shared_ptr<detail::typed_pool_stream<Response>> task) noexcept
        : state_(std::move(task))
    {
    }

private:
    using state = detail::typed_pool_stream<Response>;

    std::shared_ptr<state> state_;
};

PROCYARD_NAMESPACE_END

#endif
