// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_STOP_OPERATION_HPP
#define PROCYARD_RUNTIME_SRC_STOP_OPERATION_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <atomic>
#include <memory>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/stop.hpp>

#include "clock_timer.hpp"
#include "stop_fsm.hpp"
#include "stop_target.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The shell of stop_fsm: two waits, one timer, one target. Everything happens in one strand, the
// caller's or its own.
class stop_operation : public std::enable_shared_from_this<stop_operation> {
public:
    using handler_type = asio::any_completion_handler<void(error_code, stop_result)>;

    // `strand` serialises; `ex` is where the completion is posted.
    stop_operation(std::shared_ptr<stop_target> target, stop_ladder ladder,
                   asio::any_io_executor strand, const asio::any_io_executor& ex,
                   handler_type handler);

    // The first rung is taken in a turn of the strand, not in this call.
    void start();
    // Both only in the strand.
    void hurry() { feed(stop_event::hurried); }
    void cancel() { feed(stop_event::cancelled); }

private:
    void begin();
    void feed(stop_event event);
    void perform(const stop_step& step);
    void record(const stop_step& step, error_code error);
    void finish(error_code ec);
    void on_exit(const exit_status& status);
    void on_tree_empty();
    void on_grace_over() { feed(stop_event::grace_over); }

    std::shared_ptr<stop_target> target_;
    std::shared_ptr<timer_clock> clock_;
    asio::any_io_executor strand_;
    pending<void(error_code, stop_result)> handler_;
    stop_fsm fsm_;
    stop_result result_;
    clock_timer grace_;
    std::atomic<bool> cancel_requested_{false};
    asio::cancellation_signal exit_wait_;
    asio::cancellation_signal tree_wait_;
};

// Starts a ladder in a strand of its own.
void start_stop(std::shared_ptr<stop_target> target, const asio::any_io_executor& ex,
                stop_ladder ladder, stop_operation::handler_type handler);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
