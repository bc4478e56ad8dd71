// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_RUN_OPERATION_HPP
#define PROCYARD_RUNTIME_SRC_RUN_OPERATION_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <atomic>
#include <memory>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/run.hpp>

#include "clock_timer.hpp"
#include "input_feeder.hpp"
#include "output_pump.hpp"
#include "run_fsm.hpp"
#include "stop_operation.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The shell of run_fsm: one child, a feeder, two pumps, three timers and at times a ladder, all in
// one strand. What is under way holds the operation; the operation holds nothing that holds it, so
// that it goes with its context.
class run_operation final : public std::enable_shared_from_this<run_operation>,
                            public pump_owner,
                            public feeder_owner {
public:
    run_operation(command what, asio::any_io_executor ex, run_options options, run_handler handler);

    // Nothing happens in this call but that the first turn is posted.
    void start();

private:
    enum stream : std::size_t { out, err };

    std::shared_ptr<void> keep_alive() override { return shared_from_this(); }

    // Before there is a child
    void begin();
    [[nodiscard]] bool open_sinks();
    void spawn_child();
    void on_spawned(error_code ec, child made);
    void fail(error_code ec);

    // While there is one
    void connect_streams();
    void watch_child();
    void on_exit(const exit_status& status);
    void watch_tree();

    // The machine
    void feed(run_event event);
    void act(run_action actions);
    void start_ladder();
    void on_stopped(stop_result result);
    void complete();

    // What it hears
    void request_cancel();
    void on_cancel();
    void on_deadline();
    void on_idle_alarm();
    void arm_idle();
    void on_drain_over() { feed(run_event::drain_over); }
    void pump_read(output_pump& pump) override;
    void pump_limit(output_pump& pump) override;
    void pump_sink_failed(output_pump& pump) override;
    void pump_done(output_pump& pump) override;
    void feeder_failed() override;
    void feeder_done() override { feed(run_event::input_done); }

    [[nodiscard]] const char* name_of(const output_pump& pump) const noexcept;
    [[nodiscard]] bool stops_for(const output_pump& pump) const noexcept;
    void note_limit(std::string_view which) const noexcept;

    command what_;
    asio::any_io_executor ex_;
    asio::any_io_executor strand_;
    run_options options_;
    std::shared_ptr<timer_clock> clock_;
    pending<void(error_code, run_result)> handler_;
    run_fsm fsm_{{}};
    run_result result_;

    child child_;
    std::shared_ptr<stop_target> target_;
    std::unique_ptr<output_pump> pumps_[2];
    std::unique_ptr<input_feeder> feeder_;
    std::weak_ptr<stop_operation> ladder_;

    clock_timer deadline_;
    clock_timer idle_;
    clock_timer drain_;
    asio::cancellation_signal spawn_cancel_;
    asio::cancellation_signal tree_cancel_;
    std::atomic<bool> cancel_requested_{false};
    bool spawning_ = false;
    bool cancelled_while_spawning_ = false;

    timer_clock::time_point called_{};
    timer_clock::time_point spawned_{};
    timer_clock::time_point last_output_{};
    timer_clock::time_point ended_{};  // the child, or the tree if it was stopped
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
