// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_RUN_SHELL_HPP
#define PROCYARD_RUNTIME_SRC_RUN_SHELL_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/observer.hpp>
#include <procyard/runtime/run.hpp>
#include <procyard/runtime/run_reason.hpp>
#include <procyard/runtime/run_result.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/runtime/stop.hpp>

#include "clock_timer.hpp"
#include "input_feeder.hpp"
#include "output_pump.hpp"
#include "run_fsm.hpp"
#include "stop_operation.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The shell of run_fsm: a feeder, pumps, three timers and at times a ladder, all in one strand.
// What it is that runs, one child or the stages of a pipeline, is the derived class's business.
// What is under way holds the operation; the operation holds nothing that holds it, so that it goes
// with its context.
//
//   start --(turn)--> prepare, launch --> launched --> wait_end, … ended --> complete
//                        \-----fail----------\----fail
class run_shell : public std::enable_shared_from_this<run_shell>,
                  public pump_owner,
                  public feeder_owner {
public:
    run_shell(const run_shell&) = delete;
    run_shell& operator=(const run_shell&) = delete;
    virtual ~run_shell() = default;

    // Nothing happens in this call but that the first turn is posted. `slot`: the handler's.
    void start(asio::cancellation_slot slot);

    // For a stop target, in the strand: the input shall end.
    void stop_feeding() noexcept;

protected:
    run_shell(asio::any_io_executor ex, run_options options);

    // --- What runs. Called by the shell, in the strand.

    // Looks at the options and adds the outputs; false: fail() was called.
    [[nodiscard]] virtual bool prepare() = 0;
    // Starts it. Now or later, in the strand, launched() or fail() follows.
    virtual void launch() = 0;
    // A cancellation while it is being started; launched() or fail() is still to come.
    virtual void cancel_launch() = 0;
    // From now on: calls ended(), in the strand, when every process has been reaped.
    virtual void wait_end() = 0;
    // A ladder begins.
    virtual void stopping() { }
    // A ladder has ended, and so has everything; stop_ says how.
    virtual void stopped() { }
    // `output`: of add_output(), where it is about one.
    virtual void emit(child_event::kind what, std::string_view text,
                      std::optional<std::size_t> output) noexcept = 0;
    // The last call: makes the result and completes the handler.
    virtual void report(error_code ec) = 0;

    // --- The shell. Called by what runs, in the strand.

    // In prepare(), behind the last output. False, after fail(): an idle deadline was asked for,
    // and there is nothing to hear the child by.
    [[nodiscard]] bool can_hear(const std::string& program);
    // In prepare(): an output with these sinks, to be named by the index that is returned. None: a
    // sink has failed already, which is not to be borne, and fail() was called.
    [[nodiscard]] std::optional<std::size_t> add_output(const char* name,
                                                        const std::string& program,
                                                        const std::vector<sink_description>& sinks);
    // In launch(): the ends of what was started. An output that is not connected, or whose end is
    // closed, comes to nothing. The ends outlive the run.
    void connect_output(std::size_t index, pipe_reader& end) noexcept;
    void connect_input(pipe_writer& end, bool terminal) noexcept;
    // It runs; a ladder would be leaned against `target`.
    void launched(std::shared_ptr<stop_target> target);
    // There is nothing that runs: completes.
    void fail(error_code ec);
    void ended();
    // In report().
    [[nodiscard]] stream_result take_output(std::size_t index);
    // In report(): what every result has.
    template <class Result>
    void take_common(Result& result)
    {
        result.reason = reason_;
        result.input = std::move(input_);
        result.stop = std::move(stop_);
        result.times = times_;
        result.failure = std::move(failure_);
    }

    std::shared_ptr<void> keep_alive() final { return shared_from_this(); }

    asio::any_io_executor ex_;
    asio::any_io_executor strand_;
    run_options options_;
    std::shared_ptr<timer_clock> clock_;

    // For take_common().
    run_reason reason_ = run_reason::exited;
    input_result input_;
    std::optional<stop_result> stop_;
    run_times times_;
    spawn_failure failure_;

private:
    void begin();
    void feed(run_event event);
    void act(run_action actions);
    void start_ladder();
    void on_stopped(stop_result result);
    void watch_tree();
    void complete();

    void request_cancel();
    void on_cancel();
    void on_deadline();
    void arm_deadline();
    void on_idle_alarm();
    void arm_idle();
    void on_drain_over() { feed(run_event::drain_over); }
    void pump_read(output_pump& pump) final;
    void pump_limit(output_pump& pump) final;
    void pump_sink_failed(output_pump& pump) final;
    void pump_done(output_pump& pump) final;
    void feeder_failed() final;
    void feeder_done() final { feed(run_event::input_done); }

    [[nodiscard]] bool stops_for(const output_pump& pump) const noexcept;

    struct outlet {
        const char* name;  // as an observer is told of its limit
        std::unique_ptr<output_pump> pump;
        pipe_reader* end = nullptr;
    };

    enum class phase : std::uint8_t { idle, launching, running, done };

    phase phase_ = phase::idle;
    run_fsm fsm_{{}};
    std::vector<outlet> outputs_;
    std::unique_ptr<input_feeder> feeder_;
    pipe_writer* input_end_ = nullptr;
    bool input_is_terminal_ = false;
    std::shared_ptr<stop_target> target_;
    std::weak_ptr<stop_operation> ladder_;

    clock_timer deadline_;
    clock_timer idle_;
    clock_timer drain_;
    asio::cancellation_signal tree_cancel_;
    std::atomic<bool> cancel_requested_{false};
    bool cancelled_while_launching_ = false;

    timer_clock::time_point called_{};
    timer_clock::time_point launched_{};
    timer_clock::time_point last_output_{};
    timer_clock::time_point ended_{};  // the processes, or the tree if it was stopped
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
