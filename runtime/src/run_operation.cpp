// SPDX-License-Identifier: BSL-1.0
#include "run_operation.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <algorithm>
#include <utility>

#include <procyard/runtime/spawn.hpp>

#include "child_core.hpp"
#include "child_stop_target.hpp"
#include "run_access.hpp"
#include "run_stdio.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using access = run_access;

// A child as a run stops it: its input is fed by somebody who has to know that it is closed.
class run_stop_target final : public child_stop_target {
public:
    run_stop_target(const std::shared_ptr<child_core>& core, const asio::any_io_executor& strand,
                    std::weak_ptr<void> run, input_feeder* feeder)
        : child_stop_target(core, strand),
          run_(std::move(run)),
          feeder_(feeder)
    {
    }

    void close_stdin() noexcept override
    {
        const auto alive = run_.lock();
        if (alive && feeder_ != nullptr)
            feeder_->stop();
    }

private:
    std::weak_ptr<void> run_;
    input_feeder* feeder_;  // the run's
};

}  // namespace

run_operation::run_operation(command what, asio::any_io_executor ex, run_options options,
                             run_handler handler)
    : what_(std::move(what)),
      ex_(std::move(ex)),
      strand_(asio::make_strand(ex_)),
      options_(std::move(options)),
      clock_(access::clock(options_) ? access::clock(options_) : steady_timer_clock()),
      handler_(ex_, std::move(handler)),
      called_(clock_->now())
{
    if (!access::ladder(options_).clock)
        access::ladder(options_).clock = clock_;
}

void run_operation::start()
{
    auto slot = handler_.get_cancellation_slot();
    if (slot.is_connected()) {
        slot.assign([weak = weak_from_this()](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->request_cancel();
        });
    }
    asio::post(strand_, [self = shared_from_this()] { self->begin(); });
}

// In whatever thread the caller emits.
void run_operation::request_cancel()
{
    cancel_requested_.store(true, std::memory_order_relaxed);
    asio::post(strand_, [self = shared_from_this()] { self->on_cancel(); });
}

void run_operation::begin()
{
    // Relaxed: a cancellation that is not seen here is in the strand's queue.
    if (cancel_requested_.load(std::memory_order_relaxed)) {
        fail(asio::error::operation_aborted);
        return;
    }
    if (open_sinks())
        spawn_child();
}

// A file that cannot be opened fails the run before anything is spawned, as one the command names
// would; unless its loss is to be borne.
bool run_operation::open_sinks()
{
    connect_input(what_, access::std_in(options_));
    const run_output* outputs[] = {&access::std_out(options_), &access::std_err(options_)};
    for (const auto which : {out, err}) {
        const int number = static_cast<int>(which) + 1;
        auto sinks = connect_output(what_, number, *outputs[which]);
        if (sinks.empty())
            continue;
        pumps_[which] = std::make_unique<output_pump>(*this, strand_, sinks);
        if (!stops_for(*pumps_[which]))
            continue;
        const auto failures = pumps_[which]->take_result().sink_failures;
        const auto& first = failures.front();
        result_.failure.code = make_spawn_error(spawn_step::open_file, first.error.value());
        result_.failure.step = spawn_step::open_file;
        result_.failure.program = what_.program();
        result_.failure.operand = first.sink;
        fail(result_.failure.code);
        return false;
    }
    return true;
}

void run_operation::spawn_child()
{
    if (!access::spawn_off_loop(options_)) {
        auto made = spawn(what_, strand_, result_.failure);
        const auto ec = result_.failure.code;
        on_spawned(ec, std::move(made));
        return;
    }
    spawning_ = true;
    auto spawned = [self = shared_from_this()](const error_code& ec, child made) {
        self->spawning_ = false;
        self->on_spawned(ec, std::move(made));
    };
    async_spawn(what_, strand_, result_.failure,
                asio::bind_cancellation_slot(spawn_cancel_.slot(),
                                             asio::bind_executor(strand_, std::move(spawned))));
}

