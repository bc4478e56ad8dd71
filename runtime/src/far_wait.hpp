// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_FAR_WAIT_HPP
#define PROCYARD_RUNTIME_SRC_FAR_WAIT_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>

#include "context_gate.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What waits in one context, its home, for something that happens in another, and may lose either.
//
// By Asio's own rules the operation would own the handler, and with it work, a strand and a
// coroutine of the home: who ends that context first leaves all this behind in the other one. So
// the home owns it, and it goes with the home; the other side has a far_promise, which refers to
// nothing but memory.
template <class Result>
class far_wait final : public context_gate::tenant,
                       public std::enable_shared_from_this<far_wait<Result>> {
public:
    using handler_type = pending<void(std::exception_ptr, Result)>;

    // In a turn of the executor, which is the home.
    template <class Handler>
    static std::shared_ptr<far_wait> make(const asio::any_io_executor& home, Handler handler,
                                          bool may_be_cancelled)
    {
        const auto made = std::make_shared<far_wait>(home, std::move(handler));
        auto slot = made->handler_.get_cancellation_slot();
        if (may_be_cancelled && slot.is_connected()) {
            slot.assign([weak = std::weak_ptr(made)](asio::cancellation_type) {
                if (const auto self = weak.lock())
                    self->cancel();
            });
        }
        // Behind all else that can fail: the handler of an operation that throws is not kept.
        made->place_ = made->gate_->take_in(made);
        return made;
    }

    template <class Handler>
    far_wait(const asio::any_io_executor& home, Handler handler)
        : gate_(context_gate::of(home)),
          executor_(home),
          handler_(home, std::move(handler))
    {
    }

    // Once, from any thread. Without memory nobody is told: who waits has a deadline.
    void complete(std::exception_ptr failure, Result result) noexcept
    {
        const auto inside = gate_->enter();
        if (!inside)
            return;
        // Its last use; from here on it is in no thread's hands but this one's.
        const auto ex = std::exchange(executor_, {});
        failure_ = std::move(failure);
        result_ = std::move(result);
        try {
            asio::post(ex, [self = this->shared_from_this()] { self->tell(); });
        } catch (const std::exception&) {
            failure_ = nullptr;
        }
    }

    void on_context_gone() noexcept override
    {
        executor_ = {};
        const auto last = std::exchange(handler_, handler_type());
    }

private:
    // In turns of the home, as all that touches the handler.
    void tell()
    {
        gate_->let_out(place_);
        if (!handler_)  // it was cancelled
            return;
        auto handler = std::exchange(handler_, handler_type());
        handler.complete_now(std::move(failure_), std::move(result_));
    }
    // The home keeps it until the other side has done with it: it has an executor.
    void cancel()
    {
        if (!handler_)
            return;
        auto handler = std::exchange(handler_, handler_type());
        handler.complete(
            std::make_exception_ptr(boost::system::system_error(asio::error::operation_aborted)),
            Result());
    }

    const std::shared_ptr<context_gate> gate_;
    context_gate::tenants::iterator place_{};
    asio::any_io_executor executor_;
    handler_type handler_;
    std::exception_ptr failure_{};
    Result result_{};
};

// The other side's. One that goes without having been kept leaves an empty result: what would have
// kept it is no more.
template <class Result>
class far_promise {
public:
    far_promise() = default;
    far_promise(const far_promise&) = delete;
    far_promise& operator=(const far_promise&) = delete;
    ~far_promise() { keep({}); }

    void belong_to(std::shared_ptr<far_wait<Result>> wait) noexcept { wait_ = std::move(wait); }
    void keep(Result result) noexcept { complete(nullptr, std::move(result)); }
    void break_it(std::exception_ptr why) noexcept { complete(std::move(why), {}); }

private:
    void complete(std::exception_ptr failure, Result result) noexcept
    {
        if (const auto wait = std::exchange(wait_, nullptr))
            wait->complete(std::move(failure), std::move(result));
    }

    std::shared_ptr<far_wait<Result>> wait_{};
};

// Waits for what `begin` gives a std::shared_ptr<far_promise> to: in this turn, or by what it posts
// there. What it throws is thrown here. `is_begun` says that it has thrown nothing.
template <class Result, class Begin>
asio::awaitable<Result> wait_afar(Begin begin, bool* is_begun, bool may_be_cancelled = false)
{
    const asio::any_io_executor home = co_await asio::this_coro::executor;
    asio::use_awaitable_t<> token;
    co_return co_await asio::async_initiate<asio::use_awaitable_t<>,
                                            void(std::exception_ptr, Result)>(
        [&](auto done) {
            const auto promise = std::make_shared<far_promise<Result>>();
            promise->belong_to(far_wait<Result>::make(home, std::move(done), may_be_cancelled));
            // Not out of here: Asio would destroy the coroutine, and tell nobody.
            try {
                begin(promise);
                *is_begun = true;
            } catch (...) {
                promise->break_it(std::current_exception());
            }
        },
        token);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
