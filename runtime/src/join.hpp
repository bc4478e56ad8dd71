// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_JOIN_HPP
#define PROCYARD_RUNTIME_SRC_JOIN_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Several waits as one: completes when all of them have, with the first error of any. A
// cancellation cancels those that are left.
//
// A strand of its own orders the completions of the parts and the cancellation.
class join : public std::enable_shared_from_this<join> {
public:
    explicit join(const asio::any_io_executor& ex) : strand_(asio::make_strand(ex)) { }
    join(const join&) = delete;
    join& operator=(const join&) = delete;

    // `start(handler)` starts one wait, with a handler for any `void(error_code, …)`. Called in the
    // strand; must not complete inside.
    template <class Start>
    void add(Start start)
    {
        parts_.push_back([start = std::move(start)](const std::shared_ptr<join>& self,
                                                    asio::cancellation_signal& signal) {
            start(asio::bind_executor(self->strand_,
                                      asio::bind_cancellation_slot(signal.slot(), on_part{self})));
        });
    }

    // Once, after the parts. `done` is called in a turn of the strand.
    void start(asio::any_completion_handler<void(error_code)> done)
    {
        done_.swap(done);
        asio::post(strand_, [self = shared_from_this()] { self->begin(); });
    }

    // For an operation: completes its handler with what `result` makes, through `ex`, and takes its
    // cancellation.
    template <class... Results, class Make>
    static void start(const std::shared_ptr<join>& all, const asio::any_io_executor& ex,
                      asio::any_completion_handler<void(error_code, Results...)> handler,
                      Make result)
    {
        pending<void(error_code, Results...)> waiting(ex, std::move(handler));
        all->listen(waiting.get_cancellation_slot());
        all->start([waiting = std::move(waiting),
                    result = std::move(result)](const error_code& ec) mutable {
            waiting.complete_now(ec, (ec ? Results{} : result())...);
        });
    }
    static void start(const std::shared_ptr<join>& all, const asio::any_io_executor& ex,
                      asio::any_completion_handler<void(error_code)> handler)
    {
        pending<void(error_code)> waiting(ex, std::move(handler));
        all->listen(waiting.get_cancellation_slot());
        all->start([waiting = std::move(waiting)](const error_code& ec) mutable {
            waiting.complete_now(ec);
        });
    }

    // From any thread.
    void cancel()
    {
        // Relaxed: a begin() that does not see it yet stands before the turn posted here.
        cancel_requested_.store(true, std::memory_order_relaxed);
        asio::post(strand_, [self = shared_from_this()] { self->cancel_parts(); });
    }

private:
    struct on_part {
        std::shared_ptr<join> all;

        template <class... Results>
        void operator()(const error_code& ec, Results&&...)
        {
            std::exchange(all, nullptr)->part_done(ec);
        }
    };

    void listen(asio::cancellation_slot slot)
    {
        if (!slot.is_connected())
            return;
        slot.assign([weak = weak_from_this()](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->cancel();
        });
    }

    void begin()
    {
        if (cancel_requested_.load(std::memory_order_relaxed) || parts_.empty()) {
            left_ = 0;
            finish(parts_.empty() ? error_code{} : asio::error::operation_aborted);
            return;
        }
        left_ = parts_.size();
        signals_ = std::vector<asio::cancellation_signal>(left_);
        const auto parts = std::exchange(parts_, {});
        for (std::size_t i = 0; i < parts.size(); ++i)
            parts[i](shared_from_this(), signals_[i]);
    }

    void cancel_parts()
    {
        for (auto& signal : signals_)
            signal.emit(asio::cancellation_type::terminal);
    }

    void part_done(const error_code& ec)
    {
        if (ec && !first_error_)
            first_error_ = ec;
        if (--left_ == 0)
            finish(first_error_);
    }

    void finish(const error_code& ec)
    {
        if (!done_)
            return;
        asio::any_completion_handler<void(error_code)> done;
        done.swap(done_);
        std::move(done)(ec);
    }

    asio::any_io_executor strand_;
    std::vector<std::function<void(const std::shared_ptr<join>&, asio::cancellation_signal&)>>
        parts_;
    std::vector<asio::cancellation_signal> signals_;
    std::size_t left_ = 0;
    error_code first_error_;
    std::atomic<bool> cancel_requested_{false};
    asio::any_completion_handler<void(error_code)> done_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