void run_operation::on_spawned(error_code ec, child made)
{
    if (ec) {
        fail(ec);
        return;
    }
    child_ = std::move(made);
    spawned_ = last_output_ = clock_->now();
    result_.pid = child_.id();
    result_.info = child_.info();
    result_.times.spawn = result_.info.duration;
    connect_streams();
    watch_child();
    if (cancelled_while_spawning_)  // too late to prevent it
        feed(run_event::cancelled);
}

// Nothing lives yet.
void run_operation::fail(error_code ec)
{
    result_.reason = ec == asio::error::operation_aborted ? run_reason::cancelled : result_.reason;
    result_.times.total = clock_->now() - called_;
    handler_.complete_now(ec, std::move(result_));
}

void run_operation::connect_streams()
{
    run_fsm::setup setup{.descendants = access::descendants(options_)};
    pipe_reader* ends[] = {&child_.std_out(), &child_.std_err()};
    for (const auto which : {out, err}) {
        if (!ends[which]->is_open())
            pumps_[which].reset();  // the two are one, or it went elsewhere
        setup.outputs += pumps_[which] ? 1U : 0U;
    }
    if (child_.std_in().is_open()) {
        feeder_ = std::make_unique<input_feeder>(*this, strand_,
                                                 access::source(access::std_in(options_)));
        setup.inputs = 1;
    }
    fsm_ = run_fsm(setup);
    for (const auto which : {out, err}) {
        if (pumps_[which])
            pumps_[which]->start(*ends[which]);
    }
    if (feeder_)
        feeder_->start(child_.std_in(), input_is_terminal(what_));
}

void run_operation::watch_child()
{
    target_ =
        std::make_shared<run_stop_target>(child_.core(), strand_, weak_from_this(), feeder_.get());
    child_.async_wait(asio::bind_executor(
        strand_, [self = shared_from_this()](const error_code& ec, const exit_status& status) {
            if (!ec)
                self->on_exit(status);
        }));
    if (access::deadline(options_)) {
        const auto until = timer_clock::time_point::max() - called_ < *access::deadline(options_)
            ? timer_clock::time_point::max()
            : called_ + *access::deadline(options_);
        deadline_.arm(*clock_, strand_, until, shared_from_this(), &run_operation::on_deadline);
    }
    if (access::idle_deadline(options_))
        arm_idle();
}

void run_operation::on_exit(const exit_status& status)
{
    idle_.cancel();
    result_.status = status;
    ended_ = clock_->now();
    result_.times.run = ended_ - spawned_;
    // Asked now, so that descendant_policy::stop has nothing to do for a child without any.
    if (access::descendants(options_) != descendant_policy::leave && target_->tree_empty())
        feed(run_event::tree_empty);
    feed(run_event::exited);
    if (access::descendants(options_) == descendant_policy::wait)
        watch_tree();
}

void run_operation::watch_tree()
{
    target_->wait_tree(asio::bind_executor(
        strand_,
        asio::bind_cancellation_slot(tree_cancel_.slot(),
                                     [self = shared_from_this()](const error_code& ec) {
                                         if (ec)
                                             return;
                                         self->ended_ = self->clock_->now();
                                         self->feed(run_event::tree_empty);
                                     })));
}

void run_operation::feed(run_event event)
{
    act(fsm_.resume(event));
}

void run_operation::act(run_action actions)
{
    const auto self = shared_from_this();
    if (has(actions, run_action::start_ladder))
        start_ladder();
    if (has(actions, run_action::hurry_ladder)) {
        if (const auto ladder = ladder_.lock())
            ladder->hurry();
    }
    if (has(actions, run_action::arm_drain)) {
        drain_.arm(*clock_, strand_, clock_->after(access::drain_grace(options_)), self,
                   &run_operation::on_drain_over);
    }
    if (has(actions, run_action::close_input))
        feeder_->stop();
    for (const auto& pump : pumps_) {
        if (pump && has(actions, run_action::cut_outputs))
            pump->cut();
        if (pump && has(actions, run_action::abort_outputs))
            pump->abort();
    }
    if (has(actions, run_action::complete))
        complete();
}

void run_operation::start_ladder()
{
    auto stopped = [self = shared_from_this()](const error_code&, stop_result result) {
        self->on_stopped(std::move(result));
    };
    const auto ladder =
        std::make_shared<stop_operation>(target_, access::ladder(options_), strand_, strand_,
                                         asio::bind_executor(strand_, std::move(stopped)));
    ladder_ = ladder;
    ladder->start();
}

void run_operation::on_stopped(stop_result result)
{
    result_.status = result.status;
    result_.times.stop = result.duration();
    ended_ = result.finished;
    result_.stop = std::move(result);
    feed(run_event::stop_done);
}

void run_operation::complete()
{
    deadline_.cancel();
    idle_.cancel();
    drain_.cancel();
    tree_cancel_.emit(asio::cancellation_type::terminal);
    if (pumps_[out])
        result_.std_out = pumps_[out]->take_result();
    if (pumps_[err])
        result_.std_err = pumps_[err]->take_result();
    if (feeder_)
        result_.input = feeder_->take_result();
    const auto finished = clock_->now();
    result_.reason = fsm_.reason();
    result_.times.drain = finished - ended_;
    result_.times.total = finished - called_;
    const bool held = result_.std_out.held_by_descendant || result_.std_err.held_by_descendant;
    child_.core()->emit(child_event::kind::drained, 0, held ? "held by a descendant" : "");
    // The child is reaped, its tree stopped or to be left alone: the drop policy has no say.
    child_.detach();
    target_.reset();
    const auto ec = fsm_.cancelled() ? error_code(asio::error::operation_aborted) : error_code();
    handler_.complete_now(ec, std::move(result_));
}

void run_operation::on_cancel()
{
    if (spawning_) {
        cancelled_while_spawning_ = true;
        spawn_cancel_.emit(asio::cancellation_type::terminal);
    } else if (child_) {

        feed(run_event::cancelled);
    }
}

void run_operation::on_deadline()
{
    note_limit("deadline");
    feed(run_event::deadline);
}

void run_operation::arm_idle()
{
    const auto until =
        timer_clock::time_point::max() - last_output_ < *access::idle_deadline(options_)
        ? timer_clock::time_point::max()
        : last_output_ + *access::idle_deadline(options_);
    idle_.arm(*clock_, strand_, until, shared_from_this(), &run_operation::on_idle_alarm);
}

// The alarm is not moved with every byte; it looks back when it rings.
void run_operation::on_idle_alarm()
{
    if (clock_->now() - last_output_ < *access::idle_deadline(options_)) {
        arm_idle();
        return;
    }
    note_limit("idle deadline");
    feed(run_event::idle);
}

void run_operation::pump_read(output_pump&)
{
    if (access::idle_deadline(options_))
        last_output_ = clock_->now();
}

void run_operation::pump_limit(output_pump& pump)
{
    note_limit(name_of(pump));
    feed(run_event::output_limit);
}

void run_operation::pump_sink_failed(output_pump& pump)
{
    if (stops_for(pump))
        feed(run_event::sink_failed);
}

void run_operation::pump_done(output_pump&)
{
    feed(run_event::output_done);
}

void run_operation::feeder_failed()
{
    feed(run_event::input_failed);
}

const char* run_operation::name_of(const output_pump& pump) const noexcept
{
    return &pump == pumps_[out].get() ? "stdout limit" : "stderr limit";
}

bool run_operation::stops_for(const output_pump& pump) const noexcept
{
    switch (access::on_sink_failure(options_)) {
    case sink_failure_policy::go_on: return false;
    case sink_failure_policy::stop_without_consumer:
        return pump.has_failure() && !pump.has_consumer();
    case sink_failure_policy::stop: return pump.has_failure();
    }
    return false;
}

void run_operation::note_limit(std::string_view which) const noexcept
{
    child_.core()->emit(child_event::kind::limit_hit, 0, which);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
